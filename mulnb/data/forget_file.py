"""Reads a forget set that a user names: `forget.load`, for files that may be anything."""

from __future__ import annotations

from pathlib import Path

from mulnb import forget
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.forget import ForgetSet

LONGEST = 256 * 2**20  # bytes; a set of a million examples has nine million


def load(path: str | Path, data: str | None = None, n: int | None = None) -> ForgetSet:
    """Read a file written by `forget.save`; arguments and result are those of `forget.load`.

    Raises:
        UserError: as `forget.load`; also where the file is longer than any forget set, nested without end, or holds numbers
            that no index can be.
    """
    given = Path(path).expanduser()
    for place in (given, paths.home() / given):
        if place.is_file() and place.stat().st_size > LONGEST:
            raise UserError(f"forget set {place} is longer than {LONGEST // 2**20} MB: this is no forget set")

    try:
        return forget.load(path, data, n)
    except (OverflowError, RecursionError, MemoryError):
        raise UserError(f"{path} is no forget set: expected a JSON file written by mulnb.forget.save or the explorer") from None
