"""The picture of a report on a user's own model: accuracies and MIA efficacy, with what they are to be compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mulnb.figures.plotting import INK, SOFT, STRATEGY, Look, Picture, finish, headline, style

Rows = Mapping[str, Mapping[str, float]]

MODEL = {"original": STRATEGY["vanilla"], "unlearned": STRATEGY["rum_f"], "oracle": Look(INK, "P")}
LABELS = {
    "acc_low": "forget set: low",
    "acc_medium": "medium",
    "acc_high": "high",
    "acc_forget": "all of it",
    "acc_retain": "retain set",
    "acc_test": "unseen images",
}


@style()
def draw(rows: Rows, sizes: Mapping[str, int]) -> Picture:
    """Accuracies on the left, MIA efficacy on the forget set beside that of retained and of unseen images on the right.

    Args:
        rows: by model (`original`, `unlearned`, `oracle`; those that are there) its accuracies `acc_low … acc_test` and its MIA
            efficacies `mia mia_retain mia_unseen`; with an oracle, `tow` and `tow_mia` of the unlearned model.
        sizes: the number of examples of each stratum.
    """
    figure = Picture(height=2.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _accuracies(left, rows)
    _attack(right, rows)
    handles = [Line2D([], [], linestyle="", marker=MODEL[name].marker, label=name, **_face(name)) for name in rows]
    headline(figure, "How well was it forgotten?", handles)

    tow = ""
    if "oracle" in rows:
        tow = f" ToW {rows['unlearned']['tow']:.2f}, ToW-MIA {rows['unlearned']['tow_mia']:.2f}."
    return finish(
        figure,
        f"Forget set of {sum(sizes.values())} examples, one run. MIA efficacy: share taken for unseen by an attack on the "
        f"model's confidence; the line runs from retained to unseen images.{tow}",
    )


def _accuracies(axes: Axes, rows: Rows) -> None:
    """A row per set of examples, a marker per model."""
    shown = [key for key in LABELS if not all(math.isnan(row[key]) for row in rows.values())]
    places = range(len(shown))
    for name, row in rows.items():
        axes.plot([row[key] for key in shown], places, MODEL[name].marker, markersize=6, **_face(name))
    axes.set(yticks=places, yticklabels=[LABELS[key] for key in shown], xlim=(-0.03, 1.03), xlabel="accuracy", title="Accuracy")
    axes.invert_yaxis()


def _attack(axes: Axes, rows: Rows) -> None:
    """A row per model: a line from retained to unseen images, and the forget set as a marker."""
    for place, (name, row) in enumerate(rows.items()):
        axes.plot([row["mia_retain"], row["mia_unseen"]], [place, place], color=SOFT, linewidth=2, zorder=1)
        axes.plot(row["mia_retain"], place, "|", color=SOFT, markersize=11)
        axes.plot(row["mia_unseen"], place, "|", color=INK, markersize=15, markeredgewidth=2)
        axes.plot(row["mia"], place, MODEL[name].marker, markersize=7, **_face(name))

    first = next(iter(rows.values()))
    left, right = sorted([(first["mia_retain"], "retained "), (first["mia_unseen"], " unseen")])
    for (at, words), side in ((left, "right"), (right, "left")):
        axes.annotate(words, (at, 0), (0, 9), textcoords="offset points", ha=side, fontsize=7)

    axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlim=(-0.13, 1.03), xlabel="MIA efficacy")
    axes.set(title="Membership inference", ylim=(len(rows) - 0.5, -0.7))


def _face(name: str) -> dict[str, object]:
    """A model's colours: the original is hollow, the others are filled."""
    color = MODEL[name].color
    face = "white" if name == "original" else color
    return {"color": color, "markerfacecolor": face, "markeredgecolor": color, "markeredgewidth": 1.2}
