"""The differences behind Figure 2, paired by seed, as a forest plot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.marks import columns, key, points, rows
from mulnb.figures.plotting import INK, PALE, STRATEGY, Look, Picture, captioned, finish, headline, style
from mulnb.results import captions, compare
from mulnb.results.verdicts import MARGIN

BAND = "#DCE8F2"  # the margin of equivalence
MIX = "rum/"  # before the name of the algorithm that the full RUM is compared with


@dataclass(frozen=True)
class _Contrast:
    """Strategy `a` minus strategy `b`: how it is drawn, and its table; rows without a score are means over the scores."""

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
    """Differences between strategies, paired by seed, per algorithm and score; right of 0 is a gain.

    The row of an algorithm itself is its primary estimate: the mean over the scores within each seed.

    Args:
        profile: the study.
        unlearning: the tidy frame of unlearning runs.
    """
    runs = compare.unlearned(unlearning)
    parts = _parts(profile, runs)
    contrasts, lines = _contrasts(runs, parts), _lines(runs, parts)

    inches = 0.21 if len(lines) <= 40 else 0.17  # many algorithms still fit on a page
    figure = Picture(height=inches * len(lines) + 1.35)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _forest(axes, contrasts, metric, lines)

    name_rows(panels[0], lines)
    handles = [key(contrast.how, contrast.text, contrast.filled) for contrast in contrasts]
    headline(figure, "Differences between strategies on the same forget sets", handles)
    counts = pd.concat([contrast.table["n"] for contrast in contrasts])
    return finish(
        figure,
        f"{captioned(profile)}. Differences paired by seed; {captions.interval_note(counts)}, without a correction for their "
        f"number. Bold rows: the mean over the scores within each seed. Blue band: ± {MARGIN}, within which a difference does "
        f"not matter. An interval that crosses 0 leaves open which is better; one that reaches the frame goes on. "
        f"{captions.SEEDS_VARY}.{captions.unfit(runs)}",
    )


def _parts(profile: Profile, runs: pd.DataFrame) -> list[str]:
    """The algorithms of the full RUM that also ran on their own: it is compared with them."""
    if profile.unlearning.rum is None or "rum" not in set(runs["strategy"]):
        return []
    alone = set(runs.loc[runs["strategy"] == "vanilla", "algorithm"])
    return [name for name in profile.unlearning.rum.algorithms if name in alone]


def _contrasts(runs: pd.DataFrame, parts: list[str]) -> list[_Contrast]:
    """The differences that these runs allow."""
    found = set(runs["strategy"])
    refined, hollow = STRATEGY["rum_f"], Look("#3E7FA6", "D")
    if "repeat" in found:
        wanted = (
            ("rum_f", "vanilla", refined, True),
            ("rum_f", "repeat", hollow, False),
            ("rum_f", "shuffle", STRATEGY["shuffle"], False),
        )
    else:
        wanted = (
            ("rum_f", "vanilla", refined, True),
            ("rum_f", "shuffle", hollow, False),
            ("shuffle", "vanilla", STRATEGY["shuffle"], False),
        )

    shown = []
    for a, b, how, filled in wanted:
        if {a, b} <= found:
            shown.append(_Contrast(a, b, how, filled, with_means(compare.paired(runs, a, b))))

    if parts:
        difference = compare.rum_differences(runs, parts)
        difference["algorithm"] = MIX + difference["algorithm"]
        shown.append(_Contrast("rum", "vanilla", STRATEGY["rum"], True, with_means(difference)))
    return shown


def with_means(difference: pd.DataFrame) -> pd.DataFrame:
    """Intervals of differences: a row per algorithm and score, and one per algorithm for its primary estimate.

    Args:
        difference: `algorithm score seed` and the difference of each metric.

    Returns:
        `algorithm score n` and each metric with its interval; score "" is the mean over the scores within each seed.
    """
    keys = ["algorithm", "score"]
    means = difference.groupby(["algorithm", "seed"], as_index=False, observed=True)[list(METRICS)].mean().assign(score="")
    return pd.concat([compare.intervals(part, keys, METRICS) for part in (difference, means)], ignore_index=True)


def _lines(runs: pd.DataFrame, parts: list[str]) -> list[tuple[str, str]]:
    """The rows from the top: (algorithm, "") is a heading, then (algorithm, score); the full RUM last."""
    lines = []
    for algorithm in vocabulary.ordered(runs.loc[runs["strategy"] != "rum", "algorithm"]):
        lines.append((algorithm, ""))
        for score in vocabulary.ordered(rows(runs, algorithm=algorithm)["score"]):
            lines.append((algorithm, score))

    scores = vocabulary.ordered(rows(runs, strategy="rum")["score"])
    for name in parts:
        lines.append((MIX + name, ""))
        lines += [(MIX + name, score) for score in scores]
    return lines


def name_rows(axes: Axes, lines: list[tuple[str, str]]) -> None:
    """Write the names of the rows, those of headings in bold.

    Args:
        axes: the panel on the left.
        lines: the rows, (algorithm, score); those without a score are headings.
    """
    axes.set_yticks(range(len(lines)), [vocabulary.label(score) if score else _heading(algorithm) for algorithm, score in lines])
    for tick, (_, score) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if score else "bold")


def _heading(algorithm: str) -> str:
    """The heading of a group of rows."""
    name = algorithm.removeprefix(MIX)
    return vocabulary.label(name) if name == algorithm else f"RUM, against {vocabulary.label(name)}"


def _forest(axes: Axes, contrasts: list[_Contrast], metric: str, lines: list[tuple[str, str]]) -> None:
    """One metric: a row per algorithm and score, the contrasts one below the other within it."""
    beside = [contrast for contrast in contrasts if contrast.a != "rum"]  # the full RUM has rows of its own
    offsets = np.linspace(-0.26, 0.26, len(beside)) if len(beside) > 1 else [0] * len(beside)

    for contrast, offset in zip(contrasts, [*offsets, 0], strict=False):
        place = [lines.index((row.algorithm, row.score)) + offset for row in contrast.table.itertuples()]
        how = {"filled": contrast.filled, "bar": 1.3 if contrast.filled else 0.7}
        points(axes, place, *columns(contrast.table, metric), contrast.how, across=True, size=3.6, **how)
    forest_frame(axes, metric, lines, [columns(contrast.table, metric) for contrast in contrasts])


def forest_frame(axes: Axes, metric: str, lines: list[tuple[str, str]], drawn: list[tuple[np.ndarray, ...]]) -> None:
    """What stands behind the differences of one metric: headings, the margin of equivalence, 0, and the axis.

    Args:
        axes: the panel; its rows run downwards.
        metric: `tow` or `tow_mia`.
        lines: the rows, (algorithm, score); those without a score are headings.
        drawn: mean, low and high of everything that is drawn.
    """
    for row, (_, score) in enumerate(lines):
        if not score:
            axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0, linewidth=0)
    axes.set(title=f"Difference in {vocabulary.label(metric)}", ylim=(len(lines) - 0.4, -0.6))
    axes.set_xlim(_span(drawn))
    axes.grid(False, axis="y")
    difference_axis(axes, "← worse    better →", 6)


def difference_axis(axes: Axes, words: str, ticks: int) -> None:
    """A horizontal axis of differences: 0, and the margin of equivalence around it.

    Args:
        axes: the panel.
        words: what its two sides mean; they stand below 0.
        ticks: at most so many, and one.
    """
    axes.axvspan(-MARGIN, MARGIN, color=BAND, zorder=0.5, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    below = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(words, (0, 0), (0, -24), ha="center", fontsize=7.5, **below)


def _span(drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """The range that holds 0, every mean and the intervals, unless one of them would press all others together."""
    mean, low, high = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    left, right = min(mean.min(), 0), max(mean.max(), 0)
    reach = max(right - left, 0.02)

    left, right = min(left, -MARGIN), max(right, MARGIN)  # the margin is seen as a whole
    left, right = max(left - reach, np.nanmin([*low, left])), min(right + reach, np.nanmax([*high, right]))
    return left - 0.04 * (right - left), right + 0.04 * (right - left)
