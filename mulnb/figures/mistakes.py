"""What common mistakes do to the results (notebook 09): how far ToW moves, and whether the methods are still ranked alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import label
from mulnb.figures.forest import BAND, difference_axis
from mulnb.figures.marks import columns, key, points, rows
from mulnb.figures.plotting import INK, PALE, SCORE, SMALL, SOFT, Look, Picture, captioned, finish, headline, style
from mulnb.results import captions, effects
from mulnb.results.verdicts import MARGIN

TAU = Look(INK, "o")
HALVES = (0, (4, 2))  # the line of two halves of the seeds


@style()
def common_mistakes(profile: Profile, mistakes: pd.DataFrame) -> Picture:
    """Left, the difference that each mistake makes to ToW, per algorithm; right, how well it keeps the ranking of the methods.

    Args:
        profile: the study.
        mistakes: the frame of that name.

    Returns:
        The figure: a row per mistake; left of 0, the mistake makes an algorithm look worse than it is.
    """
    moved, ranked = effects.shifts(mistakes), effects.rankings(mistakes)
    names = list(ranked["mistake"])
    algorithms = vocabulary.ordered(moved["algorithm"])
    looks = dict(zip(algorithms, SCORE.values(), strict=False))

    figure = Picture(height=1.75 + len(names) * max(0.31, 0.085 * len(algorithms)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.2, 1))
    _differences(left, moved, names, looks, effects.spread(mistakes))
    _agreement(right, ranked, effects.halves(mistakes))

    items = dict(zip(ranked["mistake"], ranked["item"], strict=True))
    marked = set(mistakes.loc[mistakes["metric"] == "tow_mia", "mistake"])
    texts = [f"{label(name)}{' *' if name in marked else ''}  ({items[name]})" for name in names]
    left.set_yticks(range(len(names)), texts)
    left.set_ylim(len(names) - 0.4, -0.6)

    headline(figure, "What would have been reported with a mistake in the code?", _handles(looks, mistakes), columns=4)
    bars = ", 95 % bootstrap interval over seeds; for one seed: against all others, mean and span"
    if ranked["low"].isna().all():
        bars = ", no interval"
    return finish(
        figure,
        f"{captioned(profile)}. Vanilla and RUM$^F$ of each algorithm on the forget sets by {label(mistakes['score'].iloc[0])}, "
        f"once with and once without each mistake; in brackets its number in the list of notebook 09. Left: difference in ToW "
        f"(*: in ToW-MIA by the attack that the mistake is in), paired by seed, {captions.interval_note(moved['n'])}; no marker: "
        f"the mistake cannot touch the algorithm. Right: Kendall's τ between the rankings of {ranked['n_methods'].iloc[0]} "
        f"methods (algorithm × strategy) with and without it{bars}. {effects.found(mistakes)}",
    )


def _handles(looks: dict[str, Look], mistakes: pd.DataFrame) -> list:
    """The legend."""
    handles: list = [key(look, label(name)) for name, look in looks.items()]
    handles.append(Patch(facecolor=BAND, label=f"± {MARGIN}"))
    handles += [key(TAU, "τ, same method first"), key(TAU, "another first", filled=False)]
    if not np.isnan(effects.halves(mistakes)):
        handles.append(
            Line2D([], [], color=SOFT, linestyle=HALVES, linewidth=1.0, label="τ of two halves of the seeds, no mistake")
        )
    return handles


def _differences(axes: Axes, moved: pd.DataFrame, names: list[str], looks: dict[str, Look], spread: float) -> None:
    """A row per mistake, the algorithms one below the other within it."""
    places = np.linspace(-0.27, 0.27, len(looks)) if len(looks) > 1 else [0.0]
    offsets = dict(zip(looks, places, strict=True))
    for algorithm, look in looks.items():
        cells = rows(moved, algorithm=algorithm)
        place = [names.index(name) + offsets[algorithm] for name in cells["mistake"]]
        points(axes, place, *columns(cells, "moved"), look, across=True, size=3.8)

    _stripes(axes, len(names))
    if effects.ONE_SEED in names:
        text = f"ToW of a single seed: SD {spread:.3f}"
        axes.annotate(text, (0, names.index(effects.ONE_SEED)), (-8, 0), textcoords="offset points", ha="right", va="center",
                      fontsize=SMALL, color=SOFT)  # fmt: skip

    axes.set_title("Difference in ToW, with − without")
    difference_axis(axes, "← looks worse    looks better →", 7)


def _agreement(axes: Axes, ranked: pd.DataFrame, halves: float) -> None:
    """τ of each mistake; hollow where another method comes first."""
    same = ranked["best_right"] == ranked["best_wrong"]
    for filled, cells in ((True, ranked[same]), (False, ranked[~same])):
        points(axes, cells.index, cells["tau"], cells["low"], cells["high"], TAU, filled=filled, across=True, size=4.2)

    _stripes(axes, len(ranked))
    if not np.isnan(halves):
        axes.axvline(halves, color=SOFT, linestyle=HALVES, linewidth=1.0, zorder=1)
    axes.set_title("Same ranking? τ")
    axes.set_xlim(min(-0.05, np.nanmin([*ranked["low"], *ranked["tau"]]) - 0.05), 1.05)
    axes.tick_params(axis="y", length=0)


def _stripes(axes: Axes, count: int) -> None:
    """Every second row is shaded: the eye follows it into the other panel."""
    axes.grid(False, axis="y")
    for row in range(0, count, 2):
        axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0, linewidth=0)
