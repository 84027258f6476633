"""Figures 2 and 3 across profiles, as in the paper: a column for each pair of data set and architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mulnb.config import known_profiles
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.plotting import PALE, SMALL, SOFT, STYLE, WIDTH, Picture, bare, finish, headline, rows, style, wrapped
from mulnb.figures.refinement import figure_2_scores, make_room, rum_legend, rum_panel, without_oracle
from mulnb.figures.steps import change_panel, sequential_headline
from mulnb.results import captions, tables


@style()
def rum_across(frames: Mapping[str, pd.DataFrame | None], pairs: Sequence[str] = ()) -> Picture:
    """Figure 2: a column per profile, ToW above ToW-MIA; a profile without results (None) says how to get them. The panels of
    `pairs`, those of the paper, have its letters a-f.
    """
    figure, panels = _across(frames, pairs, 4.2)
    runs = {
        name: rows(without_oracle(frame), strategy=("vanilla", "rum_f", "rum"))
        for name, frame in frames.items()
        if frame is not None
    }
    for place, (name, column) in enumerate(zip(frames, panels.T, strict=True)):
        if name in runs:
            _rum_column(column, runs[name], WIDTH / len(frames), first=place == 0)
    every = pd.concat(runs.values(), ignore_index=True) if runs else pd.DataFrame(columns=["score", "strategy"])
    handles = rum_legend(every, figure_2_scores(every)) if runs else []
    headline(figure, "Refinement against vanilla, across data sets and architectures", handles)
    counts = [n for one in runs.values() for n in tables.tow_table(one)["n"]]
    full = " RUM, an algorithm for each stratum, stands alone;" if "rum" in set(every["strategy"]) else ""
    note = f" Lines join vanilla and RUM$^F$ on the same forget sets;{full} {captions.interval_note(counts)}." if runs else ""
    return finish(figure, _profiles(frames) + note)


def _rum_column(column: Sequence[Axes], runs: pd.DataFrame, inches: float, first: bool) -> None:
    """ToW above ToW-MIA, with markers that the many runs of many algorithms leave room for."""
    table, scores = tables.tow_table(runs), figure_2_scores(runs)
    slot = 72 * 0.8 * inches / (table["algorithm"].nunique() * len(scores))  # points
    for axes, metric in zip(column, METRICS, strict=True):
        rum_panel(axes, table, metric, scores, size=min(3.6, max(2.0, 0.55 * slot)))
        axes.tick_params(axis="x", labelsize=SMALL)
        axes.set_ylabel(vocabulary.label(metric) if first else "")
    column[0].tick_params(labelbottom=False)
    make_room(column[1], inches)


@style()
def sequential_across(frames: Mapping[str, pd.DataFrame | None], pairs: Sequence[str] = ()) -> Picture:
    """Figure 3: a column per profile, change of ToW above that of ToW-MIA, on the union of all forget sets so far. The panels
    of `pairs`, those of the paper, have its letters a-d.
    """
    figure, panels = _across(frames, pairs, 3.8)
    found = {name: rows(tables.sequential_table(frame), scope="union") for name, frame in frames.items() if frame is not None}
    for place, (name, column) in enumerate(zip(frames, panels.T, strict=True)):
        for axes, metric in zip(column, METRICS, strict=True) if name in found else ():
            change_panel(axes, found[name], metric)
            axes.set_ylabel("" if place else f"change of {vocabulary.label(metric)}")
        column[1].set_xlabel("unlearning step" if name in found else "")
    sequential_headline(figure, pd.concat(found.values()) if found else pd.DataFrame({"strategy": []}))
    counts = [n for table in found.values() for n in table["n"]]
    note = (
        f" Union of all forget sets so far, change since step 1 paired by seed; {captions.interval_note(counts)}."
        if found
        else ""
    )
    return finish(figure, _profiles(frames) + note)


def _across(frames: Mapping[str, pd.DataFrame | None], pairs: Sequence[str], height: float) -> tuple[Picture, np.ndarray]:
    """Two rows of panels, a column per profile; those without results are already filled in."""
    figure = Picture(height=height)
    panels = figure.subplots(2, len(frames), squeeze=False)
    width = 72 * WIDTH / len(frames) - 34  # points, without the numbers beside the axis
    letters = iter("abcdefghij")
    for row, axes_of_row in enumerate(panels):
        for axes, (name, frame) in zip(axes_of_row, frames.items(), strict=True):
            title = [f"({next(letters)})"] if name in pairs else []
            title += [] if row else [_title(name)]
            axes.set_title(wrapped(" ".join(title), width, size=STYLE["axes.titlesize"], weight="bold"))
            if frame is None:
                _no_results(axes, name)
    return figure, panels


def _no_results(axes: Axes, name: str) -> None:
    """What to run: the profile, and the reduced one of that name where there is one."""
    bare(axes)
    axes.set_facecolor(PALE)
    known = [one for one in (name, f"{name}-mini") if one in known_profiles()]
    how = "\nor\n".join(f"./run_all.sh\n--profile {one}" for one in known) or "its profile is not\npart of this release"
    text = f"no results yet:\n{how}"
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, fontsize=7.5, transform=axes.transAxes, linespacing=1.4)


def _profiles(frames: Mapping[str, pd.DataFrame | None]) -> str:
    """The caption's first sentences: which profiles are shown, with n, and which have no results."""
    shown = [f"{name} ({captions.seeds([one['seed'].nunique()])})" for name, one in frames.items() if one is not None]
    absent = [name for name, one in frames.items() if one is None]
    said = [f"Profiles: {', '.join(shown)}."] if shown else []
    return " ".join(said + ([f"No results yet for {', '.join(absent)}."] if absent else []))


def _title(name: str) -> str:
    from mulnb.config import load_profile
    from mulnb.core.errors import UserError

    try:
        return load_profile(name).title
    except UserError:  # a profile of yours, known by its results only
        return name
