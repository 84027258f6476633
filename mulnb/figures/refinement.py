"""Figure 2 for one profile: ToW and ToW-MIA of RUM^F beside vanilla and the controls."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.ends import end_bands, end_keys, ends_note
from mulnb.figures.marks import columns, key, look, points, rows
from mulnb.figures.plotting import FAINT, SCORE, SMALL, SOFT, WIDTH, Look, Picture, captioned, finish, headline, style
from mulnb.results import captions, compare, tables

JOINED = ("vanilla", "repeat", "shuffle", "rum_f")  # strategies of one algorithm, from left to right


@style()
def rum(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Figure 2 for one profile: ToW and ToW-MIA of RUM^F, vanilla, repeat and shuffle, per algorithm and score.

    Args:
        profile: the study.
        unlearning: the tidy frame of unlearning runs.
    """
    runs, ends = compare.unlearned(unlearning), compare.ends(unlearning)
    table, scores = tables.tow_table(runs), figure_2_scores(runs)
    strategies = set(table["strategy"])

    figure = Picture(height=4.6)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        rum_panel(axes, table, ends, metric, scores)
        axes.set_title(vocabulary.label(metric))
    panels[0].tick_params(labelbottom=False)
    make_room(panels[1], WIDTH)

    controls = strategies & {"repeat", "shuffle"}  # above vanilla alone, it may be the three steps that helped
    others = "all others of its line" if controls else "the hollow one"
    question = f"Does refinement help? Where the filled marker lies above {others}."
    headline(figure, question, rum_legend(table, scores) + end_keys(ends))
    mixed = f" {vocabulary.mix(profile.unlearning.rum)} stands alone." if "rum" in strategies else ""
    return finish(
        figure,
        f"{captioned(profile)}. Lines join the strategies on the same forget sets, from left to right {_in_words(strategies)}."
        f"{mixed} {captions.sentence(captions.interval_note(table['n']))}; a bar that reaches the frame goes on."
        f"{ends_note(ends)} {captions.SEEDS_VARY}. Differences paired by seed, which decide, have a figure of their own."
        f"{captions.unfit(runs)}{captions.unfit_ceiling(compare.measured(unlearning))}",
    )


def _in_words(strategies: set[str]) -> str:
    """ "vanilla, repeat, shuffle and RUM^F", as far as they are there."""
    found = [vocabulary.mathtext(name) for name in JOINED if name in strategies]
    return f"{', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else found[0]


def figure_2_scores(runs: pd.DataFrame) -> list[str]:
    """The scores of the paper's Figure 2 that are there; if none is, all that are there."""
    found = set(runs["score"])
    return [name for name in vocabulary.FIGURE_2_SCORES if name in found] or vocabulary.ordered(found)


def rum_legend(table: pd.DataFrame, scores: list[str]) -> list[Line2D]:
    """Entries for the scores (colours) and for the strategies that are there (markers)."""
    handles = [key(look(SCORE, name), vocabulary.label(name)) for name in scores]
    strategies = {
        "vanilla": key(Look(SOFT, "o"), "vanilla", filled=False),
        "repeat": key(Look(SOFT, "x"), "repeat"),
        "shuffle": key(Look(SOFT, "_"), "shuffle"),
        "rum_f": key(Look(SOFT, "o"), vocabulary.mathtext("rum_f")),
    }
    found = set(table["strategy"])
    return handles + [handle for name, handle in strategies.items() if name in found]


def rum_panel(axes: Axes, table: pd.DataFrame, ends: pd.DataFrame, metric: str, scores: list[str], size: float = 5.0) -> None:
    """One metric: a group per algorithm, and in it the strategies of each score.

    Args:
        axes: the panel.
        table: a table of `tables.tow_table`, without the ends of the scale.
        ends: floor and ceiling, a table of `compare.ends`.
        metric: `tow` or `tow_mia`.
        scores: the scores to draw, from left to right.
        size: of the markers, in points.
    """
    algorithms, step = vocabulary.ordered(table["algorithm"]), 0.84 / len(scores)

    groups = []
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            centre = a + (s - (len(scores) - 1) / 2) * step
            cells = rows(table, algorithm=algorithm, score=score)
            _strategies(axes, cells, metric, centre, step * 0.3, look(SCORE, score), size)
            groups.append((cells, centre))
        if a:
            axes.axvline(a - 0.5, color=FAINT, linewidth=0.8)

    end_bands(axes, ends, metric)
    shown = pd.concat([rows(table, score=tuple(scores)), ends])
    axes.set_ylim(_bottom(*columns(shown, metric)), 1.02)
    for cells, centre in groups:
        _mark(axes, cells, metric, centre)

    axes.set_xlim(-0.5, len(algorithms) - 0.5)
    axes.set_xticks(range(len(algorithms)), [vocabulary.label(name) for name in algorithms], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylabel(vocabulary.label(metric))


def make_room(axes: Axes, inches: float) -> None:
    """Turn the algorithms' names where they would touch each other.

    Args:
        axes: the panel that has the names below it.
        inches: its width.
    """
    if 0.75 * len(axes.get_xticks()) > inches:
        for text in axes.get_xticklabels():
            text.set(rotation=35, ha="right", rotation_mode="anchor")


def _bottom(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Where the panel begins: below every interval, unless one of them would press all means together."""
    wide = mean.min() - 0.35 * (1 - mean.min())
    return max(0.0, wide - 0.03, np.nanmin([*low, mean.min()]) - 0.03)


def _strategies(axes: Axes, cells: pd.DataFrame, metric: str, centre: float, reach: float, how: Look, size: float) -> None:
    """The strategies of one score side by side, joined: a rising line is a gain. The full RUM stands alone."""
    found = [name for name in JOINED if name in set(cells["strategy"])]
    place = dict(zip(found, centre + reach * np.linspace(-1, 1, len(found)), strict=True)) if len(found) > 1 else {}
    place |= {name: centre for name in cells["strategy"] if name not in place}

    # strategy → look, width of the interval's line, filled
    refined = (how, 1.5, True)
    drawn = {
        "vanilla": (how, 0.6, False),
        "repeat": (Look(how.color, "x"), 0.6, True),
        "shuffle": (Look(how.color, "_"), 0.6, True),
        "rum_f": refined,
        "rum": refined,
    }

    means = [rows(cells, strategy=name)[metric].item() for name in place]
    axes.plot(list(place.values()), means, color=how.color, linewidth=0.8, alpha=0.55, zorder=1)
    for name, x in place.items():
        marker, bar, filled = drawn[name]
        points(axes, [x], *columns(rows(cells, strategy=name), metric), marker, size=size, bar=bar, filled=filled)


def _mark(axes: Axes, cells: pd.DataFrame, metric: str, centre: float) -> None:
    """A † below the strategies of a score if the original or the oracle of a run did not fit the retain set."""
    if "unconverged" not in cells or not cells["unconverged"].any():
        return
    bottom, top = axes.get_ylim()
    lowest = np.nanmin([*cells[metric], *cells[f"{metric}_low"]])
    place = max(lowest, bottom + 0.09 * (top - bottom))  # where the intervals go on below the frame, within it
    axes.annotate("†", (centre, place), (0, -9), textcoords="offset points", ha="center", fontsize=SMALL)
