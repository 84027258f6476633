"""What a better ranking of the examples costs: seconds against fidelity, for proxies, several trainings, and pools."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.figures.marks import beside, columns, key, look, points, rows
from mulnb.figures.plotting import INK, SCORE, SOFT, Look, Picture, captioned, finish, headline, style
from mulnb.results import captions, compare

POOL = Look(INK, "o", "-")
MEAN = Look(SCORE["confidence"].color, "s", (0, (4, 1.5)))
LEAST = 1e-4  # seconds: what is free lies at the axis' end


@style()
def fidelity(profile: Profile, fidelity: pd.DataFrame) -> Picture:
    """The cost-fidelity figure: seconds (log) against ρ with memorization, and against the overlap of the high stratum.

    Args:
        profile: the study.
        fidelity: `kind name count seed seconds spearman overlap reliability`; `kind` is `proxy` (one training), `mean` (a proxy
            averaged over `count` trainings) or `pool` (exact scores from `count` models, repeats in `seed`).

    Returns:
        The figure. The dashed line is the limit √reliability: not even a perfect ranking correlates better with noisy scores.
    """
    measures = {name: _measure(fidelity, name) for name in ("spearman", "overlap")}
    found = vocabulary.ordered(rows(fidelity, kind="proxy")["name"])

    figure = Picture(height=3.9)
    panels = figure.subplots(1, 2, sharex=True)
    for axes, (name, table) in zip(panels, measures.items(), strict=True):
        _panel(axes, table, found, name)
    panels[0].set(title="Rank correlation with memorization", ylabel="Spearman ρ")
    panels[1].set(title="The same examples in the high stratum", ylabel="overlap")

    ceiling = ""
    reliability = float(fidelity["reliability"].iloc[0])
    if not math.isnan(reliability):  # imported scores have no pool, and so no known reliability
        most = math.sqrt(reliability)
        panels[0].axhline(most, color=SOFT, linewidth=0.9, linestyle=(0, (5, 2)), zorder=1)
        ceiling = (
            f" Dashed: √{reliability:.2f} = {most:.2f}, about the most that a proxy can have with scores of this reliability "
            "(split-half, Spearman-Brown)."
        )

    handles = [key(look(SCORE, name), vocabulary.label(name)) for name in found]
    kinds = set(fidelity["kind"])
    if "mean" in kinds:
        handles.append(key(MEAN, "mean of k trainings", filled=False, line=True))
    if "pool" in kinds:
        handles.append(key(POOL, "pool of M models", filled=False, line=True))
    headline(figure, "What a better ranking of the examples costs", handles, columns=6)

    counts = rows(fidelity, kind="proxy").groupby("name")["seed"].nunique()
    finish(
        figure,
        f"{captioned(profile)}. Proxies: seconds on top of one training; {captions.interval_note(counts)}. Mean: confidence "
        "averaged over k trainings, with the seconds of the further ones. Pool: exact scores from M models against those of the "
        f"models left out, which are fewer, so that its limit is lower; intervals over repeated choices of M models.{ceiling}",
    )

    # the layout is final: now it is known what a text would cover
    for axes, (name, table) in zip(panels, measures.items(), strict=True):
        _name_the_ends(axes, table, name)
    return figure


def _measure(fidelity: pd.DataFrame, name: str) -> pd.DataFrame:
    """One measure of each way to rank, `kind name count`, with its interval and its mean seconds: these differ between runs."""
    keys = ["kind", "name", "count"]
    frame = fidelity.assign(seconds=fidelity["seconds"].clip(lower=LEAST))
    seconds = frame.groupby(keys, as_index=False, observed=True)["seconds"].mean()
    return compare.intervals(frame, keys, [name]).merge(seconds, on=keys)


def _panel(axes: Axes, table: pd.DataFrame, proxies: list[str], column: str) -> None:
    """One measure of fidelity against seconds."""
    for kind, how in (("pool", POOL), ("mean", MEAN)):
        cells = rows(table, kind=kind).sort_values("count")
        if len(cells):
            points(axes, cells["seconds"], *columns(cells, column), how, filled=False, line=True, size=4)
    for name in proxies:
        cells = rows(table, kind="proxy", name=name)
        points(axes, cells["seconds"], *columns(cells, column), look(SCORE, name), size=5.5)

    axes.set(xscale="log", xlabel="seconds (log scale)")
    first, last = table["seconds"].min(), table["seconds"].max()
    room = max((last / first) ** 0.12, 2)
    axes.set_xlim(first / room, last * room**2)  # on the right for the counts
    lowest = np.nanmin([*table[column], *table[f"{column}_low"]])
    axes.set_ylim(min(0.0, lowest - 0.03), 1.02)


def _name_the_ends(axes: Axes, table: pd.DataFrame, column: str) -> None:
    """Write the count beside the first and the last point of each line."""
    for kind, letter, how in (("pool", "M", POOL), ("mean", "k", MEAN)):
        cells = rows(table, kind=kind).sort_values("count")
        if cells.empty:
            continue
        for place in sorted({0, len(cells) - 1}):
            cell = cells.iloc[place]
            beside(axes, cell["seconds"], cell[column], f"{letter} = {cell['count']}", how.color)
