"""One house for the tests of a module."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.gateway.house import House, house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors() -> AsyncIterator[House]:
    """A gateway that the tests of a module share."""
    async with house() as running:
        yield running
