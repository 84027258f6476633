"""Two ways of doing the same work, timed fairly: in turns, after a warm-up whose results are compared.

Times are medians with quartiles; a ratio is taken repetition by repetition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mulnb.core.workers import synchronise

Way = Callable[[], Any]


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles, from n repetitions.

    Not `stats.Interval`, which is a mean with its confidence interval: times are skewed, and a mean would follow the slowest
    repetition.
    """

    median: float
    low: float
    high: float
    n: int

    @staticmethod
    def of(values: Sequence[float] | np.ndarray) -> Spread:
        low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
        return Spread(float(median), float(low), float(high), len(values))

    def times(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.n)


@dataclass(frozen=True)
class Pair:
    """The same work done here and the usual way; `difference` is the largest between their results."""

    item: str  # the letter of the list that this answers
    name: str
    unit: str
    here: Spread
    usual: Spread
    ratio: Spread
    difference: float
    target: float | None = None  # the ratio that was set as a goal


@dataclass(frozen=True)
class Measure:
    """One measured quantity, with the most that it should be."""

    item: str
    name: str
    unit: str
    value: Spread
    limit: float | None = None


@dataclass(frozen=True)
class Growth:
    """Seconds as a function of a size; `slope` of log seconds on log size: 1 is linear."""

    item: str
    name: str
    size: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    slope: float
    limit: float | None = None


def alternate(ways: Mapping[str, Way], repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Run every way in turns, after a warm-up.

    Args:
        ways: what to time, by name.
        repeats: how often each is timed.

    Returns:
        Seconds by name, `repeats` of each; and what each way returned in the warm-up.
    """
    results = {name: way() for name, way in ways.items()}  # the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in ways}

    for _ in range(repeats):
        for name, way in ways.items():
            synchronise()
            started = time.perf_counter()
            way()
            synchronise()
            seconds[name].append(time.perf_counter() - started)

    return seconds, results


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of `above / below`, repetition by repetition."""
    return Spread.of(np.divide(above, below))


def pair(
    item: str,
    name: str,
    here: Way,
    the_usual: Way,
    repeats: int,
    tolerance: float,
    *,
    unit: str = "ms",
    count: int = 1,
    target: float | None = None,
    differ: Callable[[Any, Any], float] | None = None,
) -> Pair:
    """Time the same work done both ways.

    Args:
        item: the letter of the list that this answers.
        name: what the work is.
        here: this package's way.
        the_usual: the plain way.
        repeats: how often each is timed.
        tolerance: how far the results may be apart; more than rounding makes is an error.
        unit: "s", "ms" or "µs".
        count: equal pieces of work in one call; the times are those of one piece.
        target: the ratio that was set as a goal.
        differ: how far two results are apart; `difference_of` if None.

    Raises:
        RuntimeError: the two ways gave different results.
    """
    seconds, results = alternate({"here": here, "usual": the_usual}, repeats)
    difference = (differ or difference_of)(results["here"], results["usual"])
    if not difference <= tolerance:  # NaN, too
        raise RuntimeError(f"{name}: the two ways differ by {difference:.2g} (at most {tolerance:.2g} is rounding)")

    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit] / count
    return Pair(
        item,
        name,
        unit,
        here=Spread.of(seconds["here"]).times(scale),
        usual=Spread.of(seconds["usual"]).times(scale),
        ratio=ratios(seconds["usual"], seconds["here"]),
        difference=difference,
        target=target,
    )


def difference_of(first: Any, second: Any) -> float:
    """The largest difference, relative to the size of the numbers; of dictionaries, over their entries."""
    if isinstance(first, Mapping):
        return max(difference_of(first[key], second[key]) for key in first)

    a, b = _array(first), _array(second)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)


def growth(item: str, name: str, size: str, works: Mapping[int, Way], repeats: int, limit: float | None = 1.0) -> Growth:
    """How the time of a work grows with its size.

    Args:
        item: the letter of the list that this answers.
        name: what the work is.
        size: what the sizes count, such as "N".
        works: the work by size.
        repeats: how often each size is timed.
        limit: the most that the slope should be.
    """
    ways = dict(zip(map(str, works), works.values(), strict=True))
    seconds, _ = alternate(ways, repeats)
    medians = [float(np.median(times)) for times in seconds.values()]

    # a power law is a straight line on logarithmic axes, and its exponent the slope
    slope = float(np.polyfit(np.log(list(works)), np.log(medians), 1)[0])
    return Growth(item, name, size, tuple(works), tuple(medians), slope, limit)
