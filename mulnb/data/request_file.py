"""Reads a file that names examples to be forgotten: a table, plain text, JSON, JSON Lines, Parquet or an array."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mulnb import forget as forget_sets
from mulnb.core import plain_file
from mulnb.core.errors import UserError, one_line
from mulnb.core.plain_file import LONGEST

INDEX_COLUMNS = ("index", "example", "id", "idx", "indices")
FILE_COLUMNS = ("file", "filename", "file_name", "name", "path", "filepath", "file_path", "image", "image_path", "img_path")
CLASS_COLUMNS = ("class", "classes")
LABEL_COLUMNS = ("label", "labels", "target", "targets", "category")  # a list of these may be meant as one of classes
Named = list[int] | list[bool] | list[str] | dict[str, list]  # indices, a mask, names, or columns of these
FLAGS = ("forget", "delete", "remove", "erase", "mask")  # columns that say of each row whether it is meant
MARKED, UNMARKED = {"1", "1.0", "true", "t", "yes", "y"}, {"0", "0.0", "false", "f", "no", "n", ""}
END = "the end of the table"  # a row of our own after the last one
WHOLE = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?")  # spreadsheets write 17 as 17.0
# 1,000 and 1 000, which are not the examples 1 and 0, and 1.000, which is not 1 where a point separates thousands
THOUSANDS = re.compile(r"(?<![0-9])[1-9][0-9]{0,2}(,0[0-9]{2}| 0[0-9]{2}|[\u00a0\u2009\u202f][0-9]{3}|\.000)(?![0-9])")


def read(path: Path, what: str, n: int | None = None) -> Any:
    """What a file says is to be forgotten.

    Args:
        path: a .csv, .tsv, .txt, .json, .jsonl, .parquet, .npy or .npz file.
        what: what messages call the request.
        n: the number of examples, which a forget set that was saved must fit (default: any).

    Returns:
        Indices, a mask or file names as a list or array; the mapping or the `Strata` of a JSON file; of a table that has
        columns of both, indices and names, a mapping with both; of a column of classes, a mapping with that.

    Raises:
        UserError: the file does not exist, cannot be read, or has no column that names examples.
    """
    if os.path.isdir(path):
        raise UserError(f"{what}: {path} is a folder: expected a .csv, .txt, .json or .npy file")
    if not os.path.isfile(path):  # unlike Path.is_file, it takes a name that is too long for the system
        if os.path.exists(path):
            plain_file.check(path)
        raise UserError(f"{what}: {path} does not exist: expected a .csv, .txt, .json or .npy file")
    if os.path.getsize(path) > LONGEST:
        raise UserError(f"{what}: {path} cannot be read: it is longer than {LONGEST // 2**20} MB, as no list of examples is")

    kind = path.suffix.lower()

    try:
        if kind in {".npy", ".npz"}:
            return _numpy(path)
        if kind == ".parquet":
            return _column(plain_file.parquet(path).to_csv(index=False), path)
        if kind not in {".csv", ".tsv", ".txt", ".json", ".jsonl"}:
            raise UserError(f"{what}: {path} is of an unknown kind: expected .csv, .txt, .json, .jsonl, .parquet or .npy")

        text = plain_file.text(path)
        if kind == ".json":
            return _json(plain_file.json_tree(text), path, n)
        if kind == ".jsonl":
            return _json(_json_lines(text), path, n)

        return _lines(text, path) if kind == ".txt" else _column(text, path)
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{what}: {path} cannot be read: it is not in UTF-8: save it as such (in Excel, 'CSV UTF-8')") from None
    except Exception as error:  # a damaged file may fail anywhere in its reader: numpy's alone have six kinds of errors
        raise UserError(f"{what}: {path} cannot be read: {one_line(error).partition('. ')[0][:200]}") from None


def name_key(tree: Mapping) -> str | None:
    """The key of a mapping under which file names stand."""
    return next((key for key in (*FILE_COLUMNS, "files") if key in tree), None)


def list_key(tree: Mapping) -> str | None:
    """The key of a mapping under which the examples stand."""
    return next((key for key in (*INDEX_COLUMNS, "forget", "request", *FILE_COLUMNS, "files") if key in tree), None)


def _numpy(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found

    with found:
        key = found.files[0] if len(found.files) == 1 else list_key(found)
        if not found.files:
            raise UserError(f"{path} is empty: expected an array of indices or file names")
        if key is None:
            raise UserError(f"{path} has {', '.join(found.files)}: call the array to be read 'index' or 'file'")
        return found[key]


def _json_lines(text: str) -> Any:
    """A request a line; a file of one line may as well be JSON."""
    trees = [plain_file.json_tree(line) for line in text.split("\n") if line.strip()]
    return trees[0] if len(trees) == 1 and isinstance(trees[0], (list, dict)) else trees


def _json(tree: Any, path: Path, n: int | None) -> Any:
    if isinstance(tree, dict) and {"low", "medium", "high"} <= set(tree):
        return forget_sets.load(path, n=n).strata
    if isinstance(tree, list) and tree and all(isinstance(row, dict) and list_key(row) is not None for row in tree):
        index, name = list_key(tree[0]), name_key(tree[0])
        if name not in (None, index) and all(index in row and name in row for row in tree):
            return {index: [row[index] for row in tree], name: [row[name] for row in tree]}
        return [row[list_key(row)] for row in tree]
    if isinstance(tree, (list, dict)):
        return tree

    raise UserError(f"{path}: expected a JSON list of indices or file names, or a forget set saved by mulnb.forget.save")


def _lines(text: str, path: Path) -> list[int] | list[str]:
    """Numbers with anything between them, or one file name a line, which may hold commas and spaces."""
    rows = [line.strip() for line in text.splitlines() if not _is_beside(line)]
    cells = re.split(r"[,;\s]+", " ".join(rows).strip(" ,;"))
    if rows and all(WHOLE.fullmatch(cell) for cell in cells):
        check_thousands(rows, str(path))
        return _numbers(cells, path)

    # a heading, a last line with a number or quotation marks are those of a table
    heads = [cell.strip().lower() for cell in re.split(r"[,;\t]", rows[0])] if rows else []
    named = any(head in (*INDEX_COLUMNS, *FILE_COLUMNS, *CLASS_COLUMNS, *LABEL_COLUMNS) for head in heads)
    table = not rows or named or rows[0].startswith('"') or WHOLE.fullmatch(rows[-1]) or _is_mask(rows[1:])
    return _column(text, path) if table else rows


def _column(text: str, path: Path) -> Named:
    """Indices or names of a text with one example a line, or of a CSV's columns that are called like one."""
    rows = _rows(text, path)
    if not rows:
        raise UserError(f"{path} is empty: expected one example a line")

    heads = [re.sub("[ -]+", "_", cell.lower()) for cell in rows[0]]
    known = [name for name in (*INDEX_COLUMNS, *FILE_COLUMNS) if name in heads]
    if known:
        return _table(path, heads, rows[1:], known[0])
    if not any(any(row[1:]) for row in rows):  # a separator at the end of a line begins no second column
        return _single([row[0] for row in rows], heads[0], path)
    if len(rows) == 1:
        return _numbers([cell for cell in rows[0] if cell], path)
    raise UserError(f"{path} has columns {', '.join(rows[0])}: call the one to be read 'index' or 'file'")


def _rows(text: str, path: Path) -> list[list[str]]:
    """The cells of every row, without comments and empty rows. Lines within quotation marks are none, whatever they look like."""
    lines = text.splitlines()
    while lines and _is_beside(lines[0]):
        del lines[0]
    separator = _separator(lines)
    quoted = False  # whether the row that is read goes on with the next line

    def wanted() -> Iterator[str]:
        nonlocal quoted
        for line in [*lines, END]:
            if quoted or not _is_beside(line):
                quoted = True
                yield line

    rows = []
    for row in csv.reader(wanted(), delimiter=separator):
        quoted = False
        if any(row):
            rows.append([cell.strip() for cell in row])

    if rows.pop() != [END]:
        raise UserError(f"{path} has a quotation mark that is never closed: close it, or the rows below are lost in its cell")
    return rows


def _is_beside(line: str) -> bool:
    """Whether a line is empty or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def _single(cells: list[str], head: str, path: Path) -> Named:
    """Indices, names or classes of a file with one column. Its first cell, normalised as `head`, may be a heading."""
    below = cells[1:]
    if head in CLASS_COLUMNS:
        return {head: below}
    if head in LABEL_COLUMNS:
        raise UserError(f"{path} has a column '{head}': call it 'class' to forget whole classes, or 'index' to forget examples")

    is_word = head[:1].isalpha() and not _is_mask([head]) and not re.search(r"[./\\]", head)
    if below and is_word and (all(WHOLE.fullmatch(cell) for cell in below) or _is_mask(below)):
        return _numbers(below, path)  # below a heading of the user's own
    return _numbers(cells, path)


def _table(path: Path, heads: list[str], rows: list[list[str]], column: str) -> Named:
    """Indices or names of a table with headings; a mapping with both, where it has both."""
    _check_table(path, heads, rows, column)

    place = heads.index(column)
    short = [number for number, row in enumerate(rows) if len(row) <= place]
    if short:
        raise UserError(f"{path}: line {short[0] + 2} has too few columns")

    found = _numbers([row[place] for row in rows], path)
    name = name_key(heads)
    if name in (None, column) or any(len(row) <= heads.index(name) for row in rows):
        return found
    return {column: found, name: [row[heads.index(name)] for row in rows]}


def _check_table(path: Path, heads: list[str], rows: list[list[str]], column: str) -> None:
    """Raises `UserError` for a table with a heading that cannot be read in one way only."""
    if heads.count(column) > 1:
        raise UserError(f"{path} has two columns '{column}': keep the one that names the examples")

    place = heads.index(column)
    for number, row in enumerate(rows):
        # cells that are too many may come from a text further right; not those of a number that was cut in two
        cut = len(row) > place + 1 and re.fullmatch("[0-9]{3}", row[place + 1])
        if any(row[len(heads) :]) and (place == len(heads) - 1 or cut):
            raise UserError(
                f"{path}: line {number + 2} has more cells than the heading: write numbers without separators of thousands, and "
                "names that hold the separator in quotation marks"
            )

    for place, head in enumerate(heads):
        cells = {row[place].lower() for row in rows if len(row) > place}
        if head in FLAGS and cells & MARKED and cells & UNMARKED and cells <= MARKED | UNMARKED:
            raise UserError(
                f"{path}: column '{head}' does not mark every row: keep the rows that are to be forgotten, without it"
            )


def _separator(lines: list[str]) -> str:
    """What stands between the columns, by the first line: later ones may hold free text. Excel's line "sep=;" is taken out."""
    if lines and (told := plain_file.told_separator(lines[0])):
        del lines[0]
        return told

    head = re.sub('"[^"]*"', "", lines[0]) if lines else ""
    return plain_file.separator(head)


def _is_mask(cells: list[str]) -> bool:
    """Whether all cells say true or false."""
    return bool(cells) and all(cell.lower() in ("true", "false") for cell in cells)


def _numbers(cells: list[str], path: Path) -> list[int] | list[bool] | list[str]:
    if _is_mask(cells):
        return [cell.lower() == "true" for cell in cells]
    if not all(WHOLE.fullmatch(cell) for cell in cells):
        return cells
    check_thousands(cells, str(path))
    return [int(cell.partition(".")[0]) for cell in cells]


def check_thousands(texts: Iterable[str], what: str) -> None:
    """Raises `UserError` if one of some texts, each with whole numbers, has a number with a separator of thousands."""
    odd = next(filter(None, map(THOUSANDS.search, texts)), None)
    if odd:
        raise UserError(f"{what} has the number {odd[0]}: write numbers without separators of thousands")
