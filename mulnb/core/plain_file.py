"""Reads a user's file without hanging or filling the memory: no named pipe, device or socket, and nothing of absurd length."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulnb.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 256 * 2**20  # bytes of a list, a table or scores; a million scores take nine million


def read(path: Path, limit: int) -> bytes:
    """The content of a file.

    Args:
        path: the file; a link to a file is followed.
        limit: the most bytes that such a file can sensibly have.

    Returns:
        All of its bytes.

    Raises:
        UserError: it does not exist, cannot be read, is no file (a folder, a named pipe, a device, a socket), or is longer.
    """
    try:
        check(path)
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None

    if len(content) > limit:
        raise UserError(f"{path}: cannot be read: it is longer than {limit // 2**20} MB, the most that such a file may have")
    return content


def text(path: Path, limit: int = LONGEST) -> str:
    """A text in UTF-8, or in the UTF-16 that spreadsheets write; arguments and errors as of `read`.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    content = read(path, limit)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")


def parquet(path: Path) -> pd.DataFrame:
    """The columns of a table, and the numbers of its rows as a column `index` if they are not 0, 1, 2, …"""
    import pandas as pd  # takes long to load, and few files need it

    with path.open("rb") as file:  # Arrow takes no name that is no text
        frame = pd.read_parquet(file, use_threads=False)  # see `results.frame_file.read`

    index = frame.index
    if not index.equals(pd.RangeIndex(len(frame))):  # sorted before it was saved, or a choice of rows
        names = [name if name is not None else "index" for name in index.names]
        if not set(names) & set(frame.columns) and len(set(names)) == len(names):
            frame = frame.reset_index(names=names)
    return frame


def json_tree(content: str) -> Any:
    """What a text in JSON says. Of two entries with one name Python would take the last, and silently drop what the first says.

    Raises:
        ValueError: it is no JSON, or an object has two entries with one name.
        RecursionError: it is nested without end.
    """
    return json.loads(content, object_pairs_hook=_named_once)


def _named_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON as a dictionary."""
    tree = dict(pairs)
    if len(tree) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice!r} stands there twice: keep one of them")
    return tree


def told_separator(head: str) -> str | None:
    """What a first line "sep=;", which Excel writes and reads, says of the others; None if this is another line."""
    told = re.fullmatch(r"sep=(.)", head.strip(), re.IGNORECASE)
    return told[1] if told else None


def separator(head: str) -> str:
    """What stands between the columns of a table with this first line: a semicolon where the comma is the decimal point."""
    return next((mark for mark in "\t;" if mark in head and "," not in head), ",")


def check(path: Path) -> None:
    """Refuse what is no file, before it is opened: to open a named pipe waits for somebody to write into it.

    Raises:
        UserError: it is a folder, a named pipe, a device or a socket.
        OSError: it does not exist, or cannot be asked.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UserError(f"{path}: cannot be read: it is not a file but {_kind(path)}: remove it or name a file")


def _kind(path: Path) -> str:
    """What lies at a path that is no file."""
    mode = os.stat(path).st_mode
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    for is_kind, words in kinds:
        if is_kind(mode):
            return words
    return "a device"
