"""Packs: artefacts of the store in small files that can be sent or committed, for example from a machine lent for minutes.

A pack is a zip of at most 14 MB, `<name>.<part>.<checksum>.zip`: the checksum of its bytes stands in its name, so equal content
has one name, and damage is seen. It has two members for each artefact: `<kind>/<key>.json` (the manifest of the whole artefact
with its seal, and the names of all its arrays) and `<kind>/<key>.safetensors` (some of them). Several packs can have different
arrays of one artefact. What no pack has, such as weights, is left out where they are unpacked; see `store.keep`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mulnb.core import locks, paths, plain_file, store
from mulnb.core.errors import UserError

LIMIT = 14_000_000  # bytes of a file
GROWTH = 50  # times as large, at most, is what a pack holds
FILE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\.(?P<part>[a-z]+)\.(?P<checksum>[0-9a-f]{16})\.zip")
MEMBER = re.compile(r"(?P<kind>[a-z_]+)/(?P<key>[0-9a-f]{24})\.json")
# what the library raises of a zip that is cut off, encrypted, or packed in a way that it does not know
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error)
HEADERS = 400  # bytes, more than what a zip says of two members besides their content and twice their names
END = 100  # bytes of the end of a zip
ADDED, THERE, OTHER = "added", "there", "other"  # what became of a piece; other: what is there was computed by another machine


@dataclass(frozen=True)
class Piece:
    """Some arrays of an artefact."""

    manifest: Mapping[str, Any]  # of the whole artefact
    names: tuple[str, ...]  # of all its arrays
    arrays: Mapping[str, np.ndarray]

    @property
    def place(self) -> str:
        """`kind/key`."""
        return f"{self.manifest['kind']}/{self.manifest['key']}"


# --- writing -------------------------------------------------------------------------------------------------------------


def write(folder: Path, name: str, part: str, pieces: Iterable[Piece], limit: int = LIMIT) -> list[Path]:
    """Write pieces into as few files as they need.

    Args:
        folder: where the files go; made if it is missing.
        name: the first word of their names, for example the profile's.
        part: the second one, which says what of an artefact is in them.
        pieces: one at a time is in memory, and one file.
        limit: bytes of a file, at most.

    Returns:
        The files.

    Raises:
        UserError: a piece alone is larger than a file may be, or the folder cannot be written.
    """
    name = re.sub("[^A-Za-z0-9_-]", "-", name)
    files: list[Path] = []
    members: list[tuple[str, bytes]] = []
    size = END

    for piece in pieces:
        own = _members(piece)
        grown = HEADERS + sum(2 * len(member) + len(zlib.compress(content)) for member, content in own)
        if END + grown > limit:
            raise UserError(
                f"{piece.place}: {part} of this one result take {grown / 1e6:.1f} MB, a pack has {limit / 1e6:g} at most: "
                "copy the folder artifacts instead"
            )
        if size + grown > limit:
            files.append(_write_file(folder, f"{name}.{part}", members))
            members, size = [], END
        members += own
        size += grown
    if members:
        files.append(_write_file(folder, f"{name}.{part}", members))
    return files


def _members(piece: Piece) -> list[tuple[str, bytes]]:
    """The two files of a piece in a zip."""
    said = json.dumps({"manifest": piece.manifest, "names": sorted(piece.names)})
    arrays = save({name: np.ascontiguousarray(array) for name, array in piece.arrays.items()})
    return [(f"{piece.place}.json", said.encode()), (f"{piece.place}.safetensors", arrays)]


def _write_file(folder: Path, stem: str, members: list[tuple[str, bytes]]) -> Path:
    """Write one zip; the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members:
            entry = zipfile.ZipInfo(name)  # its date is 1980, on every day
            packed.writestr(entry, content, zipfile.ZIP_DEFLATED)

    content = buffer.getvalue()
    checksum = hashlib.sha256(content).hexdigest()[:16]
    return paths.write_file(folder / f"{stem}.{checksum}.zip", lambda to: to.write_bytes(content))


# --- reading -------------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    """The packs in a folder, by name: facts before margins.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that the packs lie in")
    return sorted(path for path in folder.iterdir() if FILE.fullmatch(path.name))


def known(folder: Path) -> set[tuple[str, str]]:
    """The part and the `kind/key` of every piece in the packs of a folder; none if there is no folder.

    Raises:
        UserError: a pack is damaged.
    """
    found = set()
    for path in files(folder) if folder.is_dir() else ():
        part = FILE.fullmatch(path.name)["part"]
        with _opened(path) as packed:
            found |= {(part, name.removesuffix(".json")) for name in packed.namelist() if MEMBER.fullmatch(name)}
    return found


def unpack(path: Path) -> tuple[set[str], set[str]]:
    """Put what a pack holds into the store. What is there already stays as it is.

    Args:
        path: the file.

    Returns:
        The artefacts (`kind/key`) to which the pack gave something, and those that were left alone because another computation
        of them, made by another machine, is stored here.

    Raises:
        UserError: the file is damaged or no pack, or the store cannot be written.
    """
    store.tidy()
    became: dict[str, set[str]] = {ADDED: set(), THERE: set(), OTHER: set()}
    for piece in list(_pieces(path)):  # all of them are checked before the first is stored
        with locks.held([piece.place]):
            became[_put(piece)].add(piece.place)
    return became[ADDED], became[OTHER]


def _put(piece: Piece) -> str:
    """Store a piece, and say what became of it."""
    target = paths.artifacts() / piece.manifest["kind"] / piece.manifest["key"]
    stored = store.read(target) if target.exists() else None
    if stored is None:
        store.keep(target, piece.manifest, piece.arrays, piece.names)
        return ADDED

    manifest, arrays = stored
    if set(piece.arrays) <= set(arrays):
        return THERE
    if store.whole(manifest)["seal"] != piece.manifest["seal"]:
        return OTHER
    store.keep(target, piece.manifest, arrays | dict(piece.arrays), piece.names, instead=True)
    return ADDED


def _pieces(path: Path) -> Iterator[Piece]:
    """What is in a pack, checked."""
    with _opened(path) as packed:
        for name in packed.namelist():
            if not (match := MEMBER.fullmatch(name)):
                continue
            try:
                said = json.loads(packed.read(name))
                arrays = load(packed.read(name.removesuffix(".json") + ".safetensors"))
                manifest = store.whole(said["manifest"])
                if (manifest["kind"], manifest["key"]) != (match["kind"], match["key"]) or not arrays.keys() <= {*said["names"]}:
                    raise ValueError(f"{name} is another result")
                piece = Piece(manifest, tuple(said["names"]), arrays)
            except (*BAD_ZIP, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
                raise _damaged(path, error) from None
            yield piece


def _opened(path: Path) -> zipfile.ZipFile:
    """The zip, if its bytes are those that its name promises."""
    content = plain_file.read(path, 2 * LIMIT)
    match = FILE.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match["checksum"]:
        raise _damaged(path, "its checksum is not that of its name")
    try:
        packed = zipfile.ZipFile(io.BytesIO(content))
    except (*BAD_ZIP, ValueError) as error:
        raise _damaged(path, error) from None
    if not any(MEMBER.fullmatch(name) for name in packed.namelist()):
        raise _damaged(path, "it holds no results")
    if sum(entry.file_size for entry in packed.infolist()) > GROWTH * len(content) + LIMIT:
        raise _damaged(path, "it would grow to an absurd size")
    return packed


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: damaged, or no pack ({reason}): copy it again, or remove it")
