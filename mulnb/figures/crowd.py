"""Scatter plots of very many examples: smaller and paler points, and at most so many that the file stays small."""

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


def cloud(n: int, size: float, alpha: float) -> dict[str, float]:
    """Size and opacity of the points of a scatter plot: many points would be one blob, so they are smaller and paler.

    Args:
        n: the number of points.
        size: marker size of a few, in points.
        alpha: opacity of a few.

    Returns:
        `markersize` and `alpha` for `Axes.plot`.
    """
    crowd = max(1.0, n / 2000)
    return {"markersize": max(size * crowd**-0.25, 1.0), "alpha": max(alpha * crowd**-0.5, 0.06)}
