"""What stands in a panel: markers with their intervals, entries of a legend, and the rows of a table that they show."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from mulnb.figures.plotting import INK, SMALL, SOFT, Look

CLEAR = 3.0  # points that stay free around a text


def key(look: Look, text: str, filled: bool = True, line: bool = False) -> Line2D:
    """An entry of a legend.

    Args:
        look: colour, marker and line style.
        text: what it stands for.
        filled: whether the marker is filled or hollow.
        line: whether a line goes through the marker.
    """
    return Line2D(
        [], [], color=look.color, marker=look.marker, linestyle=look.line if line else "none", label=text,
        markerfacecolor=look.color if filled else "white", markeredgecolor=look.color, markeredgewidth=1.0,
    )  # fmt: skip


def points(
    axes: Axes, x: Iterable[float], mean: Iterable[float], low: Iterable[float], high: Iterable[float], look: Look,
    filled: bool = True, line: bool = False, across: bool = False, size: float = 4.5, bar: float = 1.0,
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
    """
    x, mean, low, high = (np.asarray(list(values), dtype=float) for values in (x, mean, low, high))

    known = ~(np.isnan(low) | np.isnan(high))
    if known.any():
        ends = np.stack([mean - low, high - mean])[:, known]
        first, second, which = (mean, x, "xerr") if across else (x, mean, "yerr")
        axes.errorbar(
            first[known], second[known], **{which: ends}, fmt="none", ecolor=look.color, elinewidth=bar, capsize=0, zorder=2
        )

    first, second = (mean, x) if across else (x, mean)
    axes.plot(
        first, second, color=look.color, marker=look.marker, markersize=size, linestyle=look.line if line else "none", zorder=3,
        markerfacecolor=look.color if filled else "white", markeredgecolor=look.color, markeredgewidth=0.9,
    )  # fmt: skip


# where a text may stand: steps to the right and upwards from a point, the best first
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, -1), (1, 1), (-1, 1))
STARTS = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}  # which end of the text is there


def beside(axes: Axes, x: float, y: float, text: str, color: str = INK) -> None:
    """Write a text beside a point, on the side where it covers least of the lines and markers.

    Args:
        axes: the panel; everything is drawn, and the layout is final.
        x: the point.
        y: the point.
        text: a few words.
        color: of the text.
    """
    drawn = _drawn(axes)  # before the text is there
    words = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=SMALL, color=color)

    def put(place: tuple[int, tuple[int, int]]) -> int:
        """Put the text there, and count what it covers."""
        distance, (right, up) = place
        words.set(position=(distance * right, distance * up), ha=STARTS[right][0], va=STARTS[up][1])

        box = words.get_window_extent()
        left, bottom, right, top = box.padded(CLEAR * axes.figure.dpi / 72).extents
        inside = ((drawn > (left, bottom)) & (drawn < (right, top))).all(1)
        beyond = box.x1 > axes.bbox.x1 or box.y0 < axes.bbox.y0 or box.y1 > axes.bbox.y1
        return int(inside.sum()) + (len(drawn) if beyond else 0)

    put(min(itertools.product((6, 13), SIDES), key=put))  # near the point, or a little further


def _drawn(axes: Axes) -> np.ndarray:
    """What is drawn in a panel as a dense row of points along every line, in pixels [n, 2]; a text is its box."""
    lines = [line.get_transform().transform(line.get_xydata()) for line in axes.lines]
    for bars in axes.findobj(LineCollection):
        lines += [bars.get_transform().transform(bar) for bar in bars.get_segments()]
    lines += [text.get_window_extent().corners()[[0, 1, 3, 2, 0]] for text in axes.texts]

    points = []
    for corners in lines:
        steps = np.linspace(0, len(corners) - 1, 50 * len(corners))
        points.append(np.stack([np.interp(steps, np.arange(len(corners)), along) for along in corners.T], axis=1))
    return np.concatenate(points)


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
