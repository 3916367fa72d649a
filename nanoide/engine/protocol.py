"""What the hub and an engine process say to each other: msgpack frames with their length in front.

The parent writes one `Command` a frame; the engine answers with frames that hold a list of `Reply`s,
one frame for each decode step. Nothing here touches native code.
"""

import struct
from collections.abc import Callable
from typing import Literal

import msgspec

from nanoide.core.chat import Fill, Finish, Message, Priority
from nanoide.core.errors import Outcome
from nanoide.core.value import Value

FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of one frame; a longer one means that the stream is out of step."""

_LENGTH = struct.Struct("<I")

LENGTH_BYTES = _LENGTH.size

FimOrder = Literal["auto", "psm", "spm", "none"]
"""psm: prefix, suffix, middle. spm: suffix first. auto: as the model was trained, as far as we know."""


class Load(Value, frozen=True, tag="load"):
    """Load the model; the first command, said once."""

    path: str
    threads: int | None = None
    """None means the physical cores this process may use."""
    gpu_layers: int = -1
    context: int | None = None
    """Window in tokens; None means as the file says."""
    fim: FimOrder = "auto"
    parking: str = ""
    """The folder in which sequences rest; empty means that they rest in RAM only."""
    parking_bytes: int = 4 << 30
    """Most bytes of that folder."""


class Job(Value, frozen=True, tag="job"):
    """Answer this. With a `fill` and a model that can, the middle is filled; else the model chats."""

    id: int
    key: str = ""
    """Jobs of one key follow each other: what the last one computed is kept for the next."""
    system: str = ""
    messages: tuple[Message, ...] = ()
    fill: Fill | None = None
    partial: str = ""
    """What stands of the answer already; it goes on right behind it."""
    max_output: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 40
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    grammar: str = ""
    """GBNF."""
    json_schema: str = ""
    """JSON; not together with a grammar."""
    stop: tuple[str, ...] = ()
    priority: Priority = "focused"


class Cancel(Value, frozen=True, tag="cancel"):
    """Nobody waits for the job any more."""

    id: int


class Park(Value, frozen=True, tag="park"):
    """Nobody works on the key for a while: what is kept for it may leave the memory, to come back when asked."""

    key: str


class Release(Value, frozen=True, tag="release"):
    """Forget what is kept for the key, also what is parked."""

    key: str


class Ping(Value, frozen=True, tag="ping"):
    """Say where you are. It is answered at once, also while a step computes."""


Command = Load | Job | Cancel | Park | Release | Ping


class Facts(Value, frozen=True):
    """What a loaded model is and can do."""

    name: str
    """As the file names itself; else the file's stem."""
    window: int
    """Tokens of prompt and answer together."""
    chats: bool
    fills: bool
    warning: str = ""
    """What is not as the file should have it, as a phrase; empty when all is well."""
    device: str = ""
    """What computes: "CPU only", or the devices and how many layers they hold."""


class Loading(Value, frozen=True, tag="loading"):
    """The model is being loaded."""

    percent: int


class Ready(Value, frozen=True, tag="ready"):
    """The model is loaded."""

    facts: Facts


class Unusable(Value, frozen=True, tag="unusable"):
    """The engine cannot work; it ends after this."""

    reason: str
    broken: bool = False
    """True when no model could run here (the library is missing), False when it is this file."""


class Piece(Value, frozen=True, tag="piece"):
    """The next text of a job; never empty, never half a character."""

    id: int
    text: str


class Done(Value, frozen=True, tag="done"):
    """The job is complete."""

    id: int
    finish: Finish
    input: int
    """Tokens of the prompt."""
    reused: int
    """Those of them that were in the KV cache already."""
    output: int
    logprob: float | None = None
    """Of the answer's tokens in the mean, in nats; None when it was not looked at."""


class Failed(Value, frozen=True, tag="failed"):
    """The job cannot be answered; the others go on."""

    id: int
    outcome: Outcome
    message: str
    hint: str = ""


class Vitals(Value, frozen=True, tag="vitals"):
    """How the engine is. Sent when work begins or ends, and now and then between."""

    running: int = 0
    waiting: int = 0
    kept: int = 0
    """Idle sequences in the KV cache."""
    cells: int = 0
    """KV cells in use."""
    cells_max: int = 0
    tokens_per_s: float = 0.0
    """Of the last busy moments, all jobs together; 0 before the first."""
    memory_bytes: int = 0
    prefix_hits: int = 0
    """Prompts whose beginning was known already, since the start."""
    parked: int = 0
    """Sequences that rest in RAM or in files."""
    parked_bytes: int = 0
    """Of them in RAM; part of `memory_bytes`."""
    disk_bytes: int = 0
    """Of them in files."""


class Pulse(Value, frozen=True, tag="pulse"):
    """The answer to a ping: what the main thread is at."""

    beat: int = 0
    """Which step since the start, or which stretch between two; 0 when it waits to be asked, or still loads."""
    usual_s: float = 0.0
    """Seconds that a step of its size took at most so far."""


Reply = Loading | Ready | Unusable | Piece | Done | Failed | Vitals | Pulse

_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_replies: msgspec.msgpack.Decoder[list[Reply]] = msgspec.msgpack.Decoder(list[Reply])


class ProtocolError(Exception):
    """The bytes on the pipe are no frame of ours."""


def frame(message: Command | list[Reply]) -> bytes:
    """The bytes of one frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def length(head: bytes) -> int:
    """How many bytes follow after the first `LENGTH_BYTES` of a frame. Raises ProtocolError."""
    (size,) = _LENGTH.unpack(head)
    if size > FRAME_LIMIT:
        raise ProtocolError(f"a frame of {size} bytes; {FRAME_LIMIT} are possible")
    return size


def read_command(read: Callable[[int], bytes]) -> Command | None:
    """The next command from a blocking `read`; None at the end. Raises ProtocolError."""
    head = read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = length(head)
    body = read(size)
    if len(body) < size:
        return None
    try:
        return _commands.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"not a command: {error}") from error


def decode_replies(body: bytes) -> list[Reply]:
    """The replies in a frame's body. Raises ProtocolError."""
    try:
        return _replies.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"not a list of replies: {error}") from error
