"""Reads the tables of published results, which somebody may have edited, cut off or replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mulnb.core import plain_file
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import METRICS
from mulnb.results import frame_file

COLUMNS = {  # of a frame, those without which nobody can read it; later versions have added others
    "memorization": ("example", "label", "memorization"),
    "proxies": ("example", "proxy", "seed", "value"),
    "proxy_costs": ("proxy", "seconds", "spearman", "ci_low", "ci_high", "share_of_exact"),
    "unlearning": ("algorithm", "strategy", "score", "seed", "tow", "tow_mia", "seconds"),
    "crossed": ("algorithm", "strategy", "score", "seed", "tow", "tow_mia"),
    "sequential": ("algorithm", "strategy", "seed", "step", "scope", "tow", "tow_mia"),
}
IDENTITY = {  # the columns that tell a frame's rows apart, as far as its version has them
    "memorization": ("example",),
    "proxies": ("example", "proxy", "seed"),
    "proxy_costs": ("proxy",),
    "unlearning": ("algorithm", "strategy", "score", "seed"),
    "crossed": ("algorithm", "strategy", "score", "seed", "order"),
    "sequential": ("algorithm", "strategy", "seed", "step", "scope"),
}
TEXTS = {"algorithm", "strategy", "score", "scope", "order", "proxy", "source", "kind"}  # every other column has numbers
NUMBERS = {"memorization": ("memorization",), "proxies": ("value",)}  # columns of finite numbers; of other frames: `METRICS`


def frame(path: Path) -> pd.DataFrame:
    """Read a frame that a stage has written.

    Args:
        path: the file; its name is that of the frame.

    Returns:
        The frame.

    Raises:
        UserError: the file is damaged, another frame, or has rows that no stage writes.
    """
    name = path.stem
    found = frame_file.read(path)
    check_columns(path, found, COLUMNS.get(name, ()))
    wrong = _wrong_row(found, IDENTITY.get(name, ()), NUMBERS.get(name, METRICS)) or _wrong_kind(found, COLUMNS.get(name, ()))
    if wrong:
        raise UserError(f"{path}: {wrong}: remove the file and write it again with mulnb run")
    return found


def table(path: Path, columns: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV that a stage has written.

    Args:
        path: the file.
        columns: those that it must have.
        options: further arguments of `pandas.read_csv`.

    Returns:
        The table.

    Raises:
        UserError: the file is missing, damaged, or not this table.
    """
    try:
        plain_file.check(path)
        found = pd.read_csv(path, low_memory=False, **options)
    except (OSError, ValueError, OverflowError, MemoryError) as error:  # pandas' own errors are ValueErrors
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): remove it and write it again with mulnb run") from None

    check_columns(path, found, columns)
    return found


def check_columns(path: Path, frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Refuse a frame that lacks a column: another file was put in its place, or it was edited.

    Raises:
        UserError: the first column that is missing.
    """
    if missing := [name for name in columns if name not in frame]:
        raise UserError(f"{path}: no column '{missing[0]}': it is another table: remove it and write it again with mulnb run")


def _wrong_row(frame: pd.DataFrame, identity: Iterable[str], numbers: Iterable[str]) -> str:
    """A row that somebody put in: one that stands there twice by its `identity`, or lacks one of its finite `numbers`; or ""."""
    keys = [name for name in identity if name in frame]
    twice = frame.duplicated(keys) if keys else pd.Series(dtype=bool)
    if twice.any():
        row = ", ".join(f"{name} {value}" for name, value in frame[keys].iloc[twice.to_numpy().argmax()].items())
        return f"a row stands there twice ({row})"

    for name in [name for name in numbers if name in frame]:
        bad = ~np.isfinite(pd.to_numeric(frame[name], errors="coerce"))
        if bad.any():
            return f"row {int(bad.to_numpy().argmax()) + 1} has no number in the column {name}"
    return ""


def _wrong_kind(frame: pd.DataFrame, columns: Iterable[str]) -> str:
    """A column with text where numbers belong, or with a gap where seeds do; or ""."""
    for name in columns:
        if name not in TEXTS and frame[name].dtype.kind not in "iuf":
            return f"the column {name} holds {frame[name].dtype} and not numbers"
    return "a row has no seed" if "seed" in columns and frame["seed"].isna().any() else ""


def check_same_examples(path: Path, proxies: pd.DataFrame, memorization: pd.DataFrame) -> None:
    """Refuse scores of two data sets: one of the two frames is cut off, or from elsewhere.

    Args:
        path: of the frame of memorization, for messages.
        proxies: `example proxy seed value`.
        memorization: `example memorization`.

    Raises:
        UserError: a proxy lacks an example, or has another one.
    """
    examples = memorization["example"].sort_values().to_numpy()
    for (proxy, seed), rows in proxies.groupby(["proxy", "seed"], sort=False, observed=True):
        if not np.array_equal(rows["example"].sort_values().to_numpy(), examples):
            raise UserError(
                f"{path}: {len(examples)} examples, and proxies.parquet has other ones for {proxy}, seed {seed} ({len(rows)}): "
                "remove both files and write them again with mulnb run"
            )
