"""The prefix tree against a plain list of token lists."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanoide.engine.prefixes import PrefixTree, common_length

tokens = st.lists(st.integers(0, 1), max_size=20)


class Trees(RuleBasedStateMachine):
    """Holders come, grow, are cut and go; what is found is what a look at each of them finds."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree[int]()
        self.held = dict[int, list[int]]()
        self.next = 0

    @rule(given=tokens)
    def add(self, given: list[int]) -> None:
        """A new holder."""
        self.next += 1
        self.held[self.next] = list(given)
        self.tree.add(self.next, given)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 99), more=tokens)
    def extend(self, pick: int, more: list[int]) -> None:
        """One grows."""
        holder = sorted(self.held)[pick % len(self.held)]
        self.held[holder] += more
        self.tree.extend(holder, more)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 99), length=st.integers(0, 20))
    def cut(self, pick: int, length: int) -> None:
        """One is cut."""
        holder = sorted(self.held)[pick % len(self.held)]
        del self.held[holder][length:]
        self.tree.cut(holder, length)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 99))
    def remove(self, pick: int) -> None:
        """One goes."""
        holder = sorted(self.held)[pick % len(self.held)]
        del self.held[holder]
        self.tree.remove(holder)

    @rule(query=tokens)
    def find(self, query: list[int]) -> None:
        """The longest common beginning is found, and a holder that has it."""
        holder, common = self.tree.longest(query)
        assert common == max((common_length(each, query) for each in self.held.values()), default=0)
        assert (holder is None) == (common == 0)
        assert holder is None or self.held[holder][:common] == query[:common]
        holder, common = self.tree.longest(query, whole=True)
        fitting = [len(each) for each in self.held.values() if each == query[: len(each)]]
        assert common == max(fitting, default=0)
        assert holder is None or self.held[holder] == query[:common]

    @invariant()
    def lengths_agree(self) -> None:
        """Each holder is as long as it should be."""
        assert len(self.tree) == len(self.held)
        for holder, each in self.held.items():
            assert self.tree.length(holder) == len(each)


TestTrees = Trees.TestCase
TestTrees.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
