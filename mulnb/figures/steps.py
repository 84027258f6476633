"""Sequential unlearning: Figure 3 (what is lost from step to step) and Figure 7 (the proxy before and after each step)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.vocabulary import METRICS
from mulnb.figures.ends import END_LABELS, ENDS, ENDS_NOTE, end_bands
from mulnb.figures.marks import columns, key, look, points, rows
from mulnb.figures.plotting import ALERT, SOFT, STRATEGY, Picture, captioned, finish, headline, style
from mulnb.results import captions, tables

RIDGES = {"forget": (1.0, ALERT), "retain": (0.0, STRATEGY["rum_f"].color)}  # Figure 7: group → (baseline, colour)
BEFORE_FACE, BEFORE_EDGE = "#D9D9D9", "#8A8A8A"


@style()
def sequential(profile: Profile, sequential: pd.DataFrame) -> Picture:
    """Figure 3: ToW and ToW-MIA at each step on the union of all forget sets, and their change since step 1.

    Args:
        profile: the study.
        sequential: the tidy frame of sequential unlearning.

    Returns:
        The figure: above the levels, which decide, below the change on the union (the paper's axis) and on each step's own set.
    """
    table = tables.sequential_table(sequential)
    scopes = [name for name in ("union", "step") if name in set(table["scope"])]
    parts = [(scopes[0], "", "level")] + [(scope, "_change", "change since step 1") for scope in scopes]

    figure = Picture(height=1.1 + 1.6 * len(parts))
    panels = figure.subplots(len(parts), 2, sharex=True, sharey="row", squeeze=False)
    for row, (scope, ending, text) in zip(panels, parts, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            step_panel(axes, rows(table, scope=scope), f"{metric}{ending}")
            axes.set_title(f"{vocabulary.label(metric)}, {vocabulary.label(scope)}")
        row[0].set_ylabel(text)
    for axes in panels[-1]:
        axes.set_xlabel("unlearning step")

    sequential_headline(figure, table)
    plan = profile.sequential
    return finish(
        figure,
        f"{captioned(profile)}. {vocabulary.label(plan.algorithm)} on {table['step'].max()} forget sets, one after the other, "
        f"chosen by {vocabulary.label(plan.score)}; change paired by seed, {captions.interval_note(table['n'])}. "
        f"{f'{ENDS_NOTE}. ' if set(table['strategy']) & set(ENDS) else ''}{captions.SEEDS_VARY}."
        f"{captions.unfit(unlearned(sequential), mark='')}",
    )


def unlearned(sequential: pd.DataFrame) -> pd.DataFrame:
    """A row for each unlearned model: each step is measured twice, on its own set and on the union, and beside both ends."""
    return sequential[(sequential["scope"] == "union") & ~sequential["strategy"].isin(list(ENDS))]


def sequential_headline(figure: Picture, table: pd.DataFrame) -> None:
    """The sentence above Figure 3, with an entry for each strategy and each end of the scale in the table."""
    found = vocabulary.ordered(table["strategy"])
    runs = [name for name in found if name not in ENDS]
    handles = [key(look(STRATEGY, name), vocabulary.mathtext(name), filled=name == "rum_f", line=True) for name in runs]
    handles += [key(how, END_LABELS[name], line=True) for name, how in ENDS.items() if name in found]
    headline(figure, "Does unlearning stay good, request after request?", handles)


def step_panel(axes: Axes, table: pd.DataFrame, column: str) -> None:
    """One quantity along the steps, a line per strategy, the ends of the scale as bands.

    Args:
        axes: the panel.
        table: rows of one scope of `tables.sequential_table`.
        column: `tow`, `tow_mia`, or one of them with `_change`.
    """
    at_the_end = table["strategy"].isin(list(ENDS))
    end_bands(axes, table[at_the_end].rename(columns={"strategy": "algorithm"}), column)

    strategies = vocabulary.ordered(table.loc[~at_the_end, "strategy"])
    for place, name in enumerate(strategies):
        cells = rows(table, strategy=name).sort_values("step")
        step = cells["step"] + 0.06 * (place - (len(strategies) - 1) / 2)  # side by side, so that no interval hides another
        points(axes, step, *columns(cells, column), look(STRATEGY, name), filled=name == "rum_f", line=True)

    if column.endswith("_change"):
        axes.axhline(0, color=SOFT, linewidth=0.8, zorder=1)
    axes.xaxis.set_major_locator(FixedLocator(sorted(table["step"].unique())))


# ---- Figure 7


@style()
def before_after(profile: Profile, values: pd.DataFrame) -> Picture:
    """Figure 7: the proxy's distribution before and after each step, for that step's forget set and the retained examples.

    Args:
        profile: the study.
        values: `strategy seed step moment group example value`; `moment` is before or after, `group` forget or retain.
    """
    strategies, steps = vocabulary.ordered(values["strategy"]), sorted(values["step"].unique())

    # the range of log10 that holds all but a few stragglers, with a margin
    shown = values["value"].to_numpy(float)
    low, high = np.log10(np.quantile(shown[shown > 0], (0.002, 0.999)))

    figure = Picture(height=0.95 + 1.35 * len(strategies))
    panels = figure.subplots(len(strategies), len(steps), sharex=True, sharey=True, squeeze=False)
    for row, strategy in zip(panels, strategies, strict=True):
        for axes, step in zip(row, steps, strict=True):
            _ridges(axes, rows(values, strategy=strategy, step=step), low - 0.2, high + 0.4)
        row[0].set_ylabel(vocabulary.mathtext(strategy), fontsize=9, fontweight="bold")
    for axes, step in zip(panels[0], steps, strict=True):
        axes.set_title(f"step {step}")
    panels[-1][len(steps) // 2].set_xlabel(f"{vocabulary.label(profile.sequential.score)} (log scale)")

    handles = [Patch(facecolor=BEFORE_FACE, edgecolor=BEFORE_EDGE, label="before the step")]
    for group, (_, color) in RIDGES.items():
        handles.append(Patch(facecolor=(color, 0.25), edgecolor=color, linewidth=1.2, label=f"after, {vocabulary.label(group)}"))
    headline(figure, "What a step does to the proxy: forget set above, retained examples below", handles)
    n = captions.seeds([values["seed"].nunique()])
    return finish(
        figure,
        f"{captioned(profile)}. Scores by {vocabulary.label(profile.sequential.score)} on the current model (log scale, higher = "
        f"more memorized); densities drawn to equal height, examples of {n} together (no interval). Values beyond the frame "
        f"count at its edge.",
    )


def _ridges(axes: Axes, values: pd.DataFrame, low: float, high: float) -> None:
    """One step of one strategy: forget set above, retained examples below; before in grey, after in colour."""
    for group, (base, color) in RIDGES.items():
        for moment in ("before", "after"):
            x, density = _log_density(rows(values, group=group, moment=moment)["value"].to_numpy(float), low, high)
            face, edge, width = (BEFORE_FACE, BEFORE_EDGE, 0.6) if moment == "before" else ((color, 0.18), color, 1.1)
            axes.fill_between(x, base, base + 0.88 * density, facecolor=face, edgecolor=edge, linewidth=width)

    axes.set(xscale="log", yticks=[0.3, 1.3], yticklabels=["retain", "forget"], ylim=(-0.03, 2.0), xlim=(10**low, 10**high))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_minor_locator(NullLocator())


def _log_density(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """A smoothed histogram of log10(values) on a common grid, its highest point at 1; values outside count at the edges."""
    bins = 72
    edges = np.linspace(low, high, bins + 1)
    centres = 10 ** ((edges[1:] + edges[:-1]) / 2)
    if not len(values):
        return centres, np.zeros(bins)

    from scipy.ndimage import gaussian_filter1d

    logs = np.log10(np.clip(values, 10.0**low, 10.0**high))
    counts = np.histogram(logs, edges)[0].astype(float)  # [bins]

    # a Gaussian kernel; its width by Silverman's rule, in bins
    width = max(1.06 * logs.std() * len(logs) ** -0.2, (high - low) / 60) / (edges[1] - edges[0])
    smooth = gaussian_filter1d(counts, width, mode="constant", radius=int(3 * width) + 1)
    return centres, smooth / smooth.max()
