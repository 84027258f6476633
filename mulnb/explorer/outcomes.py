"""The live runs in words and pictures: what each is compared with, why a ToW is what it is, and the table.

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


def shape(row: Row) -> str:
    """The marker of a run's strategy."""
    return SHAPES.get(row["strategy"], "square")


def describe(row: Row) -> str:
    """Algorithm and strategy in words."""
    return label(row["algorithm"]) if row["strategy"] == "rum" else f"{label(row['algorithm'])}, {label(row['strategy'])}"


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
    parts += svg.grid_down(x, x.ticks(5), top - 16, floor)

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
    parts = [svg.text(x.start - 12, level + 4, words, "end"), svg.line(x.start, level, x.stop, level, "grid")]
    shown = [run for run in (reference, row) if run is not None and not math.isnan(run[key])]
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
        sizes = f"3 × {row['sizes'][0]}" if len(set(row["sizes"])) == 1 else " / ".join(map(str, row["sizes"]))
        lines.append(
            {
                "#": f'<button data-act="run:{row["number"]}" title="why this ToW?">{row["number"]}</button>',
                "set": f"{html.escape(label(row['score']))}, {sizes}, seed {row['seed']}",
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
    region = '<div class="wide" role="region" tabindex="0" aria-label="table of the runs">'
    return f'{region}{written}</div><p class="note">{note} Click a number to see why that ToW.</p>'
