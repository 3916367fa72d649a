"""Who leaves while a connection is being made leaves nothing open."""

import asyncio
import gc
import warnings

import pytest

from nanoide.backends.lines import Lines
from tests.backends.servers import serve, silence


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_connection_that_nobody_waits_for_any_more_is_closed(host: str) -> None:
    """Whenever the cancelling comes: before the name is known, while connecting, just when it is there."""
    async with serve(silence) as server:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            for turns in range(40):
                making = asyncio.create_task(Lines().connect_tcp(host, server.port, timeout=20.0))
                for _ in range(turns):
                    await asyncio.sleep(0)
                making.cancel()
                await asyncio.wait([making])
                if not making.cancelled():
                    await making.result().aclose()
                del making
            gc.collect()
    assert [str(each.message) for each in caught] == []
