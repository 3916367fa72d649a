"""What changes outside: config.toml, and the branch a folder is on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

log = logging.getLogger(__name__)

SETTLE = 0.2
"""Seconds of quiet after a change before it is acted on; editors write in several steps."""


def branch_of(folder: str) -> str:
    """The git branch that `folder` is on: its name, a short commit when detached, "" outside a repository."""
    if not folder:
        return ""
    for place in (Path(folder), *Path(folder).parents):
        git = place / ".git"
        try:
            if git.is_file():  # a worktree or submodule points elsewhere
                target = git.read_text(errors="replace").partition("gitdir:")[2].strip()
                git = place / target
            head = (git / "HEAD").read_text(errors="replace").strip()
        except OSError:
            continue
        return head.removeprefix("ref: refs/heads/") if head.startswith("ref:") else head[:8]
    return ""


async def watch_file(path: Path, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` whenever the file at `path` was written, made or removed. Runs until cancelled."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    loop = asyncio.get_running_loop()
    touched = asyncio.Event()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            ours = str(path) in {str(event.src_path), str(event.dest_path)}
            if ours and event.event_type in {"created", "modified", "moved", "deleted", "closed"}:
                loop.call_soon_threadsafe(touched.set)

    observer = Observer()
    try:
        observer.schedule(Handler(), str(path.parent))
        observer.start()
    except OSError as error:  # inotify's limits: the hub lives on, changes need a restart
        log.warning("cannot watch %s: %s", path.parent, error)
        return
    try:
        while True:
            await touched.wait()
            await asyncio.sleep(SETTLE)
            touched.clear()
            await changed()
    finally:
        observer.stop()
