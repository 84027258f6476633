"""Pictures of the live runs: ToW against ToW-MIA, why a ToW is what it is, and the table.

A marker's shape is a strategy, in the text's colour; the algorithm is written beside it. Colours are left to the strata.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mulnb.core.vocabulary import label
from mulnb.explorer import svg

Row = Mapping[str, Any]  # a row of `study.unlearning`, with number, set and sizes
SHAPES = {"vanilla": "ring", "shuffle": "triangle", "repeat": "cross", "rum_f": "diamond", "rum": "star"}
INK = "var(--ink)"
FACTORS = {"acc_forget": "accuracy, forget set", "acc_retain": "accuracy, retain set", "acc_test": "accuracy, test set"}


def same_set(row: Row, other: Row) -> bool:
    """Whether two runs unlearned the same set, by the same algorithm and seed."""
    return all(row[key] == other[key] for key in ("algorithm", "set", "seed"))


def vanilla_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """What a run is compared with: vanilla, by the same algorithm, on the same set."""
    if row["strategy"] == "vanilla":
        return None
    return next((other for other in rows if other["strategy"] == "vanilla" and same_set(other, row)), None)


# --- ToW and ToW-MIA -----------------------------------------------------------------------------------------------------


def tow_chart(rows: Sequence[Row], shown: int | None = None) -> str:
    """ToW against ToW-MIA of every run, numbered as in the table; dashes lead from vanilla to other runs on its set."""
    width, left, right, top, bottom = 400, 52, 384, 40, 166
    values = [row[key] for row in rows for key in ("tow", "tow_mia")] or [0.6]
    floor = max(0.0, math.floor((min(values) - 0.04) * 10) / 10)
    x, y = svg.Axis(floor, 1.0, left, right), svg.Axis(floor, 1.0, bottom, top)

    algorithms = {label(row["algorithm"]) for row in rows}
    about = f" of {algorithms.pop()}" if len(algorithms) == 1 else ""
    title = f"ToW and ToW-MIA{about} (1: as if retrained)"
    parts = [svg.text(8, 13, title, kind="title"), *_key(rows)]
    for tick in x.ticks(5):
        parts.append(svg.line(x(tick), top, x(tick), bottom, "grid"))
        parts.append(svg.line(left, y(tick), right, y(tick), "grid"))
        parts.append(svg.text(x(tick), bottom + 14, svg.number(tick), "middle", "soft"))
        parts.append(svg.text(left - 6, y(tick) + 4, svg.number(tick), "end", "soft"))
    parts.append(svg.line(left, bottom, right, bottom))
    parts.append(svg.line(left, top, left, bottom))
    parts.append(svg.mark(float(x(1)), float(y(1)), "plus", INK))
    parts.append(svg.text((left + right) / 2, bottom + 28, "ToW → better", "middle"))
    parts.append(svg.text(14, (top + bottom) / 2, "ToW-MIA → better", "middle", turn=True))

    for row in rows:
        reference = vanilla_of(row, rows)
        if reference is not None:
            start = float(x(reference["tow"])), float(y(reference["tow_mia"]))
            parts.append(svg.line(*start, float(x(row["tow"])), float(y(row["tow_mia"])), "axis", 'stroke-dasharray="4 3"'))

    parts += _marks(x, y, rows, shown)
    if not rows:
        parts.append(svg.text((left + right) / 2, (top + bottom) / 2, "press “Unlearn this”", "middle", "soft"))
    return svg.drawing(width, bottom + 34, "ToW against ToW-MIA of the live runs", *parts)


def shape(row: Row) -> str:
    """The marker of a run's strategy."""
    return SHAPES.get(row["strategy"], "square")


def describe(row: Row) -> str:
    """Algorithm and strategy in words."""
    return label(row["algorithm"]) if row["strategy"] == "rum" else f"{label(row['algorithm'])}, {label(row['strategy'])}"


def _marks(x: svg.Axis, y: svg.Axis, rows: Sequence[Row], shown: int | None) -> list[str]:
    """The runs as markers that can be clicked, with their numbers; with their algorithms, where there are several."""
    several = len({row["algorithm"] for row in rows}) > 1
    points = [(float(x(row["tow"])), float(y(row["tow_mia"]))) for row in rows]
    taken = [(px - 7, py - 7, px + 7, py + 7) for px, py in points]  # boxes that no label may cover

    parts = []
    for row, point in zip(rows, points, strict=True):
        words = f"{row['number']} {label(row['algorithm'])}" if several else f"{row['number']}"
        box = _free_box(point, 7 * len(words), taken, x)
        taken.append(box)
        body = svg.mark(*point, shape(row), INK)
        body += svg.text(box[0], box[3] - 2, words, kind="title" if row["number"] == shown else "")
        about = f"run {row['number']}, {describe(row)}: ToW {row['tow']:.3f}, ToW-MIA {row['tow_mia']:.3f}"
        parts.append(svg.button(body, f"run:{row['number']}", about))
    return parts


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _free_box(point: tuple[float, float], width: float, taken: Sequence[Box], x: svg.Axis) -> Box:
    """Where the label of a marker goes: beside it, within the axis, on none of the boxes `taken` if that is possible."""
    at_x, at_y = point
    first = None  # a place inside the picture, if no free one is found

    # beside the marker, then ever further above and below; to its right, then to its left
    for below in (4, -9, 18, -22, 31, 44):
        for left in (at_x + 10, at_x - 10 - width):
            box = (left, at_y + below - 10, left + width, at_y + below + 2)
            if left < x.start or left + width > x.stop + 10:
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
    return [*parts, svg.mark(at, 27, "plus", INK, r=4.5), svg.text(at + 10, 31, "oracle")]


# --- why this ToW --------------------------------------------------------------------------------------------------------


def why(row: Row | None, rows: Sequence[Row]) -> str:
    """The three accuracy differences whose factors multiply to ToW, and the MIA difference of ToW-MIA, beside vanilla's."""
    if row is None:
        return (
            '<p><b>Why this ToW?</b></p><p class="note empty">ToW multiplies three factors: one minus the difference to the '
            "oracle in accuracy on the forget set, on the retain set and on the test set. They appear here after a run.</p>"
        )
    width, left, right, top, height = 560, 152, 404, 54, 29
    reference = vanilla_of(row, rows)  # drawn, too: refinement is judged against it
    x = svg.Axis(0.0, 1.0, left, right)
    floor = top + 4 * height - 10

    parts = [svg.text(8, 13, f"Why this ToW? Run {row['number']}: {describe(row)}", kind="title")]
    parts.append(svg.text(8, 31, "the closer to the oracle (+), the better", kind="soft"))
    parts.append(svg.text(478, 31, "|difference|", "end", "soft"))
    parts.append(svg.text(550, 31, "factor", "end", "soft"))
    for tick in x.ticks(5):
        parts.append(svg.line(x(tick), top - 16, x(tick), floor, "grid"))
        parts.append(svg.text(x(tick), floor + 14, svg.number(tick), "middle", "soft"))

    for place, (key, words) in enumerate((FACTORS | {"mia": "MIA efficacy"}).items()):
        level = top + place * height
        parts += _dumbbell(x, level, words, key, row, reference)

    # ToW-MIA has the attack's factor in place of the accuracy on the forget set
    tow = " × ".join(f"{_factor(row, key):.3f}" for key in FACTORS)
    tow_mia = " × ".join(f"{_factor(row, key):.3f}" for key in ("mia", "acc_retain", "acc_test"))
    parts.append(svg.text(8, floor + 36, f"ToW {row['tow']:.3f} = {tow}", kind="title"))
    parts.append(svg.text(8, floor + 54, f"ToW-MIA {row['tow_mia']:.3f} = {tow_mia}, with the MIA's factor in the first place"))
    return svg.drawing(width, floor + 60, "Accuracies and MIA efficacy beside the oracle's", *parts)


def _dumbbell(x: svg.Axis, level: float, words: str, key: str, row: Row, reference: Row | None) -> list[str]:
    """One measure of a run and of vanilla, joined to the oracle's, with the difference and the factor it makes."""
    ideal = float(x(row[f"oracle_{key}"]))
    parts = [svg.text(left := x.start - 12, level + 4, words, "end"), svg.line(left + 12, level, x.stop, level, "grid")]
    shown = [one for one in (reference, row) if one is not None and not math.isnan(one[key])]
    for run in shown:
        parts.append(svg.line(ideal, level, float(x(run[key])), level, "axis", 'stroke-width="2"'))
    for run in shown:
        parts.append(svg.mark(float(x(run[key])), level, shape(run), INK))
    parts.append(svg.mark(ideal, level, "plus", INK))

    factor = _factor(row, key)
    parts.append(svg.text(478, level + 4, f"{1 - factor:.3f}", "end"))
    parts.append(svg.text(550, level + 4, f"{factor:.3f}", "end", "title"))
    return parts


def _factor(row: Row, key: str) -> float:
    """1 − |difference to the oracle|; 0 for a run that diverged, which has no outcome."""
    return 0.0 if math.isnan(row[key]) else 1 - abs(row[key] - row[f"oracle_{key}"])


# --- the table -----------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], shown: int | None = None) -> str:
    """The live runs, the newest last; Δ is the difference to vanilla by the same algorithm on the same set."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        reference = vanilla_of(row, rows)
        lines.append(
            {
                "#": f'<button data-act="run:{row["number"]}" title="why this ToW?">{row["number"]}</button>',
                "score": html.escape(label(row["score"])),
                "sizes": f"3 × {row['sizes'][0]}" if len(set(row["sizes"])) == 1 else " / ".join(map(str, row["sizes"])),
                "seed": row["seed"],
                "algorithm": label(row["algorithm"]),
                "strategy": label(row["strategy"]),
                "ToW": row["tow"],
                "Δ ToW": math.nan if reference is None else row["tow"] - reference["tow"],
                "ToW-MIA": row["tow_mia"],
                "Δ ToW-MIA": math.nan if reference is None else row["tow_mia"] - reference["tow_mia"],
                "sec.": row["seconds"],
                "× oracle": row["seconds"] / row["oracle_seconds"],
            }
        )
    frame = pd.DataFrame(lines)
    digits = {"ToW": "{:.3f}", "ToW-MIA": "{:.3f}", "sec.": "{:.1f}", "× oracle": "{:.2f}"}
    signed = {name: "{:+.3f}" for name in ("Δ ToW", "Δ ToW-MIA")}
    # NaN, where there is nothing to compare with, stays empty
    styled = frame.style.hide(axis="index").format(digits | signed, na_rep="")
    styled = styled.set_table_styles([{"selector": ".shown", "props": "font-weight: 600"}], overwrite=False)
    classes = pd.DataFrame("", index=frame.index, columns=frame.columns)
    classes.loc[[row["number"] == shown for row in rows]] = "shown"
    written = styled.set_td_classes(classes).to_html().replace("-0.", "−0.")
    note = "Δ: difference to vanilla on the same set. × oracle: share of the time of retraining. One run each: try other seeds."
    return f'<div class="wide">{written}</div><p class="note">{note} Click a number to see why that ToW.</p>'
