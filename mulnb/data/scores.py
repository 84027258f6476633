"""Scores from outside: memorization that others have estimated, joined to the examples of a split and checked.

Released scores refer to the *source* data set's own order, and a split holds some of its examples, so the split's source index
says which score belongs to which example. Files that are known to work (METHOD §2):

- Feldman & Zhang (2020), CIFAR-100: `load_scores("cifar100_infl_matrix.npz", "tr_mem", data=train)`, labels in `tr_labels`.
- Zhao et al. (2024), CIFAR-10: `load_scores(file, "memorization", data=train)`, 50 000 scores without labels.
- C-scores (Jiang et al. 2021): `load_scores(file, "scores", orientation="consistency", data=train)`, labels in `labels`.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.data.images import BY_FILE_NAME, ImageSet
from mulnb.data.score_file import AGREE, LABELS, Column, Orientation, ScoreFile, oriented


def load_scores(
    file: str | Path,
    key: str | None = None,
    index: str | None = None,
    orientation: Orientation = "memorization",
    *,
    data: ImageSet,
) -> np.ndarray:
    """Read a score for each example of a data set from a file. Pickled objects are never loaded.

    If the file holds labels (`tr_labels`, `labels` or `label`), they are compared with those of the data, and the share of equal
    labels is printed.

    Args:
        file: an .npz, .npy, .csv, .parquet or .json file (JSON: an object of lists, a list of objects, or a list of numbers).
        key: the array or column with the scores; None if the file has only one.
        index: which example a score belongs to. "source": the scores stand in the source's order, and `data.index` picks them.
            "train": they stand in the order of `data` already. Another word: the array or column of the file that holds the
            source index of each score. None: "train" if there are as many scores as examples and no other reading is possible,
            else "source"; it must be said where the file has a column such as "index" that is not 0, 1, 2, …
        orientation: "memorization" if high scores mean strongly memorized; "consistency" for C-scores, which lie in [0, 1], mean
            the opposite, and become 1 − c.
        data: the examples that need scores: the `train` of a split.

    Returns:
        Scores as float64 [N] in the order of `data`, oriented so that higher = more memorized.

    Raises:
        UserError: the file cannot be read, has no such key (its keys are listed), has another number of scores than the source or
            the data, or lacks a finite score for an example; the labels disagree; the source index is needed and unknown, or
            stands in a column that `index` does not name; or images were listed by file name and the file has no labels to
            check the order by.
    """
    if orientation not in ("memorization", "consistency"):
        raise UserError(f"orientation = {orientation!r}: use 'memorization' or 'consistency'")

    place = paths.given(file, "the file of scores")
    if not isinstance(data, ImageSet):
        raise UserError(f"data is a {type(data).__name__}: expected examples that need scores, such as load_data(profile).train")

    table = ScoreFile(place)
    column = table.scores(key)
    rows = _rows(table, column, index, data)  # int64 [N], the place in the file of each example's score
    scores = column.values[rows]

    _check_finite(table, column, scores, data)
    _check_labels(table, column, rows, index, data)

    return oriented(table, column, scores, orientation)


# --- which score belongs to which example --------------------------------------------------------------------------------


def _rows(table: ScoreFile, column: Column, index: str | None, data: ImageSet) -> np.ndarray:
    """The place in the file of the score of each example, int64 [N]."""
    n, found = len(data), len(column)
    counts = f"{column.name} has {found} scores"

    if index in ("source", "train") and index in table:
        raise table.error(f"index = {index} means the order of the scores, but there is a column of this name, too: rename it")

    if index is None:
        if name := table.order(column):
            raise table.error(
                f"{name} is not 0, 1, 2, …: say index = {name} if it is the source index of each score; if not, say "
                "index = source or index = train for the order of the scores, or leave the column out of the file"
            )
        index = "train" if found == n and _only_in_order(data) else "source"

    if index == "train":
        if found != n:
            raise table.error(f"{counts} for {n} examples: with index = train, they must be as many")
        return np.arange(n)

    if data.index is None:
        raise table.error(f"{counts} for {n} examples of unknown source index: give one score per example, in their order")

    if index != "source":
        return _rows_by_index(table, index, found, data)

    if data.source_size not in (None, found):
        raise table.error(f"{counts}, but the source of the data has {data.source_size} examples: they must be as many")
    if data.index.max() >= found:
        raise table.error(f"{counts}, but the data hold example {data.index.max()} of their source")
    return data.index


def _only_in_order(data: ImageSet) -> bool:
    """Whether N scores can only stand in the order of the N examples, or the source's order is the same."""
    if data.index is None or data.index.max() >= len(data):
        return True
    return np.array_equal(data.index, np.arange(len(data)))


def _rows_by_index(table: ScoreFile, name: str, found: int, data: ImageSet) -> np.ndarray:
    """The place of each example of `data` in the array of source indices of the file, int64 [N]."""
    if name not in table:
        raise table.error(f"no key '{name}' for the index: use source, train, or one of {table.names}")

    given = table.whole_numbers(name, found)
    if given is None:
        odd = table[name]
        raise table.error(f"{name} is {odd.dtype} {list(odd.shape)}: expected one whole number for each of {found} scores")

    order = np.argsort(given, kind="stable")
    ordered = given[order]
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if repeated.size:
        raise table.error(f"{name} names the source index {repeated[0]} twice")

    if data.source_size is not None and ordered[-1] >= data.source_size:
        raise table.error(
            f"{name} has the source index {ordered[-1]}, the source of the data has 0 … {data.source_size - 1}: count from 0"
        )

    wanted = data.index
    place = np.searchsorted(ordered, wanted).clip(max=found - 1)
    missing = wanted[ordered[place] != wanted]
    if missing.size:
        raise table.error(f"{name} lacks {missing.size} of {len(wanted)} examples; the first is source index {missing[0]}")

    return order[place]


# --- checks --------------------------------------------------------------------------------------------------------------


def _check_finite(table: ScoreFile, column: Column, scores: np.ndarray, data: ImageSet) -> None:
    """Refuse NaN and infinite scores, and those that are all the same."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        first = int(bad[0])
        raise table.error(
            f"{column.name} has no finite score for {bad.size} of {len(scores)} examples; the first is {_named(first, data)}: "
            f"{scores[first]}"
        )
    if len(scores) > 1 and (scores == scores[0]).all():
        raise table.error(f"{column.name} is {scores[0]:g} for all {len(scores)} examples: such scores rank nothing")


def _check_labels(table: ScoreFile, column: Column, rows: np.ndarray, index: str | None, data: ImageSet) -> None:
    """Compare the labels of the file, if it has any, with those of the data, and print the share that is equal."""
    name = next((name for name in table.called(LABELS) if name != column.name), None)

    if name is None:
        whole_source = data.source_size in (None, len(column))
        if index is None and data.order == BY_FILE_NAME and whole_source:
            raise table.error(
                "the images are listed by file name, the scores may stand in the published order, and there are no labels "
                f"({', '.join(LABELS)}) to check by: say index = source if the scores are listed by file name, too"
            )
        _print(f"{table.path.name}: no labels beside the scores, so it was not checked that they belong to these examples")
        return

    given = table[name]
    if given.shape != (len(column),):
        raise table.error(f"{name} has the shape {list(given.shape)} beside {len(column)} scores: expected one label per score")

    given = given[rows]
    known = data.labels if given.dtype.kind in "fiub" else np.asarray(data.classes)[data.labels]
    equal = np.asarray(given == known)  # bool [N]
    share = float(equal.mean())

    if share < AGREE:
        first = int(np.flatnonzero(~equal)[0])
        raise table.error(
            f"{name} equals the labels of the data for {share:.4f} of {len(equal)} examples ({AGREE} needed); the first that "
            f"differs is {_named(first, data)}: {given[first]} in the file, {known[first]} in the data: the file belongs to "
            "other data, to another order, or to labels without noise"
        )
    _print(f"{table.path.name}: {share:.4f} of {len(equal)} labels equal those of the data")


def _named(example: int, data: ImageSet) -> str:
    """The number of an example for messages, with its position in the source if that is known."""
    return f"example {example}" if data.index is None else f"example {example} (source index {data.index[example]})"


def _print(text: str) -> None:
    """Print a line once: worker processes that load the same scores stay silent."""
    if multiprocessing.parent_process() is None:
        print(text)
