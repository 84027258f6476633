"""Exact memorization by subset training (Feldman & Zhang 2020, arXiv 2008.03703; METHOD §2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mulnb.errors import UserError
from mulnb.stats import spearman


@dataclass(frozen=True)
class Pool:
    """What M models on random subsets of N examples left behind.

    `member` bool [M, N]: model j was trained on example i. `correct` bool [M, N]: it classifies i right. `margin` float16 [M, N]: its
    log-odds of the true class.
    """

    member: np.ndarray
    correct: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.member)


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
    hits_in = (correct & member).sum(0)
    hits_out = (correct & ~member).sum(0)
    return pd.DataFrame(
        {
            "example": np.arange(member.shape[1]),
            "memorization": hits_in / n_in - hits_out / n_out,
            "se": np.sqrt(_variance(hits_in, n_in) + _variance(hits_out, n_out)),
            "n_in": n_in,
            "n_out": n_out,
        }
    )


def _variance(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Variance of a share. One success and one failure are added (Laplace), or 30 of 30 would claim to be certain."""
    p = (hits + 1) / (n + 2)
    return p * (1 - p) / n


def convergence(correct: np.ndarray, member: np.ndarray, sizes: tuple[int, ...], repeats: int, seed: int) -> pd.DataFrame:
    """How good the scores are with fewer models. Columns `models repeat split_half spearman_full mean_se`.

    `split_half`: Spearman ρ between the scores of two disjoint pools of that many models (NaN where 2·models > M);
    `spearman_full`: ρ with the scores of the whole pool. Draws that leave an example without models on one side are drawn again.
    """
    rng = np.random.default_rng(seed)
    full = estimate(correct, member).memorization.to_numpy()
    rows = []
    for size in sizes:
        for repeat in range(repeats):
            first, second = _two_pools(member, size, rng)
            scores = estimate(correct[first], member[first])
            half = np.nan
            if second is not None:
                half = spearman(scores.memorization, estimate(correct[second], member[second]).memorization).mean
            whole = spearman(scores.memorization, full).mean
            rows.append((size, repeat, half, whole, scores.se.mean()))
    return pd.DataFrame(rows, columns=["models", "repeat", "split_half", "spearman_full", "mean_se"])


def _two_pools(member: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    for _ in range(1000):
        order = rng.permutation(len(member))
        halves = [order[:size], order[size : 2 * size]] if 2 * size <= len(member) else [order[:size]]
        if all(member[half].sum(0).min() > 0 and member[half].sum(0).max() < size for half in halves):
            return halves[0], halves[1] if len(halves) == 2 else None
    raise UserError(f"pools of {size} models leave some example unseen or always seen: ask for larger pools")
