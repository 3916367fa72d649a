from hypothesis import given
from hypothesis import strategies as st

from nanoide.backends.stops import Stops


@given(st.text("abc\n", max_size=40), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_pieces_give_what_the_whole_would_give(text: str, stops: list[str], data: st.DataObject) -> None:
    """However the answer is cut into pieces: it ends before the first stop text that is complete."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    held = Stops(tuple(stops))
    got = "".join(held.feed(piece) for piece in pieces) + held.flush()
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not places:
        assert got == text
        return
    assert held.reached
    # Which of two overlapping stops is complete first depends on the pieces, but none is ever given out whole.
    assert text.startswith(got)
    assert len(got) >= min(places)
    assert len(got) < min(ends)
