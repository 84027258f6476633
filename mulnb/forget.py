"""The one selector of forget sets: three disjoint strata of a score (METHOD §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mulnb.errors import UserError

NAMES = ("low", "medium", "high")


@dataclass(frozen=True)
class Strata:
    """Three disjoint sets of example indices, int64 [n] each."""

    low: np.ndarray
    medium: np.ndarray
    high: np.ndarray

    def __iter__(self):
        return iter((self.low, self.medium, self.high))

    @property
    def forget(self) -> np.ndarray:
        """S = low ∪ medium ∪ high, sorted."""
        return np.sort(np.concatenate(list(self)))


def strata(
    scores: np.ndarray,
    size: int,
    centre: float | Literal["median"] = "median",
    seed: int = 0,
    candidates: np.ndarray | None = None,
) -> Strata:
    """The `size` largest, the `size` smallest and the `size` examples nearest to `centre`, in this order of precedence.

    `scores` [N], oriented (higher = more memorized); `candidates`: the indices that may be chosen (all by default). Ties are broken by
    a random permutation drawn from `seed`, never by the order of the examples.
    Raises `UserError` if the strata do not fit or a score is not a number.
    """
    candidates = np.arange(len(scores)) if candidates is None else np.asarray(candidates)
    if size < 1 or 3 * size > len(candidates):
        raise UserError(
            f"stratum size {size}: three strata need {3 * size} of {len(candidates)} examples; use 1 … {len(candidates) // 3}"
        )
    values = np.asarray(scores, dtype=np.float64)[candidates]
    if np.isnan(values).any():
        raise UserError(
            f"the score of example {candidates[np.isnan(values)][0]} is not a number: scores must be known for all candidates"
        )
    shuffled = np.random.default_rng(seed).permutation(len(candidates))
    order = shuffled[np.argsort(values[shuffled], kind="stable")]  # ascending, ties in random order
    low, rest, high = order[:size], order[size:-size], order[-size:]
    middle = np.median(values) if centre == "median" else float(centre)
    # `rest` is sorted, so a stable sort by distance alone would put ties in order of value: shuffle it again
    rest = np.random.default_rng((seed, 1)).permutation(rest)
    medium = rest[np.argsort(np.abs(values[rest] - middle), kind="stable")[:size]]
    return Strata(*(np.sort(candidates[part]) for part in (low, medium, high)))
