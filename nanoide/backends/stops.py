"""Stop texts, held to here: some servers refuse them, others take only four, a few ignore them."""


class Stops:
    """Lets an answer through until the first of the stop texts, even one that arrives in pieces."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held: str = ""
        """The end of the answer so far that may be the beginning of a stop text."""
        self.reached = False

    def feed(self, text: str) -> str:
        """What of `text` (and of what was held back) is certainly part of the answer."""
        if self.reached or not self._stops:
            return "" if self.reached else text
        text = self._held + text
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            self.reached, self._held = True, ""
            return text[: min(places)]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back and turned out to be no stop text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
