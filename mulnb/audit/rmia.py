"""RMIA, the robust membership inference attack, offline, from margins alone (Zarifzadeh et al. 2024, arXiv 2312.03262).

Example x is compared with a population of examples z that no model was trained on (here T): how often is x more probable under
the model than z, each relative to what reference models say? With p = sigmoid(margin), the softmax probability of the true class:

- p_out(x), the mean of p over the pool's models that were not trained on x
- p(x) = ½·[(1 + a)·p_out(x) + (1 − a)], the paper's offline approximation of the mean over in and out models
- ratio(x) = p_model(x) / p(x)
- score(x) = share of z with ratio(x) > γ·ratio(z)

a = 0.3 and γ = 1, the defaults of the authors' repository; p is the plain softmax, without its Taylor variant. A tie counts
half, so that a test example that is itself in the population is neither favoured nor punished.

Where no out-model knows an example (a flipped label), p(x) is (1 − a)/2, and the ratio of any model that does not know it either
is near 0. The AUC of a hard forget set therefore lies far below .5 for an oracle: compare with the oracle's.
"""

from __future__ import annotations

import numpy as np

from mulnb.audit.margins import probability

A = 0.3
GAMMA = 1.0


def out_probability(pool_margin: np.ndarray, member: np.ndarray) -> np.ndarray:
    """p_out: the mean probability of the true class under the models that were not trained on the example.

    Args:
        pool_margin: [M, n].
        member: bool [M, n], model j was trained on example i.

    Returns:
        float64 [n]; NaN for an example that every model was trained on.
    """
    total, count = np.zeros(pool_margin.shape[1]), (~np.asarray(member, dtype=bool)).sum(0)

    for margin, inside in zip(pool_margin, member, strict=True):
        total += np.where(inside, 0.0, probability(margin))

    return total / np.where(count > 0, count, np.nan)


def ratio(margin: np.ndarray, p_out: np.ndarray, a: float = A) -> np.ndarray:
    """How much more probable the true class is under the model than under the reference models.

    Args:
        margin: [n] of the model asked.
        p_out: [n], see `out_probability`.
        a: 1 takes p_out for p; 0 assumes that an in-model is certain of everything.

    Returns:
        float64 [n].
    """
    reference = ((1 + a) * p_out + (1 - a)) / 2
    return probability(margin) / reference


def offline(ratio_x: np.ndarray, ratio_z: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """The RMIA score: the share of the population that x beats.

    Args:
        ratio_x: [n], ratios of the examples asked about.
        ratio_z: [m], ratios of the population, under the same model.
        gamma: by how much x must beat z.

    Returns:
        float64 [n] in [0, 1], higher for a member.
    """
    population = np.sort(gamma * np.asarray(ratio_z, dtype=np.float64))
    below = np.searchsorted(population, ratio_x, side="left")
    up_to = np.searchsorted(population, ratio_x, side="right")

    return (below + up_to) / (2 * len(population))
