"""KLoM, the KL divergence of margins: are unlearned models distributed as oracles are? (Georgiev et al. 2024, arXiv 2410.23232)

For one example, its margins under k unlearned models (one a seed) and under k oracles are two samples. KLoM is the KL divergence
KL(unlearned ‖ oracle) of their histograms. It sees what a mean hides: models that are right on average and wrong in each seed.

The histograms follow the code of the paper's authors (data-unlearning-bench): margins are clipped at ±100; 20 bins of equal width
span the joint range of the two samples; the oracles' share of a bin is at least 1e-5 where the unlearned models have any, and its
shares are then rescaled to sum to 1. One thing differs: here the largest value belongs to the last bin (METHOD §7b), while
`numpy.digitize` with the same edges drops it.

It needs many seeds: with k of 10, two samples from one distribution are already far from 0 (with 20 bins most bins hold one value
or none), and disjoint ones come to as much as log(1e5) = 11.5. Compare with the same number for a second set of oracles, not
with 0. Seen on digits with ten seeds, median over S: 6.0 between two sets of oracles, 10.2 between original models and oracles.
"""

from __future__ import annotations

import numpy as np

from mulnb.core.errors import UserError

BINS = 20
CLIP = 100.0
LEAST = 1e-5  # share of the oracles in a bin where they have none and the unlearned models do
FEWEST = 5  # seeds that must share an example


def per_example(unlearned: np.ndarray, oracle: np.ndarray, present: np.ndarray | None = None, fewest: int = FEWEST) -> np.ndarray:
    """KLoM of every example.

    Args:
        unlearned: margins [k, n] of k unlearned models.
        oracle: margins [m, n] of m oracles; m = k where `present` is given.
        present: bool [k, n], the seeds that count for an example, where forget sets differ from seed to seed; all by default.
        fewest: an example with fewer seeds than this gets NaN.

    Returns:
        float64 [n] in nats, ≥ 0; 0 for two identical samples.

    Raises:
        UserError: the shapes do not fit.
    """
    unlearned, oracle = np.asarray(unlearned, dtype=np.float64), np.asarray(oracle, dtype=np.float64)
    if unlearned.ndim != 2 or oracle.ndim != 2 or unlearned.shape[1] != oracle.shape[1]:
        raise UserError(f"margins: unlearned {unlearned.shape}, oracle {oracle.shape}: expected [k, n] and [m, n]")
    if present is not None and not unlearned.shape == oracle.shape == np.shape(present):
        raise UserError(f"present {np.shape(present)}: expected the shape of both margins, {unlearned.shape} and {oracle.shape}")

    kept = np.ones(unlearned.shape, dtype=bool) if present is None else np.asarray(present, dtype=bool)
    kept_oracle = np.ones(oracle.shape, dtype=bool) if present is None else kept
    unlearned, oracle = np.clip(unlearned, -CLIP, CLIP), np.clip(oracle, -CLIP, CLIP)

    both, counted = np.concatenate([unlearned, oracle]), np.concatenate([kept, kept_oracle])  # [k + m, n]
    low = np.where(counted, both, np.inf).min(0)
    width = np.where(counted, both, -np.inf).max(0) - low
    width = np.where(width > 0, width, 1.0)  # all values equal: they share the first bin

    p, q = _shares(unlearned, kept, low, width), _shares(oracle, kept_oracle, low, width)  # [BINS, n]
    divergence = _divergence(p, q)

    return np.where(np.minimum(kept.sum(0), kept_oracle.sum(0)) >= fewest, divergence, np.nan)


def summary(values: np.ndarray, prefix: str = "klom") -> dict[str, float]:
    """The median and the 95th percentile over examples, as the paper reports them.

    Args:
        values: [n] of `per_example`; NaN is left out.
        prefix: of the names.

    Returns:
        `klom_p50 klom_p95`, in nats; NaN where no example has a value.
    """
    known = values[~np.isnan(values)]
    p50, p95 = np.quantile(known, [0.5, 0.95]) if len(known) else (np.nan, np.nan)

    return {f"{prefix}_p50": float(p50), f"{prefix}_p95": float(p95)}


def _shares(values: np.ndarray, kept: np.ndarray, low: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The share of an example's values in each bin, [BINS, n]."""
    with np.errstate(invalid="ignore"):  # an example without any seed has no range
        place = np.floor((values - low) / width * BINS)  # [k, n]
    place = np.minimum(place, BINS - 1)

    shares = np.empty((BINS, values.shape[1]))
    for number in range(BINS):
        shares[number] = ((place == number) & kept).sum(0)

    return shares / np.maximum(kept.sum(0), 1)


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) of shares [BINS, n] in nats, [n]."""
    filled = p > 0
    raised = np.where(filled, np.maximum(q, LEAST), q)
    q = raised / (1 + (raised - q).sum(0))  # the sum is 1 again; untouched, to the bit, where nothing was raised

    terms = np.zeros_like(p)
    terms[filled] = p[filled] * np.log(p[filled] / q[filled])

    return np.maximum(terms.sum(0), 0.0)  # rounding may leave −1e-17
