"""A radix tree over token ids: who holds the longest beginning of a prompt. Pure.

Each holder stands where its tokens end; tokens that several have in common are in the tree once. Looking
a prompt up costs what the prompt is long, however many holders there are.
"""

from array import array
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class _Node(Generic[Holder]):
    """An edge of the tree with what hangs below it."""

    __slots__ = ("children", "edge", "end", "holders", "parent")

    def __init__(self, parent: "_Node[Holder] | None", edge: "array[int]", end: int) -> None:
        self.parent = parent
        self.edge = edge
        self.end = end
        """Tokens from the root to the end of the edge."""
        self.children: dict[int, _Node[Holder]] = {}
        self.holders = set[Holder]()
        """Those who end here."""


class PrefixTree(Generic[Holder]):
    """Holders, found by how their tokens begin."""

    def __init__(self) -> None:
        self._root = _Node[Holder](None, array("i"), 0)
        self._where: dict[Holder, _Node[Holder]] = {}

    def __len__(self) -> int:
        """How many holders there are."""
        return len(self._where)

    def length(self, holder: Holder) -> int:
        """How many tokens the holder has."""
        return self._where[holder].end

    def add(self, holder: Holder, tokens: Sequence[int]) -> None:
        """`holder`, which is not in the tree, has `tokens`."""
        self._root.holders.add(holder)
        self._where[holder] = self._root
        self.extend(holder, tokens)

    def extend(self, holder: Holder, tokens: Sequence[int]) -> None:
        """`holder` has `tokens` more."""
        if not tokens:
            return
        node = self._where[holder]
        if len(node.holders) == 1 and not node.children and node.parent is not None:
            # The usual step of an answer that grows: it is alone where it stands.
            node.edge.extend(tokens)
            node.end += len(tokens)
            return
        node.holders.discard(holder)
        self._place(holder, node, array("i", tokens))

    def cut(self, holder: Holder, length: int) -> None:
        """`holder` has its first `length` tokens only."""
        was = node = self._where[holder]
        if length >= node.end:
            return
        node.holders.discard(holder)
        while node.parent is not None and node.end - len(node.edge) >= length:
            node = node.parent
        if length < node.end:
            node = self._split(node, length - (node.end - len(node.edge)))
        node.holders.add(holder)
        self._where[holder] = node
        self._tidy(was)

    def remove(self, holder: Holder) -> None:
        """Forget `holder`."""
        node = self._where.pop(holder)
        node.holders.discard(holder)
        self._tidy(node)

    def longest(self, tokens: Sequence[int], *, whole: bool = False) -> tuple[Holder | None, int]:
        """A holder that has the longest common beginning with `tokens`, and its length.

        With `whole` only holders all of whose tokens are a beginning of `tokens`. None when nothing is common.
        """
        query = array("i", tokens)
        node, at = self._root, 0
        found: _Node[Holder] | None = None
        while True:
            below = node.children.get(query[at]) if at < len(query) else None
            if below is None:
                break
            common = common_length(below.edge, query[at : at + len(below.edge)])
            at += common
            node = below
            if common < len(below.edge):
                break
            if below.holders:
                found = below
        if whole:
            return (next(iter(found.holders)), found.end) if found is not None else (None, 0)
        if not at:
            return None, 0
        while not node.holders:  # every leaf has a holder
            node = next(iter(node.children.values()))
        return next(iter(node.holders)), at

    def _place(self, holder: Holder, node: _Node[Holder], tokens: "array[int]") -> None:
        """Let `holder` end `tokens` below `node`."""
        at = 0
        while at < len(tokens):
            below = node.children.get(tokens[at])
            if below is None:
                below = _Node(node, tokens[at:], node.end + len(tokens) - at)
                node.children[tokens[at]] = below
                node = below
                break
            common = common_length(below.edge, tokens[at : at + len(below.edge)])
            node = self._split(below, common) if common < len(below.edge) else below
            at += common
        node.holders.add(holder)
        self._where[holder] = node

    def _split(self, node: _Node[Holder], length: int) -> _Node[Holder]:
        """Divide the edge of `node` after `length` tokens; the new node that ends there."""
        parent = node.parent
        assert parent is not None
        upper = _Node(parent, node.edge[:length], node.end - len(node.edge) + length)
        parent.children[upper.edge[0]] = upper
        node.edge = node.edge[length:]
        node.parent = upper
        upper.children[node.edge[0]] = node
        return upper

    def _tidy(self, node: _Node[Holder]) -> None:
        """Remove nodes that nobody needs, from `node` up; join one that has a single child with it."""
        while node.parent is not None and not node.holders:
            parent = node.parent
            if not node.children:
                del parent.children[node.edge[0]]
                node = parent
                continue
            if len(node.children) == 1:
                (below,) = node.children.values()
                below.edge = node.edge + below.edge
                below.parent = parent
                parent.children[below.edge[0]] = below
            return


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two lists have in common from the beginning. Compares in C, by halving."""
    high = min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
