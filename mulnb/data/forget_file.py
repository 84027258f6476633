"""Reads a forget set that a user names: strata as `forget.save` wrote them, or a plain list of examples in any usual file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulnb import forget
from mulnb.core import paths, plain_file
from mulnb.core.errors import UserError, one_line
from mulnb.data import request
from mulnb.forget import ForgetSet

PLAIN = (".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".npy", ".npz")  # besides JSON, which may hold either
KINDS = f"a .json file saved by mulnb.forget.save or the explorer, or a list of examples ({', '.join(PLAIN)}, .json)"


def members(path: str | Path, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray | None:
    """The examples that a plain list names: indices, a mask or a class, as `request.indices` reads them from files.

    Args:
        path: the file; a relative one may also lie in the store's folder.
        labels: int64 [N] of the training set, which the indices point into.
        classes: the names of the classes.

    Returns:
        int64 [n], sorted; None if the file holds strata instead, which `load` reads.

    Raises:
        UserError: the list names no example, one twice, one that is not there, or fewer than three, which make no strata.
    """
    where = find(path)
    if where is None or not _is_plain(where):
        return None

    found = request.indices(where, len(labels), labels=labels, classes=classes, what=f"forget.file {path}")
    if len(found) < 3:
        raise UserError(f"forget.file {path} names {len(found)} of {len(labels)} examples: three strata need at least 3")
    _check_rest(path, len(found), len(labels))
    return found


def _check_rest(path: str | Path, forgotten: int, n: int) -> None:
    """Raises `UserError` if a forget set leaves nothing that could be trained on."""
    if forgotten > n - 2:
        raise UserError(f"forget.file {path} names {forgotten} of {n} examples: at least two must be left to retain")


def find(path: str | Path) -> Path | None:
    """Where the file lies, as `forget.load` looks for it; None if it is nowhere."""
    given = paths.expanded(path)
    return next((place for place in (given, paths.home() / given) if os.path.isfile(place)), None)


def _is_plain(place: Path) -> bool:
    """Whether a file is a plain list, and not the strata that `forget.save` writes."""
    if place.suffix.lower() in PLAIN:
        return True
    if place.suffix.lower() != ".json":
        return False
    try:
        tree = _tree(place)
    except UserError:  # `load` says it
        return False
    return isinstance(tree, list) or (isinstance(tree, dict) and request.is_request(tree))


def _tree(place: Path) -> object:
    """What a JSON file holds. Raises `UserError` if it is none, or longer than any forget set."""
    try:
        return plain_file.json_tree(plain_file.text(place))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no text
        raise UserError(f"forget set {place} is no JSON ({one_line(error)}): expected {KINDS}") from None


def load(path: str | Path, data: str | None = None, n: int | None = None) -> ForgetSet:
    """Read a file written by `forget.save`; arguments and result are those of `forget.load`.

    Raises:
        UserError: as `forget.load`; also where the file is longer than any forget set, nested without end, or holds numbers
            that no index can be.
    """
    place = find(path)
    if place is not None:
        tree = _tree(place)
        if not (isinstance(tree, dict) and "format" in tree):
            names = f"has {', '.join(map(str, tree))[:100] or 'nothing'}" if isinstance(tree, dict) else "has no list"
            raise UserError(f"forget set {place} {names}: expected {KINDS}")

    try:
        found = forget.load(path, data, n)
        _check_rest(path, len(found.strata.forget), found.n)
        return found
    except OSError as error:  # a name that is too long for the system
        raise UserError(f"forget set {path} cannot be read: {error.strerror or error}") from None
    except (OverflowError, RuntimeError, MemoryError):  # RuntimeError: a ~ of nobody, or nested without end
        raise UserError(f"{path} is no forget set: expected a JSON file written by mulnb.forget.save or the explorer") from None
