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
    """A median with its quartiles, from n repetitions."""

    median: float
    low: float
    high: float
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
        return Spread(float(median), float(low), float(high), len(values))

    def times(self, factor: float) -> Spread:
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
class Figure:
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
    """Seconds of every way, run in turns `repeats` times after a warm-up; and what each returned in the warm-up."""
    results = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            synchronise()
            started = time.perf_counter()
            way()
            synchronise()
            seconds[name].append(time.perf_counter() - started)
    return seconds, results


def pair(
    item: str, name: str, here: Way, the_usual: Way, repeats: int, tolerance: float,
    unit: str = "ms", count: int = 1, target: float | None = None, differ: Callable[[Any, Any], float] | None = None,
) -> Pair:  # fmt: skip
    """Both ways, with their time for one of `count` equal pieces of work. Raises `RuntimeError` beyond `tolerance`.

    `differ` says how far two results are apart; by default `difference_of`.
    """
    seconds, results = alternate({"here": here, "usual": the_usual}, repeats)
    difference = (differ or difference_of)(results["here"], results["usual"])
    if not difference <= tolerance:
        raise RuntimeError(f"{name}: the two ways differ by {difference:.2g} (at most {tolerance:.2g} is rounding)")
    ratio = Spread.of([b / a for a, b in zip(seconds["here"], seconds["usual"], strict=True)])
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit] / count
    one, other = (Spread.of(seconds[way]).times(scale) for way in ("here", "usual"))
    return Pair(item, name, unit, one, other, ratio, difference, target)


def difference_of(a: Any, b: Any) -> float:
    """The largest difference, relative to the size of the numbers; of dictionaries, over their entries."""
    if isinstance(a, Mapping):
        return max(difference_of(a[key], b[key]) for key in a)
    a, b = (np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float) for x in (a, b))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def growth(item: str, name: str, size: str, works: Mapping[int, Way], repeats: int, limit: float | None = 1.0) -> Growth:
    seconds, _ = alternate({str(n): work for n, work in works.items()}, repeats)
    medians = [float(np.median(seconds[str(n)])) for n in works]
    slope = float(np.polyfit(np.log(list(works)), np.log(medians), 1)[0])
    return Growth(item, name, size, tuple(works), tuple(medians), slope, limit)
