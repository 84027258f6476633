"""The Markdown writer: turns tidy tables into what a reader sees, with names written out and cells such as "0.912 ± 0.013".

Interval columns come as `x x_low x_high` or `x x_half` and are folded into one cell; where there is no interval, the cell shows
the value alone.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.stats import Interval
from mulnb.core.vocabulary import CEILING, FLOOR, METRICS
from mulnb.results.captions import interval_note, seeds, sentence
from mulnb.results.compare import RUN, in_order

BETTER, WORSE = "▲", "▼"
MARKS = f" {BETTER} / {WORSE}: the 95 % interval of the difference{{}}, paired by seed, lies above / below 0."
UNFIT = "†"
WIDE = 220  # signs: no screen shows a wider line as it stands in the file
UNFIT_NOTE = f" {UNFIT}: the original or the oracle of at least one of its runs did not fit the retain set."

HEADINGS = {
    "spearman": "ρ with memorization",
    "share_of_exact": "share of exact scores",
    "n_seeds": "seeds",
    "step": "step",
    "runtime_ratio": "time / retraining",
    "oracle_seconds": "oracle seconds",
    "tow_change": "ToW − step 1",
    "tow_mia_change": "ToW-MIA − step 1",
    "disattenuated": "ρ, scores' noise taken out",
    "overlap": "overlap of the high stratum",
    "passes_retain": "passes over R",
    "passes_forget": "passes over S",
    "lira_auc": "LiRA AUC",
    "lira_tpr01": "LiRA TPR at 1 % FPR",
    "lira_tpr001": "LiRA TPR at .1 % FPR",
    "rmia_auc": "RMIA AUC",
    "klom_p50": "S, median",
    "klom_p95": "S, 95 %",
    "klom_retain_p50": "R, median",
    "klom_retain_p95": "R, 95 %",
    "klom_test_p50": "T, median",
    "klom_test_p95": "T, 95 %",
    "relearn_epochs": "epochs to relearn S",
    "order": "order of",
}
ENDS = {FLOOR: "floor: not unlearned", CEILING: "ceiling: second oracle"}
COUNTS = {"n", "n_seeds", "step"}
HIDDEN = {"unconverged", "paper"}  # columns that show in other ways
FORMATS = {"seconds": ".3g", "oracle_seconds": ".3g", "passes_retain": ".3g", "passes_forget": ".3g"}


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
        The table, without a line end. One that is wider than a screen is not filled up with spaces: they were a third of it.
    """
    table = frame.to_markdown(index=False, disable_numparse=True)
    heading, rule, *rows = table.splitlines()
    if len(rule) <= WIDE:
        return table
    return "\n".join(re.sub(r" +\|", " |", line) for line in (heading, re.sub("-+", "---", rule), *rows))


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
        if name not in HIDDEN and not name.endswith(("_low", "_high", "_half")):
            out[_heading(name)] = [_text(row, name) for row in rows]
    return pd.DataFrame(out)


def cell(row: dict, name: str, spec: str = ".3f") -> str:
    """A number with the interval that stands beside it in the row.

    Args:
        row: a row of a table.
        name: the column of the number; its bounds are `name_low name_high` or `name_half`.
        spec: how the number is formatted.

    Returns:
        "0.912 ± 0.013", "0.912 [0.899, 0.921]", "0.912" without an interval, "∞" where a limit was met, or "" for NaN.
    """
    value = row[name]
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞"

    low, high = ("ci_low", "ci_high") if name == "spearman" else (f"{name}_low", f"{name}_high")
    if not math.isnan(row.get(low, math.nan)):
        return format(Interval(value, row[low], row[high], 0), spec)

    half = row.get(f"{name}_half", math.nan)
    return format(value, spec) + ("" if math.isnan(half) else f" ± {format(half, spec)}")


# ---- the parts of a page


def _note(frame: pd.DataFrame) -> str:
    """What the ± and the marks of this table are."""
    if "n_seeds" in frame:
        return f"ρ: {interval_note(frame['n_seeds'])}."
    if "n" not in frame:
        return ""

    intervals = any(column.endswith(("_low", "_half")) for column in frame)
    note = f"{sentence(interval_note(frame['n']))}." if intervals else f"No intervals; {seeds(frame['n'])}."
    if "tow_gain_low" in frame and frame["tow_gain_low"].notna().any():
        against = " to vanilla" if "tow" in frame else ""
        if "order" in frame:
            against = " to memorization's order"
        note += MARKS.format(against)
    if "unconverged" in frame and frame["unconverged"].any():
        note += UNFIT_NOTE
    return note


def _sections(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, table of texts) for each part of a page: metrics as algorithm × strategy by score, all else row by row."""
    columns = set(frame.columns)

    if "paper" in columns:  # Table 1: this project's additions below the paper's proxies
        ours, added = frame[frame["paper"]], frame[~frame["paper"].astype(bool)]
        parts = [("", readable(ours))]
        return [*parts, ("Not the paper's", readable(added))] if len(added) else parts

    if "order" in columns:  # crossed runs
        return [(vocabulary.label(metric), _wide(frame, metric, metric, ["algorithm"], "order")) for metric in METRICS]

    if "tow_gain" in columns and "tow" not in columns:  # the full RUM minus the others
        titles = {metric: f"{vocabulary.label(metric)}, RUM − the other" for metric in METRICS}
        return [(titles[metric], _wide(frame, metric, f"{metric}_gain", RUN[:2], "score")) for metric in METRICS]

    if columns & {"acc_forget", "lira_auc", "klom_p50"}:  # too many columns for one table: one for each algorithm
        return _by_algorithm(frame)

    if {*RUN, *METRICS} <= columns:
        return [(vocabulary.label(metric), _wide(frame, metric, metric, RUN[:2], "score")) for metric in METRICS]

    return [("", readable(frame))]


def _by_algorithm(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A table for the ends of the scale, and one for each algorithm."""
    at_the_end = frame["algorithm"].isin(list(ENDS))
    parts = []
    if at_the_end.any():
        parts.append(("The ends of the scale", readable(frame[at_the_end].drop(columns="strategy"))))
    for name, group in frame[~at_the_end].groupby("algorithm", sort=False, observed=True):
        parts.append((vocabulary.label(name), readable(group.drop(columns="algorithm"))))
    return parts


def _wide(table: pd.DataFrame, metric: str, column: str, down: list[str], across: str) -> pd.DataFrame:
    """A row per `down`, a column per `across`; a mark where the interval of the paired difference excludes 0."""
    spec = ".3f" if column == metric else "+.3f"
    cells = []
    for row in table.to_dict("records"):
        cells.append(cell(row, column, spec) + _mark(row, metric) + _unfit(row))

    wide = table.assign(cell=cells).pivot(index=down, columns=across, values="cell")
    wide = in_order(wide[vocabulary.ordered(wide.columns)].reset_index(), down)

    if "strategy" in down:  # the ends of the scale have no strategy
        wide["strategy"] = wide["strategy"].map(vocabulary.label).mask(wide["algorithm"].isin(list(ENDS)), "–")
    wide["algorithm"] = wide["algorithm"].map(_name)
    return wide.fillna("").rename(columns=vocabulary.label)


def _name(algorithm: str) -> str:
    """An algorithm, or an end of the scale, for readers."""
    return ENDS.get(algorithm) or vocabulary.label(algorithm)


def _unfit(row: dict) -> str:
    """† where the original or the oracle of a run did not fit the retain set."""
    return f" {UNFIT}" if row.get("unconverged", 0) else ""


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
    if name == "strategy" and row.get("algorithm") in ENDS:  # the ends of the scale have no strategy
        return "–"
    if isinstance(value, str):
        return _name(value) if name in {"algorithm", "strategy"} else vocabulary.label(value)
    if name == "n":
        return f"{value}{_unfit(row)}"
    if name in COUNTS or isinstance(value, (bool, np.bool_)):
        return str(value)
    if name == "share_of_exact":
        return "" if math.isnan(value) else f"{100 * value:.3g} %"
    return cell(row, name, FORMATS.get(name, ".3f"))


def _heading(name: str) -> str:
    if name in HEADINGS:
        return HEADINGS[name]
    if name.startswith("oracle_"):
        stem = name.removeprefix("oracle_")
        return f"oracle {HEADINGS.get(stem) or vocabulary.label(stem)}"
    return vocabulary.label(name)
