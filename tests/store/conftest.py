from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nanoide.store.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An open database in a folder of its own."""
    opened = await Database.open(tmp_path / "nanoide.db")
    try:
        yield opened
    finally:
        await opened.aclose()
