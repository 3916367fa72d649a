"""What copying knows about itself."""

from nanoide.completion.copying import Copy, copy
from nanoide.core.document import at_end


def test_it_says_how_much_speaks_for_it() -> None:
    """A long match that occurs often counts more than a finished word, and nothing counts nothing."""
    sure = copy(at_end("a.py", "1\nfor key in sorted(names):\n2\nfor key in sorted(names):\n3\nfor key in sor"))
    assert (sure.text, sure.votes) == ("ted(names):", 2)
    assert sure.matched >= 7
    assert sure.sure
    word = copy(at_end("a.py", "x = (recalculate)\nprint(x, y,\n  reca"))
    assert word.text == "lculate)"
    assert not copy(at_end("a.py", "zq")).sure
    assert copy(at_end("a.py", "zq")) == Copy()


def test_other_texts_are_copied_from_too() -> None:
    """A neighbour's line serves when the file itself has none."""
    assert copy(at_end("a.py", "self.pool = Po"), ["self.pool = Pool(4)"]).text == "ol(4)"
