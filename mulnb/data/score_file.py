"""A file of scores: its arrays or columns by name, and which end of a score is memorized.

Both readers of scores use it: `data.load_scores`, which joins them to a profile's split, and `mulnb.load_scores`, for users.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mulnb.core import plain_file
from mulnb.core.errors import UserError, one_line
from mulnb.core.plain_file import LONGEST
from mulnb.core.whole import whole

if TYPE_CHECKING:
    import pandas as pd

# Names, in any case, under which a file may hold the labels of its examples,
LABELS = ("tr_labels", "labels", "label", "train_labels", "targets", "target")
# and the numbers of the examples that the scores belong to; pandas calls a column without a name "Unnamed: 0".
INDICES = ("index", "source_index", "example", "id", "idx", "indices", "image_id", "example_id", "unnamed: 0")
DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+(,[0-9]+)?([eE][+-]?[0-9]+)?|inf|nan)", re.IGNORECASE)
AGREE = 0.99  # the least share of labels in the file that must equal those of the data

Orientation = Literal["memorization", "consistency"]


@dataclass(frozen=True)
class Column:
    """The scores of a file: their name for messages, and `values`, float64 [M]."""

    name: str
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


class ScoreFile:
    """A file of scores: its arrays or columns by name. A bare array, or a list of numbers, is called ""."""

    def __init__(self, path: Path) -> None:
        self.path = path
        readers = {".npz": _read_numpy, ".npy": _read_numpy, ".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}

        if os.path.isdir(path):
            raise UserError(f"{path} is a folder: expected a file of scores ({', '.join(readers)})")
        if not os.path.exists(path):  # unlike Path.exists, it takes a name that is too long for the system
            raise UserError(f"{path} does not exist: correct the path of the scores")
        plain_file.check(path)

        kind = path.suffix.lower()
        if kind not in readers:
            known = ", ".join(readers)
            raise self.error(f"scores are read from {known}; pickles (.pkl, .pt) are never loaded: save the scores as .npz")

        if kind != ".npz" and os.path.getsize(path) > LONGEST:
            raise self.error(f"is longer than {LONGEST // 2**20} MB: save the scores alone")

        try:
            self.arrays: Mapping[str, np.ndarray] = readers[kind](path)
        except Exception as error:  # damaged bytes may raise anything; a header of .npy may claim any size
            reason = one_line(error).partition(". If you trust")[0]  # numpy's advice to load a pickle
            raise self.error(f"cannot be read as {kind} ({reason})") from None

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            found = self.arrays[name]
        except Exception as error:  # pickled, or damaged: zips alone have six kinds of errors
            raise self.error(f"{name} cannot be read ({one_line(error)}): save it as an array of numbers") from None

        if not isinstance(found, np.ndarray):  # numpy gives the bytes of a file in a zip that is no array
            raise self.error(f"{name} is no array of numbers: save the scores with numpy.savez")
        return np.char.decode(found, "utf-8", "replace") if found.dtype.kind == "S" else found

    @property
    def names(self) -> str:
        """The names of the arrays, for messages."""
        names = list(self.arrays)
        if not names:
            return "none"
        return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")

    def scores(self, key: str | None) -> Column:
        """Find the scores in the file and check that they are one number per example.

        Args:
            key: their name; None if the file has one array only.

        Raises:
            UserError: there is no such array, or it holds no scores.
        """
        names = list(self.arrays)

        if names == [""]:  # a bare array has no name, whatever the user calls it
            name, values = "the array", self[""]
        elif key in self:
            name, values = str(key), self[key]
        elif key is None and len(names) == 1:
            name, values = names[0], self[names[0]]
        elif key is None:
            raise self.error(f"say which key holds the scores: it has {self.names}")
        else:
            raise self.error(f"no key '{key}': it has {self.names}")

        if name.casefold() in LABELS:
            raise self.error(f"{name} are labels and not scores: say which key holds the scores: it has {self.names}")
        if values.dtype.kind not in "fiub" and values.size:
            every = values.reshape(-1)
            place = next((place for place, value in enumerate(every) if not _is_number(value)), 0)
            raise self.error(f"{name} holds {values.dtype} and not numbers: score {place} is {str(every[place])[:50]!r}")
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]  # [M, 1] → [M]
        if values.ndim != 1 or not len(values):
            raise self.error(f"{name} has the shape {list(values.shape)}: expected one score per example, [N]")

        with np.errstate(over="ignore"):  # what is too large for float64 becomes infinite, which is refused
            return Column(name, values.astype(np.float64))

    def called(self, names: Sequence[str]) -> list[str]:
        """The arrays with one of these names, in any case, in the order of `names`."""
        found = []
        for name in names:
            found += [own for own in self.arrays if own.strip().casefold() == name]
        return found

    def order(self, column: Column) -> str | None:
        """The name of another array that puts the scores into another order than 0, 1, 2, …; None if there is none."""
        found = len(column)
        for name in self.called(INDICES):
            if name == column.name:
                continue
            given = self.whole_numbers(name, found)
            if given is not None and not np.array_equal(given, np.arange(found)):
                return name
        return None

    def whole_numbers(self, name: str, found: int) -> np.ndarray | None:
        """An array as a whole number for each of `found` scores, int64 [found]; None if it is something else.

        Floats, of a column that once had a gap, and digits as text are whole numbers, too.
        """
        try:
            given = self[name]
        except UserError:  # pickled text, for example: no index
            return None

        if given.shape == (found, 1):
            given = given[:, 0]
        if given.shape != (found,):
            return None
        if given.dtype.kind in "USTO":
            try:
                given = given.astype(np.float64)
            except (TypeError, ValueError):  # names, for example
                return None
        return whole(given)

    def error(self, text: str) -> UserError:
        """The error to raise about this file."""
        return UserError(f"{self.path}: {text}")


class _Npz(Mapping[str, np.ndarray]):
    """An .npz file. Each array is read when it is asked for: influence matrices beside the scores may be huge."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path = path
        self._names = names

    def __getitem__(self, name: str) -> np.ndarray:
        with np.load(self._path, allow_pickle=False) as arrays:
            stored = {member.removesuffix(".npy"): member for member in arrays.zip.namelist()}[name]
            if arrays.zip.getinfo(stored).file_size > LONGEST:  # it may be zeros, packed a thousandfold
                raise ValueError(f"longer than {LONGEST // 2**20} MB")
            return arrays[name]

    def __contains__(self, name: object) -> bool:  # the one of Mapping would read the array
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read_numpy(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of an .npz file, a bare array, or the fields of a structured one; told by the content, not by the suffix."""
    loaded = np.load(path, allow_pickle=False)

    if not isinstance(loaded, np.ndarray):
        with loaded:
            return _Npz(path, list(loaded.files))

    if loaded.dtype.names:
        return {name: loaded[name] for name in loaded.dtype.names}
    return {"": loaded}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table, which must have names: without a header, pandas would take the first score for one."""
    import pandas as pd

    text = plain_file.text(path)
    head, _, rest = text.partition("\n")
    separator = plain_file.told_separator(head)
    if separator is None:
        separator = plain_file.separator(head)
    else:
        text = rest

    heading = [name.strip() for name in next(csv.reader([text.partition("\n")[0]], delimiter=separator), [])]
    frame = pd.read_csv(io.StringIO(text), sep=separator, low_memory=False)
    for name, kind in zip(heading, frame.dtypes, strict=False):
        if name and heading.count(name) > 1 and kind.kind in "iufb":  # scores, an index or labels; two notes do no harm
            raise ValueError(f"two columns are called {name}")
    if all(_is_number(name) for name in frame):
        raise ValueError("the first line must name the columns")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first column for names of the rows
        raise ValueError("its lines have more columns than the first line names")

    columns = {}
    for name in frame:
        column = frame[name] if separator == "," else _decimal_points(frame[name])
        columns[str(name).strip()] = column.to_numpy()
    return columns


def _decimal_points(column: pd.Series) -> pd.Series:
    """A column whose numbers were written with decimal commas as numbers; any other as it is."""
    cells = column.dropna()
    if column.dtype.kind in "iufb" or not all(DECIMAL_COMMA.fullmatch(str(cell).strip()) for cell in cells):
        return column
    return column.str.strip().str.replace(",", ".").astype(float)


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    frame = plain_file.parquet(path)
    return {str(name): frame[name].to_numpy() for name in frame}


def _read_json(path: Path) -> dict[str, np.ndarray]:
    """An object of lists, a list of objects with the same names, or a list of numbers."""
    content = plain_file.json_tree(plain_file.text(path))

    if isinstance(content, dict):
        return {name: np.asarray(column) for name, column in content.items()}

    if isinstance(content, list) and content and isinstance(content[0], dict):
        import pandas as pd

        frame = pd.DataFrame(content)
        return {str(name): frame[name].to_numpy() for name in frame}

    return {"": np.asarray(content)}


def _is_number(name: object) -> bool:
    """Whether a column's name, or a value that was written as text, is a number."""
    try:
        float(str(name))
    except ValueError:
        return False
    return True


def oriented(
    table: ScoreFile,
    column: Column,
    scores: np.ndarray,
    orientation: Orientation,
    otherwise: str = "set orientation = memorization",
) -> np.ndarray:
    """Turn scores so that higher = more memorized; `otherwise`: how to say that they are so already."""
    if orientation == "memorization":
        return scores

    if scores.min() < 0 or scores.max() > 1:
        raise table.error(
            f"{column.name} runs from {scores.min():.4g} to {scores.max():.4g}, but consistency scores lie in [0, 1]: "
            f"{otherwise} if high scores mean strongly memorized"
        )
    return 1 - scores
