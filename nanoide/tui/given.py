"""Files that a person names in a question: "@path", or a question that is nothing but a path."""

from pathlib import Path

from nanoide.wire import Input


def files(text: str, folder: str) -> tuple[Input, ...]:
    """What to give with the question. A word that names no file is just a word."""
    words = text.split()
    names = [word[1:].rstrip(",;:?!") for word in words if word.startswith("@") and len(word) > 1]
    if not names and len(words) == 1:
        names = words
    found = [name for name in dict.fromkeys(names) if _is_file(Path(folder or "/", Path(name).expanduser()))]
    return tuple(Input(kind="file", label=str(Path(name).expanduser())) for name in found)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # too long, or a character that no name can have
