"""The native KV memory as a plain model: what llama.cpp's documentation says, in lists."""

from array import array


class ListMemory:
    """Sequences as lists of tokens; `computed` stands for a decode step."""

    def __init__(self, *, partial: bool = True) -> None:
        self.partial = partial
        self.sequences: dict[int, list[int]] = {}

    def copy(self, source: int, target: int, length: int, start: int = 0) -> None:
        """See `kvcache.Memory`."""
        there = self.sequences.setdefault(target, [])
        assert len(there) == start, "a copy goes where the sequence ends"
        assert length <= len(self.sequences[source])
        assert self.sequences[source][:start] == there
        there += self.sequences[source][start:length]

    def share(self, source: int, target: int, length: int) -> None:
        """See `kvcache.Memory`."""
        assert self.sequences[source][:length] == self.sequences[target][:length]

    def save(self, slot: int) -> bytes:
        """See `kvcache.Memory`."""
        return array("i", self.sequences[slot]).tobytes()

    def restore(self, slot: int, data: bytes, length: int) -> bool:
        """See `kvcache.Memory`."""
        assert not self.sequences.get(slot)
        self.sequences[slot] = array("i", data).tolist()
        return len(self.sequences[slot]) == length

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
