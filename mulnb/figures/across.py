"""Figures 2 and 3 across profiles, as in the paper: a column for each pair of data set and architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mulnb.config import known_profiles, load_profile
from mulnb.core import vocabulary
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import METRICS
from mulnb.figures.ends import ENDS, ENDS_NOTE, end_keys, ends_note
from mulnb.figures.marks import rows
from mulnb.figures.plotting import PALE, SMALL, SOFT, STYLE, WIDTH, Picture, bare, finish, headline, style, wrapped
from mulnb.figures.refinement import figure_2_scores, make_room, rum_legend, rum_panel
from mulnb.figures.steps import sequential_headline, step_panel, unlearned
from mulnb.results import captions, compare, tables

Frames = Mapping[str, pd.DataFrame | None]


@style()
def rum_across(frames: Frames, pairs: Sequence[str] = ()) -> Picture:
    """Figure 2 across profiles: a column per profile, ToW above ToW-MIA.

    Args:
        frames: the frame `unlearning` by profile name; None where there are no results: the panel says how to get them.
        pairs: the profiles that stand for the paper's pairs; their panels have its letters a-f.
    """
    figure, panels = _across(frames, pairs, 4.4)

    shown, runs, ends = [], [], []  # of the profiles that have results
    for place, (frame, column) in enumerate(zip(frames.values(), panels.T, strict=True)):
        if frame is not None:
            shown.append(compare.measured(frame))
            runs.append(rows(compare.unlearned(frame), strategy=("vanilla", "rum_f", "rum")))
            ends.append(compare.ends(frame))
            _rum_column(column, runs[-1], ends[-1], WIDTH / len(frames), first=place == 0)

    title = "Refinement against vanilla, across data sets and architectures"
    if not runs:
        headline(figure, title)
        return finish(figure, _profiles(frames))

    every_row, every_run, every_end = (pd.concat(parts, ignore_index=True) for parts in (shown, runs, ends))
    headline(figure, title, rum_legend(every_run, figure_2_scores(every_run)) + end_keys(every_end))
    counts = pd.concat([tables.tow_table(found)["n"] for found in runs])
    full = " RUM, an algorithm for each stratum, stands alone;" if "rum" in set(every_run["strategy"]) else ""
    return finish(
        figure,
        f"{_profiles(frames)} Lines join vanilla and RUM$^F$ on the same forget sets;{full} {captions.interval_note(counts)}."
        f"{ends_note(every_end)}{captions.unfit(every_run)}{captions.unfit_ceiling(every_row)}",
    )


@style()
def sequential_across(frames: Frames, pairs: Sequence[str] = ()) -> Picture:
    """Figure 3 across profiles: change of ToW above that of ToW-MIA, on the union of all forget sets so far.

    Args:
        frames: the frame `sequential` by profile name; see `rum_across`.
        pairs: as in `rum_across`; the letters are a-d.
    """
    figure, panels = _across(frames, pairs, 3.8)

    found = []
    for place, (frame, column) in enumerate(zip(frames.values(), panels.T, strict=True)):
        if frame is None:
            continue
        table = rows(tables.sequential_table(frame), scope="union")
        found.append(table)
        for axes, metric in zip(column, METRICS, strict=True):
            step_panel(axes, table, f"{metric}_change")
            axes.set_ylabel("" if place else f"change of {vocabulary.label(metric)}")
        column[1].set_xlabel("unlearning step")

    every = pd.concat(found) if found else pd.DataFrame({"strategy": []})
    sequential_headline(figure, every)
    if not found:
        return finish(figure, _profiles(frames))
    ends = f" {ENDS_NOTE}." if set(every["strategy"]) & set(ENDS) else ""
    every_run = pd.concat([frame for frame in frames.values() if frame is not None], ignore_index=True)
    return finish(
        figure,
        f"{_profiles(frames)} Union of all forget sets so far, change since step 1 paired by seed; "
        f"{captions.interval_note(every['n'])}.{ends}{captions.unfit(unlearned(every_run), mark='')}",
    )


def _rum_column(column: Sequence[Axes], runs: pd.DataFrame, ends: pd.DataFrame, inches: float, first: bool) -> None:
    """ToW above ToW-MIA, with markers as large as the number of runs allows."""
    table, scores = tables.tow_table(runs), figure_2_scores(runs)
    slot = 72 * 0.8 * inches / (table["algorithm"].nunique() * len(scores))  # points
    for axes, metric in zip(column, METRICS, strict=True):
        rum_panel(axes, table, ends, metric, scores, size=min(3.6, max(2.0, 0.55 * slot)))
        axes.tick_params(axis="x", labelsize=SMALL)
        axes.set_ylabel(vocabulary.label(metric) if first else "")
    column[0].tick_params(labelbottom=False)
    make_room(column[1], inches)


def _across(frames: Frames, pairs: Sequence[str], height: float) -> tuple[Picture, np.ndarray]:
    """Two rows of panels [2, profiles] with their titles; those without results are already filled in."""
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
    """What to run: the profile, and its reduced version where there is one."""
    bare(axes)
    axes.set_facecolor(PALE)
    known = [candidate for candidate in (name, f"{name}-small", f"{name}-mini") if candidate in known_profiles()]
    how = "\nor\n".join(f"./run_all.sh\n--profile {candidate}" for candidate in known)
    text = "no results yet:\n" + (how or "its profile is not\npart of this release")
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, fontsize=7.5, transform=axes.transAxes, linespacing=1.4)


def _profiles(frames: Frames) -> str:
    """The caption's first sentences: which profiles are shown, with n, and which have no results."""
    shown, absent = [], []
    for name, frame in frames.items():
        if frame is None:
            absent.append(name)
        else:
            shown.append(f"{name} ({captions.seeds([frame['seed'].nunique()])})")

    sentences = [f"Profiles: {', '.join(shown)}."] if shown else []
    if absent:
        sentences.append(f"No results yet for {', '.join(absent)}.")
    return " ".join(sentences)


def _title(name: str) -> str:
    """The profile's title; a user's profile that is known by its results only has its name."""
    try:
        return load_profile(name).title
    except UserError:
        return name
