"""The two ends of the scale in a figure: the floor (not unlearned) and the ceiling (a second oracle), each a line with a band."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mulnb.core.vocabulary import CEILING, FLOOR
from mulnb.figures.marks import columns, key, look
from mulnb.figures.plotting import Look

ENDS = {
    CEILING: Look("#222222", "", (0, (5, 2))),
    FLOOR: Look("#6F6F6F", "", (0, (4, 1, 1, 1, 1, 1))),
}
END_LABELS = {CEILING: "ceiling", FLOOR: "floor"}
ENDS_NOTE = "Ceiling: a second oracle; floor: the original model, not unlearned"


def end_bands(axes: Axes, ends: pd.DataFrame, column: str) -> None:
    """Draw the floor and the ceiling of the scale, each as a line with its interval as a band.

    Args:
        axes: the panel.
        ends: a table of `compare.ends`; if it has a column `step`, the lines run along the steps, else through the whole panel.
        column: the metric.
    """
    for name, group in ends.groupby("algorithm", sort=False, observed=True):
        how = look(ENDS, name)
        mean, low, high = columns(group, column)
        stroke = {"color": how.color, "linestyle": how.line, "linewidth": 1.0, "zorder": 1}
        shade = {"facecolor": how.color, "alpha": 0.13, "linewidth": 0, "zorder": 0}

        if "step" in group:
            axes.plot(group["step"], mean, **stroke)
            axes.fill_between(group["step"].to_numpy(float), low, high, **shade)
            continue
        axes.axhline(mean[0], **stroke)
        if not np.isnan(low[0]):
            axes.axhspan(low[0], high[0], **shade)


def end_keys(ends: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the ends of the scale that were measured."""
    found = set(ends["algorithm"])
    return [key(how, END_LABELS[name], line=True) for name, how in ENDS.items() if name in found]


def ends_note(ends: pd.DataFrame) -> str:
    """What the bands are, as a sentence that begins with a space; "" where the ends were not measured."""
    return f" {ENDS_NOTE}; both with their interval, mean over the scores." if len(ends) else ""
