"""How well scores rank the examples, and what they cost: the frames behind Table 1 and the curves of fidelity (METHOD §2, §3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mulnb import forget
from mulnb import memorization as exact
from mulnb.core.registry import PROXIES
from mulnb.core.stats import Interval, disattenuated, spearman_brown, t_interval
from mulnb.proxies import orient
from mulnb.study.study import Study

REPEATS = 5  # random pools of each size


def convergence(study: Study) -> pd.DataFrame:
    """How the scores settle as the pool grows; columns as `memorization.convergence`. Empty where there is no pool."""
    if study.pool is None:
        return pd.DataFrame(columns=["models", "repeat", "split_half", "spearman_full", "mean_se"])
    pool = study.pool
    sizes = sorted({round(len(pool) * share) for share in (0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0)})
    return exact.convergence(pool.correct, pool.member, tuple(sizes), REPEATS, seed=study.profile.pool.seed)


def proxies(study: Study) -> pd.DataFrame:
    """Columns `example proxy seed raw value` (METHOD §3); `value` rises with memorization.

    Every proxy of every seed is a ranking, the most memorized example first. `raw` has three digits, `value` as many as its ranks
    and its strata need: these are exact, ties too, and the largest frame that a profile publishes has half the size.
    """
    frames = []
    for seed, scored in study.score_seeds(study.profile.seeds).items():
        for name in PROXIES.names:
            raw = scored.raw[name]
            value = orient(name, raw)
            first = np.argsort(-value, kind="stable")
            columns = {"example": first, "proxy": name, "seed": seed, "raw": to_bits(raw, THREE_DIGITS)[first]}
            columns["value"] = _keeping_order(value)[first]
            frames.append(pd.DataFrame(columns))

    return pd.concat(frames, ignore_index=True)


THREE_DIGITS = 11  # significant bits: an error of at most 0.05 %; bits that are zero take no room in a file
TWO_DIGITS, FOUR_DIGITS = 8, 14
ALL_DIGITS = 24  # of a number in single precision


def to_bits(scores: np.ndarray, bits: int) -> np.ndarray:
    """Scores at so many significant bits."""
    share, power = np.frexp(scores)  # scores = share · 2^power, ½ ≤ |share| < 1
    return np.ldexp(np.round(share * 2**bits) / 2**bits, power).astype(scores.dtype)


def _keeping_order(scores: np.ndarray) -> np.ndarray:
    """Scores at three digits, or as many more as keep their order, and that of their distances to the median.

    The medium stratum is chosen by these distances. Two examples on either side of the median are ordered by distance as one of
    them and the mirror image of the other are ordered by value, so a score must stay clear of the mirror images, too.
    """
    distinct, place = np.unique(scores, return_inverse=True)
    exact_scores = distinct.astype(np.float64)
    mirrored = 2 * np.median(scores.astype(np.float64)) - exact_scores
    marks = np.union1d(exact_scores, mirrored)

    between = (marks[1:] + marks[:-1]) / 2  # no score crosses the middle between it and the next mark
    own = np.searchsorted(marks, exact_scores)
    lowest, highest = np.append(-np.inf, between)[own], np.append(between, np.inf)[own]
    fixed = np.isin(exact_scores, mirrored)  # the median itself, and scores that are equally far from it

    short = distinct.copy()
    for bits in range(ALL_DIGITS, THREE_DIGITS - 1, -1):
        rounded = to_bits(distinct, bits)
        stays = (lowest < rounded) & (rounded < highest) & ~fixed
        short[stays] = rounded[stays]
    return short[place]


def proxy_costs(study: Study) -> pd.DataFrame:
    """Table 1: how well each proxy ranks as memorization does, and what it costs.

    Returns:
        Columns `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`, then `disattenuated` and `overlap` with their
        `_low` and `_high`, and `paper`.
        `spearman`: ρ between the oriented proxy and memorization, mean over seeds with its 95 % t interval.
        `seconds`: mean over seeds of what the proxy costs on top of training; `share_of_exact`: relative to training the pool.
        `disattenuated`: ρ over the root of the exact scores' reliability, what it would be without the pool's own noise.
        `overlap`: share of the proxy's high stratum that is in memorization's.
    """
    truth = study.memorization.memorization.to_numpy()
    seeds = study.profile.seeds
    scored = study.score_seeds(seeds)
    pool_seconds = np.nan if study.pool is None else study.pool.seconds
    sure = reliability(study)

    rows = []
    for name in PROXIES.names:
        rho = _interval([exact.agreement(orient(name, own.raw[name]), truth) for own in scored.values()])
        overlap = _interval([_overlap(study, study.scores(name, seed), seed) for seed in seeds])
        seconds = float(np.mean([own.seconds[name] for own in scored.values()]))

        row = {"proxy": name, "seconds": seconds, "share_of_exact": seconds / pool_seconds}
        row |= {"spearman": rho.mean, "ci_low": rho.low, "ci_high": rho.high, "n_seeds": rho.n}
        free = disattenuated(rho, sure)  # of the noise in the exact scores
        row |= {"disattenuated": free.mean, "disattenuated_low": free.low, "disattenuated_high": free.high}
        row |= {"overlap": overlap.mean, "overlap_low": overlap.low, "overlap_high": overlap.high}
        rows.append(row | {"paper": PROXIES[name].paper})

    return pd.DataFrame(rows)


def reliability(study: Study) -> float:
    """Reliability of the exact scores of the whole pool: the split-half ρ by Spearman–Brown, 2ρ / (1 + ρ).

    Returns:
        NaN where there is no pool.
    """
    if study.pool is None:
        return np.nan

    # ρ of two halves of the pool, or of the largest two disjoint pools that were compared
    halves = convergence(study).dropna(subset=["split_half"])
    largest = halves[halves.models == halves.models.max()].split_half.mean()
    return spearman_brown(float(largest))


def _overlap(study: Study, scores: np.ndarray, seed: int, exact_scores: np.ndarray | None = None) -> float:
    """Share of the high stratum of `scores` that is in that of the exact scores (by default the whole pool's)."""
    size = study.profile.forget.size
    if exact_scores is None:
        exact_scores = study.scores("memorization", seed)
    high, wanted = (forget.strata(values, size, "median", seed).high for values in (scores, exact_scores))
    return len(np.intersect1d(high, wanted)) / size


def fidelity(study: Study) -> pd.DataFrame:
    """What a better score costs: proxies, means of several trainings' confidence, and pools of several sizes.

    Returns:
        Columns `kind name count seed seconds spearman overlap reliability`. `kind` is `proxy`, `mean` (of the confidence in
        `count` trainings; its seconds are those of the additional trainings) or `pool` (of `count` models; `seed` is the repeat).
        Proxies and means are compared with the scores of the whole pool, whose `reliability` bounds them; a small pool with the
        scores of the models that are not in it.
    """
    study.score_seeds(study.profile.seeds)
    rows = [*_proxies_beside_exact(study), *_means_beside_exact(study), *_small_pools(study)]
    return pd.DataFrame(rows).assign(reliability=reliability(study))


def _row(study: Study, scores: np.ndarray, against: np.ndarray, **head: Any) -> dict[str, Any]:
    """A row of `fidelity`: scores [N] beside others [N]; `head` has `kind name count seed seconds`."""
    overlap = _overlap(study, np.nan_to_num(scores), head["seed"], np.nan_to_num(against))
    return head | {"spearman": exact.agreement(scores, against), "overlap": overlap}


def _proxies_beside_exact(study: Study) -> Iterator[dict[str, Any]]:
    """Every proxy of every seed."""
    whole = study.memorization.memorization.to_numpy()
    for name in PROXIES.names:
        for seed, scored in study.score_seeds(study.profile.seeds).items():
            head = {"kind": "proxy", "name": name, "count": 1, "seed": seed, "seconds": scored.seconds[name]}
            yield _row(study, study.scores(name, seed), whole, **head)


def _means_beside_exact(study: Study) -> Iterator[dict[str, Any]]:
    """The mean of `count` trainings: seeds s, s + 1, … in a circle, so that every seed takes part equally often."""
    whole = study.memorization.memorization.to_numpy()
    seeds = list(study.profile.seeds)
    scored = study.score_seeds(seeds)
    training_s = training_seconds(study) / len(seeds)

    for count in range(2, min(len(seeds), 5) + 1):
        for place, seed in enumerate(seeds):
            chosen = [seeds[(place + step) % len(seeds)] for step in range(count)]
            mean = np.mean([study.scores("confidence", own) for own in chosen], axis=0)  # [N]
            seconds = sum(scored[own].seconds["confidence"] for own in chosen) + (count - 1) * training_s
            yield _row(study, mean, whole, kind="mean", name="confidence", count=count, seed=seed, seconds=seconds)


def _small_pools(study: Study) -> Iterator[dict[str, Any]]:
    """Small pools beside the models that are not in them: as parts of the whole pool they would agree with themselves."""
    if study.pool is None:
        return

    rng, pool = np.random.default_rng(study.profile.pool.seed), study.pool
    sizes = {max(1, round(len(pool) * share)) for share in (0.05, 0.1, 0.2, 0.35, 0.5)}
    for count in sorted(sizes):
        for repeat in range(REPEATS):
            order = rng.permutation(len(pool))
            some, others = order[:count], order[count:]
            scores = exact.scores(pool.correct[some], pool.member[some])
            left_out = exact.scores(pool.correct[others], pool.member[others])
            seconds = pool.seconds * count / len(pool)
            yield _row(study, scores, left_out, kind="pool", name="memorization", count=count, seed=repeat, seconds=seconds)


def _interval(values: Sequence[float]) -> Interval:
    """The t interval of correlations; unknown if one of them is."""
    if np.isfinite(values).all():
        return t_interval(values)
    return Interval(np.nan, np.nan, np.nan, len(values))


def training_seconds(study: Study) -> float:
    """Seconds of training the original models, signals left out, summed over seeds."""
    return sum(scored.training_s for scored in study.score_seeds(study.profile.seeds).values())
