"""What stands in a panel: markers with their intervals, entries of a legend, and the rows of a table that they show."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mulnb.figures.plotting import SOFT, Look


def key(look: Look, text: str, filled: bool = True, line: bool = False, color: str | None = None) -> Line2D:
    """An entry of a legend.

    Args:
        look: colour, marker and line style.
        text: what it stands for.
        filled: whether the marker is filled or hollow.
        line: whether a line goes through the marker.
        color: a colour instead of the look's.

    Returns:
        The handle.
    """
    tint = color or look.color
    return Line2D(
        [], [], color=tint, marker=look.marker, linestyle=look.line if line else "none", label=text,
        markerfacecolor=tint if filled else "white", markeredgecolor=tint, markeredgewidth=1.0,
    )  # fmt: skip


def points(
    axes: Axes, x: Iterable[float], mean: Iterable[float], low: Iterable[float], high: Iterable[float], look: Look,
    filled: bool = True, line: bool = False, across: bool = False, size: float = 4.5, bar: float = 1.0, color: str | None = None,
) -> None:  # fmt: skip
    """Draw markers with their intervals.

    Args:
        axes: the panel.
        x: where each marker stands.
        mean: the estimates.
        low: lower bounds; NaN (one seed) draws no interval.
        high: upper bounds.
        look: colour, marker and line style.
        filled: whether the markers are filled or hollow.
        line: whether the markers are joined.
        across: whether the intervals lie along x; then `x` is the place on the vertical axis.
        size: of the markers, in points.
        bar: width of the interval's line, in points.
        color: a colour instead of the look's.
    """
    x, mean, low, high = (np.asarray(list(values), dtype=float) for values in (x, mean, low, high))
    tint = color or look.color

    known = ~(np.isnan(low) | np.isnan(high))
    if known.any():
        ends = np.stack([mean - low, high - mean])[:, known]
        first, second, which = (mean, x, "xerr") if across else (x, mean, "yerr")
        axes.errorbar(first[known], second[known], **{which: ends}, fmt="none", ecolor=tint, elinewidth=bar, capsize=0, zorder=2)

    first, second = (mean, x) if across else (x, mean)
    axes.plot(
        first, second, color=tint, marker=look.marker, markersize=size, linestyle=look.line if line else "none", zorder=3,
        markerfacecolor=tint if filled else "white", markeredgecolor=tint, markeredgewidth=0.9,
    )  # fmt: skip


def look(table: dict[str, Look], name: str) -> Look:
    """The look of `name`; a name without one (a user's own) gets a plain one."""
    return table.get(name, Look(SOFT, "h", "--"))


# ---- reading a table


def columns(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`x`, `x_low`, `x_high` of a table as arrays."""
    return tuple(table[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))


def rows(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows of `table` in which every named column has the given value, or one of a tuple of values."""
    for column, value in values.items():
        table = table[table[column].isin(value if isinstance(value, tuple) else (value,))]
    return table
