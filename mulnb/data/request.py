"""What is to be forgotten, as people say it: indices, a mask, file names, a class, or a file with any of these."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from mulnb.core import paths, series
from mulnb.core.errors import UserError
from mulnb.core.whole import EXACT, whole
from mulnb.data import request_file
from mulnb.data.folders import normal
from mulnb.data.request_file import CLASS_COLUMNS, WHOLE, check_thousands, list_key, name_key
from mulnb.forget import Strata

NESTED = 3  # mappings around the list of examples, as in {"request": {"index": [1, 4]}}

UNKNOWN = 2**62  # `n` where nobody knows how many examples there are

Request = Any  # indices, a bool mask, file names, {"class": …}, Strata, or the path of a file


def indices(
    request: Request,
    n: int,
    *,
    labels: np.ndarray | None = None,
    files: Sequence[str] | None = None,
    root: str | Path | None = None,
    classes: Sequence[str] | None = None,
    what: str = "the request",
) -> np.ndarray:
    """The examples that a request names.

    Args:
        request: whole numbers (a list, array, tensor, set, range or generator), one whole number, a mask of N booleans, file
            names, {"class": a number, a name, or a list of them}, `Strata`, a `Requests` ledger (all that it holds), a `Subset`
            of torch whose data set has these examples, or the path of a .csv, .tsv, .txt, .json, .jsonl, .parquet, .npy or
            .npz file that holds one of these.
        n: the number of examples N.
        labels: int64 [N], which a class needs.
        files: the name of each image, which file names need.
        root: the folder that `files` are relative to: paths that lead there are names, too.
        classes: the names of the classes.
        what: what messages call the request.

    Returns:
        int64 [n], sorted, without repetition.

    Raises:
        UserError: it is empty, names an example twice, or one that is not there.
    """
    if hasattr(request, "dataset") and hasattr(request, "indices"):
        request = _subset(request, n, what)

    request = _unwrapped(request, n, files, root, what)
    if isinstance(request, Mapping) and _has_both(request):
        return _of_both(request, list_key(request), n, files, root, what)
    if isinstance(request, Mapping):
        return _class(request, n, labels, classes, what)

    values = _array(request, n, what)
    if values.size == 0:
        raise UserError(f"{what} is empty: name at least one example")
    if values.dtype.kind in "US":
        values = _named([str(_plain(value)) for value in values.reshape(-1)], files, root, what)
    elif values.dtype == bool:
        values = _masked(values, n, what)
    elif values.dtype.kind == "f" and (exact := whole(values)) is not None:
        values = exact
    return _checked(values, n, what)


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


def _subset(request: Any, n: int, what: str) -> Any:
    """The places that a `Subset` of torch names, as `random_split` gives it."""
    size = len(request.dataset)
    if size != n:
        raise UserError(f"{what} is a Subset of {size} examples, these are {n}: give their places among these")
    return request.indices


def _unwrapped(request: Request, n: int, files: Sequence[str] | None, root: str | Path | None, what: str) -> Any:
    """The list of examples in a file, a ledger, strata or a mapping; a mapping that names a class stays one."""
    if isinstance(request, (str, bytes, os.PathLike)):
        given = os.fsdecode(request)
        # one image may be named without a list around it
        is_image = files is not None and _Names(files, root).places(given)
        request = [given] if is_image else request_file.read(paths.given(given, what), what, None if n == UNKNOWN else n)

    if isinstance(request, Strata):
        request = request.forget
    if hasattr(request, "forgotten"):  # a ledger of earlier requests
        request = request.forgotten
    for _ in range(NESTED):
        if hasattr(request, "iloc") and hasattr(request, "columns"):  # a table of pandas: its columns
            request = {str(name): request[name] for name in request.columns}
        if isinstance(request, Mapping) and {"columns", "data"} <= set(request):
            raise UserError(
                f"{what} is a table in pandas' form 'split', whose index is no list of examples: write it as 'records'"
            )
        if isinstance(request, Mapping) and (key := list_key(request)) is not None and not _has_both(request):
            # one label for each example would be a column of a table
            of_class = next((name for name in CLASS_COLUMNS if name in request and np.ndim(request[name]) == 0), None)
            if of_class is not None:
                raise UserError(f"{what} names examples ('{key}') and a class ('{of_class}'): leave out one of them")
            request = request[key]
    return request


def _has_both(tree: Mapping) -> bool:
    """Whether a mapping names its examples by index and by file."""
    return name_key(tree) not in (None, list_key(tree))


def _of_both(request: Mapping, key: str, n: int, files: Sequence[str] | None, root: str | Path | None, what: str) -> np.ndarray:
    """The examples of a table that has indices and file names: the numbers may be those of another list.

    Where a column with the title of names has none of the images' names, it is about something else.
    """
    names = [str(_plain(name)) for name in request[name_key(request)]]
    known = _Names(files or (), root)
    places = [known.places(name) for name in names]
    if not any(places):
        return indices(list(request[key]), n, files=files, root=root, what=what)

    found = _named(names, files, root, what)
    values = _array(list(request[key]), n, what)
    # of the user's own keys, text for example, nothing can be expected
    if values.dtype.kind in "iu" and not np.array_equal(values, found):
        row = int(np.flatnonzero(values != found)[0]) if len(values) == len(found) else 0
        raise UserError(
            f"{what}: '{key}' says {values[row]} where '{name_key(request)}' says {names[row]}, which is example {found[row]}: "
            "leave out one of the columns"
        )
    return _checked(found, n, what)


def _masked(mask: np.ndarray, n: int, what: str) -> np.ndarray:
    """Where a mask is True."""
    n = len(mask) if n == UNKNOWN else n
    if mask.shape == (n, 1):
        mask = mask[:, 0]
    if mask.shape != (n,):
        size = str(mask.size) if mask.ndim == 1 else "×".join(map(str, mask.shape))
        raise UserError(f"{what} is a mask of {size} values for {n} examples: give one per example")
    if not mask.any():
        raise UserError(f"{what} is a mask without a True: name at least one example")
    return np.flatnonzero(mask)


def _checked(values: np.ndarray, n: int, what: str) -> np.ndarray:
    """Indices of examples that are there, each once, int64 [n], sorted."""
    if values.dtype == object:  # numbers that 64 bits do not hold, or something else among the numbers
        odd = [value for value in values.reshape(-1).tolist() if not isinstance(value, int)]
        if odd:
            raise UserError(f"{what} has {str(odd[0])[:100]} among the examples: expected indices (whole numbers) or a mask")
        raise UserError(f"{what} has index {max(values.reshape(-1).tolist(), key=abs)} of 0 … {n - 1}")

    expected = f"{what} is {values.dtype} {list(values.shape)}: expected example indices (whole numbers) or a mask"
    if values.ndim == 1 and values.dtype.kind == "f":
        wrong = values[(np.trunc(values) != values) | ~(np.abs(values) < EXACT)][0]
        raise UserError(f"{expected}, not {wrong}")
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(expected)
    if values.min() < 0 or values.max() >= n:
        wrong = values.min() if values.min() < 0 else values.max()
        raise UserError(f"{what} has index {wrong} of 0 … {n - 1}")

    # a repeated example is more likely a mistake in the list than meant
    found, counts = np.unique(values, return_counts=True)
    if len(values) == n and set(found.tolist()) == {0, 1} and n > 2:
        raise UserError(f"{what} is {n} times 0 or 1, a mask perhaps: give it as booleans, or the indices")
    if (counts > 1).any():
        raise UserError(f"{what} names an example twice: {found[counts > 1][0]}")
    return found.astype(np.int64)


def _array(request: Any, n: int, what: str) -> np.ndarray:
    """Whatever lists examples as an array of numbers, booleans or names."""
    if isinstance(request, (str, bytes, os.PathLike)):
        request = [request]  # one file name, in a mapping
    if isinstance(request, (set, frozenset)):
        request = sorted(request, key=str)
    if isinstance(request, (bool, np.bool_)) or request is None:
        raise UserError(f"{what} is {request}: expected example indices, a mask, file names or a file")

    try:
        if hasattr(request, "detach"):  # a tensor; torch itself takes seconds to import
            request = request.detach().cpu()
            if request.is_floating_point():
                request = request.double()  # numpy has no bfloat16
            return np.atleast_1d(request.numpy())

        if isinstance(request, Iterable) and not hasattr(request, "__array__"):
            if not isinstance(request, Sized):  # a generator may have no end; more than n examples name one twice
                request = itertools.islice(request, min(n, 10**8) + 1)
            request = list(request)

        if isinstance(request, np.ma.MaskedArray):
            raise TypeError("it is a masked array; give its .compressed() values")
        found = _plain_values(request)
        if found.dtype == bool:
            found = _plain_values(series.in_order(request, what))
    except Exception as error:  # anything may be given
        raise UserError(f"{what} is no list of examples: {error}") from None

    return found


def _plain_values(given: Any) -> np.ndarray:
    found = np.atleast_1d(np.asarray(given))
    if found.dtype == object:  # paths, bytes, or a column of pandas
        found = np.array([_plain(value) for value in found])
    return found


def _plain(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else value


def is_request(tree: Mapping) -> bool:
    """Whether a mapping, as a JSON file holds one, names examples or a class."""
    return list_key(tree) is not None or (len(tree) == 1 and set(tree) <= set(CLASS_COLUMNS))


def _class(request: Mapping, n: int, labels: np.ndarray | None, classes: Sequence[str] | None, what: str) -> np.ndarray:
    if len(request) != 1 or not set(request) <= set(CLASS_COLUMNS):
        has = ", ".join(map(str, request))
        raise UserError(f"{what} has {has}: expected {{'class': number or name}}, or a column 'index' or 'file'")
    if labels is None:
        raise UserError(f"{what} is a class, and labels are not known here: give the indices of its examples")

    wanted = next(iter(request.values()))
    several = isinstance(wanted, (list, tuple, set, frozenset, range)) or (hasattr(wanted, "ndim") and wanted.ndim == 1)
    chosen = np.zeros(n, dtype=bool)

    for label in wanted if several else [wanted]:
        chosen |= _of_class(label, np.asarray(labels), classes, what)

    if not chosen.any():
        raise UserError(f"{what} is an empty list of classes: name at least one")
    return np.flatnonzero(chosen)


def _of_class(wanted: Any, labels: np.ndarray, classes: Sequence[str] | None, what: str) -> np.ndarray:
    """bool [N]: which examples are of a class, by its number or name."""
    if isinstance(wanted, str) and not classes and WHOLE.fullmatch(wanted):
        wanted = int(wanted.partition(".")[0])  # of a file, where numbers are text
    if named := isinstance(wanted, str):
        names = [normal(name) for name in classes or ()]
        if normal(wanted) not in names:
            known = ", ".join(classes) if classes else "not known here; give its number"
            raise UserError(f"{what}: class '{wanted}' is unknown: classes are {known}")
        wanted = names.index(normal(wanted))

    try:
        if isinstance(wanted, (bool, np.bool_)):
            raise TypeError
        number = float(wanted)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch's own, of a tensor with several values
        raise UserError(f"{what}: class {wanted!r} is neither a number nor a name") from None

    text, names = str(int(number)) if number % 1 == 0 else "", list(classes or ())
    if not named and text in names and names.index(text) != number:
        raise UserError(f"{what}: class {text} may be the number {text} or the name '{text}': give the name, as text")

    found = labels == number
    if not found.any():
        raise UserError(f"{what}: no example is of class {wanted!r}")

    return found


class _Names:
    """Finds images by name: relative to their folder, without a folder where only one file bears the name, or by a path."""

    def __init__(self, files: Sequence[str], root: str | Path | None) -> None:
        self.root = None if root is None else paths.real(root)
        self._places: dict[str, list[int]] = {}
        for place, file in enumerate(files):
            for name in {normal(file), normal(file).rpartition("/")[2]}:
                self._places.setdefault(name, []).append(place)

    def places(self, name: str) -> list[int]:
        """The images that bear a name; none or several if it is not theirs alone."""
        name = normal(name.strip())
        for form in (name, name.replace("\\", "/")):  # lists written on Windows
            if (found := self._places.get(form.removeprefix("./"))) is not None:
                return found

        if self.root is not None and "/" in name:
            path = paths.real(name)
            if path.is_relative_to(self.root):
                return self._places.get(path.relative_to(self.root).as_posix(), [])

        return []


def _named(names: list[str], files: Sequence[str] | None, root: str | Path | None, what: str) -> np.ndarray:
    """The places of images by their names."""
    if files is None:
        if all(WHOLE.fullmatch(name.strip()) for name in names):  # numbers that were written as text
            check_thousands(names, what)
            return np.array([int(name.strip().partition(".")[0]) for name in names])
        odd = next(name for name in names if not WHOLE.fullmatch(name.strip()))
        raise UserError(
            f"{what} has file names ('{odd[:100]}', …), and the images have none: give indices, or the folder as images"
        )

    known = _Names(files, root)
    found = [known.places(name) for name in names]
    missing = [name for name, match in zip(names, found, strict=True) if not match]
    if missing:
        more = f" ({len(missing)} of {len(names)} names are not)" if len(missing) > 1 else ""
        raise UserError(f"{what}: '{missing[0]}' is not among the images{more}: they are called like '{files[0]}'")

    for name, match in zip(names, found, strict=True):
        if len(match) > 1:
            raise UserError(f"{what}: '{name}' is the name of {len(match)} images: add its folder")

    return np.array([match[0] for match in found], dtype=np.int64)
