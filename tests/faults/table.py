"""The wall as a table in docs/failover.md, between its marks."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tests.faults.wall import Row

DOCUMENT = Path(__file__).parents[2] / "docs" / "failover.md"
BEGIN, END = "<!-- wall -->", "<!-- /wall -->"

_HEAD = ("what goes wrong with `first`", "protocol", "the person sees", "answered by", "as", "attempts", "ledger")


def markdown(rows: Iterable[Row]) -> str:
    """The table; rows that are alike for both protocols are one line."""
    lines = [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for scene, group in groupby(rows, key=lambda row: row.scene):
        kinds: dict[object, list[str]] = {}
        for row in group:
            kinds.setdefault(row.seen, []).append(row.kind)
        for seen, names in kinds.items():
            cells = (
                scene,
                "both" if len(names) == 2 else names[0],
                seen.sees,
                seen.rung,
                seen.why,
                ", ".join(seen.attempts),
                ", ".join(seen.ledger),
            )
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def written(document: str, rows: Iterable[Row]) -> str:
    """The document with the table of `rows` between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}"
