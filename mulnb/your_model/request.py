"""What is to be forgotten, as people say it: indices, a mask, file names, a class, or a file with any of these."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mulnb import forget as forget_sets
from mulnb.core.errors import UserError
from mulnb.forget import Strata

INDEX_COLUMNS = ("index", "example", "id", "idx", "indices")
FILE_COLUMNS = ("file", "filename", "file_name", "name", "path", "image")

Request = Any  # indices, a bool mask, file names, {"class": …}, Strata, or the path of a file


def indices(
    request: Request,
    n: int,
    *,
    labels: np.ndarray | None = None,
    files: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    what: str = "the request",
) -> np.ndarray:
    """The examples that a request names.

    Args:
        request: whole numbers (a list, array, tensor, set or range), one whole number, a mask of N booleans, file names,
            {"class": number or name}, `Strata`, or the path of a .csv, .txt, .json or .npy file that holds one of these.
        n: the number of examples N.
        labels: int64 [N], which a class needs.
        files: the name of each image, which file names need.
        classes: the names of the classes.
        what: what messages call the request.

    Returns:
        int64 [n], sorted, without repetition.

    Raises:
        UserError: it is empty, names an example twice, or one that is not there.
    """
    if isinstance(request, (str, Path)):
        request = _file(Path(request), what)
    if isinstance(request, Strata):
        request = request.forget
    if isinstance(request, Mapping):
        return _class(request, n, labels, classes, what)

    values = _array(request, what)
    if values.size == 0:
        raise UserError(f"{what} is empty: name at least one example")
    if values.dtype.kind in "US":
        values = _named([str(value) for value in values], files, what)
    elif values.dtype == bool:
        if values.shape != (n,):
            raise UserError(f"{what} is a mask of {values.size} values for {n} examples: give one per example")
        if not values.any():
            raise UserError(f"{what} is a mask without a True: name at least one example")
        values = np.flatnonzero(values)

    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(f"{what} is {values.dtype} {list(values.shape)}: expected example indices (whole numbers) or a mask")
    if values.min() < 0 or values.max() >= n:
        wrong = values.min() if values.min() < 0 else values.max()
        raise UserError(f"{what} has index {wrong} of 0 … {n - 1}")

    # a repeated example is more likely a mistake in the list than meant
    found, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{what} names an example twice: {found[counts > 1][0]}")

    return found.astype(np.int64)


def whole_classes(index: np.ndarray, labels: np.ndarray, present: np.ndarray) -> tuple[int, ...]:
    """The classes that a request removes altogether, if it names nothing else; else ().

    Args:
        index: int64 [n], the request.
        labels: int64 [N].
        present: bool [N], what the model still contains.
    """
    gone = np.unique(labels[index])
    everything = np.isin(labels, gone) & present
    return tuple(int(label) for label in gone) if everything.sum() == len(index) else ()


def _array(request: Any, what: str) -> np.ndarray:
    if isinstance(request, Tensor):
        return np.atleast_1d(request.detach().cpu().numpy())
    if isinstance(request, (set, frozenset)):
        request = sorted(request, key=str)
    if isinstance(request, (bool, np.bool_)) or request is None:
        raise UserError(f"{what} is {request}: expected example indices, a mask, file names or a file")

    try:
        return np.atleast_1d(np.asarray(list(request) if isinstance(request, range) else request))
    except Exception as error:  # anything may be given
        raise UserError(f"{what} is no list of examples: {error}") from None


def _class(request: Mapping, n: int, labels: np.ndarray | None, classes: Sequence[str] | None, what: str) -> np.ndarray:
    if set(request) != {"class"} or labels is None:
        raise UserError(f"{what} has {', '.join(map(str, request))}: expected {{'class': number or name}}")

    wanted = request["class"]
    if isinstance(wanted, str):
        if classes is None or wanted not in classes:
            known = ", ".join(classes) if classes else "not known here; give its number"
            raise UserError(f"{what}: class '{wanted}' is unknown: classes are {known}")
        wanted = list(classes).index(wanted)

    found = np.flatnonzero(np.asarray(labels) == wanted)
    if len(found) == 0:
        raise UserError(f"{what}: no example is of class {wanted!r}")

    return found


def _named(names: list[str], files: Sequence[str] | None, what: str) -> np.ndarray:
    """The places of file names; a name without its folder is enough where only one file bears it."""
    if files is None:
        raise UserError(
            f"{what} has file names ('{names[0]}', …), and the images have none: give indices, or the folder as images"
        )

    places: dict[str, list[int]] = {}

    for place, file in enumerate(files):
        for name in {file, file.rpartition("/")[2]}:
            places.setdefault(name, []).append(place)

    found = []

    for name in names:
        match = places.get(name.strip().removeprefix("./"), [])
        if len(match) != 1:
            reason = "is not among the images" if not match else f"is the name of {len(match)} images: add its folder"
            raise UserError(f"{what}: '{name}' {reason}")
        found += match

    return np.array(found, dtype=np.int64)


# --- files ---------------------------------------------------------------------------------------------------------------


def _file(path: Path, what: str) -> Any:
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"{what}: {path} does not exist: expected a .csv, .txt, .json or .npy file")

    kind = path.suffix.lower()

    try:
        if kind == ".npy":
            return np.load(path, allow_pickle=False)
        text = path.read_text(encoding="utf-8-sig")
        if kind == ".json":
            return _json(json.loads(text), path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from None

    if kind not in {".csv", ".tsv", ".txt"}:
        raise UserError(f"{what}: {path} is of an unknown kind: expected .csv, .txt, .json or .npy")

    return _column(text, path)


def _json(tree: Any, path: Path) -> Any:
    if isinstance(tree, dict) and {"low", "medium", "high"} <= set(tree):
        return forget_sets.load(path).strata
    if isinstance(tree, dict):
        for key in (*INDEX_COLUMNS, "forget", "request", *FILE_COLUMNS, "files"):
            if key in tree:
                return tree[key]
    if isinstance(tree, (list, dict)):
        return tree

    raise UserError(f"{path}: expected a JSON list of indices or file names, or a forget set saved by mulnb.forget.save")


def _column(text: str, path: Path) -> list[int] | list[str]:
    """Indices or names of a text with one example a line, or of a CSV's column that is called like one."""
    # spreadsheets write semicolons where the comma is the decimal point
    separator = "\t" if "\t" in text else ";" if ";" in text and "," not in text else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    rows = [row for row in rows if not row[0].startswith("#")]
    if not rows:
        raise UserError(f"{path} is empty: expected one example a line")

    heads = [cell.lower() for cell in rows[0]]
    known = [name for name in (*INDEX_COLUMNS, *FILE_COLUMNS) if name in heads]
    if known:
        place, rows = heads.index(known[0]), rows[1:]
    elif len(heads) == 1:
        place = 0
    elif len(rows) == 1:
        return _numbers(rows[0])
    else:
        raise UserError(f"{path} has columns {', '.join(rows[0])}: call the one to be read 'index' or 'file'")

    short = [number for number, row in enumerate(rows) if len(row) <= place]
    if short:
        raise UserError(f"{path}: line {short[0] + 2} has too few columns")

    return _numbers([row[place] for row in rows])


def _numbers(cells: list[str]) -> list[int] | list[str]:
    whole = all(cell.lstrip("-").isdigit() for cell in cells)
    return [int(cell) for cell in cells] if whole else cells
