"""The figures: one function each, tidy frame in, matplotlib figure out; `save` writes it as PNG and SVG.

Every figure carries a caption line with the profile, n and what its intervals are, and no interval where n = 1. Figures 1, 2, 3
and 7 are numbered as in K. Zhao and P. Triantafillou, "Scalability of memorization-based machine unlearning", arXiv 2410.16516.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from mulnb import names, stats, tables
from mulnb.config import Profile
from mulnb.diagrams import overview
from mulnb.names import METRICS, STRATA
from mulnb.plotting import (
    ALERT, FAINT, INK, PALE, SCORE, SMALL, SOFT, STRATEGY, STRATUM, Look, Picture, bare, captioned, columns, finish, headline, key,
    look, points, rows, save, style,
)  # fmt: skip

__all__ = [
    "before_after", "convergence", "memorization_profile", "overview", "proxy_profiles", "proxy_table", "rum", "rum_across", "save",
    "sequential", "sequential_across", "strategy_differences", "stratum_images", "style",
]  # fmt: skip

# METHOD §3: published Spearman ρ between the raw signal and memorization, turned as the proxies here are (higher = more memorized)
PUBLISHED = {"confidence": (0.80, 0.91), "binary_accuracy": (0.71, 0.89), "loss_curvature": (0.69, 0.70), "holdout_retraining": (0.62, 0.67)}
CLEAN = "#5B7C99"
RIDGES = {"forget": (1.0, ALERT), "retain": (0.0, STRATEGY["rum_f"].color)}  # Figure 7: group → (baseline, colour)


# ---- memorization


@style()
def memorization_profile(profile: Profile, memorization: pd.DataFrame, strata: Any) -> Picture:
    """Distribution of the scores, where the three strata lie, and the standard error of each score.

    `memorization`: `example label memorization se n_in n_out`, perhaps bool `flipped`; `strata.low/.medium/.high`: example indices.
    """
    figure = Picture(height=3.3)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1), height_ratios=(3.2, 1))
    top, errors = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    strip = figure.add_subplot(grid[1, 0], sharex=top)
    groups = _label_groups(memorization)
    _score_histogram(top, groups)
    _stratum_strip(strip, memorization.set_index("example")["memorization"], strata, (top, strip))
    models = int((memorization["n_in"] + memorization["n_out"]).median())
    _standard_errors(errors, groups, profile.pool.share, models)
    return finish(
        figure,
        f"{captioned(profile)}. Feldman-Zhang scores of {len(memorization)} training examples from one pool of M = {models} models, "
        f"n = 1 set of scores; right: the standard error of each score over the models.",
    )


def _label_groups(memorization: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str, str]]:
    """(name, frame, colour, marker) of the examples with clean and with flipped labels, or of all of them."""
    if "flipped" not in memorization:
        return [("all examples", memorization, CLEAN, "o")]
    flipped = memorization["flipped"].to_numpy(bool)
    return [("label as given", memorization[~flipped], CLEAN, "o"), ("label flipped", memorization[flipped], ALERT, "x")]


def _score_histogram(axes: Axes, groups: list) -> None:
    every = np.concatenate([frame["memorization"].to_numpy() for _, frame, _, _ in groups])
    bins = np.arange(np.floor(every.min() * 20), np.ceil(every.max() * 20) + 1.5) / 20
    for (name, frame, color, _), (fill, hatch) in zip(groups, ((0.55, ""), (0.25, "////")), strict=False):
        axes.hist(frame["memorization"], bins, color=(color, fill), edgecolor=color, hatch=hatch, label=name, histtype="stepfilled")
    axes.set(yscale="log", ylabel="examples", title="Scores")
    axes.set_ylim(0.7, None)
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper center")


def _stratum_strip(strip: Axes, score: pd.Series, strata: Any, shaded: Sequence[Axes]) -> None:
    """One row of points per stratum; their range is shaded through the histogram above."""
    for row, name in enumerate(STRATA):
        values, how = score.loc[getattr(strata, name)].to_numpy(), STRATUM[name]
        for axes in shaded:
            axes.axvspan(values.min() - 0.004, values.max() + 0.004, color=how.color, alpha=0.22, linewidth=0, zorder=0)
        jitter = np.random.default_rng(0).uniform(-0.28, 0.28, len(values))
        strip.plot(values, row + jitter, how.marker, color=how.color, markersize=3, markeredgecolor=INK, markeredgewidth=0.3)
    strip.set(yticks=range(len(STRATA)), yticklabels=STRATA, ylim=(-0.6, 2.6), xlabel="memorization", ylabel="stratum")
    strip.grid(False, axis="y")


def _standard_errors(axes: Axes, groups: list, share: float, models: int) -> None:
    for name, frame, color, marker in groups:
        axes.plot(
            frame["memorization"], frame["se"], marker, color=color, markersize=3.2, alpha=0.6, markeredgewidth=0.8 if marker == "x" else 0,
            label=name, rasterized=True,
        )  # fmt: skip
    worst = 0.5 * np.sqrt((1 / share + 1 / (1 - share)) / models)
    axes.axhline(worst, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.annotate(f"worst case {worst:.3f}", (1, worst), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", fontsize=SMALL)  # fmt: skip
    axes.set(xlabel="memorization", ylabel="standard error", title="How sure each score is", ylim=(0, worst * 1.2))


@style()
def stratum_images(
    profile: Profile, images: np.ndarray, memorization: pd.DataFrame, strata: Any, classes: Sequence[str], per_row: int = 10
) -> Picture:
    """Examples of each stratum, evenly spaced in its order of scores. `images` uint8 [N, C, H, W], C = 1 or 3."""
    figure = Picture(height=3.45)
    panels = figure.subplots(len(STRATA), per_row, squeeze=False)
    frame = memorization.set_index("example")
    for row, name in zip(panels, STRATA, strict=True):
        chosen = _spread(frame.loc[getattr(strata, name)].sort_values("memorization"), per_row)
        for axes in row:
            bare(axes)
        for axes, (example, facts) in zip(row, chosen.iterrows(), strict=False):
            _example(axes, images[example], facts, classes)
        row[0].set_ylabel(name, fontweight="bold", fontsize=9, color=STRATUM[name].color if name != "low" else "#3E7FA6", labelpad=6)
    flipped = " Red frame: the profile flipped this label." if "flipped" in memorization else ""
    return finish(
        figure,
        f"{captioned(profile)}. Training examples of the low, medium and high stratum, evenly spaced in score; below each its label and "
        f"its memorization score (n = 1 pool, no interval).{flipped}",
    )


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(count, len(frame))).round().astype(int))]


def _example(axes: Axes, image: np.ndarray, facts: pd.Series, classes: Sequence[str]) -> None:
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    name = str(classes[int(facts["label"])])
    flipped = bool(facts.get("flipped", False))
    axes.set_xlabel(f"{name if len(name) < 12 else name[:10] + '…'}\n{facts['memorization']:.2f}", fontsize=SMALL, labelpad=2,
                    color=ALERT if flipped else INK)  # fmt: skip
    if flipped:
        axes.spines[:].set(visible=True, color=ALERT, linewidth=1.6)


@style()
def convergence(profile: Profile, convergence: pd.DataFrame) -> Picture:
    """How the scores settle as the pool grows. Frame: `models repeat split_half spearman_full mean_se`."""
    figure = Picture(height=2.5)
    left, right = figure.subplots(1, 2)
    table = tables.intervals(convergence, ["models"], ["split_half", "spearman_full", "mean_se"])
    series = (("split_half", "two disjoint pools of M models", STRATEGY["rum_f"]), ("spearman_full", "M models and the whole pool", STRATEGY["vanilla"]))
    for name, text, how in series:
        points(left, table["models"], *columns(table, name), how, line=True, filled=name == "split_half")
        left.plot([], [], color=how.color, marker=how.marker, linestyle=how.line, label=text, markerfacecolor=how.color if name == "split_half" else "white")
    left.set(title="Agreement of two estimates", ylabel="Spearman ρ")
    left.legend(loc="lower right")
    points(right, table["models"], *columns(table, "mean_se"), STRATEGY["rum_f"], line=True)
    share, sizes = profile.pool.share, np.geomspace(table["models"].min(), table["models"].max(), 50)
    right.plot(sizes, 0.5 * np.sqrt((1 / share + 1 / (1 - share)) / sizes), color=SOFT, linestyle=(0, (4, 2)), linewidth=0.9)
    right.annotate("worst case", (sizes[18], 0.5 * np.sqrt((1 / share + 1 / (1 - share)) / sizes[18])), (4, 4), textcoords="offset points",
                   fontsize=SMALL, color=SOFT)  # fmt: skip
    right.set(title="Standard error of a score", ylabel="mean over examples", ylim=(0, None))
    for axes in (left, right):
        _model_axis(axes, table["models"])
    repeats = int(table["n"].max())
    spread = f"mean and 95 % t interval over n = {repeats} random splits" if repeats > 1 else "n = 1 split: no interval"
    return finish(figure, f"{captioned(profile)}. Memorization from parts of one pool, {spread}.")


def _model_axis(axes: Axes, models: pd.Series) -> None:
    axes.set(xscale="log", xlabel="models M")
    axes.xaxis.set_major_locator(FixedLocator(models.tolist()))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


# ---- proxies


@style()
def proxy_table(profile: Profile, costs: pd.DataFrame) -> Picture:
    """Table 1 as a picture. `costs`: `proxy seconds share_of_exact spearman ci_low ci_high`, perhaps `n_seeds`."""
    table = tables.proxy_table(costs).iloc[::-1].reset_index(drop=True)  # the strongest on top
    figure = Picture(height=0.33 * len(table) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    _correlations(left, table)
    _costs(right, table)
    left.set_yticks(range(len(table)), [names.label(name) for name in table["proxy"]], fontsize=8)
    seeds = f", mean over {tables.seeds(table['n_seeds'])}" if "n_seeds" in table else ""
    return finish(
        figure,
        f"{captioned(profile)}. ρ of the proxy (turned so that higher = more memorized) with memorization{seeds}; bars: 95 % interval over the "
        f"examples; grey: published range on the paper's data. Cost: seconds, and the share of the {profile.pool.models} pool models' seconds.",
    )


def _correlations(axes: Axes, table: pd.DataFrame) -> None:
    for row, name in enumerate(table["proxy"]):
        if name in PUBLISHED:
            low, high = PUBLISHED[name]
            axes.barh(row, high - low, left=low, height=0.62, color="#D3D3D3", zorder=1)
        cells = table.iloc[[row]]
        points(axes, [row], cells["spearman"], cells["ci_low"], cells["ci_high"], look(SCORE, name), across=True, size=6, bar=1.8)
        axes.annotate(f"{cells['spearman'].item():.2f}", (1.0, row), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                      xycoords=("axes fraction", "data"), annotation_clip=False)  # fmt: skip
    axes.set(title="Rank correlation with memorization", xlabel="Spearman ρ", ylim=(-0.6, len(table) - 0.4))
    axes.set_xlim(min(0, table["ci_low"].min() - 0.05), 1)
    axes.grid(False, axis="y")


def _costs(axes: Axes, table: pd.DataFrame) -> None:
    floor = max(table["seconds"].min(), 1e-4) / 4
    axes.barh(range(len(table)), table["seconds"] - floor, left=floor, height=0.55, color="#9DB4C8", edgecolor=SOFT, linewidth=0.5)
    for row, (seconds, share) in enumerate(zip(table["seconds"], table["share_of_exact"], strict=True)):
        axes.annotate(f"{_duration(seconds)} · {_percent(share)}", (max(seconds, floor), row), (4, 0), textcoords="offset points",
                      va="center", fontsize=7.5)  # fmt: skip
    axes.set(xscale="log", title="Cost", xlabel="seconds (log scale)")
    axes.set_xlim(floor, (table["seconds"].max() / floor) ** 1.75 * floor)  # room for the text behind the longest bar
    axes.grid(False, axis="y")


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


@style()
def proxy_profiles(profile: Profile, proxies: pd.DataFrame, memorization: pd.DataFrame) -> Picture:
    """Per proxy (column): its distribution, mean memorization per decile of it, and it against memorization with ρ.

    `proxies`: `example proxy seed raw value`; `memorization`: `example … memorization …`. Values are means over the seeds.
    """
    truth = memorization.set_index("example")["memorization"]
    found = names.ordered(proxies["proxy"])
    figure = Picture(height=4.3)
    panels = figure.subplots(3, len(found), squeeze=False)
    for column, name in zip(panels.T, found, strict=True):
        value = rows(proxies, proxy=name).groupby("example")["value"].mean()
        _proxy_column(column, name, value.to_numpy(float), truth.loc[value.index].to_numpy(float))
    for row, text in zip(panels, ("examples", "mean memorization", "memorization"), strict=True):
        row[0].set_ylabel(text)
        low, high = min(axes.get_ylim()[0] for axes in row), max(axes.get_ylim()[1] for axes in row)
        for axes in row:
            axes.set_ylim(low, high)
            axes.tick_params(labelleft=axes is row[0])
    n = tables.seeds([proxies["seed"].nunique()])
    return finish(
        figure,
        f"{captioned(profile)}. Proxies, turned so that higher = more memorized, mean over {n}. Top: distribution. Middle: memorization per tenth of "
        f"the examples, ordered by proxy; bars: 95 % t interval over the examples. Bottom: every example; ρ: Spearman.",
    )


def _proxy_column(column: Sequence[Axes], name: str, value: np.ndarray, truth: np.ndarray) -> None:
    top, middle, bottom = column
    color = look(SCORE, name).color
    skewed = value.min() > 0 and np.quantile(value, 0.99) > 20 * np.median(value)
    bins = np.geomspace(value.min(), value.max(), 25) if skewed else np.linspace(value.min(), value.max(), 25)
    top.hist(value, bins, color=(color, 0.45), edgecolor=color, histtype="stepfilled", linewidth=0.8)
    top.set_title(names.label(name).replace(" ", "\n", 1), fontsize=7.5)
    middle_points = [stats.t_interval(part) for part in np.array_split(truth[np.argsort(value, kind="stable")], 10) if len(part)]
    ends = np.array([(part.mean, part.low, part.high) for part in middle_points]).T
    points(middle, np.arange(1, len(middle_points) + 1), *ends, look(SCORE, name), size=3)
    middle.set(xticks=(1, 5, 10), xlabel="decile")
    bottom.plot(value, truth, "o", color=color, markersize=2.2, alpha=0.35, markeredgewidth=0, rasterized=True)
    bottom.set_xlabel("proxy" + (" (log)" if skewed else ""))
    rho = _rho(value, truth)
    bottom.annotate(f"ρ = {rho}", (0.04, 0.97), xycoords="axes fraction", va="top", fontsize=7.5, weight="bold",
                    bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1})  # fmt: skip
    for axes in (top, bottom):
        if skewed:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(2))


def _rho(value: np.ndarray, truth: np.ndarray) -> str:
    try:
        return f"{stats.spearman(value, truth).mean:.2f}"
    except ValueError:  # a constant proxy has no rank correlation
        return "–"


# ---- unlearning: Figure 2 and the differences behind it


@style()
def rum(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Figure 2 for one profile: ToW and ToW-MIA of RUM^F, vanilla and shuffle, per algorithm and score."""
    runs = _without_oracle(unlearning)
    table, scores = tables.tow_table(runs), _figure_2_scores(runs)
    figure = Picture(height=4.4)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _rum_panel(axes, table, metric, scores)
        axes.set_title(f"{names.label(metric)}: 1 = retraining from scratch")
    panels[0].tick_params(labelbottom=False)
    headline(figure, "Does refinement help? Where the filled marker lies above the hollow one.", _rum_legend(table, scores))
    return finish(
        figure,
        f"{captioned(profile)}. Each line joins vanilla (left), shuffle and RUM$^F$ (right) on the same forget sets; {tables.interval_note(_counts(table))}. "
        f"Intervals of the differences, paired by seed: see the figure of strategy differences.",
    )


def _without_oracle(unlearning: pd.DataFrame) -> pd.DataFrame:
    return unlearning[unlearning["algorithm"] != "retrain"]


def _counts(table: pd.DataFrame) -> list[int]:
    return table["n"].tolist()


def _figure_2_scores(runs: pd.DataFrame) -> list[str]:
    """The paper's four, as far as they are there; if none is, whatever is there."""
    found = set(runs["score"])
    return [name for name in names.FIGURE_2_SCORES if name in found] or names.ordered(found)


def _rum_legend(table: pd.DataFrame, scores: list[str]) -> list[Line2D]:
    shades = [key(look(SCORE, name), names.label(name)) for name in scores]
    plain = {"vanilla": key(Look(SOFT, "o"), "vanilla", filled=False), "shuffle": key(Look(SOFT, "_"), "shuffle"), "rum_f": key(Look(SOFT, "o"), "RUM$^F$")}
    return shades + [plain[name] for name in plain if name in set(table["strategy"])]


def _rum_panel(axes: Axes, table: pd.DataFrame, metric: str, scores: list[str], size: float = 5.0) -> None:
    algorithms = names.ordered(table["algorithm"])
    step = 0.84 / len(scores)
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            centre = a + (s - (len(scores) - 1) / 2) * step
            _trio(axes, rows(table, algorithm=algorithm, score=score), metric, centre, step * 0.27, look(SCORE, score), size)
        if a:
            axes.axvline(a - 0.5, color=FAINT, linewidth=0.8)
    axes.axhline(1, color=SOFT, linewidth=0.8)
    lows = np.r_[table[f"{metric}_low"].dropna(), table[metric]]
    axes.set_ylim(max(0.0, lows.min() - 0.03), 1.02)
    axes.set_xlim(-0.5, len(algorithms) - 0.5)
    axes.set_xticks(range(len(algorithms)), [names.label(name) for name in algorithms], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylabel(names.label(metric))


def _trio(axes: Axes, cells: pd.DataFrame, metric: str, centre: float, reach: float, how: Look, size: float) -> None:
    """Vanilla, shuffle and RUM^F side by side, joined: a rising line is a gain."""
    place = {"vanilla": centre - reach, "shuffle": centre, "rum_f": centre + reach}
    found = [name for name in place if name in set(cells["strategy"])]
    means = [rows(cells, strategy=name)[metric].item() for name in found]
    axes.plot([place[name] for name in found], means, color=how.color, linewidth=0.8, alpha=0.55, zorder=1)
    for name in found:
        cell = rows(cells, strategy=name)
        x, values = [place[name]], columns(cell, metric)
        if name == "rum_f":
            points(axes, x, *values, how, size=size, bar=1.5)
        elif name == "vanilla":
            points(axes, x, *values, how, size=size, bar=0.6, filled=False)
        else:
            points(axes, x, *values, Look(how.color, "_"), size=size, bar=0.6)


@style()
def strategy_differences(profile: Profile, unlearning: pd.DataFrame) -> Picture:
    """Forest plot of the differences between strategies, paired by seed, per algorithm and score; right of 0 is a gain."""
    runs = _without_oracle(unlearning)
    found = set(runs["strategy"])
    wanted = (("rum_f", "vanilla", STRATEGY["rum_f"], True), ("rum_f", "shuffle", Look("#3E7FA6", "D"), False), ("shuffle", "vanilla", STRATEGY["shuffle"], False))
    pairs = [(a, b, how, filled, tables.differences(runs, a, b)) for a, b, how, filled in wanted if {a, b} <= found]
    lines = _forest_lines(runs)
    figure = Picture(height=0.21 * len(lines) + 1.3)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _forest(axes, pairs, metric, lines)
    panels[0].set_yticks(range(len(lines)), [names.label(score or algorithm) for algorithm, score in lines])
    for tick, (_, score) in zip(panels[0].get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if score else "bold")
    texts = [f"{names.math(a)} − {names.math(b)}" for a, b, *_ in pairs]
    headline(figure, "Differences between strategies on the same forget sets", [key(p[2], t, p[3]) for p, t in zip(pairs, texts, strict=True)])
    counts = [n for *_, table in pairs for n in table["n"]]
    return finish(figure, f"{captioned(profile)}. Differences paired by seed; {tables.interval_note(counts)}. An interval that crosses 0 shows no difference.")


def _forest_lines(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows from the top: (algorithm, "") is a heading, then (algorithm, score)."""
    lines = []
    for algorithm in names.ordered(runs["algorithm"]):
        lines += [(algorithm, ""), *((algorithm, score) for score in names.ordered(rows(runs, algorithm=algorithm)["score"]))]
    return lines


def _forest(axes: Axes, pairs: list, metric: str, lines: list[tuple[str, str]]) -> None:
    offsets = np.linspace(-0.26, 0.26, len(pairs)) if len(pairs) > 1 else [0]
    for (_, _, how, filled, table), offset in zip(pairs, offsets, strict=True):
        place = [lines.index((row.algorithm, row.score)) + offset for row in table.itertuples()]
        points(axes, place, *columns(table, metric), how, across=True, filled=filled, size=3.6, bar=1.3 if filled else 0.7)
    for row, (_, score) in enumerate(lines):
        if not score:
            axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set(title=f"Difference in {names.label(metric)}", ylim=(len(lines) - 0.4, -0.6))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("← worse      better →")


# ---- sequential unlearning: Figures 3 and 7


@style()
def sequential(profile: Profile, sequential: pd.DataFrame) -> Picture:
    """Figure 3: change of ToW and ToW-MIA since step 1; upper row the union of all forget sets so far, lower row each step's."""
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
    return finish(
        figure,
        f"{captioned(profile)}. {names.label(profile.sequential.algorithm)} on {table['step'].max()} forget sets, one after the other, chosen by "
        f"{names.label(profile.sequential.score)}; change paired by seed, {tables.interval_note(_counts(table))}.",
    )


def _sequential_headline(figure: Picture, table: pd.DataFrame) -> None:
    handles = [key(look(STRATEGY, name), names.math(name), filled=name == "rum_f", line=True) for name in names.ordered(table["strategy"])]
    headline(figure, "Does unlearning stay good, request after request?", handles)


def _change_panel(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    strategies = names.ordered(table["strategy"])
    for place, name in enumerate(strategies):
        cells = rows(table, strategy=name).sort_values("step")
        dodge = 0.06 * (place - (len(strategies) - 1) / 2)
        points(axes, cells["step"] + dodge, *columns(cells, f"{metric}_change"), look(STRATEGY, name), filled=name == "rum_f", line=True)
    axes.axhline(0, color=SOFT, linewidth=0.8, zorder=1)
    axes.xaxis.set_major_locator(FixedLocator(sorted(table["step"].unique())))


@style()
def before_after(profile: Profile, values: pd.DataFrame) -> Picture:
    """Figure 7: the proxy's distribution before and after each step, for that step's forget set and the retained examples.

    `values`: `strategy seed step moment group example value`, moment ∈ before/after, group ∈ forget/retain.
    """
    strategies, steps = names.ordered(values["strategy"]), sorted(values["step"].unique())
    positive = values["value"][values["value"] > 0]
    low, high = (np.quantile(positive, q) for q in (0.002, 0.9995))
    figure = Picture(height=0.95 + 1.35 * len(strategies))
    panels = figure.subplots(len(strategies), len(steps), sharex=True, sharey=True, squeeze=False)
    for row, strategy in zip(panels, strategies, strict=True):
        for axes, step in zip(row, steps, strict=True):
            _ridges(axes, rows(values, strategy=strategy, step=step), np.log10(low), np.log10(high))
        row[0].set_ylabel(names.math(strategy), fontsize=9, fontweight="bold")
    for axes, step in zip(panels[0], steps, strict=True):
        axes.set_title(f"step {step}")
    figure.supylabel("")
    handles = [Patch(facecolor="#D9D9D9", edgecolor="#8A8A8A", label="before the step"), *(
        Patch(facecolor=(color, 0.25), edgecolor=color, linewidth=1.2, label=f"after, {names.label(group)}") for group, (_, color) in RIDGES.items()
    )]  # fmt: skip
    headline(figure, "What a step does to the proxy: forget set above, retained examples below", handles)
    return finish(
        figure,
        f"{captioned(profile)}. {names.label(profile.sequential.score)} value (log scale, higher = more memorized) of the current model; "
        f"densities of equal height, examples of {tables.seeds([values['seed'].nunique()])} together (no interval).",
    )





def _ridges(axes: Axes, values: pd.DataFrame, low: float, high: float) -> None:
    for group, (base, color) in RIDGES.items():
        for moment in ("before", "after"):
            x, density = _log_density(rows(values, group=group, moment=moment)["value"].to_numpy(float), low, high)
            if moment == "before":
                axes.fill_between(x, base, base + 0.88 * density, color="#D9D9D9", edgecolor="#8A8A8A", linewidth=0.6)
            else:
                axes.fill_between(x, base, base + 0.88 * density, color=(color, 0.18), linewidth=0)
                axes.plot(x, base + 0.88 * density, color=color, linewidth=1.1)
    axes.set(xscale="log", yticks=[0.3, 1.3], yticklabels=["retain", "forget"], ylim=(-0.03, 2.0), xlim=(10**low, 10**high))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def _log_density(values: np.ndarray, low: float, high: float, bins: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """A smoothed histogram of log10(values) on a common grid, its highest point at 1; values outside count at the edges."""
    edges = np.linspace(low, high, bins + 1)
    logs = np.log10(np.clip(values, 10.0**low, 10.0**high))
    counts = np.histogram(logs, edges)[0].astype(float)
    width = max(1.06 * logs.std() * max(len(logs), 1) ** -0.2, (high - low) / 60) / (edges[1] - edges[0]) if len(logs) else 1.0
    reach = np.arange(-int(3 * width) - 1, int(3 * width) + 2)
    smooth = np.convolve(counts, np.exp(-0.5 * (reach / width) ** 2), mode="same")
    return 10 ** ((edges[1:] + edges[:-1]) / 2), smooth / max(smooth.max(), 1e-12)


# ---- across profiles: Figures 2 and 3 as in the paper


@style()
def rum_across(frames: Mapping[str, pd.DataFrame], missing: Sequence[str] = ()) -> Picture:
    """Figure 2 a-f: a column per profile, ToW above ToW-MIA; a profile without results says how to get them."""
    figure, panels = _across(frames, missing, 4.0)
    found = {name: _without_oracle(frame) for name, frame in frames.items()}
    for column, (_, runs) in zip(panels.T, found.items(), strict=False):
        for axes, metric in zip(column, METRICS, strict=True):
            _rum_panel(axes, tables.tow_table(runs), metric, _figure_2_scores(runs), size=3.6)
            axes.tick_params(axis="x", labelsize=SMALL)
    every = pd.concat(found.values(), ignore_index=True) if found else pd.DataFrame(columns=["score", "strategy"])
    headline(figure, "Refinement against vanilla, across data sets and architectures", _rum_legend(every, _figure_2_scores(every)) if found else [])
    counts = [n for runs in found.values() for n in _counts(tables.tow_table(runs))]
    return finish(figure, f"{_profiles(frames, missing)} Lines join vanilla, shuffle and RUM$^F$ on the same forget sets; {tables.interval_note(counts)}.")


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
        axes.set_ylabel(f"change of {names.label(metric)}" if frames else "")
    if found:
        _sequential_headline(figure, pd.concat(found.values()))
    counts = [n for table in found.values() for n in _counts(table)]
    return finish(figure, f"{_profiles(frames, missing)} Union of all forget sets so far, change since step 1 paired by seed; {tables.interval_note(counts)}.")


def _across(frames: Mapping[str, pd.DataFrame], missing: Sequence[str], height: float) -> tuple[Picture, np.ndarray]:
    """Two rows of panels, a column per profile; the missing ones are already filled in."""
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
    axes.text(0.5, 0.5, f"no results yet:\n./run_all.sh\n--profile {name}", ha="center", va="center", color=SOFT, fontsize=7.5,
              transform=axes.transAxes, linespacing=1.5)  # fmt: skip


def _profiles(frames: Mapping[str, pd.DataFrame], missing: Sequence[str]) -> str:
    """The caption's first sentences: which profiles are shown, with n, and which are not there."""
    shown = "; ".join(f"{name}: {_title(name)}, {tables.seeds([frame['seed'].nunique()])}" for name, frame in frames.items())
    absent = [name for name in missing if name not in frames]
    return (f"{shown}. " if shown else "") + (f"No results yet for {', '.join(absent)}." if absent else "")


def _title(name: str) -> str:
    from mulnb.config import load_profile
    from mulnb.errors import UserError

    try:
        return load_profile(name).title
    except UserError:  # a profile of yours, known by its results only
        return name
