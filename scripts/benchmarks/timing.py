"""Timing rivals fairly: interleaved rounds on the same data, medians, ratios within one process."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mark:
    """A ratio or a quantity that is to be reached."""

    what: str
    value: float
    limit: float
    at_most: bool = True  # else: at least

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass
class Report:
    """What a benchmark found.

    Args:
        title: what was measured, and on what.
        unit: of the values, such as "s" or "images/s".
        values: of each size (a number, or one key where there is one size) and side.
        marks: what was to be reached.
        notes: what a reader must know of the numbers.
    """

    title: str
    unit: str = "s"
    values: dict[float | str, dict[str, float]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def race(
    sides: Mapping[str, Callable[[], object]], *, rounds: int = 5, warm: int = 1
) -> dict[str, float]:
    """Return the median seconds of each side.

    All sides run once in every round, so that a slow moment of the machine hits all of them.

    Args:
        sides: name to work.
        rounds: that are timed.
        warm: rounds before, that are not.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm + rounds):
        for name, work in sides.items():
            begun = time.perf_counter()
            work()
            if number >= warm:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}
