"""The native KV memory as a plain model: what llama.cpp's documentation says, in lists."""


class ListMemory:
    """Sequences as lists of tokens; `computed` stands for a decode step."""

    def __init__(self, *, partial: bool = True) -> None:
        self.partial = partial
        self.sequences: dict[int, list[int]] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        """See `kvcache.Memory`."""
        assert not self.sequences.get(target), "a copy goes into an empty sequence"
        self.sequences[target] = self.sequences[source][:length]

    def cut(self, slot: int, length: int) -> bool:
        """See `kvcache.Memory`."""
        if not self.partial and length < len(self.sequences.get(slot, [])):
            return False
        self.sequences[slot] = self.sequences.get(slot, [])[:length]
        return True

    def drop(self, slot: int) -> None:
        """See `kvcache.Memory`."""
        self.sequences.pop(slot, None)

    def length(self, slot: int) -> int:
        """See `kvcache.Memory`."""
        return len(self.sequences.get(slot, []))

    def computed(self, slot: int, start: int, tokens: list[int]) -> None:
        """A step computed `tokens`: positions go on without a gap."""
        there = self.sequences.setdefault(slot, [])
        assert len(there) == start, "positions go on without a gap"
        there += tokens
