"""Every row of the wall, played with real sockets."""

from pathlib import Path

import pytest

from tests.faults.table import BEGIN, DOCUMENT, END, markdown
from tests.faults.wall import Row, plays, wall


@pytest.mark.parametrize("row", wall(), ids=lambda row: f"{row.scene}-{row.kind}")
async def test_a_fault_is_seen_as_the_wall_states_it(row: Row, tmp_path: Path) -> None:
    """What the person sees, who answers, every attempt and every row of the ledger."""
    assert await plays()[row.scene](row.kind, tmp_path) == row.seen


def test_every_scene_stands_on_the_wall() -> None:
    """No scene is left out, and none is stated twice."""
    stated = [row.scene for row in wall() if row.kind == "openai"]
    assert sorted(stated) == sorted(plays())


@pytest.mark.parametrize("row", wall(), ids=lambda row: f"{row.scene}-{row.kind}")
def test_nothing_is_half_and_nothing_is_hidden(row: Row) -> None:
    """Exact text or a failure that is told; at most three models a turn; one row for each attempt."""
    seen = row.seen
    assert ("then the failure" in seen.sees) == (seen.rung == "nobody")
    if "turns" not in row.scene and "callers" not in row.scene:
        models = [each for each in seen.attempts if not each.startswith("reflex")]
        assert len(models) <= 3
        assert [each.split()[0] for each in seen.ledger] == [each.split()[0] for each in seen.attempts]


def test_the_document_shows_the_wall() -> None:
    """docs/failover.md is what `python -m tests.faults --write` writes."""
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert table == markdown(wall())
