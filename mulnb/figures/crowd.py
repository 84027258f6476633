"""Scatter plots of very many examples: a random part of them shows the same cloud, in a file that stays small."""

from __future__ import annotations

import numpy as np

MOST = 20_000  # points in a cloud


def drawn(n: int) -> np.ndarray:
    """Which of n examples a scatter plot shows: all of them, or `MOST` at random, the same ones every time.

    Returns:
        Positions int64 [min(n, MOST)], in ascending order.
    """
    if n <= MOST:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, MOST, replace=False))


def note(n: int) -> str:
    """The sentence for a caption, with a space before it; empty where all of n examples are shown."""
    return f" Of {n} examples, at most {MOST} of a kind are drawn as points, at random." if n > MOST else ""
