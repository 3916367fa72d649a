"""What the backends that speak HTTP have in common: a key, a server, a stream, and how they are."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import ClassVar, Protocol

import msgspec

from nanoide.backends import faults
from nanoide.backends.base import Health
from nanoide.backends.http import Answer, Server
from nanoide.core.chat import Chunk, End, Prompt
from nanoide.core.errors import BackendError
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable


class Reader(Protocol):
    """Reads one answer of one protocol."""

    async def next(self) -> Chunk:
        """The next text, or the end. Raises BackendError."""
        ...

    def told(self) -> Usage | None:
        """The usage as far as the server has told it; None when it has not."""
        ...


class HttpBackend(ABC):
    """A backend on an HTTP server. A protocol adds what it sends and how it reads."""

    KIND: ClassVar[str]
    MODELS: ClassVar[str]
    """Where the models are listed: the cheapest request there is."""

    def __init__(self, table: BackendTable, key: Callable[[], str]) -> None:
        """`key` is asked for each request; it returns "" when none is needed."""
        self.name = table.name
        self.kind = self.KIND
        self.where: Where = table.locality
        self.tier: Tier = "model"
        self._model = table.model
        self._key = key
        self._key_at_hand = table.key is None or bool(table.key.env)
        self._server = Server(table, root="/v1")
        self.address = self._server.address
        """Host and port, as a person reads them."""
        self.host = "" if self.where == "device" else self.address
        self._running = 0
        self._trouble = ""
        """Why the last request failed; empty when it did not."""

    @abstractmethod
    def objection(self, prompt: Prompt) -> str:
        """Why it cannot answer `prompt`; empty when it can."""

    def resumes(self, prompt: Prompt) -> bool:
        """Servers that chat begin every answer anew, or may."""
        del prompt
        return False

    @abstractmethod
    def _headers(self, secret: str) -> dict[str, str]:
        """Of every request."""

    @abstractmethod
    async def _begin(self, prompt: Prompt, secret: str) -> tuple[Answer, Reader]:
        """Send `prompt`; the answer under way, and what reads it."""

    def call(self, prompt: Prompt) -> "HttpCall":
        """Nothing is held before it is sent."""
        return HttpCall(self, prompt)

    def stream(self, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """Ask, and give on what comes."""
        return self.call(prompt).stream()

    async def answer(self, prompt: Prompt, begun: Callable[[Reader], None]) -> AsyncGenerator[Chunk, None]:
        """Ask, and give on what comes; `begun` gets who reads it."""
        self._running += 1
        try:
            answer, reader = await self._begin(prompt, await self._secret())
            begun(reader)
            async with answer:
                while not isinstance(chunk := await reader.next(), End):
                    yield chunk
            # Whoever reads may stop at the end and not come back: all is done before it is given out.
            self._trouble = ""
            rest = faults.exhausted(answer.headers)
            yield chunk if rest is None else msgspec.structs.replace(chunk, rest_s=rest)
        except BackendError as error:
            self._trouble = faults.trouble(error)
            raise
        finally:
            self._running -= 1

    def health(self) -> Health:
        """Down after a request that failed, ready else."""
        return Health(
            state="down" if self._trouble else "ready",
            reason=self._trouble,
            model=self._model,
            running=self._running,
        )

    async def probe(self) -> Health:
        """List the models, which costs nothing."""
        error = await self.reach()
        self._trouble = "" if error is None else error.message
        return self.health()

    async def reach(self) -> BackendError | None:
        """List the models; why that failed, None when it did not."""
        try:
            secret = await self._secret()
            await self._server.get(self.MODELS, self._headers(secret), secret=secret)
        except BackendError as error:
            return error
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()

    async def _secret(self) -> str:
        """The key; one that is not at hand is looked up in a thread, for a keyring may take its time."""
        return self._key() if self._key_at_hand else await asyncio.to_thread(self._key)


class HttpCall:
    """One prompt to one HTTP server: see `base.Call`."""

    def __init__(self, backend: HttpBackend, prompt: Prompt) -> None:
        self.host = backend.host
        self._backend = backend
        self._prompt = prompt
        self._reader: Reader | None = None

    def stream(self) -> AsyncGenerator[Chunk, None]:
        """Ask, and give on what comes."""
        return self._backend.answer(self._prompt, self._begun)

    def told(self) -> Usage | None:
        """None as well before the answer begins."""
        return None if self._reader is None else self._reader.told()

    def drop(self) -> None:
        """Nothing was held."""

    def _begun(self, reader: Reader) -> None:
        self._reader = reader
