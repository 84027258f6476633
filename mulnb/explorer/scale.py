"""The chart of the live runs: ToW against ToW-MIA, with the two ends of the scale.

The floor is the original model, which has forgotten nothing; the ceiling is a second oracle, measured against the first. Nothing
can be told from retraining beyond the ceiling, so it, and not 1, is what a run is judged by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mulnb.core.vocabulary import CEILING, FLOOR, label
from mulnb.explorer import svg
from mulnb.explorer.outcomes import INK, SHAPES, Row, describe, shape, vanilla_of

ENDS = {FLOOR: ("base", "floor", "not unlearned"), CEILING: ("tee", "ceiling", "a second oracle")}  # marker, name, meaning


def tow_chart(rows: Sequence[Row], shown: int | None = None, ends: Mapping[str, Row] | None = None) -> str:
    """ToW against ToW-MIA of every run, numbered as in the table; dashes lead from vanilla to other runs on its set.

    Args:
        rows: the runs.
        shown: the number of the run that is explained.
        ends: of its set: the rows of `FLOOR` and, once it is measured, of `CEILING`.
    """
    ends = ends or {}
    width, left, right, top, bottom = 400, 52, 384, 40, 166
    # the floor may lie far below: it is then drawn at the edge, so that the runs keep their room
    near = [*rows, ends[CEILING]] if CEILING in ends else rows
    lowest = min((min(row["tow"], row["tow_mia"]) for row in near), default=0.6)
    low = max(0.0, math.floor((lowest - 0.04) * 10) / 10)
    x, y = svg.Axis(low, 1.0, left, right), svg.Axis(low, 1.0, bottom, top)

    algorithms = {label(row["algorithm"]) for row in rows}
    about = f" of {algorithms.pop()}" if len(algorithms) == 1 else ""
    title = f"ToW and ToW-MIA{about} (1: as the oracle)"
    parts = [svg.text(8, 13, title, kind="title"), *_key(rows)]
    parts += [*svg.grid_down(x, x.ticks(5), top, bottom), *svg.grid_across(y, y.ticks(5), left, right)]
    parts.append(svg.line(left, bottom, right, bottom))
    parts.append(svg.line(left, top, left, bottom))
    parts.append(svg.text((left + right) / 2, bottom + 28, "ToW → better", "middle"))
    parts.append(svg.text(14, (top + bottom) / 2, "ToW-MIA → better", "middle", turn=True))

    for row in rows:
        reference = vanilla_of(row, rows)
        if reference is not None:
            start = float(x(reference["tow"])), float(y(reference["tow_mia"]))
            parts.append(svg.line(*start, float(x(row["tow"])), float(y(row["tow_mia"])), "axis", 'stroke-dasharray="4 3"'))

    parts += _marks(x, y, rows, shown, ends)
    if not rows:
        parts.append(svg.text((left + right) / 2, (top + bottom) / 2, "press “Unlearn this”", "middle", "soft"))
    drawn = svg.drawing(width, bottom + 34, "ToW against ToW-MIA of the live runs", *parts)
    return drawn + _note(shown, ends)


def _note(shown: int | None, ends: Mapping[str, Row]) -> str:
    """What the ends are; and a button for the one that has to be trained."""
    if not ends:
        return ""
    words = [f"{name}: {meaning}" for end, (_, name, meaning) in ENDS.items() if end in ends]
    measure = ""
    if CEILING not in ends:
        measure = ' <button data-act="ceiling">Measure the ceiling</button> trains a second oracle.'
    return f'<p class="note">On the set of run {shown}, {"; ".join(words)}.{measure}</p>'


def _marks(x: svg.Axis, y: svg.Axis, rows: Sequence[Row], shown: int | None, ends: Mapping[str, Row]) -> list[str]:
    """The runs as markers that can be clicked, with their numbers, and with their algorithms where there are several."""
    several = len({row["algorithm"] for row in rows}) > 1
    runs = [(float(x(row["tow"])), float(y(row["tow_mia"]))) for row in rows]
    outer = [(float(x(max(row["tow"], x.low))), float(y(max(row["tow_mia"], y.low)))) for row in ends.values()]
    taken = [(px - 7, py - 7, px + 7, py + 7) for px, py in [*runs, *outer]]  # boxes that no label may cover

    parts = []
    for end, point in zip(ends, outer, strict=True):
        marker, name, meaning = ENDS[end]
        words = name
        if min(ends[end]["tow"] - x.low, ends[end]["tow_mia"] - y.low) < 0:
            words += f" ({svg.number(ends[end]['tow'])}, {svg.number(ends[end]['tow_mia'])})"
        box = _free_box(point, 7 * len(words), taken, x, y)
        taken.append(box)
        about = f"{name}, {meaning}: ToW {ends[end]['tow']:.3f}, ToW-MIA {ends[end]['tow_mia']:.3f}"
        body = svg.mark(*point, marker, INK) + svg.text(box[0], box[3] - 2, words)
        parts.append(f'<g role="img" aria-label="{about}"><title>{about}</title>{body}</g>')

    for row, point in zip(rows, runs, strict=True):
        words = f"{row['number']} {label(row['algorithm'])}" if several else f"{row['number']}"
        box = _free_box(point, 7 * len(words), taken, x, y)
        taken.append(box)
        body = svg.mark(*point, shape(row), INK)
        body += svg.text(box[0], box[3] - 2, words, kind="title" if row["number"] == shown else "")
        about = f"run {row['number']}, {describe(row)}: ToW {row['tow']:.3f}, ToW-MIA {row['tow_mia']:.3f}"
        parts.append(svg.button(body, f"run:{row['number']}", about))
    return parts


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _free_box(point: tuple[float, float], width: float, taken: Sequence[Box], x: svg.Axis, y: svg.Axis) -> Box:
    """Where the label of a marker goes: beside it, within the axes, on none of the boxes `taken` if that is possible."""
    at_x, at_y = point
    first = None  # a place inside the picture, if no free one is found

    # beside the marker, then ever further above and below; to its right, then to its left
    for below in (4, -9, 18, -22, 31, 44):
        for left in (at_x + 10, at_x - 10 - width):
            box = (left, at_y + below - 10, left + width, at_y + below + 2)
            if left < x.start or left + width > x.stop + 10 or box[1] < y.stop - 6 or box[3] > y.start:
                continue
            first = first or box
            if not any(_overlap(box, other) for other in taken):
                return box
    return first or (at_x - width / 2, at_y - 19, at_x + width / 2, at_y - 7)


def _overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _key(rows: Sequence[Row]) -> list[str]:
    """What the shapes mean."""
    names = ["vanilla", "shuffle", "rum_f"]
    for row in rows:
        if row["strategy"] not in names:
            names.append(row["strategy"])

    parts, at = [], 15.0
    for name in names:
        parts.append(svg.mark(at, 27, SHAPES.get(name, "square"), INK, r=4.5))
        parts.append(svg.text(at + 10, 31, label(name)))
        at += 30 + 7.5 * len(label(name))
    return parts
