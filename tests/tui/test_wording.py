"""Numbers, ages and money as people read them."""

from datetime import timedelta
from pathlib import Path

from nanoide.core.events import SessionId
from nanoide.tui import rest, wording
from nanoide.tui.given import files
from nanoide.tui.rest import Rest
from nanoide.tui.sidebar import rows
from nanoide.tui.usage import since, sparkline
from tests.tui.scenes import cockpit, session
from tests.tui.scripted_hub import NOW, ScriptedHub, ago


def test_money_has_the_digits_it_needs() -> None:
    """Cents for dollars, two figures for less."""
    amounts = (0, 1_920_000_000, 180_000_000, 21_300_000, 1_100_000, 1_500, 3)
    assert [wording.money(nano) for nano in amounts] == [
        "$0",
        "$1.92",
        "$0.18",
        "$0.021",
        "$0.0011",
        "$0.0000015",
        "$0.000000003",
    ]
    assert wording.cost(None) == "no price"


def test_ages_are_short() -> None:
    """One unit; a clock that is behind does not count backwards."""
    assert [wording.age(NOW, ago(seconds)) for seconds in (0, 9, 65, 7_300, 300_000, -50)] == [
        "now",
        "9s",
        "1m",
        "2h",
        "3d",
        "now",
    ]


def test_counts_have_units() -> None:
    """Tokens, bytes, times."""
    assert [wording.count(n) for n in (1_204, 412_000, 3_100_000)] == ["1,204", "412 k", "3.1 M"]
    assert [wording.memory(n) for n in (310_000_000, 1_200_000_000)] == ["310 MB", "1.2 GB"]
    assert [wording.duration(ms) for ms in (38, 1_240)] == ["38 ms", "1.2 s"]


def test_both_sets_of_glyphs_know_every_state_apart() -> None:
    """State is never told by colour alone, with or without Unicode."""
    for glyphs in (wording.UNICODE, wording.ASCII):
        signs = [glyphs.states[state] for state in glyphs.states if state != "streaming"]
        assert len(signs) == len(set(signs)) == 7
    assert all("".join(map(str, wording.ASCII.states.values())).isascii() for _ in "x")


def test_the_sidebar_groups_by_need_and_filters_by_every_word() -> None:
    """Needs you, working, done, idle, parked, each with its count."""
    hub = ScriptedHub()
    cockpit(hub)
    groups = [row for row in rows(hub.sessions) if isinstance(row, tuple)]
    assert groups == [("needs you", 2), ("working", 3), ("done", 4), ("idle", 3), ("parked", 2)]
    found = [row for row in rows(hub.sessions, "doc idle") if not isinstance(row, tuple)]
    assert [each.number for each in found] == [3]


def test_an_ambient_session_needs_nobody_but_its_question() -> None:
    """A script's failure is the script's; a question waits for the person all the same."""
    sessions = [
        session(1, "tour", "failed", ambient=True),
        session(2, "tour", "done", ambient=True),
        session(3, "tour", "asking", ambient=True),
    ]
    needy = wording.by_need({each.id: each for each in sessions})
    assert [each.number for each in needy] == [3]


def test_what_is_left_behind_comes_back(tmp_path: Path) -> None:
    """Whole and private; a broken file is as good as none."""
    path = tmp_path / "tui.json"
    kept = Rest(focused="s1", zoomed=True, sidebar=False, theme="paper", pulled=("s2",))
    rest.save(path, kept)
    assert rest.load(path) == kept
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["tui.json"]
    path.write_text("{")
    assert rest.load(path) == Rest()


def test_files_are_given_by_name(tmp_path: Path) -> None:
    """@path anywhere, or a path alone; a word that names no file is a word."""
    (tmp_path / "a.py").write_text("")
    assert [each.label for each in files("what does @a.py do? @b.py", str(tmp_path))] == ["a.py"]
    assert [each.label for each in files("a.py", str(tmp_path))] == ["a.py"]
    assert files("read a.py", str(tmp_path)) == ()
    assert files("@" + "x" * 5_000 + "\0", str(tmp_path)) == ()


def test_periods_begin_where_a_person_thinks() -> None:
    """Today at midnight, a block five hours ago, a week on Monday."""
    assert NOW - timedelta(hours=12) == NOW.replace(hour=0)
    assert [since(period, NOW) for period in ("today", "block", "week", "month", "all")] == [
        "2026-11-20T00:00:00+00:00",
        "2026-11-20T07:00:00+00:00",
        "2026-11-16T00:00:00+00:00",
        "2026-11-01T00:00:00+00:00",
        None,
    ]


def test_a_sparkline_reaches_from_low_to_high() -> None:
    """The highest is full, nothing is the lowest."""
    line = sparkline([0, 50, 100], 10, wording.UNICODE)
    assert (line[0], line[-1], len(line)) == ("▁", "█", 3)
    assert sparkline([], 10, wording.UNICODE) == ""


def test_the_default_name_says_its_number_once() -> None:
    """A name of the person's own is left as it is."""
    assert wording.label(session(4, "regex", name="regex-4")) == "regex"
    assert wording.label(session(4, "regex", name="dates-4")) == "dates-4"
    assert SessionId("s4") == session(4, "regex").id
