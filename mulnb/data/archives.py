"""Unpacks a zip of images once, so that it can be read as a folder."""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from pathlib import Path

from mulnb.core import damaged, folders, paths, store, workers
from mulnb.core.errors import UserError, notice
from mulnb.data.folders import LARGEST, is_litter

CHUNK = 1000  # files between two steps of the progress bar
GROWTH = 200  # how many times larger than a zip its content may be; photographs hardly shrink in one
RECORD = ".unpacked.json"  # beside the unpacked files: their number, and their bytes together
AGAIN = "delete it and download it again, or let `wget -c` or `curl -C - -O` continue a broken download"


def unpacked(archive: Path) -> Path:
    """Unpack a zip into `artifacts/unpacked/`, unless that was done before. The folder of the zip may be read-only.

    Args:
        archive: the zip. If its name, size or time changes, it is unpacked again.

    Returns:
        The folder with the content. If all of it lies in one folder of the zip, this is that folder.

    Raises:
        UserError: the zip is damaged or incomplete (names the zip and the file in it), or the disk is full.
    """
    stat = archive.stat()
    stamp = store.digest([archive.name, stat.st_size, stat.st_mtime_ns])
    place = paths.artifacts() / "unpacked" / stamp

    if os.path.lexists(place) and not _is_whole(place):
        done = damaged.set_aside(place)
        notice(f"{place}: files of the unpacked {archive.name} are missing or cut off; it is {done} and unpacked again")

    if not place.is_dir():
        folders.write_folder(place, lambda to: _unpack(archive, to))

    content = [path for path in place.iterdir() if not is_litter(path.name)]
    return content[0] if len(content) == 1 and content[0].is_dir() else place


def _is_whole(place: Path) -> bool:
    """Whether an unpacked folder still holds what was unpacked; one of an older version has no record, and is believed."""
    try:
        return json.loads((place / RECORD).read_text()) == _counted(place)
    except FileNotFoundError:
        return place.is_dir()
    except (OSError, ValueError, RecursionError):
        return False


def _counted(place: Path) -> list[int]:
    """The number of files in a folder and their bytes, without the record."""
    files = size = 0
    for folder, _, names in os.walk(place):
        for name in names:
            if name != RECORD:
                files += 1
                size += os.lstat(os.path.join(folder, name)).st_size
    return [files, size]


def _unpack(archive: Path, to: Path) -> None:
    """Unpack all files of a zip into the folder `to`, and write down how many files and bytes that gave.

    zipfile keeps them inside the folder, whatever their names say.
    """
    try:
        packed = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: not a complete zip ({error}): {AGAIN}") from None

    names = packed.namelist()

    with packed:
        _refuse_bomb(packed, archive.stat().st_size)
        for start in workers.progress(range(0, len(names), CHUNK), math.ceil(len(names) / CHUNK), "unpacking images"):
            for name in names[start : start + CHUNK]:
                _extract(packed, name, to)

    (to / RECORD).write_text(json.dumps(_counted(to)))


def _refuse_bomb(packed: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip by the sizes that it declares, before anything is unpacked. `zipfile` stops at a declared size that lies."""
    total = 0
    for entry in packed.infolist():
        total += entry.file_size
        if entry.file_size > LARGEST:
            raise UserError(
                f"{packed.filename}: {entry.filename} has {entry.file_size // 2**20} MB unpacked, no image has more than "
                f"{LARGEST // 2**20}: the zip is not a data set of images: remove the file from it"
            )

    if total > GROWTH * size + LARGEST:
        raise UserError(
            f"{packed.filename}: {size} bytes would become {total // 2**20} MB: this is not a data set of images: unpack it "
            "yourself if you trust it, and name the folder"
        )


def _extract(packed: zipfile.ZipFile, name: str, to: Path) -> None:
    """Unpack one file."""
    try:
        packed.extract(name, to)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: it needs a password
        raise UserError(f"{packed.filename}: {name} ({error}): the zip is damaged: {AGAIN}") from None
