"""`mulnb.load_scores`: published or exported scores of a training set, turned so that higher means more memorized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mulnb.core.errors import UserError

MEMORIZED = ("memorization", "tr_mem", "mem")  # higher = more memorized
CONSISTENT = ("cscore", "c_score", "cscores", "scores")  # C-scores (Jiang et al. 2021): higher = more regular
LABELS = ("labels", "tr_labels", "label", "train_labels")
AGREE = 0.99  # share of labels that must equal the data's, or the file is in another order


def load_scores(
    path: str | Path, *, labels: Any = None, key: str | None = None, memorized: str | None = None, index: Any = None
) -> np.ndarray:
    """Scores [N] of a file, higher = more memorized.

    Args:
        path: .npz, .npy, or .csv with a column of scores. Known are Feldman & Zhang's `tr_mem`, the RUM authors'
            `memorization` and C-scores (`scores` or `cscore`, of which 1 − c is returned).
        labels: of your data, [N]: they must agree with those in the file, or its order is another one.
        key: the array or column to read, if it is none of the known ones.
        memorized: "high" or "low", which end of the file's scores is memorized, if it is none of the known ones.
        index: int [N], the place of each of your examples in the file (a split's source indices); by default all, in order.

    Raises:
        UserError: the file holds no such scores, they are not finite, or its labels are in another order.
    """
    arrays = _arrays(Path(path).expanduser())
    name = key or next((known for known in (*MEMORIZED, *CONSISTENT) if known in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name not in arrays:
        raise UserError(f"{path} has {', '.join(arrays)}: give key=, the one that holds the scores")
    if memorized not in (None, "high", "low"):
        raise UserError(f"load_scores: memorized = {memorized!r}: should be 'high' or 'low'")
    if memorized is None:
        if name not in (*MEMORIZED, *CONSISTENT):
            raise UserError(f"{path}: which end of '{name}' is memorized? give memorized='high' or 'low'")
        memorized = "high" if name in MEMORIZED else "low"

    values = np.asarray(arrays[name])
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: '{name}' is {values.dtype} {list(values.shape)}: expected one number per example")

    rows = np.arange(len(values)) if index is None else np.asarray(index)
    if len(rows) and (rows.min() < 0 or rows.max() >= len(values)):
        raise UserError(f"{path}: index {rows.max()} is not in the file, which has {len(values)} scores")

    _check_labels(path, arrays, labels, rows)
    values = values[rows].astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: the score of example {int(np.flatnonzero(~np.isfinite(values))[0])} is not a number")

    return values if memorized == "high" else 1 - values


def _check_labels(path: Any, arrays: dict[str, np.ndarray], labels: Any, rows: np.ndarray) -> None:
    if labels is None:
        return

    mine = np.asarray(labels)
    if len(mine) != len(rows):
        raise UserError(
            f"{path} has {len(rows)} scores for {len(mine)} labels: give index=, the place of each example in the file"
        )

    name = next((known for known in LABELS if known in arrays), None)
    if name is not None:
        share = float((np.asarray(arrays[name])[rows] == mine).mean())
        if share < AGREE:
            raise UserError(f"{path}: only {share:.0%} of its labels are those of the data: it is in another order")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".csv":
            import pandas as pd

            frame = pd.read_csv(path)
            return {str(name): frame[name].to_numpy() for name in frame.columns}

        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {path.stem: found}

        with found:
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: expected scores as .npz, .npy or .csv") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
