"""A measured figure, its bound, and the line that shows both."""

from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark."""

    name: str
    value: float | None
    """None when it could not be measured, which counts as short."""
    unit: str
    bound: float | None = None
    """The most that is allowed; None where the figure is shown for comparison only."""
    compared: str = ""
    """What it was compared with in the same run, and how it was measured."""
    least: float | None = None
    """The least that is wanted, where more is better."""

    @property
    def short(self) -> bool:
        """True when the figure does not reach what it must."""
        if self.value is None:
            return True
        too_much = self.bound is not None and self.value > self.bound
        return too_much or (self.least is not None and self.value < self.least)

    def line(self) -> str:
        """Name, value, unit, bound, ok or short, what it was compared with."""
        value = "–" if self.value is None else f"{self.value:.2f}"
        bound = f"≥ {self.least:g}" if self.least is not None else "" if self.bound is None else f"≤ {self.bound:g}"
        verdict = "short" if self.short else "ok" if bound else ""
        return f"{self.name:<44} {value:>9} {self.unit:<3} {bound:<8} {verdict:<6} {self.compared}".rstrip()


def p90(values: list[float]) -> float:
    """The value that nine in ten do not exceed."""
    return quantiles(values, n=10, method="inclusive")[8]


def p95(values: list[float]) -> float:
    """The value that nineteen in twenty do not exceed."""
    return quantiles(values, n=20, method="inclusive")[18]
