"""A nanoide command as a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any


async def nanoide(*words: str, folder: Path, before: tuple[str, ...] = (), code: int = 0) -> str:
    """Standard output of the command, whose exit code must be `code`. `before` are words such as `unshare -n`."""
    process = await asyncio.create_subprocess_exec(
        *before,
        sys.executable,
        "-m",
        "nanoide",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=dict(os.environ),
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return out.decode()


async def answer(*words: str, folder: Path, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """The one JSON object that the command prints."""
    return json.loads(await nanoide(*words, "--json", folder=folder, before=before))
