"""Confidence intervals of a mean over seeds and of a rank correlation; what noise in the scores does to the latter.

One value has no interval: with n = 1 the bounds are NaN, and every text, table and figure made from them shows the value alone
(METHOD §10.9). The standard error of the correlation is that of D. G. Bonett and T. A. Wright, "Sample size requirements for
estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000), 23-28.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval `[low, high]` from `n` values; the bounds are NaN if n = 1.

    `str()` gives "0.912 ± 0.013", or "0.912 [0.899, 0.921]" if the interval is not symmetric, or "0.912 (n = 1)" if there is no
    interval. A format gives the digits: `f"{interval:+.2f}"`.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def half(self) -> float:
        """Half of the interval's width; NaN if there is no interval."""
        return (self.high - self.low) / 2

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        mean = format(self.mean, spec)

        if not self.known:
            return f"{mean} (n = {self.n})"

        above, below = self.high - self.mean, self.mean - self.low
        if math.isclose(above, below, rel_tol=1e-6, abs_tol=1e-9):
            return f"{mean} ± {format(self.half, spec.lstrip('+'))}"
        return f"{mean} [{format(self.low, spec)}, {format(self.high, spec)}]"

    def __str__(self) -> str:
        return format(self, "")


def t_interval(values: Values, confidence: float = 0.95) -> Interval:
    """The mean and its two-sided Student t interval.

    Args:
        values: independent values [n], for example one per seed.
        confidence: in (0, 1).

    Returns:
        The interval; with n = 1 its bounds are NaN.

    Raises:
        ValueError: no values, values that are not finite, or a confidence outside (0, 1).
    """
    x = finite_values(values, "values")
    tail = _tail(confidence)
    n, mean = len(x), float(x.mean())

    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)

    from scipy.special import stdtrit  # the quantile of the t distribution; scipy.stats takes a second to import

    half = float(stdtrit(n - 1, 1 - tail) * x.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def spearman(x: Values, y: Values) -> Interval:
    """Spearman's rank correlation ρ with its 95 % interval; tied values share the mean of their ranks.

    The interval is taken in Fisher's z with the standard error √((1 + ρ²/2) / (n − 3)) of Bonett and Wright (2000), which does
    not assume normal data.

    Args:
        x: values [n].
        y: values [n], paired with `x`.

    Returns:
        The interval; `.mean` is ρ. If the order agrees perfectly, the interval is the point 1 or −1.

    Raises:
        ValueError: unequal lengths, fewer than 4 pairs, a constant sample, or values that are not finite.
    """
    x, y = finite_values(x, "x"), finite_values(y, "y")
    if len(x) != len(y):
        raise ValueError(f"the samples are paired and must have the same length, got {len(x)} and {len(y)}")
    if len(x) < 4:
        raise ValueError(f"a correlation with an interval needs at least 4 pairs, got {len(x)}")
    for name, values in (("x", x), ("y", y)):
        if values.min() == values.max():
            raise ValueError(f"{name} is constant: its rank correlation is not defined")

    rho = float(np.clip(np.corrcoef(ranks(x), ranks(y))[0, 1], -1, 1))
    if math.isclose(abs(rho), 1):  # perfect order: Fisher's z would be infinite
        rho = math.copysign(1.0, rho)
        return Interval(rho, rho, rho, len(x))

    from scipy.special import ndtri  # the quantile of the normal distribution

    error = math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    z, half = math.atanh(rho), float(ndtri(1 - _tail(0.95))) * error
    return Interval(rho, math.tanh(z - half), math.tanh(z + half), len(x))


def ranks(values: Values) -> np.ndarray:
    """Ranks 1 … n as float64 [n]; tied values share the mean of the ranks they cover (mid-ranks). With a NaN, all are NaN."""
    import pandas as pd  # here already wherever frames are made; scipy.stats takes a second to import

    found = pd.Series(np.asarray(values)).rank().to_numpy()
    return np.full(len(found), np.nan) if np.isnan(found).any() else found


# ---- reliability: what noise in the scores does to a correlation


def spearman_brown(r: float) -> float:
    """The reliability of a whole from the correlation of its two halves (Spearman 1910, Brown 1910).

    Args:
        r: correlation between the scores of two disjoint halves of the pool.

    Returns:
        2r / (1 + r), the reliability of the scores of the whole pool; NaN for NaN.

    Raises:
        ValueError: r is not in (−1, 1].
    """
    if not (-1 < r <= 1 or math.isnan(r)):
        raise ValueError(f"r = {r}: a correlation in (-1, 1] is expected")
    return 2 * r / (1 + r)


def disattenuated(interval: Interval, reliability: float) -> Interval:
    """A correlation with noisy scores, corrected for their noise (Spearman 1904): r / √reliability.

    Args:
        interval: correlation of a proxy with the scores.
        reliability: of the scores, at most 1; the proxy is taken as it is.

    Returns:
        The corrected interval. By chance it can lie above 1. NaN where the reliability is unknown or not even positive.
    """
    ceiling = math.sqrt(reliability) if reliability > 0 else math.nan
    return Interval(interval.mean / ceiling, interval.low / ceiling, interval.high / ceiling, interval.n)


def tau_b(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's τ_b along the last axis: 1 for the same order, 0 for unrelated ones, −1 for opposite ones.

    Args:
        x: [..., n]; a NaN counts as tied with every value.
        y: [..., n], paired with `x`; the other axes are broadcast.

    Returns:
        [...]; NaN where all values of a sample are equal.
    """
    first, second = np.triu_indices(x.shape[-1], k=1)
    a, b = (np.nan_to_num(np.sign(values[..., first] - values[..., second])) for values in (x, y))  # [..., pairs]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def evenly(n: int, count: int) -> np.ndarray:
    """At most `count` of the places 0 … n − 1, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int))


def finite_values(values: Values, name: str) -> np.ndarray:
    """`values` as float64 [n]. Raises `ValueError`, with their `name`, if there is none or one is not finite."""
    array = np.asarray(values, dtype=np.float64).ravel()

    if not len(array):
        raise ValueError(f"{name}: at least one value is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {len(array)} values are not finite")

    return array


def _tail(confidence: float) -> float:
    """The probability outside the interval on one side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: should lie between 0 and 1, for example 0.95")
    return (1 - confidence) / 2
