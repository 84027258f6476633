"""Figures of unlearning: Figure 2 and the differences behind it, Figure 3, Figure 7 (`figures.py` lists all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from mulnb import names, tables
from mulnb.config import Profile, known_profiles
from mulnb.names import METRICS
from mulnb.plotting import (
    ALERT,
    FAINT,
    INK,
    PALE,
    SCORE,
    SMALL,
    SOFT,
    STRATEGY,
    WIDTH,
    Look,
    Picture,
    bare,
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

RIDGES = {"forget": (1.0, ALERT), "retain": (0.0, STRATEGY["rum_f"].color)}  # Figure 7: group → (baseline, colour)
REFINED = STRATEGY["rum_f"]


# ---- Figure 2


@style()
def rum(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Figure 2 for one profile: ToW and ToW-MIA of RUM^F, vanilla and shuffle, per algorithm and score."""
    runs = without_oracle(unlearning)
    table, scores = tables.tow_table(runs), _figure_2_scores(runs)
    figure = Picture(height=4.4)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _rum_panel(axes, table, metric, scores)
        axes.set_title(f"{names.label(metric)}: 1 = retraining from scratch")
    panels[0].tick_params(labelbottom=False)
    _make_room(panels[1], WIDTH)
    headline(figure, "Does refinement help? Where the filled marker lies above the hollow one.", _rum_legend(table, scores))
    joined = (
        "vanilla (left), shuffle and RUM$^F$ (right)"
        if "shuffle" in set(table["strategy"])
        else "vanilla (left) and RUM$^F$ (right)"
    )
    return finish(
        figure,
        f"{captioned(profile)}. Each line joins {joined} on the same forget sets; {tables.interval_note(table['n'])}; "
        "a bar that reaches the frame goes on. Differences paired by seed, which decide, have a figure of their own.",
    )


def without_oracle(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The runs without those of retraining, whose ToW is 1 by definition."""
    return unlearning[unlearning["algorithm"] != "retrain"]


def _figure_2_scores(runs: pd.DataFrame) -> list[str]:
    """The paper's four, as far as they are there; if none is, whatever is there."""
    found = set(runs["score"])
    return [name for name in names.FIGURE_2_SCORES if name in found] or names.ordered(found)


def _rum_legend(table: pd.DataFrame, scores: list[str]) -> list[Line2D]:
    strategies = {
        "vanilla": key(Look(SOFT, "o"), "vanilla", filled=False),
        "shuffle": key(Look(SOFT, "_"), "shuffle"),
        "rum_f": key(Look(SOFT, "o"), names.math("rum_f")),
    }
    found = set(table["strategy"])
    return [key(look(SCORE, name), names.label(name)) for name in scores] + [
        strategies[name] for name in strategies if name in found
    ]


def _rum_panel(axes: Axes, table: pd.DataFrame, metric: str, scores: list[str], size: float = 5.0) -> None:
    algorithms, step = names.ordered(table["algorithm"]), 0.84 / len(scores)
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            centre = a + (s - (len(scores) - 1) / 2) * step
            _trio(axes, rows(table, algorithm=algorithm, score=score), metric, centre, step * 0.27, look(SCORE, score), size)
        if a:
            axes.axvline(a - 0.5, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=SOFT, linewidth=0.8)
    axes.set_ylim(_floor(*columns(rows(table, score=tuple(scores)), metric)), 1.02)
    axes.set_xlim(-0.5, len(algorithms) - 0.5)
    axes.set_xticks(range(len(algorithms)), [names.label(name) for name in algorithms], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylabel(names.label(metric))


def _floor(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Where the panel begins: below every interval, unless one of them would press all means together."""
    wide = mean.min() - 0.35 * (1 - mean.min())
    return max(0.0, wide - 0.03, np.nanmin([*low, mean.min()]) - 0.03)


def _trio(axes: Axes, cells: pd.DataFrame, metric: str, centre: float, reach: float, how: Look, size: float) -> None:
    """Vanilla, shuffle and RUM^F side by side, joined: a rising line is a gain."""
    place = {"vanilla": centre - reach, "shuffle": centre, "rum_f": centre + reach}
    drawn = {"vanilla": (how, 0.6, False), "shuffle": (Look(how.color, "_"), 0.6, True), "rum_f": (how, 1.5, True)}
    found = [name for name in place if name in set(cells["strategy"])]
    means = [rows(cells, strategy=name)[metric].item() for name in found]
    axes.plot([place[name] for name in found], means, color=how.color, linewidth=0.8, alpha=0.55, zorder=1)
    for name in found:
        marker, bar, filled = drawn[name]
        points(axes, [place[name]], *columns(rows(cells, strategy=name), metric), marker, size=size, bar=bar, filled=filled)


def _make_room(axes: Axes, inches: float) -> None:
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
        return f"{names.math(self.a)} − {names.math(self.b)}"


@style()
def strategy_differences(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Forest plot of the differences between strategies, paired by seed, per algorithm and score; right of 0 is a gain."""
    runs = without_oracle(unlearning)
    contrasts, lines = _contrasts(runs), _forest_lines(runs)
    figure = Picture(height=0.21 * len(lines) + 1.35)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _forest(axes, contrasts, metric, lines)
    panels[0].set_yticks(range(len(lines)), [names.label(score or algorithm) for algorithm, score in lines])
    for tick, (_, score) in zip(panels[0].get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if score else "bold")
    handles = [key(one.how, one.text, one.filled) for one in contrasts]
    headline(figure, "Differences between strategies on the same forget sets", handles)
    counts = [n for one in contrasts for n in one.table["n"]]
    return finish(
        figure,
        f"{captioned(profile)}. Differences paired by seed; {tables.interval_note(counts)}. An interval that crosses 0 shows no "
        "difference; one that reaches the frame goes on.",
    )


def _contrasts(runs: pd.DataFrame) -> list[_Contrast]:
    wanted = (
        ("rum_f", "vanilla", REFINED, True),
        ("rum_f", "shuffle", Look("#3E7FA6", "D"), False),
        ("shuffle", "vanilla", STRATEGY["shuffle"], False),
    )
    found = set(runs["strategy"])
    return [_Contrast(a, b, how, filled, tables.differences(runs, a, b)) for a, b, how, filled in wanted if {a, b} <= found]


def _forest_lines(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows from the top: (algorithm, "") is a heading, then (algorithm, score)."""
    lines = []
    for algorithm in names.ordered(runs["algorithm"]):
        lines += [(algorithm, ""), *((algorithm, score) for score in names.ordered(rows(runs, algorithm=algorithm)["score"]))]
    return lines


def _forest(axes: Axes, contrasts: list[_Contrast], metric: str, lines: list[tuple[str, str]]) -> None:
    offsets = np.linspace(-0.26, 0.26, len(contrasts)) if len(contrasts) > 1 else [0]
    for one, offset in zip(contrasts, offsets, strict=True):
        place = [lines.index((row.algorithm, row.score)) + offset for row in one.table.itertuples()]
        bar = 1.3 if one.filled else 0.7
        points(axes, place, *columns(one.table, metric), one.how, across=True, filled=one.filled, size=3.6, bar=bar)
    for row, (_, score) in enumerate(lines):
        if not score:
            axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set(title=f"Difference in {names.label(metric)}", ylim=(len(lines) - 0.4, -0.6))
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


# ---- Figure 3


@style()
def sequential(profile: Profile, sequential: pd.DataFrame) -> Picture:
    """Figure 3: change of ToW and ToW-MIA since step 1; above on the union of all forget sets so far, below on each step's."""
    table = tables.sequential_table(sequential)
    scopes = [name for name in ("union", "step") if name in set(table["scope"])]
    figure = Picture(height=0.9 + 1.75 * len(scopes))
    panels = figure.subplots(len(scopes), 2, sharex=True, sharey=True, squeeze=False)
    for row, scope in zip(panels, scopes, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            _change_panel(axes, rows(table, scope=scope), metric)
            axes.set_title(f"{names.label(metric)}, {names.label(scope)}")
    for axes in panels[-1]:
        axes.set_xlabel("unlearning step")
    for axes in panels[:, 0]:
        axes.set_ylabel("change since step 1")
    _sequential_headline(figure, table)
    plan = profile.sequential
    return finish(
        figure,
        f"{captioned(profile)}. {names.label(plan.algorithm)} on {table['step'].max()} forget sets, one after the other, chosen "
        f"by {names.label(plan.score)}; change paired by seed, {tables.interval_note(table['n'])}.",
    )


def _sequential_headline(figure: Picture, table: pd.DataFrame) -> None:
    found = names.ordered(table["strategy"])
    handles = [key(look(STRATEGY, name), names.math(name), filled=name == "rum_f", line=True) for name in found]
    headline(figure, "Does unlearning stay good, request after request?", handles)


def _change_panel(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    strategies = names.ordered(table["strategy"])
    for place, name in enumerate(strategies):
        cells = rows(table, strategy=name).sort_values("step")
        step = cells["step"] + 0.06 * (place - (len(strategies) - 1) / 2)  # side by side: no interval hides another
        points(axes, step, *columns(cells, f"{metric}_change"), look(STRATEGY, name), filled=name == "rum_f", line=True)
    axes.axhline(0, color=SOFT, linewidth=0.8, zorder=1)
    axes.xaxis.set_major_locator(FixedLocator(sorted(table["step"].unique())))


# ---- Figure 7


@style()
def before_after(profile: Profile, values: pd.DataFrame) -> Picture:
    """Figure 7: the proxy's distribution before and after each step, for that step's forget set and the retained examples.

    `values`: `strategy seed step moment group example value`, moment ∈ before/after, group ∈ forget/retain.
    """
    strategies, steps = names.ordered(values["strategy"]), sorted(values["step"].unique())
    span = _decades(values["value"].to_numpy(float))
    figure = Picture(height=0.95 + 1.35 * len(strategies))
    panels = figure.subplots(len(strategies), len(steps), sharex=True, sharey=True, squeeze=False)
    for row, strategy in zip(panels, strategies, strict=True):
        for axes, step in zip(row, steps, strict=True):
            _ridges(axes, rows(values, strategy=strategy, step=step), *span)
        row[0].set_ylabel(names.math(strategy), fontsize=9, fontweight="bold")
    for axes, step in zip(panels[0], steps, strict=True):
        axes.set_title(f"step {step}")
    handles = [Patch(facecolor="#D9D9D9", edgecolor="#8A8A8A", label="before the step")]
    for group, (_, color) in RIDGES.items():
        handles.append(Patch(facecolor=(color, 0.25), edgecolor=color, linewidth=1.2, label=f"after, {names.label(group)}"))
    headline(figure, "What a step does to the proxy: forget set above, retained examples below", handles)
    n = tables.seeds([values["seed"].nunique()])
    return finish(
        figure,
        f"{captioned(profile)}. Scores by {names.label(profile.sequential.score)} on the current model (log scale, higher = more "
        f"memorized); densities drawn to equal height, examples of {n} together (no interval).",
    )


def _decades(values: np.ndarray) -> tuple[float, float]:
    """The range of log10 that holds all but a few stragglers, with a margin."""
    low, high = np.log10(np.quantile(values[values > 0], (0.002, 0.999)))
    return low - 0.2, high + 0.4


def _ridges(axes: Axes, values: pd.DataFrame, low: float, high: float) -> None:
    for group, (base, color) in RIDGES.items():
        for moment in ("before", "after"):
            x, density = _log_density(rows(values, group=group, moment=moment)["value"].to_numpy(float), low, high)
            face, edge, width = ("#D9D9D9", "#8A8A8A", 0.6) if moment == "before" else ((color, 0.18), color, 1.1)
            axes.fill_between(x, base, base + 0.88 * density, facecolor=face, edgecolor=edge, linewidth=width)
    axes.set(xscale="log", yticks=[0.3, 1.3], yticklabels=["retain", "forget"], ylim=(-0.03, 2.0), xlim=(10**low, 10**high))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_minor_locator(NullLocator())


def _log_density(values: np.ndarray, low: float, high: float, bins: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """A smoothed histogram of log10(values) on a common grid, its highest point at 1; values outside count at the edges."""
    edges = np.linspace(low, high, bins + 1)
    centres = 10 ** ((edges[1:] + edges[:-1]) / 2)
    if not len(values):
        return centres, np.zeros(bins)
    logs = np.log10(np.clip(values, 10.0**low, 10.0**high))
    width = max(1.06 * logs.std() * len(logs) ** -0.2, (high - low) / 60) / (edges[1] - edges[0])  # Silverman's rule, in bins
    reach = np.arange(-int(3 * width) - 1, int(3 * width) + 2)
    padded = np.pad(np.histogram(logs, edges)[0].astype(float), len(reach) // 2)
    smooth = np.convolve(padded, np.exp(-0.5 * (reach / width) ** 2), mode="valid")
    return centres, smooth / smooth.max()


# ---- Figures 2 and 3 across profiles, as in the paper


@style()
def rum_across(frames: Mapping[str, pd.DataFrame], missing: Sequence[str] = ()) -> Picture:
    """Figure 2 a-f: a column per profile, ToW above ToW-MIA; a profile without results says how to get them."""
    figure, panels = _across(frames, missing, 4.0)
    found = {name: rows(without_oracle(frame), strategy=("vanilla", "rum_f")) for name, frame in frames.items()}
    for column, runs in zip(panels.T, found.values(), strict=False):
        for axes, metric in zip(column, METRICS, strict=True):
            _rum_panel(axes, tables.tow_table(runs), metric, _figure_2_scores(runs), size=3.6)
            axes.tick_params(axis="x", labelsize=SMALL)
            _make_room(axes, WIDTH / panels.shape[1])
    every = pd.concat(found.values(), ignore_index=True) if found else pd.DataFrame(columns=["score", "strategy"])
    handles = _rum_legend(every, _figure_2_scores(every)) if found else []
    headline(figure, "Refinement against vanilla, across data sets and architectures", handles)
    counts = [n for runs in found.values() for n in tables.tow_table(runs)["n"]]
    note = f" Lines join vanilla and RUM$^F$ on the same forget sets; {tables.interval_note(counts)}." if found else ""
    return finish(figure, _profiles(frames, missing) + note)


@style()
def sequential_across(frames: Mapping[str, pd.DataFrame], missing: Sequence[str] = ()) -> Picture:
    """Figure 3 a-d: a column per profile, change of ToW above that of ToW-MIA, on the union of all forget sets so far."""
    figure, panels = _across(frames, missing, 3.8)
    found = {name: rows(tables.sequential_table(frame), scope="union") for name, frame in frames.items()}
    for column, table in zip(panels.T, found.values(), strict=False):
        for axes, metric in zip(column, METRICS, strict=True):
            _change_panel(axes, table, metric)
        column[1].set_xlabel("unlearning step")
    for axes, metric in zip(panels[:, 0], METRICS, strict=True):
        axes.set_ylabel(f"change of {names.label(metric)}" if found else "")
    _sequential_headline(figure, pd.concat(found.values()) if found else pd.DataFrame({"strategy": []}))
    counts = [n for table in found.values() for n in table["n"]]
    note = (
        f" Union of all forget sets so far, change since step 1 paired by seed; {tables.interval_note(counts)}." if found else ""
    )
    return finish(figure, _profiles(frames, missing) + note)


def _across(frames: Mapping[str, pd.DataFrame], missing: Sequence[str], height: float) -> tuple[Picture, np.ndarray]:
    """Two rows of panels, a column per profile; those of missing profiles are already filled in."""
    every = [*frames, *(name for name in missing if name not in frames)]
    figure = Picture(height=height)
    panels = figure.subplots(2, max(len(every), 1), squeeze=False)
    for place, name in enumerate(every):
        panels[0, place].set_title(name)
        for axes in panels[:, place] if name not in frames else ():
            _no_results(axes, name)
    return figure, panels


def _no_results(axes: Axes, name: str) -> None:
    bare(axes)
    axes.set_facecolor(PALE)
    how = f"./run_all.sh\n--profile {name}" if name in known_profiles() else "its profile is not\npart of this release"
    text = f"no results yet:\n{how}"
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, fontsize=7.5, transform=axes.transAxes, linespacing=1.5)


def _profiles(frames: Mapping[str, pd.DataFrame], missing: Sequence[str]) -> str:
    """The caption's first sentences: which profiles are shown, with n, and which are not there."""
    shown = "; ".join(f"{name}: {_title(name)}, {tables.seeds([frame['seed'].nunique()])}" for name, frame in frames.items())
    absent = [name for name in missing if name not in frames]
    return " ".join(([f"{shown}."] if shown else []) + ([f"No results yet for {', '.join(absent)}."] if absent else []))


def _title(name: str) -> str:
    from mulnb.config import load_profile
    from mulnb.errors import UserError

    try:
        return load_profile(name).title
    except UserError:  # a profile of yours, known by its results only
        return name
