"""Confidence intervals: of a mean over seeds, of paired differences, and of a rank correlation.

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
    x = _finite(values, "values")
    tail = _tail(confidence)
    n, mean = len(x), float(x.mean())

    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)

    from scipy.special import stdtrit  # the quantile of the t distribution; scipy.stats takes a second to import

    half = float(stdtrit(n - 1, 1 - tail) * x.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: Values, b: Values, confidence: float = 0.95) -> Interval:
    """The mean of `a − b` and its t interval.

    Args:
        a: values [n].
        b: values [n]; `a[k]` and `b[k]` come from the same seed.
        confidence: in (0, 1).

    Returns:
        The interval; with n = 1 its bounds are NaN.

    Raises:
        ValueError: `a` and `b` differ in length, or as `t_interval`.
    """
    x, y = _finite(a, "a"), _finite(b, "b")
    _same_length(x, y)
    return t_interval(x - y, confidence)


def spearman(x: Values, y: Values, confidence: float = 0.95) -> Interval:
    """Spearman's rank correlation ρ with its interval; tied values share the mean of their ranks.

    The interval is taken in Fisher's z with the standard error √((1 + ρ²/2) / (n − 3)) of Bonett and Wright (2000), which does
    not assume normal data.

    Args:
        x: values [n].
        y: values [n], paired with `x`.
        confidence: in (0, 1).

    Returns:
        The interval; `.mean` is ρ. If the order agrees perfectly, the interval is the point 1 or −1.

    Raises:
        ValueError: unequal lengths, fewer than 4 pairs, a constant sample, or values that are not finite.
    """
    x, y = _ranked_pairs(x, y, least=4)
    rho = float(np.clip(np.corrcoef(ranks(x), ranks(y))[0, 1], -1, 1))
    return _in_fishers_z(rho, math.sqrt((1 + rho**2 / 2) / (len(x) - 3)), len(x), confidence)


def kendall_tau(x: Values, y: Values, confidence: float = 0.95) -> Interval:
    """Kendall's rank correlation τ_b with its interval; ties are corrected for.

    The interval is taken in Fisher's z with the standard error √(0.437 / (n − 4)) of Bonett and Wright (2000).

    Args:
        x: values [n].
        y: values [n], paired with `x`.
        confidence: in (0, 1).

    Returns:
        The interval; `.mean` is τ. Its bounds are NaN if n < 5.

    Raises:
        ValueError: unequal lengths, fewer than 2 pairs, a constant sample, or values that are not finite.
    """
    from scipy.stats import kendalltau

    x, y = _ranked_pairs(x, y, least=2)
    n, tau = len(x), float(kendalltau(x, y).statistic)
    if n < 5:
        return Interval(tau, math.nan, math.nan, n)
    return _in_fishers_z(tau, math.sqrt(0.437 / (n - 4)), n, confidence)


def ranks(values: Values) -> np.ndarray:
    """Ranks 1 … n as float64 [n]; tied values share the mean of the ranks they cover (mid-ranks)."""
    from scipy.stats import rankdata

    return rankdata(values)


# ---- reliability: what noise in the scores does to a correlation


def spearman_brown(r: float) -> float:
    """The reliability of a whole from the correlation of its two halves (Spearman 1910, Brown 1910).

    Args:
        r: correlation between the scores of two disjoint halves of the pool.

    Returns:
        2r / (1 + r), the reliability of the scores of the whole pool.

    Raises:
        ValueError: r is not in (−1, 1].
    """
    if not -1 < r <= 1:
        raise ValueError(f"r = {r}: a correlation in (-1, 1] is expected")
    return 2 * r / (1 + r)


def disattenuated(interval: Interval, reliability: float) -> Interval:
    """A correlation with noisy scores, corrected for their noise (Spearman 1904): r / √reliability.

    Args:
        interval: correlation of a proxy with the scores.
        reliability: of the scores, in (0, 1]; the proxy is taken as it is.

    Returns:
        The corrected interval. By chance it can lie above 1.

    Raises:
        ValueError: the reliability is not in (0, 1].
    """
    if not 0 < reliability <= 1:
        raise ValueError(f"reliability = {reliability}: a number in (0, 1] is expected")
    ceiling = math.sqrt(reliability)
    return Interval(interval.mean / ceiling, interval.low / ceiling, interval.high / ceiling, interval.n)


# ---- deciding: p values, equivalence, many cases at once, and how many seeds it takes


def t_p_value(values: Values, null: float = 0.0) -> float:
    """The two-sided p value of Student's t test that the mean is `null`.

    Args:
        values: independent values [n], for example one per seed.
        null: the mean under the null hypothesis.

    Returns:
        p in [0, 1]; NaN if n = 1.

    Raises:
        ValueError: no values, or values that are not finite.
    """
    from scipy.special import stdtr

    t, df = _t(_finite(values, "values"), null)
    return float(2 * stdtr(df, -abs(t))) if df else math.nan


def equivalence(values: Values, margin: float) -> float:
    """Two one-sided t tests (Schuirmann 1987): does the mean lie within ± margin?

    Args:
        values: independent values [n], for example paired differences, one per seed.
        margin: the largest difference that does not matter, stated beforehand.

    Returns:
        The larger of the two p values; below .05 the mean lies within the margin. NaN if n = 1.

    Raises:
        ValueError: no values, values that are not finite, or a margin that is not positive.
    """
    from scipy.special import stdtr

    if not margin > 0:
        raise ValueError(f"margin = {margin}: a positive number is expected")
    x = _finite(values, "values")
    t_low, df = _t(x, -margin)  # against a mean of −margin or less
    t_high, _ = _t(x, margin)  # against a mean of margin or more
    return float(max(stdtr(df, -t_low), stdtr(df, t_high))) if df else math.nan


def holm(p_values: Values) -> np.ndarray:
    """Adjust p values for many tests at once (Holm 1979): the chance of any false rejection stays below the level.

    Args:
        p_values: [m]; NaN (a test that could not be made) counts as 1.

    Returns:
        Adjusted p values [m], each at most 1; reject where they are below the level.
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    order = np.argsort(p, kind="stable")
    steps = (len(p) - np.arange(len(p))) * p[order]  # m·p₁, (m − 1)·p₂, …

    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def holm_levels(p_values: Values, level: float = 0.05) -> np.ndarray:
    """The level at which each of many tests is made in Holm's procedure.

    An interval of confidence 1 − level excludes the null exactly where Holm's procedure rejects it.

    Args:
        p_values: [m]; NaN counts as 1.
        level: the chance of any false rejection.

    Returns:
        Levels [m] between level / m and level: the k-th smallest p value has level / (m − k + 1), and all after the first that
        is not rejected have that one's level.
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    order = np.argsort(p, kind="stable")
    steps = level / (len(p) - np.arange(len(p)))

    kept = np.flatnonzero(p[order] > steps)
    if len(kept):
        steps[kept[0] :] = steps[kept[0]]

    levels = np.empty_like(p)
    levels[order] = steps
    return levels


def seeds_to_decide(
    values: Values, margin: float | None = None, null: float = 0.0, level: float = 0.05, power: float = 0.8, most: int = 10_000
) -> int | None:
    """How many seeds would decide, if mean and spread are what these seeds say.

    Args:
        values: what was measured [n], one value per seed.
        margin: of equivalence; without it only a difference is looked for.
        null: the mean that has to be excluded.
        level: of the two-sided test; the two one-sided tests have it each.
        power: the chance of a decision that is asked for.
        most: no larger number is looked for.

    Returns:
        The smallest n ≥ 2 for which the t test excludes `null`, or the two one-sided tests show equivalence, with this power.
        None if that takes more than `most` seeds, or if n = 1, where the spread is unknown.

    Raises:
        ValueError: no values, or values that are not finite.
    """
    x = _finite(values, "values")
    if len(x) == 1:
        return None
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    if spread == 0:
        return 2

    def decides(n: int) -> bool:
        chance = _power_of_difference(mean - null, spread, n, level)
        if margin is not None:
            chance = max(chance, _power_of_equivalence(mean, spread, n, margin, level))
        return chance >= power

    if not decides(most):
        return None

    # the power grows with n: halve the range in which it passes `power`
    few, enough = 1, most
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if decides(middle) else (middle, enough)
    return enough


def _t(x: np.ndarray, null: float) -> tuple[float, int]:
    """Student's t of the mean against `null`, and its degrees of freedom."""
    n, distance = len(x), float(x.mean()) - null
    if n == 1:
        return math.nan, 0

    error = float(x.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return math.copysign(math.inf, distance) if distance else 0.0, n - 1
    return distance / error, n - 1


def _power_of_difference(distance: float, spread: float, n: int, level: float) -> float:
    """The chance that a two-sided t test sees a distance from the null, by the noncentral t distribution."""
    from scipy.special import nctdtr, stdtrit

    shift = abs(distance) * math.sqrt(n) / spread
    critical = stdtrit(n - 1, 1 - level / 2)
    if shift > 30:  # the noncentral t distribution overflows; by then it is narrow
        return float(shift > critical)
    return float(1 - nctdtr(n - 1, shift, critical))


def _power_of_equivalence(mean: float, spread: float, n: int, margin: float, level: float) -> float:
    """The chance that two one-sided t tests place the mean within the margin."""
    from scipy.special import ndtr, stdtrit

    critical = stdtrit(n - 1, 1 - level)
    scale = math.sqrt(n) / spread
    above, below = (margin - mean) * scale - critical, (margin + mean) * scale - critical
    return max(0.0, float(ndtr(above) + ndtr(below) - 1))


def _ranked_pairs(x: Values, y: Values, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Two samples that have a rank correlation."""
    x, y = _finite(x, "x"), _finite(y, "y")
    _same_length(x, y)

    if len(x) < least:
        raise ValueError(f"a correlation with an interval needs at least {least} pairs, got {len(x)}")
    for name, values in (("x", x), ("y", y)):
        if values.min() == values.max():
            raise ValueError(f"{name} is constant: its rank correlation is not defined")

    return x, y


def _in_fishers_z(r: float, error: float, n: int, confidence: float) -> Interval:
    """The interval of a correlation whose Fisher's z has this standard error."""
    if math.isclose(abs(r), 1):  # perfect order: Fisher's z would be infinite
        r = math.copysign(1.0, r)
        return Interval(r, r, r, n)

    from scipy.special import ndtri  # the quantile of the normal distribution

    z, half = math.atanh(r), float(ndtri(1 - _tail(confidence))) * error
    return Interval(r, math.tanh(z - half), math.tanh(z + half), n)


def _finite(values: Values, name: str) -> np.ndarray:
    """`values` as float64 [n]; refused if there is none or one is not finite."""
    array = np.asarray(values, dtype=np.float64).ravel()

    if not len(array):
        raise ValueError(f"{name}: at least one value is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {len(array)} values are not finite")

    return array


def _same_length(a: np.ndarray, b: np.ndarray) -> None:
    """Refuse samples of different lengths."""
    if len(a) != len(b):
        raise ValueError(f"the samples are paired and must have the same length, got {len(a)} and {len(b)}")


def _tail(confidence: float) -> float:
    """The probability outside the interval on one side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: should lie between 0 and 1, for example 0.95")
    return (1 - confidence) / 2
