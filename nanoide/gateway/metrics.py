"""What was asked and what came of it, counted since the start, as Prometheus reads it. Pure."""

from collections import Counter
from collections.abc import Mapping

from nanoide.core.chat import Attempt

KIND = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `Metrics.text`."""

_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts since the gateway started."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that are being answered."""
        self._requests: Counter[tuple[str, str]] = Counter()
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[str] = Counter({"input": 0, "output": 0, "cache_read": 0})

    def request(self, endpoint: str, outcome: str) -> None:
        """One request is over. `outcome` is "ok", "cancelled", or the code of an error."""
        self._requests[endpoint, outcome] += 1

    def attempt(self, attempt: Attempt) -> None:
        """One attempt on a backend has ended."""
        self._attempts[attempt.backend, attempt.outcome] += 1
        self._tokens["input"] += attempt.usage.input
        self._tokens["output"] += attempt.usage.output
        self._tokens["cache_read"] += attempt.usage.cache_read

    def text(self) -> str:
        """All of it."""
        requests = {(("endpoint", where), ("outcome", how)): count for (where, how), count in self._requests.items()}
        attempts = {(("backend", who), ("outcome", how)): count for (who, how), count in self._attempts.items()}
        tokens = {(("kind", kind),): count for kind, count in self._tokens.items()}
        return "".join(
            (
                _family("requests_total", "counter", "Requests by how they ended.", requests),
                _family("attempts_total", "counter", "Attempts on backends by how they ended.", attempts),
                _family("tokens_total", "counter", "Tokens of all attempts.", tokens),
                _family("in_flight", "gauge", "Requests that are being answered.", {(): self.in_flight}),
            )
        )


def _family(name: str, kind: str, help: str, samples: Mapping[_Labels, int]) -> str:
    name = f"nanoide_gateway_{name}"
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    for labels, value in sorted(samples.items()):
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
