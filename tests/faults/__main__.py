"""`python -m tests.faults [--write]`: play the wall and print what was seen, or write it into docs/failover.md."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.faults.table import DOCUMENT, markdown, written
from tests.faults.wall import Row, plays, wall


async def observe() -> tuple[Row, ...]:
    """Every row of the wall, played now."""
    rows: list[Row] = []
    for row in wall():
        with tempfile.TemporaryDirectory(prefix="nano-wall-") as folder:
            rows.append(Row(row.scene, row.kind, await plays()[row.scene](row.kind, Path(folder))))
    return tuple(rows)


def main(arguments: list[str]) -> int:
    """0 when every row was as the wall states it, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.name}")
    asked = parser.parse_args(arguments)
    seen = asyncio.run(observe())
    if asked.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), seen))
    else:
        print(markdown(seen))
    other = [row for row, stated in zip(seen, wall(), strict=True) if row != stated]
    for row in other:
        print(f"not as stated: {row.scene}, {row.kind}: {row.seen}", file=sys.stderr)
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
