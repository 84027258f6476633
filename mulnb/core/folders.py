"""Writes whole folders: all files of a folder appear at once, and what another program wrote meanwhile is never overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mulnb.core import paths
from mulnb.core.errors import UserError


def write_folder(path: Path, fill: Callable[[Path], None], instead: bool = False) -> Path:
    """Write a folder whole or not at all. If another process was first, its folder is as good and stays. Returns `path`.

    Args:
        path: where the folder goes; missing parents are made.
        fill: fills the temporary folder whose path it is given. The folder lies beside `path` and is renamed afterwards.
        instead: replace the folder that lies there.

    Raises:
        UserError: as `paths.write_file`.
    """
    with paths.temporary_folder(path.parent, path) as temporary:
        fill(temporary)

        if instead and path.is_dir():
            _replace(path, temporary)
            return path

        try:
            os.rename(temporary, path)
        except OSError:
            if not path.is_dir():
                raise

    return path


def _replace(path: Path, new: Path) -> None:
    """Put a folder in the place of another. A reader finds nothing for a moment, never a mixture."""
    ending = f"{paths.REPLACED}{path.name}"
    before = Path(tempfile.mkdtemp(dir=path.parent, prefix=paths.partial_prefix(path.parent), suffix=ending))

    try:
        os.rename(path, before)  # onto the empty folder
        os.rename(new, path)
    finally:
        with contextlib.suppress(OSError):  # what is left here, the next process finds
            paths.clear(before)


def write_files(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Write several files into a folder: all at once if it is new or empty, else one by one, beside what is there.

    Args:
        folder: where the files go; made if it is missing.
        fill: fills the temporary folder whose path it is given.

    Returns:
        `folder`.

    Raises:
        UserError: as `paths.write_file`.
    """
    if is_free(folder):
        return write_new(folder, fill)

    with paths.temporary_folder(folder, folder) as temporary:
        fill(temporary)
        _move_all(temporary, folder)
    return folder


def write_new(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Write several files into a folder that is new or empty, all at once.

    Where an empty folder must stay, as it is a disk of its own, they are moved into it one by one when all are complete.

    Args:
        folder: where the files go.
        fill: fills the temporary folder whose path it is given.

    Returns:
        `folder`.

    Raises:
        UserError: as `paths.write_file`, and if there are files in the folder by now; they stay.
    """
    place = paths.real(folder)  # a link stays a link
    if _must_stay(place):
        return _write_inside(place, fill, folder)

    with paths.temporary_folder(place.parent, folder) as temporary:
        fill(temporary)
        if place.is_dir():
            paths.remove_left(place)
            shutil.copymode(place, temporary)  # whoever made the folder for himself alone
        try:
            os.rename(temporary, place)  # onto an empty folder at most
        except OSError:
            _check_free(folder)
            if not place.is_dir():
                raise
            _write_inside(place, lambda to: shutil.copytree(temporary, to, dirs_exist_ok=True), folder)

    return folder


def is_free(folder: Path) -> bool:
    """Whether nothing lies at a path, or an empty folder; what a killed process has left in it does not count."""
    if not os.path.lexists(folder):
        return True
    try:
        return all(name.startswith(paths.PARTIAL) for name in os.listdir(folder))
    except OSError:  # a file, or somebody else's folder
        return False


def _must_stay(place: Path) -> bool:
    """Whether another folder cannot come in the place of this one: a disk, the current folder, or one in a read-only folder."""
    if not place.is_dir():
        return False
    return os.path.ismount(place) or place.samefile(os.curdir) or not os.access(place.parent, os.W_OK | os.X_OK)


def _write_inside(place: Path, fill: Callable[[Path], None], folder: Path) -> Path:
    """Move files into an empty folder, called `folder` in messages."""
    with paths.temporary_folder(place, folder) as temporary:
        fill(temporary)
        _check_free(folder)
        _move_all(temporary, place)
    return folder


def _check_free(folder: Path) -> None:
    """Raises `UserError` if something has come into a folder."""
    if not is_free(folder):
        raise UserError(f"another program wrote into {folder} meanwhile: its files stay; name a new folder and run again")


def _move_all(source: Path, folder: Path) -> None:
    """Move every file from one folder into another."""
    for file in sorted(source.iterdir()):
        os.replace(file, folder / file.name)
