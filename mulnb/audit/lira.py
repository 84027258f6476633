"""LiRA, the likelihood ratio attack: was example i in the training set of this model? (Carlini et al. 2022, arXiv 2112.03570)

The pool's models are the shadow models. For each example, those that were trained on it give an "in" Gaussian of its logit
margin, the others an "out" Gaussian. A model is asked which of the two its own margin fits. Every score is higher for a member.

- offline (the paper's §VI-B): the out Gaussian alone. The paper's score is Φ((margin − μ_out) / σ_out); its argument is returned
  here, which orders examples in the same way and does not round to 1.
- online (the paper's algorithm 1): log N(margin; μ_in, σ_in²) − log N(margin; μ_out, σ_out²).

μ is the mean, as in algorithm 1 (the authors' code takes medians). With `fixed_variance` all examples share one σ, the root of
the within-example variance pooled over examples. With few shadow models that is steadier than a σ for each (the paper, §VI).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mulnb.core.errors import UserError

FEWEST = 8  # models on a side, below which an example's Gaussian is not worth the name
NARROWEST = 1e-3  # a standard deviation below it is the rounding of margins stored in float16


class Gaussians(NamedTuple):
    """One Gaussian of margins for each example, and how many models it was estimated from."""

    mean: np.ndarray  # float64 [n]
    std: np.ndarray  # float64 [n]; the same number everywhere if the variance is fixed
    count: np.ndarray  # int64 [n]


def check(member: np.ndarray, online: bool = False) -> None:
    """Refuse a pool that is too small, before any work.

    Args:
        member: bool [M, n], model j was trained on example i.
        online: whether in-models are needed, too.

    Raises:
        UserError: an example has fewer than `FEWEST` models on a side; the message names the worst one and its number.
    """
    member = np.asarray(member, dtype=bool)
    check_counts(member.sum(0), len(member), online)


def check_counts(n_in: np.ndarray, models: int, online: bool = False) -> None:
    """As `check`, from how many of the pool's `models` were trained on each example, `n_in` int [n]."""
    sides = {"without": models - n_in}
    if online:
        sides["with"] = n_in

    for word, count in sides.items():
        worst = int(count.argmin())
        if count[worst] < FEWEST:
            raise UserError(
                f"LiRA needs at least {FEWEST} pool models {word} each example, but example {worst} has {count[worst]} "
                f"of {models}: raise pool.models"
            )


def gaussians(pool_margin: np.ndarray, chosen: np.ndarray, fixed_variance: bool = True) -> Gaussians:
    """The Gaussian of every example's margin over the models chosen for it.

    Args:
        pool_margin: [M, n], the margin of example i under model j.
        chosen: bool [M, n], which models count for which example: `~member` for the out Gaussians, `member` for the in ones.
        fixed_variance: one standard deviation for all examples, or one for each (with n − 1 in its denominator).

    Returns:
        `Gaussians` with arrays [n].
    """
    chosen = np.asarray(chosen, dtype=bool)
    count = chosen.sum(0)

    # model by model, so that a pool of float16 margins is never copied as a whole into float64
    total = np.zeros(pool_margin.shape[1])
    for margin, counts in zip(pool_margin, chosen, strict=True):
        total += np.where(counts, margin.astype(np.float64), 0.0)
    mean = total / np.maximum(count, 1)

    squares = np.zeros_like(mean)
    for margin, counts in zip(pool_margin, chosen, strict=True):
        squares += np.where(counts, np.square(margin.astype(np.float64) - mean), 0.0)

    freedom = np.maximum(count - 1, 1)
    variance = np.full_like(mean, squares.sum() / freedom.sum()) if fixed_variance else squares / freedom

    return Gaussians(mean, np.maximum(np.sqrt(variance), NARROWEST), count)


def offline(margin: np.ndarray, out_mean: np.ndarray, out_std: np.ndarray | float) -> np.ndarray:
    """How far a model's margins lie above what models that never saw the example give, in standard deviations.

    Args:
        margin: [n] of the model asked.
        out_mean: [n], means over the shadow models that were not trained on the example.
        out_std: [n], or one number for all (fixed variance; then members and non-members must share it).

    Returns:
        float64 [n], higher for a member.
    """
    return (np.asarray(margin, dtype=np.float64) - out_mean) / out_std


def log_ratio(margin: np.ndarray, inside: Gaussians, outside: Gaussians) -> np.ndarray:
    """The log likelihood ratio of "trained on it" to "not trained on it" (the paper's eq. 4).

    Args:
        margin: [n] of the model asked.
        inside: Gaussians over the shadow models that were trained on the example.
        outside: over those that were not.

    Returns:
        float64 [n], higher for a member.
    """
    x = np.asarray(margin, dtype=np.float64)
    return _log_density(x, inside) - _log_density(x, outside)


def scores(
    margin: np.ndarray, pool_margin: np.ndarray, member: np.ndarray, online: bool = False, fixed_variance: bool = True
) -> np.ndarray:
    """LiRA scores of examples that the pool's subsets were drawn from.

    Args:
        margin: [n] of the model asked.
        pool_margin: [M, n] of the pool's models.
        member: bool [M, n], model j was trained on example i.
        online: use both Gaussians instead of the out Gaussian alone.
        fixed_variance: one standard deviation for all examples, or one for each.

    Returns:
        float64 [n], higher for a member.

    Raises:
        UserError: the shapes do not fit, or the pool is too small (see `check`).
    """
    member = np.asarray(member, dtype=bool)
    margin, pool_margin = np.asarray(margin), np.asarray(pool_margin)
    if pool_margin.shape != member.shape or pool_margin.shape[1:] != margin.shape:
        raise UserError(
            f"margin {margin.shape}, pool_margin {pool_margin.shape} and member {member.shape}: expected [n], [M, n] and [M, n]"
        )
    check(member, online)

    outside = gaussians(pool_margin, ~member, fixed_variance)
    if not online:
        return offline(margin, outside.mean, outside.std)

    inside = gaussians(pool_margin, member, fixed_variance)
    return log_ratio(margin, inside, outside)


def _log_density(x: np.ndarray, of: Gaussians) -> np.ndarray:
    """log N(x; mean, std²), without the constant that cancels in a ratio."""
    return -0.5 * np.square((x - of.mean) / of.std) - np.log(of.std)
