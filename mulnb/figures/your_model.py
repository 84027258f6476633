"""The picture of a report: every model's accuracies and MIA efficacy, with what it is to be compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mulnb.figures.plotting import INK, SOFT, STRATEGY, Look, Picture, finish, headline, style

if TYPE_CHECKING:
    from mulnb.your_model.report import Report

MODEL = {"original": STRATEGY["vanilla"], "unlearned": STRATEGY["rum_f"], "oracle": Look(INK, "P")}
ROWS = {
    "acc_low": "forget set: low",
    "acc_medium": "medium",
    "acc_high": "high",
    "acc_forget": "all of it",
    "acc_retain": "retain set",
    "acc_test": "unseen images",
}


@style()
def draw(report: Report) -> Picture:
    """Left: accuracies. Right: MIA efficacy on the forget set between that of retained and of unseen images."""
    figure = Picture(height=2.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for name, row in report.rows.items():
        how, filled = MODEL[name], name != "original"
        places = range(len(ROWS))
        left.plot([row[key] for key in ROWS], places, how.marker, color=how.color, markersize=6, **_face(how, filled))
    left.set(yticks=range(len(ROWS)), yticklabels=ROWS.values(), xlim=(-0.03, 1.03), xlabel="accuracy", title="Accuracy")
    left.invert_yaxis()
    _attack(right, report)
    shapes = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MODEL[name].marker,
            color=MODEL[name].color,
            label=name,
            **_face(MODEL[name], name != "original"),
        )
        for name in report.rows
    ]
    headline(figure, "How well was it forgotten?", shapes)
    tow = (
        f" ToW {report.rows['unlearned']['tow']:.2f}, ToW-MIA {report.rows['unlearned']['tow_mia']:.2f}."
        if "oracle" in report.rows
        else ""
    )
    return finish(
        figure,
        f"Forget set of {sum(report.sizes.values())} examples, one run. MIA efficacy: share taken for unseen by an attack on the "
        f"model's confidence; the line runs from retained to unseen images, the reference.{tow}",
    )


def _attack(axes: Axes, report: Report) -> None:
    for place, (name, row) in enumerate(report.rows.items()):
        how = MODEL[name]
        axes.plot([row["mia_retain"], row["mia_unseen"]], [place, place], color=SOFT, linewidth=2, zorder=1)
        axes.plot(row["mia_retain"], place, "|", color=SOFT, markersize=11)
        axes.plot(row["mia_unseen"], place, "|", color=INK, markersize=15, markeredgewidth=2)
        axes.plot(row["mia"], place, how.marker, color=how.color, markersize=7, **_face(how, name != "original"))
    first = next(iter(report.rows.values()))
    left, right = sorted([(first["mia_retain"], "retained "), (first["mia_unseen"], " unseen")])
    for (at, words), side in ((left, "right"), (right, "left")):
        axes.annotate(words, (at, 0), (0, 9), textcoords="offset points", ha=side, fontsize=7)
    axes.set(yticks=range(len(report.rows)), yticklabels=list(report.rows), xlim=(-0.13, 1.03), xlabel="MIA efficacy")
    axes.set(title="Membership inference", ylim=(len(report.rows) - 0.5, -0.7))


def _face(how: Look, filled: bool) -> dict[str, object]:
    return {"markerfacecolor": how.color if filled else "white", "markeredgecolor": how.color, "markeredgewidth": 1.2}
