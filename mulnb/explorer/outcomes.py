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

    parts = [svg.text(8, 13, "ToW and ToW-MIA (1: as if retrained)", kind="title"), *_key(rows)]
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

    places = _label_places([(float(x(row["tow"])), float(y(row["tow_mia"]))) for row in rows])
    for row, (word_x, word_y, anchor) in zip(rows, places, strict=True):
        at = float(x(row["tow"])), float(y(row["tow_mia"]))
        body = svg.mark(*at, shape(row), INK)
        body += svg.text(word_x, word_y, f"{row['number']} {_short(row)}", anchor, "title" if row["number"] == shown else "")
        about = f"run {row['number']}, {describe(row)}: ToW {row['tow']:.3f}, ToW-MIA {row['tow_mia']:.3f}"
        parts.append(svg.button(body, f"run:{row['number']}", about))

    if not rows:
        parts.append(svg.text((left + right) / 2, (top + bottom) / 2, "press “Unlearn this”", "middle", "soft"))
    return svg.drawing(width, bottom + 34, "ToW against ToW-MIA of the live runs", *parts)


def shape(row: Row) -> str:
    """The marker of a run's strategy."""
    return SHAPES.get(row["strategy"], "square")


def describe(row: Row) -> str:
    """Algorithm and strategy in words."""
    return label(row["algorithm"]) if row["strategy"] == "rum" else f"{label(row['algorithm'])}, {label(row['strategy'])}"


def _short(row: Row) -> str:
    """The algorithm in a few letters, for a label in the chart."""
    return label(row["algorithm"]).replace("Random label", "Rand. label")


def _label_places(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """Where the labels of the markers go: to the right or left of them, and not onto a label already placed."""
    placed: list[tuple[float, float, str]] = []
    for x, y in points:
        right = x < 300
        word_x, word_y = (x + 10, y - 6) if right else (x - 10, y - 6)
        while any(abs(word_x - other_x) < 80 and abs(word_y - other_y) < 12 for other_x, other_y, _ in placed):
            word_y += 12
        placed.append((word_x, word_y, "start" if right else "end"))
    return placed


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
    reference = vanilla_of(row, rows)
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
                "sizes": " / ".join(map(str, row["sizes"])),
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
    styled = frame.style.hide(axis="index").format(digits | signed, na_rep="")
    styled = styled.set_table_styles([{"selector": ".shown", "props": "font-weight: 600"}], overwrite=False)
    classes = pd.DataFrame("", index=frame.index, columns=frame.columns)
    classes.loc[[row["number"] == shown for row in rows]] = "shown"
    written = styled.set_td_classes(classes).to_html().replace("-0.", "−0.")
    note = "Δ: difference to vanilla on the same set. × oracle: share of the time of retraining. One run each: try other seeds."
    return f'<div class="wide">{written}</div><p class="note">{note} Click a number to see why that ToW.</p>'
