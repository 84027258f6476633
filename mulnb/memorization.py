"""Exact memorization by subset training (Feldman & Zhang 2020, arXiv 2008.03703; METHOD §2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mulnb.core import bits
from mulnb.core.bits import Bits
from mulnb.core.errors import UserError
from mulnb.core.stats import spearman


@dataclass(frozen=True)
class Pool:
    """What M models on random subsets of N examples left behind.

    Row j belongs to model j.
    """

    member: np.ndarray | Bits  # bool [M, N]: the model was trained on the example
    correct: np.ndarray | Bits  # bool [M, N]: it classifies the example right
    margin: np.ndarray | None = None  # float16 [M, N]: its log-odds of the example's true class
    seconds: float = 0.0  # of training, summed over workers
    margin_test: np.ndarray | None = None  # float16 [M, |T|]: the log-odds on T, which no model saw

    def __len__(self) -> int:
        return len(self.member)


def membership(models: range, n: int, share: float, seed: int) -> np.ndarray:
    """Draw the training subsets of some models of a pool, without replacement.

    Args:
        models: the numbers of the models; the subset of model j depends on `(seed, j)` only.
        n: examples to draw from.
        share: of the examples that each model is trained on, 0 … 1.
        seed: of the pool, ≥ 0.

    Returns:
        Bool [len(models), n].
    """
    member = np.zeros((len(models), n), dtype=bool)

    for row, model in enumerate(models):
        order = np.random.default_rng((seed, model)).permutation(n)
        member[row, order[: round(share * n)]] = True

    return member


def estimate(correct: np.ndarray | Bits, member: np.ndarray | Bits) -> pd.DataFrame:
    """Memorization of every example from a pool of models (Feldman & Zhang 2020; METHOD §2).

    mem(i) = mean of correct[j, i] over the models j that saw i − the same mean over those that did not.

    Args:
        correct: bool [M, N], model j classifies example i right.
        member: bool [M, N], model j was trained on example i.

    Returns:
        Columns `example`, `memorization` (−1 … 1), `se` (its standard error), `n_in` and `n_out` (how many models saw the
        example, and how many did not).

    Raises:
        UserError: an example was seen by all models or by none, or the shapes differ.
    """
    correct, member = _matrix(correct), _matrix(member)
    if correct.shape != member.shape or correct.ndim != 2:
        raise UserError(f"correct {correct.shape} and member {member.shape}: expected two bool arrays of one shape [M, N]")

    seen = _count(correct, member)
    if (seen.n_in == 0).any() or (seen.n_out == 0).any():
        worst = int(np.flatnonzero((seen.n_in == 0) | (seen.n_out == 0))[0])
        raise UserError(
            f"example {worst} was seen by {seen.n_in[worst]} of {len(member)} models: some must see it and some not; "
            "train more models"
        )

    scores, se = _scores(seen)
    facts = {"memorization": scores, "se": se, "n_in": seen.n_in, "n_out": seen.n_out}
    return pd.DataFrame({"example": np.arange(member.shape[1])} | facts)


def scores(correct: np.ndarray | Bits, member: np.ndarray | Bits) -> np.ndarray:
    """Scores of a pool that may be too small for some examples, float64 [N]; NaN for those that all or none of the models saw."""
    return _scores(_count(correct, member))[0]


def _matrix(values: np.ndarray | Bits) -> np.ndarray | Bits:
    """Bits as they are, anything else as a bool array."""
    return values if isinstance(values, Bits) else np.asarray(values, dtype=bool)


class _Counts(NamedTuple):
    """How many models saw each example and how many did not, and how many of them are right about it; int64 [N] each."""

    n_in: np.ndarray
    n_out: np.ndarray
    hits_in: np.ndarray
    hits_out: np.ndarray


def _count(correct: np.ndarray | Bits, member: np.ndarray | Bits) -> _Counts:
    """Count in blocks of examples, so that the memory does not grow with their number."""
    models, n = member.shape
    n_in, hits, hits_in = np.zeros((3, n), dtype=np.int64)

    for where, (right, saw) in bits.blocks(correct, member):
        n_in[where] = bits.count(saw)
        hits[where] = bits.count(right)
        hits_in[where] = bits.count(right & saw)

    return _Counts(n_in, models - n_in, hits_in, hits - hits_in)


def _scores(seen: _Counts) -> tuple[np.ndarray, np.ndarray]:
    """Scores and standard errors, float64 [N] each; NaN for an example that all or none of the models saw."""
    # a share of no models is unknown
    n_in = np.where(seen.n_in > 0, seen.n_in, np.nan)
    n_out = np.where(seen.n_out > 0, seen.n_out, np.nan)

    scores = seen.hits_in / n_in - seen.hits_out / n_out
    return scores, np.sqrt(_variance(seen.hits_in, n_in) + _variance(seen.hits_out, n_out))


def _variance(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Variance of a share. One success and one failure are added (Laplace): otherwise 30 of 30 would have no variance at all."""
    p = (hits + 1) / (n + 2)
    return p * (1 - p) / n


def convergence(
    correct: np.ndarray | Bits, member: np.ndarray | Bits, sizes: tuple[int, ...], repeats: int, seed: int
) -> pd.DataFrame:
    """How good the scores are with fewer models.

    Args:
        correct: bool [M, N], see `estimate`.
        member: bool [M, N].
        sizes: numbers of models to try.
        repeats: random pools of each size.
        seed: draws them, ≥ 0.

    Returns:
        Columns `models repeat split_half spearman_full mean_se`. `split_half` is Spearman's ρ between the scores of two disjoint
        pools of that many models (NaN where 2·models > M), `spearman_full` the ρ with the scores of the whole pool. Examples that
        a small pool cannot score are left out of its ρ.
    """
    rng = np.random.default_rng(seed)
    full = estimate(correct, member).memorization.to_numpy()

    rows = []
    for size in sizes:
        for repeat in range(repeats):
            order = rng.permutation(len(member))
            first, second = order[:size], order[size : 2 * size]  # disjoint
            scores, se = _scores(_count(correct[first], member[first]))

            half = np.nan
            if len(second) == size:
                half = agreement(scores, _scores(_count(correct[second], member[second]))[0])
            mean_se = np.nan if np.isnan(se).all() else np.nanmean(se)  # of so few models, each may have seen every example
            rows.append((size, repeat, half, agreement(scores, full), mean_se))

    return pd.DataFrame(rows, columns=["models", "repeat", "split_half", "spearman_full", "mean_se"])


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's ρ between two scores.

    Args:
        a: scores [N]; NaN where an example has none.
        b: the same of another kind.

    Returns:
        ρ over the examples that have both scores; NaN for fewer than four of them, or where all scores are equal.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]

    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return spearman(a, b).mean
