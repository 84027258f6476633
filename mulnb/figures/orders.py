"""The crossed design: the same forget set refined in the order of each score."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.forest import forest_frame, name_rows, with_means
from mulnb.figures.marks import columns, key, look, points, rows
from mulnb.figures.plotting import INK, SCORE, Look, Picture, captioned, finish, headline, placeholder, style
from mulnb.results import captions, compare
from mulnb.results.verdicts import MARGIN

MEAN = Look(INK, "D")


@style()
def crossed(profile: Profile, crossed: pd.DataFrame) -> Picture:
    """What RUM^F loses when a proxy's order replaces memorization's, on the same forget set.

    Args:
        profile: the study.
        crossed: the frame of the crossed design, with the column `order`.

    Returns:
        The figure: differences paired by seed, per algorithm and order; right of 0, the proxy's order is the better one.
    """
    if not len(crossed):
        return placeholder(profile, "No crossed runs: they need memorization among unlearning.scores, and algorithms with RUM^F.")
    orders = [name for name in vocabulary.ordered(crossed["order"]) if name != "memorization"]
    if not orders:
        return placeholder(profile, "No crossed runs: they need another score beside memorization.")
    table = with_means(compare.order_differences(crossed, "order").rename(columns={"order": "score"}))
    lines = []
    for algorithm in vocabulary.ordered(crossed["algorithm"]):
        lines.append((algorithm, ""))
        if len(orders) > 1:  # a single one is the mean
            lines += [(algorithm, order) for order in orders]

    figure = Picture(height=0.23 * len(lines) + 1.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _differences(axes, table, metric, lines, MEAN if len(orders) > 1 else look(SCORE, orders[0]))
        forest_frame(axes, metric, lines, [columns(table, name) for name in METRICS])  # one scale for both

    name_rows(panels[0], lines)
    handles = [key(look(SCORE, name), vocabulary.label(name)) for name in orders]
    if len(orders) > 1:
        handles.append(key(MEAN, "mean over the orders"))
    headline(figure, "Is a proxy's order as good as memorization's? The same forget set in both", handles)
    return finish(
        figure,
        f"{captioned(profile)}. RUM$^F$ on the forget set that memorization chose, refined in a proxy's order, minus refined in "
        f"memorization's; paired by seed, {captions.interval_note(table['n'])}, without a correction for their number. Blue "
        f"band: ± {MARGIN}; an interval wholly right of its left edge shows that the order is no worse. {captions.SEEDS_VARY}."
        f"{captions.unfit(crossed)}",
    )


def _differences(axes: Axes, table: pd.DataFrame, metric: str, lines: list[tuple[str, str]], of_algorithm: Look) -> None:
    """A marker per row, in the order's colour; the mean over the orders in the row of the algorithm itself."""
    for place, (algorithm, order) in enumerate(lines):
        cells = rows(table, algorithm=algorithm, score=order)
        how = look(SCORE, order) if order else of_algorithm
        bar = 1.0 if order else 1.8
        points(axes, np.full(len(cells), place), *columns(cells, metric), how, across=True, size=4.5, bar=bar)
