"""The Markdown writer: turns tidy tables into what a reader sees, with names written out and cells such as "0.912 ± 0.013".

Interval columns come as `x x_low x_high` or `x x_half` and are folded into one cell; where there is no interval, the cell shows
the value alone.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.stats import Interval
from mulnb.core.vocabulary import METRICS
from mulnb.results.captions import interval_note
from mulnb.results.compare import RUN, in_order

BETTER, WORSE = "▲", "▼"
MARKS = f" {BETTER} / {WORSE}: the 95 % interval of the difference{{}}, paired by seed, lies above / below 0."

HEADINGS = {
    "spearman": "ρ with memorization",
    "share_of_exact": "share of exact scores",
    "n_seeds": "seeds",
    "step": "step",
    "runtime_ratio": "time / retraining",
    "oracle_seconds": "oracle seconds",
    "tow_change": "ToW − step 1",
    "tow_mia_change": "ToW-MIA − step 1",
}
COUNTS = {"n", "n_seeds", "step"}
SECONDS = {"seconds", "oracle_seconds"}


def page(frame: pd.DataFrame, profile: Profile, caption: str) -> str:
    """A table as a page: profile, caption, n and what the intervals are, then the cells.

    Args:
        frame: a table of `tables`.
        profile: whose results these are.
        caption: what the table shows.

    Returns:
        Markdown.
    """
    head = f"**{profile.title}** (profile `{profile.name}`). {caption} {_note(frame)}".strip()
    parts = [head]
    for title, section in _sections(frame):
        if title:
            parts.append(f"### {title}")
        parts.append(grid(section))
    return "\n\n".join(parts) + "\n"


def grid(frame: pd.DataFrame) -> str:
    """A frame of texts as a Markdown table.

    Args:
        frame: any frame; its values are written as they are.

    Returns:
        The table, without a line end.
    """
    return frame.to_markdown(index=False, disable_numparse=True)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """One text column per quantity.

    Args:
        frame: a table with raw names and interval columns.

    Returns:
        A frame of texts: intervals folded into "0.912 ± 0.013", names and headings written out.
    """
    rows = frame.to_dict("records")
    out = {}
    for name in frame.columns:
        if not name.endswith(("_low", "_high", "_half")):
            out[_heading(name)] = [_text(row, name) for row in rows]
    return pd.DataFrame(out)


def cell(row: dict, name: str, spec: str = ".3f") -> str:
    """A number with the interval that stands beside it in the row.

    Args:
        row: a row of a table.
        name: the column of the number; its bounds are `name_low name_high` or `name_half`.
        spec: how the number is formatted.

    Returns:
        "0.912 ± 0.013", "0.912 [0.899, 0.921]", "0.912" without an interval, or "" for NaN.
    """
    value = row[name]
    if math.isnan(value):
        return ""

    low, high = ("ci_low", "ci_high") if name == "spearman" else (f"{name}_low", f"{name}_high")
    if not math.isnan(row.get(low, math.nan)):
        return format(Interval(value, row[low], row[high], 0), spec)

    half = row.get(f"{name}_half", math.nan)
    return format(value, spec) + ("" if math.isnan(half) else f" ± {format(half, spec)}")


# ---- the parts of a page


def _note(frame: pd.DataFrame) -> str:
    """What the ± and the marks of this table are."""
    if "n" in frame:
        note = interval_note(frame["n"])
        marked = "tow_gain_low" in frame and frame["tow_gain_low"].notna().any()
        marks = MARKS.format(" to vanilla" if "tow" in frame else "") if marked else ""
        return f"{note[0].upper()}{note[1:]}.{marks}"
    if "n_seeds" in frame:
        return f"ρ: {interval_note(frame['n_seeds'])}."
    return ""


def _sections(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, table of texts) for each part of a page: metrics as algorithm × strategy by score, all else row by row."""
    columns = set(frame.columns)

    if "tow_gain" in columns and "tow" not in columns:  # the full RUM minus the others
        return [(f"{vocabulary.label(metric)}, RUM − the other", _wide(frame, metric, f"{metric}_gain")) for metric in METRICS]

    if "acc_forget" in columns:  # too many columns for one table: one for each algorithm
        groups = frame.groupby("algorithm", sort=False, observed=True)
        return [(vocabulary.label(name), readable(group.drop(columns="algorithm"))) for name, group in groups]

    if {*RUN, *METRICS} <= columns:
        return [(vocabulary.label(metric), _wide(frame, metric, metric)) for metric in METRICS]

    return [("", readable(frame))]


def _wide(table: pd.DataFrame, metric: str, column: str) -> pd.DataFrame:
    """Rows algorithm × strategy, a column per score; a mark where the interval of the paired difference excludes 0."""
    spec = ".3f" if column == metric else "+.3f"
    cells = [cell(row, column, spec) + _mark(row, metric) for row in table.to_dict("records")]

    wide = table.assign(cell=cells).pivot(index=RUN[:2], columns="score", values="cell")
    wide = in_order(wide[vocabulary.ordered(wide.columns)].reset_index(), RUN[:2])
    wide[RUN[:2]] = wide[RUN[:2]].map(vocabulary.label)
    return wide.fillna("").rename(columns=vocabulary.label)


def _mark(row: dict, metric: str) -> str:
    """▲ or ▼ where the whole interval of the gain lies on one side of 0."""
    if row.get(f"{metric}_gain_low", math.nan) > 0:
        return f" {BETTER}"
    if row.get(f"{metric}_gain_high", math.nan) < 0:
        return f" {WORSE}"
    return ""


def _text(row: dict, name: str) -> str:
    """The cell of a column, in the column's own unit."""
    value = row[name]
    if isinstance(value, str):
        return vocabulary.label(value)
    if name in COUNTS or isinstance(value, (bool, np.bool_)):
        return str(value)
    if name == "share_of_exact":
        return f"{100 * value:.3g} %"
    return cell(row, name, ".3g" if name in SECONDS else ".3f")


def _heading(name: str) -> str:
    if name in HEADINGS:
        return HEADINGS[name]
    if name.startswith("oracle_"):
        return f"oracle {vocabulary.label(name.removeprefix('oracle_'))}"
    return vocabulary.label(name)
