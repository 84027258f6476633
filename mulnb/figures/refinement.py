"""Figure 2 for one profile, and the differences paired by seed behind it (`figures.py` lists all figures)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.plotting import (
    FAINT,
    INK,
    PALE,
    SCORE,
    SOFT,
    STRATEGY,
    WIDTH,
    Look,
    Picture,
    captioned,
    columns,
    finish,
    headline,
    key,
    look,
    points,
    rows,
    style,
)
from mulnb.results import captions, compare, tables

REFINED = STRATEGY["rum_f"]


@style()
def rum(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Figure 2 for one profile: ToW and ToW-MIA of RUM^F, vanilla and shuffle, per algorithm and score."""
    runs = without_oracle(unlearning)
    table, scores = tables.tow_table(runs), figure_2_scores(runs)
    figure = Picture(height=4.4)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        rum_panel(axes, table, metric, scores)
        axes.set_title(f"{vocabulary.label(metric)}: 1 = retraining from scratch")
    panels[0].tick_params(labelbottom=False)
    make_room(panels[1], WIDTH)
    headline(figure, "Does refinement help? Where the filled marker lies above the hollow one.", rum_legend(table, scores))
    joined = (
        "vanilla (left), shuffle and RUM$^F$ (right)"
        if "shuffle" in set(table["strategy"])
        else "vanilla (left) and RUM$^F$ (right)"
    )
    mixed = f"{vocabulary.mix(profile.unlearning.rum)} stands alone; " if "rum" in set(table["strategy"]) else ""
    return finish(
        figure,
        f"{captioned(profile)}. Each line joins {joined} on the same forget sets; {mixed}{captions.interval_note(table['n'])}; "
        "a bar that reaches the frame goes on. Differences paired by seed, which decide, have a figure of their own.",
    )


def without_oracle(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The runs without those of retraining, whose ToW is 1 by definition."""
    return unlearning[unlearning["algorithm"] != "retrain"]


def figure_2_scores(runs: pd.DataFrame) -> list[str]:
    """The paper's four, as far as they are there; if none is, whatever is there."""
    found = set(runs["score"])
    return [name for name in vocabulary.FIGURE_2_SCORES if name in found] or vocabulary.ordered(found)


def rum_legend(table: pd.DataFrame, scores: list[str]) -> list[Line2D]:
    strategies = {
        "vanilla": key(Look(SOFT, "o"), "vanilla", filled=False),
        "shuffle": key(Look(SOFT, "_"), "shuffle"),
        "rum_f": key(Look(SOFT, "o"), vocabulary.mathtext("rum_f")),
    }
    found = set(table["strategy"])
    return [key(look(SCORE, name), vocabulary.label(name)) for name in scores] + [
        strategies[name] for name in strategies if name in found
    ]


def rum_panel(axes: Axes, table: pd.DataFrame, metric: str, scores: list[str], size: float = 5.0) -> None:
    algorithms, step = vocabulary.ordered(table["algorithm"]), 0.84 / len(scores)
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            centre = a + (s - (len(scores) - 1) / 2) * step
            _trio(axes, rows(table, algorithm=algorithm, score=score), metric, centre, step * 0.27, look(SCORE, score), size)
        if a:
            axes.axvline(a - 0.5, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=SOFT, linewidth=0.8)
    axes.set_ylim(_floor(*columns(rows(table, score=tuple(scores)), metric)), 1.02)
    axes.set_xlim(-0.5, len(algorithms) - 0.5)
    axes.set_xticks(range(len(algorithms)), [vocabulary.label(name) for name in algorithms], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylabel(vocabulary.label(metric))


def _floor(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Where the panel begins: below every interval, unless one of them would press all means together."""
    wide = mean.min() - 0.35 * (1 - mean.min())
    return max(0.0, wide - 0.03, np.nanmin([*low, mean.min()]) - 0.03)


def _trio(axes: Axes, cells: pd.DataFrame, metric: str, centre: float, reach: float, how: Look, size: float) -> None:
    """Vanilla, shuffle and RUM^F side by side, joined: a rising line is a gain. The full RUM has none of them beside it."""
    place = {"vanilla": centre - reach, "shuffle": centre, "rum_f": centre + reach, "rum": centre}
    refined = (how, 1.5, True)
    drawn = {"vanilla": (how, 0.6, False), "shuffle": (Look(how.color, "_"), 0.6, True), "rum_f": refined, "rum": refined}
    found = [name for name in place if name in set(cells["strategy"])]
    means = [rows(cells, strategy=name)[metric].item() for name in found]
    axes.plot([place[name] for name in found], means, color=how.color, linewidth=0.8, alpha=0.55, zorder=1)
    for name in found:
        marker, bar, filled = drawn[name]
        points(axes, [place[name]], *columns(rows(cells, strategy=name), metric), marker, size=size, bar=bar, filled=filled)


def make_room(axes: Axes, inches: float) -> None:
    """Turn the algorithms' names where they would touch each other."""
    if 0.75 * len(axes.get_xticks()) > inches:
        for text in axes.get_xticklabels():
            text.set(rotation=35, ha="right", rotation_mode="anchor")


@dataclass(frozen=True)
class _Contrast:
    """`a` minus `b`, how it is drawn, and its table."""

    a: str
    b: str
    how: Look
    filled: bool
    table: pd.DataFrame

    @property
    def text(self) -> str:
        return f"{vocabulary.mathtext(self.a)} − {vocabulary.mathtext(self.b)}"


@style()
def strategy_differences(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Forest plot of the differences between strategies, paired by seed, per algorithm and score; right of 0 is a gain."""
    runs = without_oracle(unlearning)
    parts = _parts(profile, runs)
    contrasts, lines = _contrasts(runs, parts), _forest_lines(runs, parts)
    figure = Picture(height=(0.21 if len(lines) <= 40 else 0.17) * len(lines) + 1.35)  # many algorithms still fit on a page
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _forest(axes, contrasts, metric, lines)
    panels[0].set_yticks(
        range(len(lines)), [vocabulary.label(score) if score else _forest_heading(algorithm) for algorithm, score in lines]
    )
    for tick, (_, score) in zip(panels[0].get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if score else "bold")
    handles = [key(one.how, one.text, one.filled) for one in contrasts]
    headline(figure, "Differences between strategies on the same forget sets", handles)
    counts = [n for one in contrasts for n in one.table["n"]]
    return finish(
        figure,
        f"{captioned(profile)}. Differences paired by seed; {captions.interval_note(counts)}. An interval that crosses 0 shows no "
        "difference; one that reaches the frame goes on.",
    )


def _parts(profile: Profile, runs: pd.DataFrame) -> list[str]:
    """The algorithms of the full RUM that also ran on their own, which it is compared with."""
    if profile.unlearning.rum is None or "rum" not in set(runs["strategy"]):
        return []
    alone = set(runs.loc[runs["strategy"] == "vanilla", "algorithm"])
    return [name for name in vocabulary.ordered(stage.algorithm for stage in profile.unlearning.rum.stages) if name in alone]


def _contrasts(runs: pd.DataFrame, parts: list[str]) -> list[_Contrast]:
    wanted = (
        ("rum_f", "vanilla", REFINED, True),
        ("rum_f", "shuffle", Look("#3E7FA6", "D"), False),
        ("shuffle", "vanilla", STRATEGY["shuffle"], False),
    )
    found = set(runs["strategy"])
    shown = [_Contrast(a, b, how, filled, compare.differences(runs, a, b)) for a, b, how, filled in wanted if {a, b} <= found]
    if parts:
        table = rows(tables.rum_table(runs), strategy="vanilla", algorithm=tuple(parts))
        table = table.assign(algorithm=MIX + table["algorithm"]).rename(columns=lambda name: name.replace("_gain", ""))
        shown.append(_Contrast("rum", "vanilla", STRATEGY["rum"], True, table))
    return shown


MIX = "rum/"  # before the name of the algorithm that the full RUM is compared with


def _forest_lines(runs: pd.DataFrame, parts: list[str]) -> list[tuple[str, str]]:
    """Rows from the top: (algorithm, "") is a heading, then (algorithm, score); the full RUM last."""
    lines = []
    for algorithm in vocabulary.ordered(runs.loc[runs["strategy"] != "rum", "algorithm"]):
        lines += [
            (algorithm, ""),
            *((algorithm, score) for score in vocabulary.ordered(rows(runs, algorithm=algorithm)["score"])),
        ]
    scores = vocabulary.ordered(rows(runs, strategy="rum")["score"])
    for name in parts:
        lines += [(MIX + name, ""), *((MIX + name, score) for score in scores)]
    return lines


def _forest_heading(algorithm: str) -> str:
    name = algorithm.removeprefix(MIX)
    return vocabulary.label(name) if name == algorithm else f"RUM, against {vocabulary.label(name)}"


def _forest(axes: Axes, contrasts: list[_Contrast], metric: str, lines: list[tuple[str, str]]) -> None:
    beside = [one for one in contrasts if one.a != "rum"]  # the full RUM has rows of its own
    offsets = np.linspace(-0.26, 0.26, len(beside)) if len(beside) > 1 else [0] * len(beside)
    for one, offset in zip(contrasts, [*offsets, 0], strict=False):
        place = [lines.index((row.algorithm, row.score)) + offset for row in one.table.itertuples()]
        bar = 1.3 if one.filled else 0.7
        points(axes, place, *columns(one.table, metric), one.how, across=True, filled=one.filled, size=3.6, bar=bar)
    for row, (_, score) in enumerate(lines):
        if not score:
            axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set(title=f"Difference in {vocabulary.label(metric)}", ylim=(len(lines) - 0.4, -0.6))
    axes.set_xlim(_span([columns(one.table, metric) for one in contrasts]))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    below = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False}
    axes.annotate("← worse    better →", (0, 0), (0, -24), ha="center", fontsize=7.5, **below)


def _span(drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """The range that holds 0, every mean and the intervals, unless one of them would press all others together."""
    mean, low, high = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    left, right = min(mean.min(), 0), max(mean.max(), 0)
    reach = max(right - left, 0.02)
    left, right = max(left - reach, np.nanmin([*low, left])), min(right + reach, np.nanmax([*high, right]))
    return left - 0.04 * (right - left), right + 0.04 * (right - left)
