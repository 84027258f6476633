"""Deciding by several seeds: p values, equivalence, many tests at once, and how many seeds a decision takes."""

from __future__ import annotations

import bisect
import functools
import math

import numpy as np

from mulnb.core.stats import Values, finite_values

POWER = 0.8  # the chance of a decision that is asked for
MOST_SEEDS = 10_000  # no larger number of seeds is looked for
NODES = 200  # of the integral over an estimated spread: right to 1e-5
_quadrature = functools.cache(np.polynomial.legendre.leggauss)  # its nodes and weights: 5 ms to find, the same each time


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

    t, df = _t(finite_values(values, "values"), null)
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
    x = finite_values(values, "values")
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
    p, order, left = _smallest_first(p_values)
    steps = left * p[order]  # m·p₁, (m − 1)·p₂, …

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
    p, order, left = _smallest_first(p_values)
    steps = level / left

    kept = np.flatnonzero(p[order] > steps)
    if len(kept):
        steps[kept[0] :] = steps[kept[0]]

    levels = np.empty_like(p)
    levels[order] = steps
    return levels


def _smallest_first(p_values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The p values, NaN as 1; their order; and in it, how many tests are left: m, m − 1, …, 1."""
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    return p, np.argsort(p, kind="stable"), np.arange(len(p), 0, -1)


def seeds_to_decide(
    values: Values,
    margin: float | None = None,
    null: float = 0.0,
    level: float = 0.05,
    equivalence_level: float | None = None,
) -> int | None:
    """How many seeds would decide, if mean and spread are what these seeds say.

    Args:
        values: what was measured [n], one value per seed.
        margin: of equivalence; without it only a difference is looked for.
        null: the mean that has to be excluded.
        level: of the two-sided test.
        equivalence_level: of each of the two one-sided tests; by default the same.

    Returns:
        The smallest n ≥ 2 for which the t test excludes `null`, or the two one-sided tests show equivalence, with power
        `POWER`. None if that takes more than `MOST_SEEDS`, or if n = 1, where the spread is unknown.

    Raises:
        ValueError: no values, or values that are not finite.
    """
    x = finite_values(values, "values")
    if len(x) == 1:
        return None
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    if spread == 0:
        return 2

    def decides(n: int) -> bool:
        chance = _power_of_difference(mean - null, spread, n, level)
        if margin is not None:
            own_level = level if equivalence_level is None else equivalence_level
            chance = max(chance, _power_of_equivalence(mean, spread, n, margin, own_level))
        return chance >= POWER

    # the power grows with n: halve the range in which it passes
    enough = bisect.bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=decides)
    return enough if enough <= MOST_SEEDS else None


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
    """The chance that two one-sided t tests place the mean within the margin: the mean over the spreads that may be estimated."""
    from scipy.special import chdtri, ndtr, stdtrit

    nodes, weights = _quadrature(NODES)
    estimated = spread * np.sqrt(chdtri(n - 1, (1 - nodes) / 2) / (n - 1))  # [NODES], at quantiles of χ

    error = 1 / math.sqrt(n)
    critical = stdtrit(n - 1, 1 - level)
    room = np.maximum(margin - critical * estimated * error, 0)  # on either side of 0, for the mean that is found
    within = ndtr((room - mean) / (spread * error)) - ndtr((-room - mean) / (spread * error))
    return float(within @ weights / 2)
