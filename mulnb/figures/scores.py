"""Figures of exact memorization: its distribution, examples of each stratum, and its convergence with the pool's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from mulnb.config import Profile
from mulnb.core.stats import evenly
from mulnb.core.vocabulary import STRATA
from mulnb.figures import crowd
from mulnb.figures.marks import columns, key, points
from mulnb.figures.plotting import (
    ALERT,
    INK,
    SMALL,
    SOFT,
    STRATEGY,
    STRATUM,
    Look,
    Picture,
    bare,
    captioned,
    finish,
    headline,
    placeholder,
    style,
)
from mulnb.results import captions, compare

CLEAN, CLEAN_FILL = "#4F7393", "#BCCBD9"
DASHED = (0, (4, 2))
Groups = list[tuple[str, pd.DataFrame, str, str]]


@style()
def memorization_profile(profile: Profile, memorization: pd.DataFrame, strata: Any) -> Picture:
    """Distribution of the memorization scores, where the three strata lie, and the standard error of each score.

    Args:
        profile: the study.
        memorization: `example label memorization se n_in n_out`, and a bool column `flipped` where labels were flipped.
        strata: has `low`, `medium` and `high`, each an array of examples.
    """
    estimated = "se" in memorization and memorization["se"].notna().any()  # imported scores have no standard errors
    figure = Picture(height=3.6)
    widths = (1.75, 1) if estimated else (1,)
    grid = figure.add_gridspec(2, len(widths), width_ratios=widths, height_ratios=(3.2, 1))
    top = figure.add_subplot(grid[0, 0])
    strip = figure.add_subplot(grid[1, 0], sharex=top)

    groups = _label_groups(memorization)
    _score_histogram(top, groups)
    _stratum_strip(strip, memorization.set_index("example")["memorization"], strata, (top, strip))
    if estimated:
        models = int((memorization["n_in"] + memorization["n_out"]).median())
        _standard_errors(figure.add_subplot(grid[:, 1]), groups, _worst_case(profile, models))
        source = f"from one pool of M = {models} models"
        share = f"{100 * profile.pool.share:.0f} %"
        worst = f" Dashed: the worst case for an example that {share} of the models saw; those above it were seen by more."
        drawn = crowd.note(len(memorization))
    else:
        source, worst = "imported", ""
        drawn = crowd.note(max(len(getattr(strata, name)) for name in STRATA))

    handles = [Patch(facecolor=CLEAN_FILL, edgecolor=CLEAN, label=groups[0][0])]
    handles += [Patch(facecolor="white", edgecolor=ALERT, hatch="////", label=name) for name, *_ in groups[1:]]
    headline(figure, "How strongly is each training example memorized?", handles)
    return finish(
        figure,
        f"{captioned(profile)}. Feldman-Zhang scores of {len(memorization)} training examples, {source}, n = 1 set of scores; "
        f"{captions.memorized(memorization['memorization'])}. Shaded: the range of each stratum.{worst}{drawn}",
    )


def _label_groups(memorization: pd.DataFrame) -> Groups:
    """(name, frame, colour, marker) for the examples with the given and with flipped labels, or for all of them."""
    if "flipped" not in memorization or not memorization["flipped"].any():
        return [("all training examples", memorization, CLEAN, "o")]
    flipped = memorization["flipped"].to_numpy(bool)
    return [("label as given", memorization[~flipped], CLEAN, "o"), ("label flipped", memorization[flipped], ALERT, "x")]


def _score_histogram(axes: Axes, groups: Groups) -> None:
    """Bins of 0.05, counts on a log scale."""
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

        values = values[crowd.drawn(len(values))]
        place = row + np.random.default_rng(0).uniform(-0.28, 0.28, len(values))
        edge = {"markeredgecolor": INK, "markeredgewidth": 0.3 if len(values) <= 200 else 0}  # the edges of many are all black
        strip.plot(values, place, how.marker, color=how.color, rasterized=True, **edge, **crowd.cloud(len(values), 3, 1))

    strip.set(yticks=range(len(STRATA)), yticklabels=STRATA, ylim=(-0.6, 2.6), xlabel="memorization", ylabel="stratum")
    strip.grid(False, axis="y")


def _standard_errors(axes: Axes, groups: Groups, worst: float) -> None:
    """A point per example, and the worst case as a dashed line."""
    for _, frame, color, marker in groups:
        frame = frame.iloc[crowd.drawn(len(frame))]
        edge = 0.8 if marker == "x" else 0
        dots = {"markeredgewidth": edge, "rasterized": True, **crowd.cloud(len(frame), 3.2, 0.6)}
        axes.plot(frame["memorization"], frame["se"], marker, color=color, **dots)

    axes.axhline(worst, color=INK, linewidth=0.9, linestyle=DASHED)
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
    axes.annotate(f"worst case {worst:.3f}", (1, worst), (0, 3), fontsize=SMALL, bbox=behind, **where)
    axes.set(xlabel="memorization", ylabel="standard error", title="How sure each score is", ylim=(0, worst * 1.2))


def _worst_case(profile: Profile, models: Any) -> Any:
    """METHOD §2: the standard error at probability 1/2 on both sides, with a share p of M models having seen the example."""
    p = profile.pool.share
    return 0.5 * np.sqrt((1 / p + 1 / (1 - p)) / models)


@style()
def stratum_images(
    profile: Profile, images: np.ndarray, memorization: pd.DataFrame, strata: Any, classes: Sequence[str]
) -> Picture:
    """Images of each stratum with their labels and scores, evenly spaced in the stratum's order of scores.

    Args:
        profile: the study.
        images: uint8 [N, C, H, W], C = 1 or 3.
        memorization: the frame of scores.
        strata: has `low`, `medium` and `high`, each an array of examples.
        classes: the classes' names.
    """
    per_row = 10 if images.shape[-1] < 48 else 8  # the file stays small, and large images show more
    figure = Picture(height=3.45)
    panels = figure.subplots(len(STRATA), per_row, squeeze=False)
    frame = memorization.set_index("example")

    for row, name in zip(panels, STRATA, strict=True):
        for axes in row:
            bare(axes)
        members = frame.loc[getattr(strata, name)].sort_values("memorization", kind="stable")
        chosen = members.iloc[evenly(len(members), per_row)]
        for axes, (example, facts) in zip(row, chosen.iterrows(), strict=False):
            _example(axes, images[example], facts, classes)
        row[0].set_ylabel(name, fontweight="bold", fontsize=9, labelpad=6)

    flipped = " Red frame: the profile flipped this label." if memorization.get("flipped", pd.Series(dtype=bool)).any() else ""
    return finish(
        figure,
        f"{captioned(profile)}. Training examples of the low, medium and high stratum, evenly spaced in its order; below each "
        f"its label and memorization score ± standard error (n = 1 pool of models).{flipped}",
    )


def _example(axes: Axes, image: np.ndarray, facts: pd.Series, classes: Sequence[str]) -> None:
    """One image [C, H, W] with its label and score below it."""
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")

    flipped = bool(facts.get("flipped", False))
    name = str(classes[int(facts["label"])]).split(",")[0]  # Tiny-ImageNet lists synonyms: the first
    short = name if len(name) < 12 else f"{name[:10]}…"
    error = facts.get("se", np.nan)
    score = f"{facts['memorization']:.2f}" + ("" if np.isnan(error) else f"±{error:.2f}")
    score = score.replace("-", "−")
    axes.set_xlabel(f"{short}\n{score}", fontsize=SMALL, labelpad=2, color=ALERT if flipped else INK)
    if flipped:
        axes.spines[:].set(visible=True, color=ALERT, linewidth=1.6)


@style()
def convergence(profile: Profile, convergence: pd.DataFrame) -> Picture:
    """How the scores settle as the pool grows.

    Args:
        profile: the study.
        convergence: `models repeat split_half spearman_full mean_se`; empty where the scores were imported.
    """
    if not len(convergence):
        return placeholder(profile, "The exact scores were imported:\nthere is no pool whose convergence could be seen.")
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
        axes.set(xscale="log", xlabel="models M")
        axes.xaxis.set_major_locator(FixedLocator(sorted(convergence["models"].unique())))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())

    repeats = int(convergence["repeat"].nunique())
    spread = (
        f"mean and 95 % t interval over n = {repeats} random choices of M models" if repeats > 1 else "n = 1 choice: no interval"
    )
    return finish(figure, f"{captioned(profile)}. Memorization from parts of one pool, {spread}.")


def _against_models(axes: Axes, frame: pd.DataFrame, name: str, how: Look, filled: bool = True) -> None:
    """One column of the convergence frame, mean and interval per pool size."""
    table = compare.intervals(frame.dropna(subset=name), ["models"], [name])  # two halves need a pool twice as large
    points(axes, table["models"], *columns(table, name), how, line=True, filled=filled)
