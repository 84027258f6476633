"""Choosing a forget set by hand: thresholds ↔ sizes ↔ strata, and what is in the strata. No torch, no widgets.

The explorer asks this module many times a second, so everything that depends on the score alone is sorted once (`Ranking`).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mulnb import forget
from mulnb.core.stats import evenly
from mulnb.core.vocabulary import STRATA, label
from mulnb.forget import Strata
from mulnb.proxies import centre

Side = Literal["low", "high"]


class Ranking:
    """One score of N examples, sorted once.

    Args:
        score: its name; it says where the centre of the medium stratum lies.
        values: the scores [N], higher = more memorized.
    """

    def __init__(self, score: str, values: np.ndarray, seed: int) -> None:
        self.score, self.seed, self.centre = score, seed, centre(score)
        self.values = np.asarray(values, dtype=np.float64)
        self.sorted = np.sort(self.values)
        self.limit = max(1, len(self.values) // 4)  # a stratum's largest size: at least a quarter is always retained

    def size(self, side: Side, threshold: float) -> int:
        """How many examples lie at or beyond `threshold`, clipped to 1 … `limit`."""
        if side == "low":
            beyond = np.searchsorted(self.sorted, threshold, "right")
        else:
            beyond = len(self.sorted) - np.searchsorted(self.sorted, threshold, "left")
        return int(np.clip(beyond, 1, self.limit))

    def threshold(self, side: Side, size: int) -> float:
        """The score of the last example in a stratum of `size`."""
        return float(self.sorted[size - 1] if side == "low" else self.sorted[-size])

    def stepped(self, side: Side, size: int, step: int | str) -> int:
        """The size after a threshold moved to the right by `step` examples, or to its "first" or "last" place on the axis."""
        grows = side == "low"  # to the right, the low stratum grows and the high one shrinks
        if step == "first":
            return 1 if grows else self.limit
        if step == "last":
            return self.limit if grows else 1
        return int(np.clip(size + (step if grows else -step), 1, self.limit))

    def ties(self, side: Side, size: int) -> tuple[int, int]:
        """Of the examples exactly at the threshold: how many the stratum takes (drawn by seed), and how many there are."""
        at = self.threshold(side, size)

        # the sorted scores first … last − 1 are equal to the threshold
        first, last = np.searchsorted(self.sorted, [at, np.nextafter(at, np.inf)])
        taken = size - first if side == "low" else size - (len(self.sorted) - last)
        return int(taken), int(last - first)

    def strata(self, sizes: Sequence[int]) -> Strata:
        """The low, medium and high stratum of these sizes, by the selector of the whole package."""
        return forget.strata(self.values, sizes, self.centre, self.seed)

    @cached_property
    def middle(self) -> float:
        """The centre of the medium stratum, as a score."""
        return float(np.median(self.sorted)) if self.centre == "median" else float(self.centre)

    @cached_property
    def skewed(self) -> bool:
        """Whether the score spreads over orders of magnitude, so that its axis must be logarithmic."""
        low, middle, high = np.quantile(self.sorted, [0.1, 0.5, 0.99])
        return bool(low > 0 and high > 20 * middle)

    def growth(self, memorization: np.ndarray, points: int = 40) -> tuple[np.ndarray, np.ndarray]:
        """Mean memorization of the strata against their common size.

        Args:
            memorization: exact memorization [N].
            points: about how many sizes.

        Returns:
            The sizes [points], and the means of low, medium and high [3, points]. They are exact but for ties: the examples
            nearest to the centre are neighbours when sorted, so prefix sums are enough.
        """
        sizes = np.unique(np.geomspace(min(5, self.limit), self.limit, points).round().astype(int))
        order = np.argsort(self.values, kind="stable")
        total = np.r_[0.0, np.cumsum(memorization[order])]

        n = len(order)
        starts = np.array([self._window(size) for size in sizes])
        low = total[sizes]
        medium = total[starts + sizes] - total[starts]
        high = total[n] - total[n - sizes]
        return sizes, np.array([low, medium, high]) / sizes

    def _window(self, size: int) -> int:
        """Where the `size` examples nearest to the centre begin in the sorted order, when low and high of that size are gone."""

        def is_there(first: int) -> bool:
            # the example that would enter is no nearer to the centre than the one that would leave
            return self.middle - self.sorted[first] <= self.sorted[first + size] - self.middle

        last = len(self.sorted) - 2 * size
        return bisect.bisect_left(range(last), True, lo=size, key=is_there)


@dataclass(frozen=True)
class Filter:
    """Which examples the reader wants to see: `mask` bool [N], of one stratum or (None) of all; `words` describe them."""

    words: str
    mask: np.ndarray
    stratum: str | None = None


def in_range(ranking: Ranking, low: float, high: float, lowest: float) -> Filter:
    """The examples behind a bar of the histogram. The first bar, from `lowest` on, holds the smaller scores, too."""
    values = ranking.values
    mask = (values < high) | ((values == high) & (high >= ranking.sorted[-1]))  # the last bar has its upper edge
    if low > lowest:
        mask &= values >= low
    return Filter(f"{label(ranking.score)} from {low:.3g} to {high:.3g}", mask)


def in_class(labels: np.ndarray, number: int, name: str, stratum: str) -> Filter:
    """The examples of a class in a stratum."""
    return Filter(f"class {name} in {stratum}", labels == number, stratum)


def in_cell(truth: Strata, n: int, row: int, column: int) -> Filter:
    """The examples behind a cell of the matrix `overlap`."""
    target = "in no stratum" if column == len(STRATA) else STRATA[column]
    words = f"those chosen as {STRATA[row]} and {target} by exact memorization"
    return Filter(words, true_stratum(truth, n) == column, STRATA[row])


def true_stratum(truth: Strata, n: int) -> np.ndarray:
    """For every example, its stratum by exact memorization: 0, 1, 2, or 3 for none [N]."""
    place = np.full(n, len(STRATA))
    for number, part in enumerate(truth):
        place[part] = number
    return place


def overlap(chosen: Strata, truth: Strata, n: int) -> np.ndarray:
    """How many examples of each chosen stratum (rows) lie in the true low, medium, high stratum, or in none: counts [3, 4]."""
    place = true_stratum(truth, n)
    return np.array([np.bincount(place[part], minlength=len(STRATA) + 1) for part in chosen])


def mean_memorization(chosen: Strata, memorization: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Mean and standard error of each stratum's memorization [3, 2]; the errors of examples are taken as independent."""
    found = []
    for part in chosen:
        error = np.sqrt((se[part] ** 2).sum()) / len(part)
        found.append((memorization[part].mean(), error))
    return np.array(found)


def class_counts(chosen: Strata, labels: np.ndarray, classes: int) -> np.ndarray:
    """Examples of each class in each stratum [3, classes]."""
    return np.array([np.bincount(labels[part], minlength=classes) for part in chosen])


def sample(values: np.ndarray, part: np.ndarray, stratum: str, middle: float, count: int) -> np.ndarray:
    """At most `count` examples of a stratum, evenly spaced from its most typical example to the one at its edge."""
    if len(part) == 0:
        return part
    away = {"low": values[part], "medium": np.abs(values[part] - middle), "high": -values[part]}[stratum]
    return part[np.argsort(away, kind="stable")][evenly(len(part), count)]


def moved(chosen: Strata, examples: Any, stratum: str | None) -> Strata:
    """The strata with `examples` (one, or an array of them) moved to `stratum`, or dropped from the set (None)."""
    examples = np.atleast_1d(examples)
    parts = []
    for name, part in zip(STRATA, chosen, strict=True):
        rest = np.setdiff1d(part, examples)
        parts.append(np.union1d(rest, examples) if name == stratum else rest)
    return Strata(*parts)
