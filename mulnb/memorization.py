"""Exact memorization by subset training (Feldman & Zhang 2020, arXiv 2008.03703; METHOD §2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mulnb.core.errors import UserError
from mulnb.core.stats import spearman


@dataclass(frozen=True)
class Pool:
    """What M models on random subsets of N examples left behind.

    `member` bool [M, N]: model j was trained on example i. `correct` bool [M, N]: it classifies i right. `margin` float16 [M,
    N]: its log-odds of the true class. `seconds`: what training took, summed over workers.
    `margin_test` float16 [M, |T|]: the margins of T, which no model saw.
    """

    member: np.ndarray
    correct: np.ndarray
    margin: np.ndarray
    seconds: float = 0.0
    margin_test: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.member)


def membership(models: range, n: int, share: float, seed: int) -> np.ndarray:
    """Bool [len(models), n]: for model j, a random `share` of n examples drawn without replacement from `(seed, j)` alone."""
    member = np.zeros((len(models), n), dtype=bool)
    for row, model in enumerate(models):
        member[row, np.random.default_rng((seed, model)).permutation(n)[: round(share * n)]] = True
    return member


def estimate(correct: np.ndarray, member: np.ndarray) -> pd.DataFrame:
    """Memorization of every example from a pool of models.

    `correct`, `member`: bool [M, N], model j classifies example i right, model j was trained on example i.
    Columns: `example`; `memorization` = mean correct over the models that saw it − mean correct over those that did not;
    `se`, its standard error; `n_in`, `n_out`, the numbers of those models.
    Raises `UserError` if an example was seen by all models or by none.
    """
    correct, member = np.asarray(correct, dtype=bool), np.asarray(member, dtype=bool)
    if correct.shape != member.shape or correct.ndim != 2:
        raise UserError(f"correct {correct.shape} and member {member.shape}: expected two bool arrays of one shape [M, N]")
    n_in = member.sum(0)
    n_out = len(member) - n_in
    if (n_in == 0).any() or (n_out == 0).any():
        worst = int(np.flatnonzero((n_in == 0) | (n_out == 0))[0])
        raise UserError(
            f"example {worst} was seen by {n_in[worst]} of {len(member)} models: some must see it and some not; train more models"
        )
    scores, se = _scores(correct, member)
    return pd.DataFrame({"example": np.arange(member.shape[1]), "memorization": scores, "se": se, "n_in": n_in, "n_out": n_out})


def scores(correct: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Scores of a pool that may be too small for some examples, float64 [N]; NaN for those that all or none of the models saw."""
    return _scores(correct, member)[0]


def _scores(correct: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and standard errors, float64 [N] each; NaN for an example that all or none of the models saw."""
    n_in, n_out = member.sum(0), (~member).sum(0)
    hits_in, hits_out = (correct & member).sum(0), (correct & ~member).sum(0)
    n_in, n_out = (np.where(n > 0, n, np.nan) for n in (n_in, n_out))
    return hits_in / n_in - hits_out / n_out, np.sqrt(_variance(hits_in, n_in) + _variance(hits_out, n_out))


def _variance(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Variance of a share. One success and one failure are added (Laplace), or 30 of 30 would claim to be certain."""
    p = (hits + 1) / (n + 2)
    return p * (1 - p) / n


def convergence(correct: np.ndarray, member: np.ndarray, sizes: tuple[int, ...], repeats: int, seed: int) -> pd.DataFrame:
    """How good the scores are with fewer models. Columns `models repeat split_half spearman_full mean_se`.

    `split_half`: Spearman ρ between the scores of two disjoint pools of that many models (NaN where 2·models > M);
    `spearman_full`: ρ with the scores of the whole pool. Examples that a small pool cannot score are left out of its ρ.
    """
    rng = np.random.default_rng(seed)
    full = estimate(correct, member).memorization.to_numpy()
    rows = []
    for size in sizes:
        for repeat in range(repeats):
            order = rng.permutation(len(member))
            first, second = order[:size], order[size : 2 * size]
            scores, se = _scores(correct[first], member[first])
            half = agreement(scores, _scores(correct[second], member[second])[0]) if len(second) == size else np.nan
            rows.append((size, repeat, half, agreement(scores, full), np.nanmean(se)))
    return pd.DataFrame(rows, columns=["models", "repeat", "split_half", "spearman_full", "mean_se"])


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman ρ of the examples [N] that both can score; NaN for fewer than four, or where every score is the same."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    return np.nan if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0 else spearman(a, b).mean
