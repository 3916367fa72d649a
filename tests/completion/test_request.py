"""The prompt for a completion, and the neighbours that go with it."""

from nanoide.completion.neighbours import CHUNKS, LINES, Neighbours
from nanoide.completion.request import build
from nanoide.core.chat import Document, Source


def test_the_prompt_has_both_sides_of_the_cursor() -> None:
    """Prefix and suffix as they stand, greedy, first in line, the reflex with the whole document."""
    document = Document(path="a.py", text="def f():\r\n    return \r\n", line=1, character=11)
    near = (Source(kind="file", label="b.py:1-2", text="x"),)
    prompt = build(document, neighbours=near, reflex="/r.py", max_output=32, egress="local-only")
    assert prompt.fill is not None
    assert (prompt.fill.prefix, prompt.fill.suffix) == ("def f():\n    return ", "\n")
    assert (prompt.fill.language, prompt.temperature, prompt.priority) == ("python", 0.0, "completion")
    assert (prompt.max_output, prompt.egress, prompt.stop) == (32, "local-only", ("\n",))
    assert prompt.reflex is not None
    assert prompt.reflex.context.document == document
    assert prompt.reflex.context.sources == near


def test_a_block_may_have_several_lines() -> None:
    """Below a block's head the model goes on to the first empty line."""
    document = Document(path="a.py", text="def f():\n    ", line=1, character=4)
    assert build(document, neighbours=(), reflex="", max_output=8, egress="ask").stop == ("\n\n",)
    assert build(document, neighbours=(), reflex="", max_output=8, egress="ask").reflex is None


def test_neighbours_are_the_chunks_around_where_the_person_was() -> None:
    """A chunk is around its line, never of the file itself, and says where it is from."""
    ring = Neighbours()
    ring.add("a.py", "\n".join(f"alpha{number} beta{number}" for number in range(500)), 250)
    ring.add("b.py", "one two three\nfour", 0)
    (source,) = ring.sources("b.py")
    assert source.label == "a.py:219-282"
    assert source.text.count("\n") == LINES - 1
    assert "alpha250 " in source.text


def test_what_is_alike_is_kept_once() -> None:
    """Going over the same place again replaces the chunk; the ring never grows past its size."""
    ring = Neighbours()
    text = "\n".join(f"alpha{number} beta{number}" for number in range(100))
    for line in (50, 51, 52):
        ring.add("a.py", text, line)
    assert len(ring.sources("")) == 1
    for number in range(40):
        ring.add(f"{number}.py", " ".join(f"w{number}x{each}" for each in range(9)), 0)
    assert len(ring.sources("")) == CHUNKS
    ring.drop("39.py")
    assert all(source.path != "39.py" for source in ring.sources(""))
