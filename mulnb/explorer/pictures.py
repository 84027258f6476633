"""Pictures of the choice, as SVG: histogram with draggable thresholds, growth of the strata, agreement, class balance.

They are text, not matplotlib figures: drawn in milliseconds, so that they follow a drag, and coloured by the page's theme.
Here a colour is a stratum, always with its name beside it; marker shapes are left to the strategies (`outcomes`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mulnb.core.vocabulary import STRATA, label
from mulnb.explorer import svg
from mulnb.explorer.selection import Ranking
from mulnb.forget import Strata
from mulnb.proxies import unit

LEFT, RIGHT, WIDTH = 62, 542, 560  # of the histogram
BINS = 40


# --- thresholds ----------------------------------------------------------------------------------------------------------


def score_axis(ranking: Ranking) -> svg.Axis:
    """The horizontal axis of the histogram."""
    low, high = float(ranking.sorted[0]), float(ranking.sorted[-1])
    if ranking.skewed:
        low = max(low, float(np.quantile(ranking.sorted, 0.02)), high * 1e-7)
        return svg.Axis(low, high, LEFT, RIGHT, log=True)
    return svg.Axis(low, high if high > low else low + 1, LEFT, RIGHT)


def histogram(ranking: Ranking, chosen: Strata, handles: bool = True) -> str:
    """The distribution of a score, the strata below it, and handles to drag their thresholds."""
    top, bottom, row = 24, 122, 13
    x, edges, counts = score_axis(ranking), *_bins(ranking)
    y = svg.Axis(0.7, max(counts.max(), 2) * 1.2, bottom, top, log=True)
    floor = bottom + 4 + 3 * row

    parts = [svg.text(8, 14, f"Distribution of {label(ranking.score)}: drag a threshold", kind="title")]
    parts += svg.grid_across(y, y.ticks(), LEFT, RIGHT, "{:g}".format)
    parts.append(svg.text(14, 74, "examples (log)", "middle", turn=True))

    # each stratum: shaded through the bars, and as a line of its own, since strata may overlap in the score
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        color = f"var(--{stratum})"
        start, stop = _span(x, ranking.values[part])
        level = bottom + 4 + place * row
        parts.append(svg.rect(start, top, stop - start, bottom - top, color, 0.3))
        parts.append(svg.text(LEFT - 6, level + 11, stratum, "end"))
        parts.append(svg.line(LEFT, level + row / 2, RIGHT, level + row / 2, "grid"))
        parts.append(svg.rect(start, level + 2, stop - start, row - 4, color))

    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            start, stop = float(x(low)), float(x(high))
            bar = svg.rect(start + 0.5, y(count), stop - start - 1, bottom - y(count), "var(--bar)")
            about = f"{count} examples, {svg.number(low)} to {svg.number(high)}: show them"
            parts.append(svg.button(bar, f"bin:{low}:{high}", about, reachable=False))

    if handles:
        for side in ("low", "high"):
            parts.append(_handle(ranking, x, side, len(getattr(chosen, side)), top, floor))

    parts.append(svg.line(LEFT, floor, RIGHT, floor))
    parts += svg.ticks_below(x, x.ticks(6), floor)
    title = f"{label(ranking.score)} ({unit(ranking.score)}) → more memorized"
    parts.append(svg.text((LEFT + RIGHT) / 2, floor + 32, title, "middle"))
    return svg.drawing(WIDTH, floor + 38, f"Distribution of {label(ranking.score)} with the three strata", *parts)


def _handle(ranking: Ranking, x: svg.Axis, side: str, size: int, top: float, floor: float) -> str:
    """A threshold that can be dragged, or moved with the arrow keys; a screen reader reads it as a slider."""
    threshold = ranking.threshold(side, size)
    at = float(x(threshold))
    name = "low: score at most" if side == "low" else "high: score at least"
    value = f"{svg.number(threshold)}, {size} examples"
    about = (
        f'aria-label="{name}" aria-valuetext="{value}" aria-valuenow="{size}" aria-valuemin="1" aria-valuemax="{ranking.limit}"'
    )

    # the line is thin, so an invisible rectangle takes the pointer
    grip = svg.rect(at - 5, top - 4, 10, 20, f"var(--{side})", extra='rx="3" stroke="var(--page)"')
    target = svg.rect(at - 11, top - 6, 22, floor - top + 6, "transparent")
    body = svg.line(at, top, at, floor, "axis", f'style="stroke:var(--{side})" stroke-width="2.5"') + grip + target
    return f'<g data-act="drag:{side}" role="slider" tabindex="0" {about}><title>{name} {value}</title>{body}</g>'


def _span(x: svg.Axis, values: np.ndarray) -> tuple[float, float]:
    """From the smallest to the largest value in pixels, at least 4 pixels wide."""
    start, stop = float(x(values.min())), float(x(values.max()))
    missing = max(0.0, 4 - (stop - start)) / 2
    return start - missing, stop + missing


def _bins(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Edges [BINS + 1] and counts [BINS] of the histogram."""
    x = score_axis(ranking)
    # bins are equally wide on the screen, also where the axis is logarithmic
    edges = np.geomspace(x.low, x.high, BINS + 1) if x.log else np.linspace(x.low, x.high, BINS + 1)
    counts, _ = np.histogram(np.clip(ranking.sorted, edges[0], edges[-1]), edges)
    return edges, counts


# --- what the strata are -------------------------------------------------------------------------------------------------


def growth(sizes: np.ndarray, curves: np.ndarray, chosen: Strata, means: np.ndarray) -> str:
    """Mean memorization of each stratum against its size, with the choice on it: the wider the strata, the more alike."""
    width, left, right, top, bottom = 400, 52, 334, 10, 146
    x = svg.Axis(sizes[0], sizes[-1], left, right, log=True)
    y = svg.Axis(min(0.0, curves.min()), 1.0, bottom, top)

    parts = [*svg.grid_across(y, y.ticks(4), left, right), *svg.ticks_below(x, _size_ticks(sizes), bottom, str)]

    # the curves are named at their ends, where the reader looks for them
    ends = _spread([float(y(curve[-1])) for curve in curves], 15)
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        color = f"var(--{stratum})"
        parts.append(svg.polyline(x(sizes), y(curves[place]), color))
        parts.append(svg.text(right + 8, ends[place] + 4, stratum))

        at, mean = float(x(len(part))), float(y(means[place, 0]))
        parts.append(svg.line(at, mean, at, bottom, "axis", 'stroke-dasharray="2 3"'))
        parts.append(svg.mark(at, mean, "square", color, r=5))

    parts.append(svg.line(left, bottom, right, bottom))
    parts.append(svg.text((left + right) / 2, bottom + 32, "examples per stratum (log)", "middle"))
    parts.append(svg.text(14, (top + bottom) / 2, "mean memorization", "middle", turn=True))
    return svg.drawing(width, bottom + 38, "Mean memorization of each stratum by its size; squares show the choice", *parts)


def _size_ticks(sizes: np.ndarray) -> list[int]:
    """At most six of 1, 2, 5, 10, 20, … within the range of the sizes."""
    steps = np.outer(10 ** np.arange(6), (1, 2, 5)).ravel().tolist()
    fit = [step for step in steps if sizes[0] <= step <= sizes[-1]]
    return fit[:: math.ceil(len(fit) / 6) or 1]


def _spread(places: Sequence[float], apart: float) -> list[float]:
    """The heights of labels, moved so that none covers another."""
    order, moved = np.argsort(places), list(places)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + apart)
    return moved


def agreement(counts: np.ndarray, means: np.ndarray) -> str:
    """Where the chosen strata lie by exact memorization (a matrix), and the mean memorization of each with its error."""
    width, left, cell, top, height = 400, 60, 42, 44, 34
    axis = svg.Axis(min(0.0, (means[:, 0] - 2 * means[:, 1]).min()), 1.0, left + 4 * cell + 18, 318)

    parts = [svg.text(left, top - 28, "how many belong, by exact memorization, to")]
    for column, name in enumerate((*STRATA, "none")):
        parts.append(svg.text(left + (column + 0.5) * cell, top - 8, "med." if name == "medium" else name, "middle"))
    parts.append(svg.text(axis.start, top - 8, "mean memorization", kind="soft"))
    parts += svg.grid_down(axis, axis.ticks(2), top, top + 3 * height)

    for row, stratum in enumerate(STRATA):
        middle = top + (row + 0.5) * height
        parts.append(svg.text(left - 8, middle + 4, stratum, "end"))
        for column, count in enumerate(counts[row]):
            target = (*STRATA, "none")[column]
            fill = f"var(--{stratum})" if column == row else "var(--bar)"
            box = (left + column * cell + 1, top + row * height + 1, cell - 2, height - 2)
            body = svg.rect(*box, fill, 0.7 * count / max(counts[row].sum(), 1), 'stroke="var(--faint)"')
            body += svg.text(left + (column + 0.5) * cell, middle + 4, f"{count}", "middle")
            about = f"{count} examples chosen as {stratum}, by exact memorization {target}: show them"
            parts.append(svg.button(body, f"cell:{row}:{column}", about))

        mean, error = means[row]
        ends = float(axis(mean - error)), float(axis(mean + error))
        parts.append(svg.line(ends[0], middle, ends[1], middle, "axis", 'stroke-width="2"'))
        parts.append(svg.mark(float(axis(mean)), middle, "square", f"var(--{stratum})", r=5))
        parts.append(svg.text(width - 2, middle + 4, f"{mean:.2f} ± {error:.3f}".replace("-", "−"), "end"))
    return svg.drawing(width, top + 3 * height + 20, "Overlap with the strata of exact memorization", *parts)


def class_balance(counts: np.ndarray, everywhere: np.ndarray, classes: Sequence[str]) -> str:
    """Examples of each class in each stratum; a line shows a balanced draw.

    Args:
        counts: examples of each class in each stratum [3, classes].
        everywhere: examples of each class in the whole training set [classes].
        classes: their names.
    """
    width, left, right, top, height = 400, 58, 392, 2, 46
    slot = (right - left) / len(classes)

    parts = []
    for row, stratum in enumerate(STRATA):
        floor = top + (row + 1) * height - 4
        # the same number of examples, drawn in the proportions of the training set
        fair = everywhere / everywhere.sum() * counts[row].sum()
        y = svg.Axis(0, max(counts[row].max(), fair.max()), floor, floor - height + 8)
        parts.append(svg.text(left - 6, floor - 14, stratum, "end"))
        parts.append(svg.line(left, floor, right, floor))
        for place, count in enumerate(counts[row]):
            start, stop = left + place * slot, left + (place + 1) * slot
            gap = 1.5 if slot > 6 else 0
            body = svg.rect(start + gap, y(count), slot - 2 * gap, floor - y(count), f"var(--{stratum})")
            body += svg.rect(start, floor - height + 8, slot, height - 8, "transparent")
            about = f"{count} of class {classes[place]} in {stratum}: show them"
            parts.append(svg.button(body, f"class:{row}:{place}", about, reachable=False))
            parts.append(svg.line(start, y(fair[place]), stop, y(fair[place])))

    below = top + 3 * height + 12
    if len(classes) <= 20:
        for place, name in enumerate(classes):
            short = name[: max(1, int(slot / 7))]
            parts.append(svg.text(left + (place + 0.5) * slot, below, short, "middle", "soft"))
    else:
        parts.append(svg.text((left + right) / 2, below, f"{len(classes)} classes, in their order", "middle", "soft"))
    parts.append(svg.text((left + right) / 2, below + 18, "examples of each class (line: a balanced draw)", "middle"))
    return svg.drawing(width, below + 24, "Class balance of the strata", *parts)


def tabs(names: Mapping[str, str], active: str, body: str) -> str:
    """A row of tabs above the active one's body; `names` maps the name of a tab to its title."""
    heads = []
    for name, title in names.items():
        selected = "true" if name == active else "false"
        heads.append(f'<button data-act="tab:{name}" role="tab" aria-selected="{selected}">{title}</button>')
    return f'<div class="tabs" role="tablist">{"".join(heads)}</div>{body}'
