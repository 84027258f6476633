"""How well a score separates members from non-members: AUC, and TPR at a fixed FPR, with intervals.

An interval says how much the number would move with other examples. It says nothing about another model: for that, use several
seeds.

Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
curves", Biometrics 44 (1988); its fast form by ranks, Sun and Xu, IEEE Signal Processing Letters 21 (2014).
"""

from __future__ import annotations

import math

import numpy as np

from mulnb.core.stats import Interval, ranks

DRAWS = 1000  # of the bootstrap


def curve(members: np.ndarray, non_members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve, one point for each distinct score.

    Args:
        members: scores [m], higher for a member.
        non_members: scores [n].

    Returns:
        FPR and TPR, each rising from 0 to 1.
    """
    from sklearn.metrics import roc_curve

    truth = np.repeat([1, 0], [len(members), len(non_members)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([members, non_members]), drop_intermediate=False)

    return fpr, tpr


def auc(members: np.ndarray, non_members: np.ndarray) -> float:
    """The probability that a member has a higher score than a non-member, a tie counting half.

    Args:
        members: scores [m].
        non_members: scores [n].

    Returns:
        A number in [0, 1]; .5 for a score that says nothing.
    """
    m, n = len(members), len(non_members)
    ranks_of_members = ranks(np.concatenate([members, non_members]))[:m]  # among all, 1 … m + n

    return float((ranks_of_members.sum() - m * (m + 1) / 2) / (m * n))


def auc_interval(members: np.ndarray, non_members: np.ndarray, confidence: float = 0.95) -> Interval:
    """AUC with DeLong's interval, taken on the scale of log(AUC / (1 − AUC)) so that it stays within [0, 1].

    Where one side lies wholly above the other, DeLong's variance is 0; the bound is then the exact binomial one of the
    min(m, n) disjoint pairs that can be formed.

    Args:
        members: scores [m], at least two.
        non_members: scores [n], at least two.
        confidence: of the two-sided interval.

    Returns:
        An `Interval` with n = m + n.
    """
    from scipy.special import expit, logit, ndtri

    members, non_members = np.asarray(members, dtype=np.float64), np.asarray(non_members, dtype=np.float64)
    m, n = len(members), len(non_members)
    area, tail = auc(members, non_members), (1 - confidence) / 2

    together = ranks(np.concatenate([members, non_members]))
    above = (together[:m] - ranks(members)) / n  # share of non-members below each member, [m]
    below = 1 - (together[m:] - ranks(non_members)) / m  # share of members above each non-member, [n]
    variance = float(above.var(ddof=1) / m + below.var(ddof=1) / n)

    if variance == 0 and area in (0.0, 1.0):
        bound = tail ** (1 / min(m, n))
        return Interval(area, bound, 1.0, m + n) if area == 1 else Interval(area, 0.0, 1 - bound, m + n)
    if variance == 0:  # all scores are tied
        return Interval(area, area, area, m + n)

    half = float(ndtri(1 - tail)) * math.sqrt(variance) / (area * (1 - area))
    return Interval(area, float(expit(logit(area) - half)), float(expit(logit(area) + half)), m + n)


def tpr(members: np.ndarray, non_members: np.ndarray, fpr: float) -> float:
    """The share of members found when at most a share `fpr` of non-members is taken for members.

    The threshold is a non-member's score, and only scores above it count: no interpolation. With fewer than 1/fpr non-members
    not a single one may lie above it.

    Args:
        members: scores [m].
        non_members: scores [n].
        fpr: the false positive rate allowed, for example 0.01.

    Returns:
        A share in [0, 1].
    """
    return float((np.asarray(members) > _threshold(np.asarray(non_members), fpr)).mean())


def tpr_interval(members: np.ndarray, non_members: np.ndarray, fpr: float, confidence: float = 0.95, seed: int = 0) -> Interval:
    """TPR at a fixed FPR with its interval: the bootstrap's percentiles, never narrower than the exact binomial interval.

    The bootstrap draws members and non-members anew, and so moves the threshold, too; the binomial interval (Clopper and
    Pearson) takes over where a TPR of 0 or 1 would leave the bootstrap nothing to vary.

    Args:
        members: scores [m].
        non_members: scores [n].
        fpr: the false positive rate allowed.
        confidence: of the two-sided interval.
        seed: of the bootstrap.

    Returns:
        An `Interval` with n = m + n.
    """
    from scipy.stats import binomtest

    members, non_members = np.asarray(members), np.asarray(non_members)
    m, n, tail = len(members), len(non_members), (1 - confidence) / 2
    found = tpr(members, non_members, fpr)

    rng, drawn = np.random.default_rng(seed), np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn[draw] = tpr(members[rng.integers(m, size=m)], non_members[rng.integers(n, size=n)], fpr)
    low, high = np.quantile(drawn, [tail, 1 - tail])

    exact = binomtest(round(found * m), m).proportion_ci(confidence)
    return Interval(found, float(min(low, exact.low)), float(max(high, exact.high)), m + n)


def _threshold(non_members: np.ndarray, fpr: float) -> float:
    """The smallest score of a non-member that at most a share `fpr` of the others exceeds."""
    allowed = math.floor(fpr * len(non_members) + 1e-9)  # 0.01 · 300 must give 3
    place = len(non_members) - 1 - allowed
    return -math.inf if place < 0 else float(np.partition(non_members, place)[place])
