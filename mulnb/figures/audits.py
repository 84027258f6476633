"""The audits beyond the paper (notebook 08): ROC curves, who is still recognised, and where the audits disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.figures import crowd
from mulnb.figures.ends import ENDS
from mulnb.figures.marks import key, look, rows
from mulnb.figures.plotting import (
    ALERT,
    FAINT,
    INK,
    SMALL,
    SOFT,
    STRATEGY,
    Picture,
    blocks_of,
    captioned,
    finish,
    headline,
    placeholder,
    style,
)
from mulnb.results import captions, compare

ATTACKS = {"lira": "LiRA", "rmia": "RMIA"}
AUDITS = {
    "tow": "ToW",
    "tow_mia": "ToW-MIA",
    "mia": "MIA efficacy",
    "lira_auc": "LiRA AUC",
    "lira_tpr01": "LiRA TPR\nat 1 % FPR",
    "rmia_auc": "RMIA AUC",
    "klom_p50": "KLoM P50",
    "klom_p95": "KLoM P95",
    "relearn_epochs": "relearn time",
}
END_NAMES = {compare.CEILING: "oracle", compare.FLOOR: "not unlearned"}
NO_POOL = "The audits read a pool of models, and the exact scores were imported: there is none."
RECOGNISED = 0.05  # false positive rate at which an example counts as recognised
ROC_ACROSS, EXAMPLES_ACROSS = 4, 5  # panels beside each other
RUN = ["algorithm", "strategy", "score", "seed"]


@style()
def audit_roc(profile: Profile, examples: pd.DataFrame) -> Picture:
    """ROC curves of LiRA (above) and RMIA (below): can the forget set be told from examples that were never seen?

    Args:
        profile: the study.
        examples: `algorithm strategy score seed example group margin lira rmia oracle_margin oracle_lira oracle_rmia`; `group`
            is `forget`, or `test` for examples that no model was trained on. Higher scores mean "was a member".

    Returns:
        The figure: two panels per algorithm, a curve per strategy, the mean over scores and seeds.
    """
    if not len(examples):
        return placeholder(profile, NO_POOL)
    algorithms = vocabulary.ordered(compare.unlearned(examples)["algorithm"])
    unseen = examples[examples["group"] != "forget"].groupby(RUN, observed=True).size()
    grid = np.geomspace(1 / int(unseen.max()), 1, 60)  # false positive rates, from one unseen example to all of them

    blocks, across = blocks_of(len(algorithms), ROC_ACROSS)  # many algorithms stand in blocks, one below the other
    figure = Picture(height=0.9 + 3.4 * blocks)
    panels = figure.subplots(2 * blocks, across, squeeze=False, sharex=True, sharey=True)

    for place, attack in enumerate(ATTACKS):
        ends = _end_curves(examples, attack, grid)
        lines = panels[place :: len(ATTACKS)]

        for axes, algorithm in zip(lines.flat, algorithms, strict=False):
            _curves(axes, rows(examples, algorithm=algorithm), attack, grid, ends)
            axes.set_title("" if place else vocabulary.label(algorithm))
        for axes in lines.flat[len(algorithms) :]:
            axes.set_axis_off()
        for line in lines:
            line[0].set_ylabel(f"{ATTACKS[attack]}: share found")
    for axes in panels[-1]:
        axes.set_xlabel("false positive rate (log)")

    handles = []
    for name in vocabulary.ordered(compare.unlearned(examples)["strategy"]):
        how = look(STRATEGY, name)
        handles.append(Line2D([], [], color=how.color, linestyle=how.line, label=vocabulary.mathtext(name)))
    handles += [key(ENDS[name], text, line=True) for name, text in END_NAMES.items() if name in ends]
    handles.append(Line2D([], [], color=FAINT, linewidth=2, label="chance"))
    headline(figure, "Can the forget set still be told from examples that were never seen?", handles)
    sets = ", ".join(vocabulary.label(score) for score in vocabulary.ordered(examples["score"]))
    return finish(
        figure,
        f"{captioned(profile)}. Share of the forget set (by {sets}) that an attack finds while it takes a given share of "
        f"unseen examples for members; mean over {captions.seeds([examples['seed'].nunique()])} (no interval). The curve to "
        "reach is the oracle's, not chance: the forget set is no random sample.",
    )


def _end_curves(examples: pd.DataFrame, attack: str, grid: np.ndarray) -> dict[str, np.ndarray]:
    """The curves that stand in every panel: of the oracle and of the model that was not unlearned."""
    curves = {}
    if f"oracle_{attack}" in examples:
        # an oracle is shared by all methods on the same forget set: those of one method are all there are
        first = examples.iloc[0]
        shared = rows(examples, algorithm=first["algorithm"], strategy=first["strategy"])
        curves[compare.CEILING] = _mean_curve(shared, f"oracle_{attack}", grid)
    floor = rows(examples, algorithm=compare.FLOOR)
    if len(floor):
        curves[compare.FLOOR] = _mean_curve(floor, attack, grid)
    return curves


def _curves(axes: Axes, examples: pd.DataFrame, attack: str, grid: np.ndarray, ends: dict[str, np.ndarray]) -> None:
    """The curves of one algorithm's strategies, with chance and the ends of the scale behind them."""
    axes.plot(grid, grid, color=FAINT, linewidth=2, zorder=1)
    for name, curve in ends.items():
        axes.plot(grid, curve, color=ENDS[name].color, linestyle=ENDS[name].line, linewidth=1.1, zorder=2)

    for name in vocabulary.ordered(examples["strategy"]):
        how = look(STRATEGY, name)
        axes.plot(grid, _mean_curve(rows(examples, strategy=name), attack, grid), color=how.color, linestyle=how.line, zorder=3)

    axes.set(xscale="log", xlim=(grid[0], 1), ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _mean_curve(examples: pd.DataFrame, attack: str, grid: np.ndarray) -> np.ndarray:
    """The true positive rate on a grid of false positive rates, the mean over runs, [grid]."""
    curves = []
    for _, run in examples.groupby(RUN, observed=True):
        asked = run["group"] == "forget"
        members, unseen = run.loc[asked, attack].to_numpy(), run.loc[~asked, attack].to_numpy()
        found = members[:, None] > _thresholds(unseen, grid)  # [members, grid]
        curves.append(found.mean(0))
    return np.mean(curves, axis=0)


def _thresholds(unseen: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """For each rate the score that at most this share of the unseen examples exceeds, [rates]."""
    allowed = np.floor(np.asarray(rates) * len(unseen) + 1e-9).astype(int)  # 0.01 · 300 must give 3
    falling = np.append(np.sort(unseen)[::-1], -np.inf)  # at a rate of 1, every example counts as a member
    return falling[allowed]


@style()
def audit_examples(profile: Profile, examples: pd.DataFrame) -> Picture:
    """Who is still recognised: the margin of every forgotten example under the unlearned model, beside the oracle's.

    Args:
        profile: the study.
        examples: as for `audit_roc`. One score's forget sets are shown: memorization's, or the first there is.

    Returns:
        The figure: a panel per method, vanilla and RUM^F of each algorithm; filled points are recognised by LiRA in most of
        their runs.
    """
    if not len(examples):
        return placeholder(profile, NO_POOL)
    # one score: the forget sets of several would be several answers for one example
    score = vocabulary.ordered(examples["score"])[0]
    shown = rows(examples, score=score)
    found = _recognised(shown)
    methods = _methods(shown)

    figure = _margin_panels(found, methods)
    dots = {"linestyle": "none", "marker": "o", "markersize": 4}
    handles = [
        Line2D([], [], color=ALERT, label="recognised (share above each panel)", **dots),
        Line2D([], [], markerfacecolor="white", markeredgecolor=SOFT, label="not recognised", **dots),
        Line2D([], [], color=INK, linewidth=0.9, label="as under the oracle"),
    ]
    headline(figure, "Who is still recognised?", handles)
    return finish(
        figure,
        f"{captioned(profile)}. Examples of the forget sets chosen by {vocabulary.label(score)}; logit margin of the true class, "
        f"mean over the runs ({captions.seeds([shown['seed'].nunique()])}). Recognised: LiRA's score lies above that of all but "
        f"{100 * RECOGNISED:.0f} % of the unseen examples in more than half of the example's runs. The few points furthest out "
        f"are not shown."
        f"{crowd.note(found['example'].nunique())}",
    )


def _margin_panels(found: pd.DataFrame, methods: list[tuple[str, str]]) -> Picture:
    """A panel per method: the margin of every example beside the oracle's, on one scale."""
    down, across = blocks_of(len(methods), EXAMPLES_ACROSS)
    figure = Picture(height=1.1 + 1.9 * down)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)

    # one scale for all, without the few that are furthest out
    low, high = np.quantile(found[["margin", "oracle_margin"]], (0.002, 0.998))
    for axes, (algorithm, strategy) in zip(panels.flat, methods, strict=False):
        _margins(axes, rows(found, algorithm=algorithm, strategy=strategy), algorithm, strategy)
        axes.set(xlim=(low - 0.5, high + 0.5), ylim=(low - 0.5, high + 0.5))
    for axes in panels.flat[len(methods) :]:
        axes.set_axis_off()
    for line in panels:
        line[0].set_ylabel("unlearned margin")

    # a panel with none below it has the numbers of the axis
    for column in panels.T:
        lowest = [axes for axes in column if axes.axison][-1]
        lowest.set_xlabel("oracle's margin")
        lowest.tick_params(labelbottom=True)
    return figure


def _methods(examples: pd.DataFrame) -> list[tuple[str, str]]:
    """The panels: the model that was not unlearned, then each algorithm by vanilla and by RUM^F (or by what there is)."""
    runs = compare.unlearned(examples)
    strategies = [name for name in ("vanilla", "rum_f") if name in set(runs["strategy"])] or vocabulary.ordered(runs["strategy"])

    methods = [(compare.FLOOR, compare.FLOOR)] if len(rows(examples, algorithm=compare.FLOOR)) else []
    for algorithm in vocabulary.ordered(runs["algorithm"]):
        found = set(rows(runs, algorithm=algorithm)["strategy"])
        methods += [(algorithm, strategy) for strategy in (*strategies, "rum") if strategy in found]
    return methods


def _recognised(examples: pd.DataFrame) -> pd.DataFrame:
    """Per method and forgotten example: mean margins, and the share of runs in which LiRA recognises it."""
    parts = []
    for _, run in examples.groupby(RUN, observed=True):
        asked = run["group"] == "forget"
        threshold = _thresholds(run.loc[~asked, "lira"].to_numpy(), RECOGNISED)
        parts.append(run[asked].assign(recognised=run.loc[asked, "lira"] > threshold))

    keys = ["algorithm", "strategy", "example"]
    values = ["margin", "oracle_margin", "recognised"]
    return pd.concat(parts).groupby(keys, as_index=False, observed=True)[values].mean()


def _margins(axes: Axes, cells: pd.DataFrame, algorithm: str, strategy: str) -> None:
    """One method: a point per forgotten example."""
    known = cells["recognised"] > 0.5
    dots = {"linestyle": "none", "marker": "o", "rasterized": True, **crowd.cloud(len(cells), 3.0, 0.8)}
    for part, color, face in ((cells[~known], SOFT, "white"), (cells[known], ALERT, ALERT)):
        part = part.iloc[crowd.drawn(len(part))]
        axes.plot(part["oracle_margin"], part["margin"], color=color, markerfacecolor=face, markeredgewidth=0.6, **dots)
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.9, zorder=1)

    name = f"{vocabulary.label(algorithm)},\n{vocabulary.mathtext(strategy)}"
    if algorithm in END_NAMES:
        name = f"\n{END_NAMES[algorithm]}"
    elif algorithm == strategy:
        name = f"\n{vocabulary.label(algorithm)}"
    axes.set_title(f"{name}: {100 * known.mean():.0f} %", fontsize=7.5)


@style()
def audit_agreement(profile: Profile, agreement: pd.DataFrame) -> Picture:
    """Do the audits rank the methods alike? Kendall's τ between every two of them.

    Args:
        profile: the study.
        agreement: `audit other tau low high n_methods n_seeds` (`audit.compare.agreement`); where `audit == other`, the audit is
            compared with itself on two halves of the seeds.

    Returns:
        The figure: a matrix of τ with its intervals.
    """
    names = list(dict.fromkeys([*agreement["audit"], *agreement["other"]]))
    values = np.full((len(names), len(names)), np.nan)
    texts = {}
    for row in agreement.itertuples():
        i, j = names.index(row.audit), names.index(row.other)
        values[i, j] = values[j, i] = row.tau
        texts[i, j] = texts[j, i] = _with_interval(row.tau, row.low, row.high)

    figure = Picture(height=0.52 * len(names) + 1.5)
    axes = figure.subplots()
    axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    for (i, j), text in texts.items():
        color = "white" if abs(values[i, j]) > 0.65 else INK
        axes.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=color, fontweight="bold" if i == j else "normal")

    labels = [AUDITS.get(name, vocabulary.label(name)) for name in names]
    axes.set_xticks(range(len(names)), labels, fontsize=SMALL)
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    headline(figure, "Do the audits agree on which method is best?")
    methods, n = int(agreement["n_methods"].iloc[0]), captions.seeds([agreement["n_seeds"].iloc[0]])
    known = agreement["low"].notna().any()
    return finish(
        figure,
        f"{captioned(profile)}. Kendall's τ between the rankings of {methods} methods (algorithm × strategy) by closeness to the "
        f"oracle, from means over scores and {n}; {'in brackets the 95 % interval over seeds' if known else 'no interval'}. "
        "Orange: the same order; violet: opposite orders. Diagonal, bold: an audit against itself on two halves of the seeds; "
        "two audits that agree as well as that do not disagree. –: KLoM is one number for all seeds.",
    )


def _with_interval(tau: float, low: float, high: float) -> str:
    """The text of one cell: τ, and its interval in the line below where there is one."""
    text = "–" if np.isnan(tau) else f"{tau:.2f}"
    if not np.isnan(low):
        low, high = (round(bound, 1) + 0.0 for bound in (low, high))  # + 0.0: no "-0.0"
        text += f"\n[{low:.1f}, {high:.1f}]"
    return text.replace("-", "−")
