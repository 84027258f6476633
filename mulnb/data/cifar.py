"""CIFAR-10 and CIFAR-100 as they are published: found or downloaded through torchvision, checked, decoded once.

Krizhevsky, "Learning multiple layers of features from tiny images" (2009). Only files whose checksum torchvision knows are read.
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mulnb.core import store
from mulnb.core.errors import UserError
from mulnb.data.images import ImageSet


@dataclass(frozen=True)
class Official:
    """Names of a published data set. torchvision knows them, too, but takes seconds to import."""

    title: str
    dataset: str  # torchvision's class
    folder: str
    archive: str


OFFICIAL = {
    "cifar10": Official("CIFAR-10", "CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": Official("CIFAR-100", "CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz"),
}


def read(official: Official, root: Path) -> tuple[ImageSet, ImageSet]:
    """Training and test images of the batches or the archive in `root` (or `root` itself); downloaded if there is neither.

    Raises `UserError` that names the file and the folder if one is damaged or cannot be downloaded.
    """
    if root.name in (official.folder, official.archive):
        root = root.parent
    place = root / official.folder
    if not place.is_dir():
        place = root / official.archive
        if not place.is_file():
            _download(official, root)
    parts = {"source": official.folder, "listing": _listing(place), "version": 1}
    found = store.get_or_compute("images", parts, lambda: _decode(official, place))
    train, test = (
        ImageSet(
            found.arrays[f"{part}_images"],
            found.arrays[f"{part}_labels"],
            tuple(found.meta["classes"]),
            f"{official.title} (torchvision, checksum verified)",
        )
        for part in ("train", "test")
    )
    return train, test


def _listing(place: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the archive, or of every file of the folder."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return [(file.name, stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]


def _download(official: Official, root: Path) -> None:
    """Fetch the archive under another name first: what bears its name is whole."""
    from torchvision.datasets.utils import download_url

    partial, timeout = root / f"{official.archive}.part", socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision would wait for ever
    try:
        download_url(_class(official).url, str(root), partial.name, _class(official).tgz_md5)
        os.replace(partial, root / official.archive)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{official.title}: {official.archive} cannot be downloaded to {root} ({reason}): run again to start the download "
            f"afresh, or put {official.archive}, its folder {official.folder}, or image folders train/<class>/* and "
            "test/<class>/* there"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
        partial.unlink(missing_ok=True)


def _decode(official: Official, place: Path) -> store.Artifact:
    if place.is_dir():
        return _read_batches(official, place.parent)
    from torchvision.datasets.utils import check_integrity, extract_archive

    if not check_integrity(place, _class(official).tgz_md5):
        raise UserError(
            f"{place} is incomplete or damaged (its checksum differs): delete it and run again to download it, or let `wget -c` "
            "or `curl -C - -O` continue a broken download"
        )
    try:
        with tempfile.TemporaryDirectory() as unpacked:  # the data folder may be read-only
            extract_archive(str(place), unpacked)
            return _read_batches(official, Path(unpacked))
    except OSError as error:
        raise UserError(f"{place} cannot be unpacked: {error.strerror or error}") from None


def _read_batches(official: Official, root: Path) -> store.Artifact:
    from torchvision.datasets.utils import check_integrity

    kind, folder = _class(official), root / official.folder
    meta = (kind.meta["filename"], kind.meta["md5"])
    for name, md5 in (*kind.train_list, *kind.test_list, meta):  # torchvision does not say which file it is
        if not check_integrity(folder / name, md5):
            raise UserError(
                f"{folder / name} is missing or damaged (its checksum differs): delete {folder} and unpack {official.archive} "
                "again, or run again to download it"
            )
    arrays = {}
    for part, train in (("train", True), ("test", False)):
        data = kind(str(root), train=train, download=False)
        arrays[f"{part}_images"] = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        arrays[f"{part}_labels"] = np.array(data.targets, dtype=np.int64)
    return store.Artifact(arrays, {"classes": list(data.classes)})


def _class(official: Official) -> Any:
    from torchvision import datasets

    return getattr(datasets, official.dataset)
