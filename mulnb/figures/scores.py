"""Figures of the scores: exact memorization, its convergence, and the proxies beside it (`figures.py` lists all)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from mulnb.config import Profile
from mulnb.core import stats, vocabulary
from mulnb.core.vocabulary import STRATA
from mulnb.figures.plotting import (
    ALERT,
    FAINT,
    INK,
    SCORE,
    SMALL,
    SOFT,
    STRATEGY,
    STRATUM,
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
from mulnb.results import captions, compare, tables
from mulnb.results.paper import PUBLISHED_RHO

CLEAN, CLEAN_FILL = "#4F7393", "#BCCBD9"
DASHED = (0, (4, 2))
Groups = list[tuple[str, pd.DataFrame, str, str]]


# ---- memorization


@style()
def memorization_profile(profile: Profile, memorization: pd.DataFrame, strata: Any) -> Picture:
    """Distribution of the scores, where the three strata lie, and the standard error of each score.

    `memorization`: `example label memorization se n_in n_out`, perhaps bool `flipped`; `strata.low/.medium/.high`: indices.
    """
    figure = Picture(height=3.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1), height_ratios=(3.2, 1))
    top, errors = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    strip = figure.add_subplot(grid[1, 0], sharex=top)
    groups = _label_groups(memorization)
    models = int((memorization["n_in"] + memorization["n_out"]).median())
    _score_histogram(top, groups)
    _stratum_strip(strip, memorization.set_index("example")["memorization"], strata, (top, strip))
    _standard_errors(errors, groups, _worst_case(profile, models))
    handles = [Patch(facecolor=CLEAN_FILL, edgecolor=CLEAN, label=groups[0][0])]
    handles += [Patch(facecolor="white", edgecolor=ALERT, hatch="////", label=name) for name, *_ in groups[1:]]
    headline(figure, "How much of each training example is memorized", handles)
    return finish(
        figure,
        f"{captioned(profile)}. Feldman-Zhang scores of {len(memorization)} training examples from one pool of M = {models} "
        "models, n = 1 set of scores. Shaded: the range of each stratum. Dashed: the worst case for an example that "
        f"{100 * profile.pool.share:.0f} % of the models saw.",
    )


def _label_groups(memorization: pd.DataFrame) -> Groups:
    """(name, frame, colour, marker) of the examples with clean and with flipped labels, or of all of them."""
    if "flipped" not in memorization or not memorization["flipped"].any():
        return [("all training examples", memorization, CLEAN, "o")]
    flipped = memorization["flipped"].to_numpy(bool)
    return [("label as given", memorization[~flipped], CLEAN, "o"), ("label flipped", memorization[flipped], ALERT, "x")]


def _score_histogram(axes: Axes, groups: Groups) -> None:
    every = np.concatenate([frame["memorization"].to_numpy() for _, frame, _, _ in groups])
    bins = np.arange(np.floor(every.min() * 20), np.ceil(every.max() * 20) + 0.5) / 20
    for (_, frame, color, _), (fill, hatch) in zip(groups, ((CLEAN_FILL, ""), ("none", "////")), strict=False):
        axes.hist(frame["memorization"], bins, facecolor=fill, edgecolor=color, hatch=hatch, histtype="stepfilled", linewidth=1)
    axes.set(yscale="log", ylabel="examples (log scale)", title="Scores")
    axes.set_ylim(0.7, None)
    axes.tick_params(labelbottom=False)


def _stratum_strip(strip: Axes, score: pd.Series, strata: Any, shaded: Sequence[Axes]) -> None:
    """One row of points per stratum; their range is shaded through the histogram above."""
    for row, name in enumerate(STRATA):
        values, how = score.loc[getattr(strata, name)].to_numpy(), STRATUM[name]
        for axes in shaded:
            axes.axvspan(values.min() - 0.004, values.max() + 0.004, color=how.color, alpha=0.22, linewidth=0, zorder=0)
        place = row + np.random.default_rng(0).uniform(-0.28, 0.28, len(values))
        edge = {"markeredgecolor": INK, "markeredgewidth": 0.3 if len(values) <= 200 else 0}  # the edges of many are all black
        strip.plot(values, place, how.marker, color=how.color, rasterized=True, **edge, **_cloud(len(values), 3, 1))
    strip.set(yticks=range(len(STRATA)), yticklabels=STRATA, ylim=(-0.6, 2.6), xlabel="memorization", ylabel="stratum")
    strip.grid(False, axis="y")


def _standard_errors(axes: Axes, groups: Groups, worst: float) -> None:
    for _, frame, color, marker in groups:
        edge = 0.8 if marker == "x" else 0
        dots = {"markeredgewidth": edge, "rasterized": True, **_cloud(len(frame), 3.2, 0.6)}
        axes.plot(frame["memorization"], frame["se"], marker, color=color, **dots)
    axes.axhline(worst, color=INK, linewidth=0.9, linestyle=DASHED)
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
    axes.annotate(f"worst case {worst:.3f}", (1, worst), (0, 3), fontsize=SMALL, bbox=behind, **where)
    axes.set(xlabel="memorization", ylabel="standard error", title="How sure each score is", ylim=(0, worst * 1.2))


def _cloud(n: int, size: float, alpha: float) -> dict[str, float]:
    """Size and opacity of `n` points: so many that they would be one blob are drawn smaller and paler."""
    crowd = max(1.0, n / 2000)
    return {"markersize": max(size * crowd**-0.25, 1.0), "alpha": max(alpha * crowd**-0.5, 0.06)}


def _worst_case(profile: Profile, models: Any) -> Any:
    """METHOD §2: the standard error at probability 1/2 on both sides, with a share p of M models having seen the example."""
    p = profile.pool.share
    return 0.5 * np.sqrt((1 / p + 1 / (1 - p)) / models)


@style()
def stratum_images(
    profile: Profile, images: np.ndarray, memorization: pd.DataFrame, strata: Any, classes: Sequence[str]
) -> Picture:
    """Examples of each stratum, evenly spaced in its order of scores. `images` uint8 [N, C, H, W], C = 1 or 3."""
    per_row = 10 if images.shape[-1] < 48 else 8  # the file stays small, and large images show more
    figure = Picture(height=3.45)
    panels = figure.subplots(len(STRATA), per_row, squeeze=False)
    frame = memorization.set_index("example")
    for row, name in zip(panels, STRATA, strict=True):
        for axes in row:
            bare(axes)
        chosen = _spread(frame.loc[getattr(strata, name)].sort_values("memorization", kind="stable"), per_row)
        for axes, (example, facts) in zip(row, chosen.iterrows(), strict=False):
            _example(axes, images[example], facts, classes)
        row[0].set_ylabel(name, fontweight="bold", fontsize=9, labelpad=6)
    flipped = " Red frame: the profile flipped this label." if memorization.get("flipped", pd.Series(dtype=bool)).any() else ""
    return finish(
        figure,
        f"{captioned(profile)}. Training examples of the low, medium and high stratum, evenly spaced in its order; below each "
        f"its label and memorization score ± standard error (n = 1 pool of models).{flipped}",
    )


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(count, len(frame))).round().astype(int))]


def _example(axes: Axes, image: np.ndarray, facts: pd.Series, classes: Sequence[str]) -> None:
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
    name, flipped = str(classes[int(facts["label"])]), bool(facts.get("flipped", False))
    name = name.split(",")[0]  # of synonyms, as in Tiny-ImageNet, the first
    short = name if len(name) < 12 else f"{name[:10]}…"
    score = f"{facts['memorization']:.2f}±{facts['se']:.2f}".replace("-", "−")
    axes.set_xlabel(f"{short}\n{score}", fontsize=SMALL, labelpad=2, color=ALERT if flipped else INK)
    if flipped:
        axes.spines[:].set(visible=True, color=ALERT, linewidth=1.6)


@style()
def convergence(profile: Profile, convergence: pd.DataFrame) -> Picture:
    """How the scores settle as the pool grows. Frame: `models repeat split_half spearman_full mean_se`."""
    figure = Picture(height=3.0)
    left, right = figure.subplots(1, 2)
    halves, whole, error = STRATEGY["rum_f"], STRATEGY["vanilla"], Look(INK, "D")
    _against_models(left, convergence, "split_half", halves)
    _against_models(left, convergence, "spearman_full", whole, filled=False)
    left.set(title="Agreement of two estimates", ylabel="Spearman ρ")
    _against_models(right, convergence, "mean_se", error)
    sizes = np.geomspace(convergence["models"].min(), convergence["models"].max(), 50)
    worst = right.plot(sizes, _worst_case(profile, sizes), color=SOFT, linestyle=DASHED, linewidth=0.9, label="worst case")
    right.set(title="Standard error of a score", ylabel="standard error", ylim=(0, None))
    shown = [
        key(halves, "two disjoint pools", line=True),
        key(whole, "part and whole pool", filled=False, line=True),
        key(error, "mean over examples", line=True),
    ]
    headline(figure, "How many models the scores need", shown + worst)
    for axes in (left, right):
        _model_axis(axes, sorted(convergence["models"].unique()))
    repeats = int(convergence["repeat"].nunique())
    spread = (
        f"mean and 95 % t interval over n = {repeats} random choices of M models" if repeats > 1 else "n = 1 choice: no interval"
    )
    return finish(figure, f"{captioned(profile)}. Memorization from parts of one pool, {spread}.")


def _against_models(axes: Axes, frame: pd.DataFrame, name: str, how: Look, filled: bool = True) -> None:
    table = compare.intervals(frame.dropna(subset=name), ["models"], [name])  # two halves need a pool twice as large
    points(axes, table["models"], *columns(table, name), how, line=True, filled=filled)


def _model_axis(axes: Axes, models: list[int]) -> None:
    axes.set(xscale="log", xlabel="models M")
    axes.xaxis.set_major_locator(FixedLocator(models))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


# ---- proxies


@style()
def proxy_table(profile: Profile, costs: pd.DataFrame) -> Picture:
    """Table 1 as a picture. `costs`: `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`."""
    table = tables.proxy_table(costs).iloc[::-1].reset_index(drop=True)  # the strongest on top
    figure = Picture(height=0.33 * len(table) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    _correlations(left, table)
    _costs(right, table)
    left.set_yticks(range(len(table)), [vocabulary.label(name) for name in table["proxy"]], fontsize=8)
    spread = captions.interval_note(table["n_seeds"])
    return finish(
        figure,
        f"{captioned(profile)}. ρ of the proxy, turned so that higher = more memorized: {spread}; "
        "grey: range published for the paper's data. Cost: seconds on top of training, and their share of training the "
        f"{profile.pool.models} models behind exact scores.",
    )


def _correlations(axes: Axes, table: pd.DataFrame) -> None:
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False, "va": "center"}
    for row, name in enumerate(table["proxy"]):
        if name in PUBLISHED_RHO:
            low, high = PUBLISHED_RHO[name]
            axes.barh(row, high - low, left=low, height=0.62, color="#D3D3D3", zorder=1)
        cell = table.iloc[[row]]
        points(axes, [row], cell["spearman"], cell["ci_low"], cell["ci_high"], look(SCORE, name), across=True, size=6, bar=1.8)
        axes.annotate(f"{cell['spearman'].item():.2f}", (1, row), (4, 0), fontsize=7.5, **beside)
    axes.set(title="Rank correlation with memorization", xlabel="Spearman ρ", ylim=(-0.6, len(table) - 0.4))
    axes.set_xlim(min(0, table[["spearman", "ci_low"]].min().min() - 0.05), 1)
    axes.grid(False, axis="y")


def _costs(axes: Axes, table: pd.DataFrame) -> None:
    floor = max(table["seconds"].min(), 1e-4) / 4
    axes.hlines(range(len(table)), floor, table["seconds"], color=FAINT, linewidth=1.5)
    for row, (name, seconds, share) in enumerate(table[["proxy", "seconds", "share_of_exact"]].itertuples(index=False)):
        points(axes, [row], [seconds], [np.nan], [np.nan], look(SCORE, name), across=True, size=6)
        text = f"{_duration(seconds)} · {100 * share:.2g} %"
        axes.annotate(text, (max(seconds, floor), row), (7, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set(xscale="log", title="Cost", xlabel="seconds (log scale)")
    axes.set_xlim(floor, (table["seconds"].max() / floor) ** 1.75 * floor)  # room for the text behind the longest
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@style()
def proxy_profiles(profile: Profile, proxies: pd.DataFrame, memorization: pd.DataFrame) -> Picture:
    """Per proxy (column): its distribution, mean memorization per decile of it, and it against memorization with ρ.

    `proxies`: `example proxy seed raw value`; `memorization`: `example … memorization …`. Values are means over the seeds.
    """
    truth = memorization.set_index("example")["memorization"]
    found = vocabulary.ordered(proxies["proxy"])
    figure = Picture(height=4.4)
    panels = figure.subplots(3, len(found), squeeze=False, sharey="row")
    for column, name in zip(panels.T, found, strict=True):
        seeds = rows(proxies, proxy=name).pivot(index="example", columns="seed", values="value")
        _proxy_column(column, name, seeds.to_numpy(float), truth.loc[seeds.index].to_numpy(float))
    for row, text in zip(panels, ("examples (log)", "memorization\n(mean)", "memorization"), strict=True):
        row[0].set_ylabel(text)
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylim(bottom=0.7)
    n = captions.seeds([proxies["seed"].nunique()])
    return finish(
        figure,
        f"{captioned(profile)}. Proxies, turned so that higher = more memorized, mean over {n}. Top: distribution. "
        "Middle: memorization per tenth of the examples, ordered by proxy; bars: 95 % t interval over the examples. "
        "Bottom: every example; ρ: mean of the seeds' Spearman correlations, as in Table 1.",
    )


def _proxy_column(column: Sequence[Axes], name: str, seeds: np.ndarray, truth: np.ndarray) -> None:
    """`seeds`: the proxy [N, seeds]; `truth`: memorization [N]."""
    (top, middle, bottom), value = column, seeds.mean(axis=1)
    color = look(SCORE, name).color
    skewed = value.min() > 0 and np.quantile(value, 0.99) > 20 * np.median(value)
    bins = np.geomspace(value.min(), value.max(), 25) if skewed else np.linspace(value.min(), value.max(), 25)
    top.hist(value, bins, color=(color, 0.45), edgecolor=color, histtype="stepfilled", linewidth=0.8)
    top.set_title(vocabulary.label(name).replace(" ", "\n", 1), fontsize=7.5)
    _deciles(middle, value, truth, name)
    bottom.plot(value, truth, "o", color=color, markeredgewidth=0, rasterized=True, **_cloud(len(value), 2.2, 0.35))
    bottom.set_xlabel("proxy" + (" (log)" if skewed else ""))
    bottom.set_title(f"ρ = {_rho(seeds, truth)}", fontsize=7.5)
    for axes in (top, bottom):
        if skewed:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(2))


def _deciles(axes: Axes, value: np.ndarray, truth: np.ndarray, name: str) -> None:
    """Mean memorization per tenth of the examples; tied proxy values share a tenth, so some tenths may be empty."""
    tenth = np.ceil((stats.ranks(value) - 0.5) / len(value) * 10).astype(int)
    found = np.unique(tenth)
    ends = np.array([(one.mean, one.low, one.high) for one in (stats.t_interval(truth[tenth == k]) for k in found)]).T
    points(axes, found, *ends, look(SCORE, name), size=3)
    axes.set(xticks=(1, 5, 10), xlabel="decile")


def _rho(seeds: np.ndarray, truth: np.ndarray) -> str:
    """The mean over seeds, as in Table 1."""
    try:
        return f"{np.mean([stats.spearman(value, truth).mean for value in seeds.T]):.2f}"
    except ValueError:  # a constant proxy has no rank correlation
        return "–"
