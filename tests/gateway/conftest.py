"""One house for the tests of a module, and a server that never answers."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.gateway.house import House, house
from tests.hub.conftest import silent_server

__all__ = ["silent_server"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors() -> AsyncIterator[House]:
    """A gateway that the tests of a module share."""
    async with house() as running:
        yield running
