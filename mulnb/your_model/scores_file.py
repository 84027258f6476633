"""`mulnb.load_scores`: published or exported scores of a training set, turned so that higher means more memorized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mulnb.core import paths
from mulnb.core.errors import UserError, notice, one_line
from mulnb.data.request_file import FILE_COLUMNS
from mulnb.data.score_file import AGREE, INDICES, LABELS, Column, ScoreFile, oriented

MEMORIZED = ("memorization", "tr_mem", "mem")  # higher = more memorized
CONSISTENT = ("cscore", "c_score", "cscores")  # C-scores (Jiang et al. 2021): higher = more regular
PUBLISHED = "scores"  # what their authors call them, in a file that also has the labels


def load_scores(
    path: str | Path, *, labels: Any = None, key: str | None = None, memorized: str | None = None, index: Any = None
) -> np.ndarray:
    """Scores [N] of a file, higher = more memorized.

    Args:
        path: .npz, .npy, .csv, .parquet or .json with scores. Known are Feldman & Zhang's `tr_mem`, the RUM authors'
            `memorization` and C-scores (`cscore`, or `scores` beside labels, of which 1 − c is returned).
        labels: of your data, [N]: they must agree with those in the file, or its order is another one.
        key: the array or column to read, if it is none of the known ones.
        memorized: "high" or "low", which end of the file's scores is memorized, if it is none of the known ones.
        index: int [N], the place of each of your examples in the file (a split's source indices); by default all, in order.

    Raises:
        UserError: the file holds no such scores, they are not finite, all the same or no C-scores, or its labels are in another
            order.
    """
    if memorized not in (None, "high", "low"):
        raise UserError(f"load_scores: memorized = {memorized!r}: should be 'high' or 'low'")

    table = ScoreFile(paths.given(path, "load_scores: the file"))
    name = _name_of(table, key, path)
    consistent = name in CONSISTENT or (name == PUBLISHED and bool(table.called(LABELS)))
    if memorized is None and name not in MEMORIZED and not consistent:
        raise UserError(f"{path}: which end of '{name}' is memorized? give memorized='high' or 'low'")

    column = table.scores(name)
    if index is None:
        _check_order(table, column)
        _tell_of_names(table, len(column))
    rows = _rows(table, len(column), index)
    _check_labels(table, len(column), labels, rows)
    values = column.values[rows]
    if not np.isfinite(values).all():
        raise UserError(f"{path}: the score of example {int(np.flatnonzero(~np.isfinite(values))[0])} is not a number")
    if len(values) > 1 and (values == values[0]).all():
        raise table.error(f"{column.name} is {values[0]:g} for all {len(values)} examples: such scores rank nothing")

    if memorized is None and consistent:
        if name == PUBLISHED:
            notice(f"{path}: its scores are taken for C-scores, of which high is regular: say memorized='high' if they are not")
        return oriented(table, column, values, "consistency", "give memorized='high'")
    if memorized is None:
        return values
    return values if memorized == "high" else 1 - values


def _name_of(table: ScoreFile, key: str | None, path: str | Path) -> str:
    """The array or column to read: the one asked for, one of the known names, or the only one."""
    names = list(table.arrays)
    if not names:
        raise table.error("is empty: expected one score per example")

    bare = names == [""]  # an array without a name, of an .npy file
    known_names = (*MEMORIZED, *CONSISTENT, PUBLISHED)
    name = key or next((known for known in known_names if known in table), None)
    if name is None and len(names) == 1:
        name = table.path.stem if bare else names[0]
    if name not in names and not bare:
        raise UserError(f"{path} has {table.names}: give key=, the one that holds the scores")
    return name


def _check_order(table: ScoreFile, column: Column) -> None:
    """Raises `UserError` if a column numbers the examples in another order than that of the rows."""
    by = table.order(column)
    if by and (np.diff(table.whole_numbers(by, len(column))) <= 0).any():
        raise table.error(
            f"{by} is not in increasing order: sort the rows by it, or give index=, the place of each of your examples in it; if "
            "it says nothing of the order, leave the column out"
        )


def _tell_of_names(table: ScoreFile, found: int) -> None:
    """Say that rows are taken as they come, where the names of images beside the scores are in another order than a folder's."""
    if table.called(INDICES):
        return  # that tells the order
    for title in table.called(FILE_COLUMNS):
        try:
            names = table[title]
        except UserError:  # pickled text
            continue
        if names.shape == (found,) and names.dtype.kind in "OUT" and sorted(names.astype(str)) != names.astype(str).tolist():
            notice(
                f"{table.path}: row i is taken for example i, and '{title}' is not in the order in which a folder is read: give "
                "index=, the row of each of your examples, if theirs is another one"
            )


def _rows(table: ScoreFile, found: int, index: Any) -> np.ndarray:
    """The place in the file of each example's score, int64 [N]."""
    if index is None:
        return np.arange(found)

    rows = _array(index, "index")
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise table.error(f"index is {rows.dtype} {list(rows.shape)}: expected the place of each example in the file")
    if len(rows) == 0:
        raise table.error("index is empty: give the place of each example in the file")
    if rows.min() < 0 or rows.max() >= found:
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise table.error(f"index {wrong} is not in the file, which has {found} scores")

    return rows.astype(np.int64)


def _check_labels(table: ScoreFile, found: int, labels: Any, rows: np.ndarray) -> None:
    if labels is None:
        return

    mine = _array(labels, "labels")
    if mine.ndim != 1:
        raise table.error(f"labels are {mine.dtype} {list(mine.shape)}: expected one label per example")
    if len(mine) != len(rows):
        raise table.error(f"has {len(rows)} scores for {len(mine)} labels: give index=, the place of each example in the file")

    name = next(iter(table.called(LABELS)), None)
    if name is None:
        return

    theirs = table[name]
    if theirs.shape != (found,):
        raise table.error(f"{name} has the shape {list(theirs.shape)} beside {found} scores: expected one label per score")

    share = float((theirs[rows] == mine).mean())
    if share < AGREE:
        raise table.error(f"only {share:.0%} of its labels are those of the data: it is in another order")


def _array(given: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except Exception as error:  # anything may be given: rows of several lengths, a tensor without values
        raise UserError(f"load_scores: {what} is no list of whole numbers: {one_line(error)}") from None
