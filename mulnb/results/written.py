"""Reads the tables of published results, which somebody may have edited, cut off or replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mulnb.core import plain_file
from mulnb.core.errors import UserError


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


def check_rows(path: Path, frame: pd.DataFrame, identity: Iterable[str], numbers: Iterable[str]) -> None:
    """Refuse a frame with a row that stands there twice, or without a number: somebody put it together.

    Args:
        path: its file, for messages.
        frame: what was read.
        identity: the columns that tell its rows apart; those that are missing do not count.
        numbers: columns of finite numbers; likewise.

    Raises:
        UserError: the first such row.
    """
    again = "remove the file and write it again with mulnb run"

    keys = [name for name in identity if name in frame]
    twice = frame.duplicated(keys) if keys else pd.Series(dtype=bool)
    if twice.any():
        row = ", ".join(f"{name} {value}" for name, value in frame[keys].iloc[twice.to_numpy().argmax()].items())
        raise UserError(f"{path}: a row stands there twice ({row}): {again}")

    for name in numbers:
        if name not in frame:
            continue
        bad = ~np.isfinite(pd.to_numeric(frame[name], errors="coerce"))
        if bad.any():
            raise UserError(f"{path}: row {int(bad.to_numpy().argmax()) + 1} has no number in the column {name}: {again}")
