"""Where damaged results go: aside, into `artifacts/damaged/`, so that whoever wants to know what happened to them can look.

They are never read again. The folder is bounded: the oldest make room for the newest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from mulnb.core import paths

MOST = 10  # damaged results that are kept
MOST_BYTES = 2**30  # of all of them
LEFT = "left there"  # what `set_aside` says where the store cannot be changed


def folder() -> Path:
    """The folder of damaged results in the store."""
    return paths.artifacts() / "damaged"


def set_aside(place: Path) -> str:
    """Move what lies at `place` into the folder of damaged results, so that the place is free.

    Args:
        place: a folder, a file or a link. If it is gone already, another process was faster.

    Returns:
        What was done, for a message: "moved to …", "removed" where it is too large to be kept, or `LEFT`.
    """
    target = folder() / f"{place.parent.name}-{place.name}"
    if os.path.lexists(target):
        target = paths.free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(place, target)
        with contextlib.suppress(OSError):  # a link to nothing
            os.utime(target)  # the time by which the oldest is found
    except OSError:
        _remove(place)

    _keep_the_newest()
    if os.path.lexists(target):
        return f"moved to {target}"
    return LEFT if os.path.lexists(place) else "removed"


def _keep_the_newest() -> None:
    """Remove the oldest of what is kept until the rest is within the bounds. Other processes may do so at the same time."""
    times: dict[Path, float] = {}
    for path in folder().glob("*"):
        with contextlib.suppress(OSError):
            times[path] = path.lstat().st_mtime

    total = 0
    for number, path in enumerate(sorted(times, key=times.__getitem__, reverse=True)):
        total += _bytes(path)
        if number >= MOST or total > MOST_BYTES:
            _remove(path)


def _bytes(path: Path) -> int:
    """The size of a file, or of all files of a folder, as far as they are there."""
    files = [path]
    for inside, _, names in os.walk(path) if not path.is_symlink() else ():
        files += [Path(inside, name) for name in names]

    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total


def _remove(place: Path) -> None:
    """Remove a folder, a file or a link; nothing is done where that is not possible or it is gone."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink()
