"""Intervals: over seeds by Student's t, of paired differences, and of a rank correlation.

One value has no interval: with n = 1 the bounds are NaN, and every text, table and figure made from them shows the
value alone (METHOD §10.9). Source of the correlation's standard error: D. G. Bonett and T. A. Wright, "Sample size
requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000), 23-28.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval `[low, high]` from `n` values; the bounds are NaN where n = 1.

    `str()` gives "0.912 ± 0.013", "0.912 [0.899, 0.921]" where the two halves differ, and "0.912 (n = 1)" where there
    is no interval. A format says the digits: `f"{interval:+.2f}"`.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def half(self) -> float:
        """Half the interval's width; NaN where there is none."""
        return (self.high - self.low) / 2

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        mean, plain = format(self.mean, spec), spec.lstrip("+")
        if not self.known:
            return f"{mean} (n = {self.n})"
        if math.isclose(self.high - self.mean, self.mean - self.low, rel_tol=1e-6, abs_tol=1e-9):
            return f"{mean} ± {format(self.half, plain)}"
        return f"{mean} [{format(self.low, spec)}, {format(self.high, spec)}]"

    def __str__(self) -> str:
        return format(self, "")


def t_interval(values: Values, confidence: float = 0.95) -> Interval:
    """Mean and two-sided Student t interval of `values` [n]. With n = 1 there is no interval: its bounds are NaN.

    Raises `ValueError` for no values at all, for values that are not finite, and for a confidence outside (0, 1).
    """
    x = _finite(values, "values")
    tail = _tail(confidence)
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, math.nan, math.nan, 1)
    from scipy.special import stdtrit

    half = float(stdtrit(len(x) - 1, 1 - tail) * x.std(ddof=1) / math.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half, len(x))


def paired_difference(a: Values, b: Values, confidence: float = 0.95) -> Interval:
    """Mean of `a − b` and its t interval, `a[k]` and `b[k]` from the same seed.

    Raises `ValueError` when the two differ in length, and whenever `t_interval` does.
    """
    x, y = _finite(a, "a"), _finite(b, "b")
    _same_length(x, y)
    return t_interval(x - y, confidence)


def spearman(x: Values, y: Values, confidence: float = 0.95) -> Interval:
    """Spearman's ρ of two samples [n], with its interval; `.mean` is ρ. Tied values share the mean of their ranks.

    The interval is taken in Fisher's z with the standard error √((1 + ρ²/2) / (n − 3)) of Bonett and Wright, which does
    not assume normal data. Raises `ValueError` for unequal lengths, fewer than 4 pairs, a constant sample, or values
    that are not finite.
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    _same_length(x, y)
    n = len(x)
    if n < 4:
        raise ValueError(f"a correlation with an interval needs at least 4 pairs, got {n}")
    for name, values in (("x", x), ("y", y)):
        if values.min() == values.max():
            raise ValueError(f"{name} is constant: its rank correlation is not defined")
    rho = float(np.clip(np.corrcoef(ranks(x), ranks(y))[0, 1], -1, 1))
    if math.isclose(abs(rho), 1):  # perfect order: Fisher's z is infinite, the interval is a point
        rho = math.copysign(1.0, rho)
        return Interval(rho, rho, rho, n)
    from scipy.special import ndtri

    half = float(ndtri(1 - _tail(confidence))) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Interval(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), n)


def ranks(values: Values) -> np.ndarray:
    """Ranks 1…n as float64 [n]; tied values share the mean of the ranks they cover (mid-ranks)."""
    _, place, count = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((last - count + 1 + last) / 2)[place]


def _finite(values: Values, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not len(array):
        raise ValueError(f"{name}: at least one value is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {len(array)} values are not finite")
    return array


def _same_length(a: np.ndarray, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise ValueError(f"the samples are paired and must be of equal length, got {len(a)} and {len(b)}")


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: should lie between 0 and 1, for example 0.95")
    return (1 - confidence) / 2
