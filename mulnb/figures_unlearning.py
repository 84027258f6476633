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
    STYLE,
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
    wrapped,
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
    mixed = f"{names.mix(profile.unlearning.rum)} stands alone; " if "rum" in set(table["strategy"]) else ""
    return finish(
        figure,
        f"{captioned(profile)}. Each line joins {joined} on the same forget sets; {mixed}{tables.interval_note(table['n'])}; "
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
    parts = _parts(profile, runs)
    contrasts, lines = _contrasts(runs, parts), _forest_lines(runs, parts)
    figure = Picture(height=(0.21 if len(lines) <= 40 else 0.17) * len(lines) + 1.35)  # many algorithms still fit on a page
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _forest(axes, contrasts, metric, lines)
    panels[0].set_yticks(
        range(len(lines)), [names.label(score) if score else _forest_heading(algorithm) for algorithm, score in lines]
    )
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


def _parts(profile: Profile, runs: pd.DataFrame) -> list[str]:
    """The algorithms of the full RUM that also ran on their own, which it is compared with."""
    if profile.unlearning.rum is None or "rum" not in set(runs["strategy"]):
        return []
    alone = set(runs.loc[runs["strategy"] == "vanilla", "algorithm"])
    return [name for name in names.ordered(stage.algorithm for stage in profile.unlearning.rum.stages) if name in alone]


def _contrasts(runs: pd.DataFrame, parts: list[str]) -> list[_Contrast]:
    wanted = (
        ("rum_f", "vanilla", REFINED, True),
        ("rum_f", "shuffle", Look("#3E7FA6", "D"), False),
        ("shuffle", "vanilla", STRATEGY["shuffle"], False),
    )
    found = set(runs["strategy"])
    shown = [_Contrast(a, b, how, filled, tables.differences(runs, a, b)) for a, b, how, filled in wanted if {a, b} <= found]
    if parts:
        table = rows(tables.rum_table(runs), strategy="vanilla", algorithm=tuple(parts))
        table = table.assign(algorithm=MIX + table["algorithm"]).rename(columns=lambda name: name.replace("_gain", ""))
        shown.append(_Contrast("rum", "vanilla", STRATEGY["rum"], True, table))
    return shown


MIX = "rum/"  # before the name of the algorithm that the full RUM is compared with


def _forest_lines(runs: pd.DataFrame, parts: list[str]) -> list[tuple[str, str]]:
    """Rows from the top: (algorithm, "") is a heading, then (algorithm, score); the full RUM last."""
    lines = []
    for algorithm in names.ordered(runs.loc[runs["strategy"] != "rum", "algorithm"]):
        lines += [(algorithm, ""), *((algorithm, score) for score in names.ordered(rows(runs, algorithm=algorithm)["score"]))]
    scores = names.ordered(rows(runs, strategy="rum")["score"])
    for name in parts:
        lines += [(MIX + name, ""), *((MIX + name, score) for score in scores)]
    return lines


def _forest_heading(algorithm: str) -> str:
    name = algorithm.removeprefix(MIX)
    return names.label(name) if name == algorithm else f"RUM, against {names.label(name)}"


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
    handles = _rum_legend(every, _figure_2_scores(every)) if runs else []
    headline(figure, "Refinement against vanilla, across data sets and architectures", handles)
    counts = [n for one in runs.values() for n in tables.tow_table(one)["n"]]
    full = " RUM, an algorithm for each stratum, stands alone;" if "rum" in set(every["strategy"]) else ""
    note = f" Lines join vanilla and RUM$^F$ on the same forget sets;{full} {tables.interval_note(counts)}." if runs else ""
    return finish(figure, _profiles(frames) + note)


def _rum_column(column: Sequence[Axes], runs: pd.DataFrame, inches: float, first: bool) -> None:
    """ToW above ToW-MIA, with markers that the many runs of many algorithms leave room for."""
    table, scores = tables.tow_table(runs), _figure_2_scores(runs)
    slot = 72 * 0.8 * inches / (table["algorithm"].nunique() * len(scores))  # points
    for axes, metric in zip(column, METRICS, strict=True):
        _rum_panel(axes, table, metric, scores, size=min(3.6, max(2.0, 0.55 * slot)))
        axes.tick_params(axis="x", labelsize=SMALL)
        axes.set_ylabel(names.label(metric) if first else "")
    column[0].tick_params(labelbottom=False)
    _make_room(column[1], inches)


@style()
def sequential_across(frames: Mapping[str, pd.DataFrame | None], pairs: Sequence[str] = ()) -> Picture:
    """Figure 3: a column per profile, change of ToW above that of ToW-MIA, on the union of all forget sets so far. The panels
    of `pairs`, those of the paper, have its letters a-d.
    """
    figure, panels = _across(frames, pairs, 3.8)
    found = {name: rows(tables.sequential_table(frame), scope="union") for name, frame in frames.items() if frame is not None}
    for place, (name, column) in enumerate(zip(frames, panels.T, strict=True)):
        for axes, metric in zip(column, METRICS, strict=True) if name in found else ():
            _change_panel(axes, found[name], metric)
            axes.set_ylabel("" if place else f"change of {names.label(metric)}")
        column[1].set_xlabel("unlearning step" if name in found else "")
    _sequential_headline(figure, pd.concat(found.values()) if found else pd.DataFrame({"strategy": []}))
    counts = [n for table in found.values() for n in table["n"]]
    note = (
        f" Union of all forget sets so far, change since step 1 paired by seed; {tables.interval_note(counts)}." if found else ""
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
    shown = [f"{name} ({tables.seeds([one['seed'].nunique()])})" for name, one in frames.items() if one is not None]
    absent = [name for name, one in frames.items() if one is None]
    said = [f"Profiles: {', '.join(shown)}."] if shown else []
    return " ".join(said + ([f"No results yet for {', '.join(absent)}."] if absent else []))


def _title(name: str) -> str:
    from mulnb.config import load_profile
    from mulnb.errors import UserError

    try:
        return load_profile(name).title
    except UserError:  # a profile of yours, known by its results only
        return name
