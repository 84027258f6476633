"""Figures of the proxies: Table 1 as a picture, and each proxy beside exact memorization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from mulnb.config import Profile
from mulnb.core import stats, vocabulary
from mulnb.figures import crowd
from mulnb.figures.marks import look, points, rows
from mulnb.figures.plotting import FAINT, INK, SCORE, Look, Picture, blocks_of, captioned, finish, style
from mulnb.results import captions, tables
from mulnb.results.paper import PUBLISHED_RHO

PER_ROW = 7  # proxies beside each other


@style()
def proxy_table(profile: Profile, costs: pd.DataFrame) -> Picture:
    """Table 1 as a picture: correlation with memorization on the left, cost on the right.

    Args:
        profile: the study.
        costs: `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`.
    """
    table = tables.proxy_table(costs).iloc[::-1].reset_index(drop=True)  # the paper's on top, the strongest first
    figure = Picture(height=0.33 * len(table) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))

    _correlations(left, table)
    _costs(right, table)
    left.set_yticks(range(len(table)), [vocabulary.label(name) for name in table["proxy"]], fontsize=8)

    added = int((~table["paper"].astype(bool)).sum()) if "paper" in table else 0
    if added:
        for axes in (left, right):
            axes.axhline(added - 0.5, color=INK, linewidth=0.8)

    spread = captions.interval_note(table["n_seeds"])
    below = " Below the line: not the paper's." if added else ""
    corrected = " Stroke, and in brackets: ρ with the noise of the exact scores taken out." if "disattenuated" in table else ""
    known = table["share_of_exact"].notna().any()
    share = f", and their share of training the {profile.pool.models} models behind exact scores" if known else ""
    return finish(
        figure,
        f"{captioned(profile)}. ρ of the proxy, turned so that higher = more memorized: {spread}; "
        f"grey: range published for the paper's data.{corrected}{below} Cost: seconds on top of training{share}. "
        f"{captions.SEEDS_VARY}.",
    )


def _correlations(axes: Axes, table: pd.DataFrame) -> None:
    """A point per proxy with its interval; a stroke: without the scores' noise; the published range as a grey bar."""
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False, "va": "center"}
    for row, name in enumerate(table["proxy"]):
        if name in PUBLISHED_RHO:
            low, high = PUBLISHED_RHO[name]
            axes.barh(row, high - low, left=low, height=0.62, color="#D3D3D3", zorder=1)

        cell = table.iloc[[row]]
        if "disattenuated" in table and not cell["disattenuated"].isna().item():
            stroke = Look(look(SCORE, name).color, "|")
            points(axes, [row], cell["disattenuated"], [np.nan], [np.nan], stroke, across=True, size=8)
        points(axes, [row], cell["spearman"], cell["ci_low"], cell["ci_high"], look(SCORE, name), across=True, size=6, bar=1.8)
        axes.annotate(_value(cell), (1, row), (4, 0), fontsize=7.5, **beside)

    axes.set(title="Rank correlation with memorization", xlabel="Spearman ρ", ylim=(-0.6, len(table) - 0.4))
    axes.set_xlim(min(0, table[["spearman", "ci_low"]].min().min() - 0.05), 1)
    axes.grid(False, axis="y")


def _value(cell: pd.DataFrame) -> str:
    """ρ, and in brackets ρ without the scores' noise."""
    text = f"{cell['spearman'].item():.2f}"
    if "disattenuated" in cell and not cell["disattenuated"].isna().item():
        text += f" ({cell['disattenuated'].item():.2f})"
    return text.replace("-", "−")


def _costs(axes: Axes, table: pd.DataFrame) -> None:
    """Seconds on a log scale, with seconds and share of exact scores written beside them."""
    floor = max(table["seconds"].min(), 1e-4) / 4
    axes.hlines(range(len(table)), floor, table["seconds"], color=FAINT, linewidth=1.5)

    for row, (name, seconds, share) in enumerate(table[["proxy", "seconds", "share_of_exact"]].itertuples(index=False)):
        points(axes, [row], [seconds], [np.nan], [np.nan], look(SCORE, name), across=True, size=6)
        text = _duration(seconds) + ("" if np.isnan(share) else f" · {100 * share:.2g} %")
        axes.annotate(text, (max(seconds, floor), row), (7, 0), textcoords="offset points", va="center", fontsize=7.5)

    axes.set(xscale="log", title="Cost", xlabel="seconds (log scale)")
    axes.set_xlim(floor, (table["seconds"].max() / floor) ** 1.75 * floor)  # room for the text behind the longest
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _duration(seconds: float) -> str:
    """Seconds in words: "0.23 s", "340 s", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h"


@style()
def proxy_profiles(profile: Profile, proxies: pd.DataFrame, memorization: pd.DataFrame) -> Picture:
    """Per proxy, a column: its distribution, mean memorization per tenth of the examples, and it against memorization.

    Args:
        profile: the study.
        proxies: `example proxy seed raw value`; the mean over seeds is shown.
        memorization: `example memorization` and more.
    """
    truth = memorization.set_index("example")["memorization"]
    found = vocabulary.ordered(proxies["proxy"])
    blocks, across = blocks_of(len(found), PER_ROW)
    figure = Picture(height=0.5 + 3.9 * blocks)

    for block, part in enumerate(figure.subfigures(blocks, 1, squeeze=False)[:, 0]):
        names = found[block * across : (block + 1) * across]
        panels = part.subplots(3, across, squeeze=False, sharey="row")
        for column, name in zip(panels.T, names, strict=False):
            seeds = rows(proxies, proxy=name).pivot(index="example", columns="seed", values="value")
            _proxy_column(column, name, seeds.to_numpy(float), truth.loc[seeds.index].to_numpy(float))

        for column in panels.T[len(names) :]:
            for axes in column:
                axes.set_axis_off()
        for row, text in zip(panels, ("examples (log)", "memorization\n(mean)", "memorization"), strict=True):
            row[0].set_ylabel(text)
        panels[0, 0].set_yscale("log")
        panels[0, 0].set_ylim(bottom=0.7)
        for axes in panels[0]:
            axes.yaxis.set_minor_locator(NullLocator())  # hundreds of small strokes that nobody reads

    n = captions.seeds([proxies["seed"].nunique()])
    return finish(
        figure,
        f"{captioned(profile)}. Proxies, turned so that higher = more memorized, mean over {n}. Top: distribution. "
        "Middle: memorization per tenth of the examples, ordered by proxy (ties share one); bars: 95 % t interval over the "
        "examples. Bottom: every example; ρ: mean of the seeds' Spearman correlations, as in Table 1. "
        f"{captions.sentence(captions.memorized(truth))}.{crowd.note(len(truth))}",
    )


def _proxy_column(column: Sequence[Axes], name: str, seeds: np.ndarray, truth: np.ndarray) -> None:
    """The three panels of a proxy. `seeds`: its values [N, seeds]; `truth`: memorization [N]."""
    top, middle, bottom = column
    value = seeds.mean(axis=1)  # [N]
    color = look(SCORE, name).color

    # a proxy with a long tail is shown on a log scale
    skewed = value.min() > 0 and np.quantile(value, 0.99) > 20 * np.median(value)
    bins = np.geomspace(value.min(), value.max(), 25) if skewed else np.linspace(value.min(), value.max(), 25)

    top.hist(value, bins, color=(color, 0.45), edgecolor=color, histtype="stepfilled", linewidth=0.8)
    top.set_title(vocabulary.label(name).replace(" ", "\n", 1), fontsize=7.5)

    _deciles(middle, value, truth, name)

    some = crowd.drawn(len(value))
    dots = {"markeredgewidth": 0, "rasterized": True, **crowd.cloud(len(some), 2.2, 0.35)}
    bottom.plot(value[some], truth[some], "o", color=color, **dots)
    bottom.set_xlabel("proxy" + (" (log)" if skewed else ""))
    bottom.set_title(f"ρ = {_rho(seeds, truth)}", fontsize=7.5)

    for axes in (top, bottom):
        if skewed:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(2))


def _deciles(axes: Axes, value: np.ndarray, truth: np.ndarray, name: str) -> None:
    """Mean memorization per tenth of the examples; tied proxy values share a tenth, so some tenths may be empty."""
    tenth = np.ceil((stats.ranks(value) - 0.5) / len(value) * 10).astype(int)
    found = np.unique(tenth)

    ends = []
    for k in found:
        interval = stats.t_interval(truth[tenth == k])
        ends.append((interval.mean, interval.low, interval.high))
    points(axes, found, *np.array(ends).T, look(SCORE, name), size=3)
    axes.set(xticks=(1, 5, 10), xlabel="decile")


def _rho(seeds: np.ndarray, truth: np.ndarray) -> str:
    """The mean over seeds of Spearman's ρ, as in Table 1."""
    try:
        return f"{np.mean([stats.spearman(value, truth).mean for value in seeds.T]):.2f}"
    except ValueError:  # a constant proxy has no rank correlation
        return "–"
