"""Reads the tables of published results, which somebody may have edited, cut off or replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
