"""Figure 1: what RUM does, beside vanilla unlearning and the oracle that both are compared with.

Coordinates are inches on a 7 × 4.35 in page, so that a length in this file is a length in print.
Drawn from the description of RUM in K. Zhao et al., "What makes unlearning hard and what to do about it", arXiv 2406.01257.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from mulnb.config import Profile
from mulnb.core.vocabulary import STRATA
from mulnb.figures.plotting import FAINT, INK, SMALL, SOFT, STRATEGY, STRATUM, WIDTH, Picture, captioned, finish, style

HEIGHT = 4.35
BLUE, BLUE_PALE = STRATEGY["rum_f"].color, "#EAF1F7"
ORANGE, ORANGE_PALE = STRATEGY["vanilla"].color, "#FBF0E7"
RIGHT = 5.42  # where the lanes end and the evaluation begins


@style()
def overview(profile: Profile) -> Picture:
    """Figure 1: score every example, refine the forget set into strata, unlearn stratum by stratum, compare with the oracle.

    Args:
        profile: its sizes stand in the caption.
    """
    figure = Picture(height=HEIGHT, layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    axes.set_axis_off()

    _training_set(axes)
    _vanilla(axes)
    _score_and_refine(axes)
    _stages(axes)
    _evaluation(axes)

    algorithms, scores = len(profile.unlearning.algorithms), len(profile.unlearning.scores)
    return finish(
        figure,
        f"{captioned(profile)}: strata of {profile.forget.size} examples, {algorithms} unlearning algorithms, {scores} scores, "
        f"n = {len(profile.seeds)} seeds. A diagram: nothing here is measured.",
    )


# ---- the parts, left to right


def _training_set(axes: Axes) -> None:
    """The training set as a field of squares; those of the forget set are dark."""
    _card(axes, 0.08, 0.44, 1.3, 3.8, "white", FAINT)
    _text(axes, 0.73, 4.07, "Training set $D$", bold=True, size=8.5)

    rows, columns, side, step = 19, 8, 0.105, 0.1385
    draw = np.random.default_rng(4)
    chosen = set(draw.choice(rows * columns, 15, replace=False).tolist())  # as many as step 2 refines
    for place in range(rows * columns):
        x, y = 0.19 + (place % columns) * step, 1.3 + (place // columns) * step
        _square(axes, x, y, side, INK if place in chosen else "#DCE3E9")

    for y, color, text in ((1.02, INK, "forget set $S$"), (0.82, "#DCE3E9", "retain set $D∖S$")):
        _square(axes, 0.19, y, side, color)
        _text(axes, 0.37, y + 0.05, text, left=True)
    _text(axes, 0.19, 0.6, r"$\theta_o$: trained on $D$", left=True)


def _vanilla(axes: Axes) -> None:
    """The lane above: the whole forget set in one go."""
    _card(axes, 1.58, 3.42, RIGHT - 1.58, 0.82, ORANGE_PALE, "none")
    _text(axes, 1.68, 4.07, "Vanilla", bold=True, left=True, color=ORANGE, size=8.5)
    _text(axes, 2.24, 4.065, "the whole forget set at once", left=True, color=SOFT)
    _model(axes, 2.0, 3.72, r"$\theta_o$", SOFT)
    _model(axes, 5.08, 3.72, r"$\theta_u$", ORANGE)
    _arrow(axes, 2.21, 3.72, 4.87, 3.72, ORANGE)
    _text(axes, 3.54, 3.82, "algorithm $A$:  forget $S$,  retain $D∖S$", size=7.5)
    _arrow(axes, 1.38, 3.72, 1.79, 3.72, SOFT)


def _score_and_refine(axes: Axes) -> None:
    """Steps 1 and 2 of the lane below."""
    _card(axes, 1.58, 0.44, RIGHT - 1.58, 2.86, BLUE_PALE, "none")
    _text(axes, 1.68, 3.13, "RUM", bold=True, left=True, color=BLUE, size=8.5)
    _text(axes, 2.05, 3.125, "refine by memorization, then unlearn stratum by stratum", left=True, color=SOFT)

    # step 1
    _card(axes, 1.72, 1.82, 1.72, 1.16, "white", FAINT)
    _step(axes, 1.87, 2.82, "1", "Score every example")
    _histogram(axes, 1.86, 2.2)
    _text(axes, 2.58, 2.06, "memorization, or a cheap proxy", size=SMALL)
    _text(axes, 2.58, 1.925, "(confidence, for example)", size=SMALL, color=SOFT)
    _arrow(axes, 1.38, 2.4, 1.7, 2.4, SOFT)
    _arrow(axes, 3.47, 2.4, 3.72, 2.4, SOFT)

    # step 2
    _card(axes, 3.74, 1.82, RIGHT - 0.14 - 3.74, 1.16, "white", FAINT)
    _step(axes, 3.89, 2.82, "2", "Refine $S$ into strata")
    for row, name in enumerate(STRATA):
        y = 2.5 - 0.24 * row
        for k in range(5):
            _square(axes, 3.86 + 0.125 * k, y - 0.05, 0.1, STRATUM[name].color)
        _text(axes, 4.55, y, f"$S_{row + 1}$", left=True, size=7.5)
        _text(axes, 4.74, y, name, left=True, size=7.5)


def _histogram(axes: Axes, x: float, y: float) -> None:
    """A sketch of a distribution of scores, its strata coloured; the shape is invented."""
    heights = (0.46, 0.37, 0.27, 0.2, 0.15, 0.12, 0.1, 0.095, 0.1, 0.12, 0.15, 0.19)
    colors = ["low"] * 2 + [""] * 3 + ["medium"] * 2 + [""] * 3 + ["high"] * 2
    for k, (height, name) in enumerate(zip(heights, colors, strict=True)):
        tint = STRATUM[name].color if name else "#E6E6E6"
        axes.add_patch(Rectangle((x + 0.12 * k, y), 0.1, height, facecolor=tint, edgecolor="none"))
    axes.plot([x - 0.03, x + 1.46], [y, y], color=SOFT, linewidth=0.7)


def _stages(axes: Axes) -> None:
    """Step 3: θ_o → θ_1 → θ_2 → θ_u, an arrow per stratum."""
    _step(axes, 1.87, 1.58, "3", "Unlearn stratum by stratum")
    _text(axes, 3.66, 1.578, "RUM$^F$: the same $A$ each time", left=True, color=SOFT)
    places, models = (2.0, 3.03, 4.06, 5.08), (r"$\theta_o$", r"$\theta_1$", r"$\theta_2$", r"$\theta_u$")
    retained = ("$D∖S_1$", "$D∖(S_1∪S_2)$", "$D∖S$")
    for x, text in zip(places, models, strict=True):
        _model(axes, x, 1.0, text, SOFT if text == models[0] else BLUE, faded=text in models[1:3])

    for k, name in enumerate(STRATA):
        left, right = places[k] + 0.21, places[k + 1] - 0.21
        middle = (left + right) / 2
        _arrow(axes, left, 1.0, right, 1.0, BLUE)
        _chip(axes, middle, 1.245, f"$S_{k + 1}$", STRATUM[name].color, "white" if name == "high" else INK)
        _text(axes, middle, 0.885, f"$A_{k + 1}$", size=7.5)
        _text(axes, middle, 0.6, f"retain {retained[k]}", size=SMALL, color=SOFT)


def _evaluation(axes: Axes) -> None:
    """The unlearned model beside the oracle, and the two metrics."""
    _card(axes, 5.72, 0.44, 1.2, 3.8, "white", FAINT)
    _text(axes, 6.32, 4.07, "Compare", bold=True, size=8.5)
    _text(axes, 6.32, 3.92, "with the oracle", size=7.5)
    _model(axes, 6.02, 3.45, r"$\theta_u$", INK)
    _model(axes, 6.62, 3.45, r"$\theta_r$", INK, faded=True)
    axes.annotate(
        "", (6.42, 3.45), (6.22, 3.45), arrowprops={"arrowstyle": "<->", "color": SOFT, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    )
    _text(axes, 6.32, 3.1, "retrained from\nscratch on $D∖S$", size=SMALL, color=SOFT, top=True)

    axes.plot([5.84, 6.8], [2.74, 2.74], color=FAINT, linewidth=0.8)
    _text(axes, 6.32, 2.58, "ToW", bold=True, size=8)
    _text(axes, 6.32, 2.42, "same accuracies on\nforget, retain and\ntest set?", size=SMALL, top=True)
    _text(axes, 6.32, 1.88, "ToW-MIA", bold=True, size=8)
    _text(axes, 6.32, 1.72, "same success of a\nmembership attack\non the forget set?", size=SMALL, top=True)

    axes.plot([5.84, 6.8], [1.13, 1.13], color=FAINT, linewidth=0.8)
    _text(axes, 6.32, 1.0, "1: like retraining\n0: as far as can be", size=SMALL, color=SOFT, top=True)

    _arrow(axes, 5.29, 3.72, 5.72, 3.6, ORANGE)
    _arrow(axes, 5.29, 1.0, 5.72, 1.35, BLUE)


# ---- the pieces they are made of


def _card(axes: Axes, x: float, y: float, width: float, height: float, face: str, edge: str) -> None:
    """A box with round corners behind a group of things."""
    corners = "round,pad=0,rounding_size=0.07"
    axes.add_patch(FancyBboxPatch((x, y), width, height, corners, facecolor=face, edgecolor=edge, linewidth=0.9))


def _square(axes: Axes, x: float, y: float, side: float, color: str) -> None:
    axes.add_patch(Rectangle((x, y), side, side, facecolor=color, edgecolor="none"))


def _model(axes: Axes, x: float, y: float, text: str, color: str, faded: bool = False) -> None:
    """A model: a disc with its symbol; `faded` is hollow."""
    axes.add_patch(Circle((x, y), 0.185, facecolor="white" if faded else color, edgecolor=color, linewidth=1.2, zorder=3))
    axes.text(x, y - 0.005, text, ha="center", va="center", fontsize=10, color=color if faded else "white", zorder=4)


def _arrow(axes: Axes, x: float, y: float, to_x: float, to_y: float, color: str) -> None:
    stroke = {"arrowstyle": "-|>,head_length=3.2,head_width=1.7", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch((x, y), (to_x, to_y), color=color, zorder=2, **stroke))


def _chip(axes: Axes, x: float, y: float, text: str, face: str, ink: str) -> None:
    """A small filled label on an arrow: the stratum that this stage unlearns."""
    corners = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch((x - 0.15, y - 0.08), 0.3, 0.16, corners, facecolor=face, edgecolor="none", zorder=3))
    axes.text(x, y - 0.008, text, ha="center", va="center", fontsize=7.5, color=ink, zorder=4)


def _step(axes: Axes, x: float, y: float, number: str, text: str) -> None:
    """A numbered heading."""
    axes.add_patch(Circle((x, y), 0.085, facecolor=BLUE, edgecolor="none", zorder=3))
    axes.text(x, y - 0.005, number, ha="center", va="center", fontsize=7.5, color="white", weight="bold", zorder=4)
    _text(axes, x + 0.14, y, text, bold=True, left=True)


def _text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float = SMALL + 0.3,
    bold: bool = False,
    left: bool = False,
    top: bool = False,
    color: str = INK,
) -> None:
    align = {"ha": "left" if left else "center", "va": "top" if top else "center", "linespacing": 1.25}
    axes.text(x, y, text, fontsize=size, weight="bold" if bold else "normal", color=color, zorder=5, **align)
