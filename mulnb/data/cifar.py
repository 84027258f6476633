"""CIFAR-10 and CIFAR-100 as they are published, found or downloaded through torchvision, decoded once.

A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). Only files with torchvision's checksums are read.
"""

from __future__ import annotations

import http.client
import os
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mulnb.core import paths, store
from mulnb.core.errors import UserError, one_line
from mulnb.data import cifar_batches
from mulnb.data.images import AS_PUBLISHED, ImageSet

TIMEOUT = 30  # seconds without an answer after which a download is given up; torchvision alone would wait for ever


@dataclass(frozen=True)
class Official:
    """The names of a published data set. torchvision knows them too, but takes seconds to import."""

    title: str
    dataset: str  # the class in torchvision.datasets
    folder: str
    archive: str
    classes: int


OFFICIAL = {
    "cifar10": Official("CIFAR-10", "CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz", 10),
    "cifar100": Official("CIFAR-100", "CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz", 100),
}


def read(official: Official, root: Path) -> tuple[ImageSet, ImageSet]:
    """The training and the test images, in the published order.

    Args:
        official: an entry of `OFFICIAL`.
        root: the folder that holds the unpacked files or the archive, or one of these itself. If there is neither, the archive
            is downloaded into it.

    Returns:
        Training images [50 000, 3, 32, 32] and test images [10 000, 3, 32, 32].

    Raises:
        UserError: a file is damaged, or the archive cannot be downloaded; names the file and the folder.
    """
    if root.name in (official.folder, official.archive):
        root = root.parent

    place = root / official.folder
    if not place.is_dir():
        place = root / official.archive
    if not place.exists():
        _download(official, root)

    parts = {"source": official.folder, "listing": _listing(place), "version": 1}
    found = store.get_or_compute("images", parts, lambda: _decode(official, place))

    sets = []
    for part in ("train", "test"):
        images, labels = found.arrays[f"{part}_images"], found.arrays[f"{part}_labels"]
        source = f"{official.title} (torchvision, checksum verified)"
        index = np.arange(len(labels))
        sets.append(ImageSet(images, labels, tuple(found.meta["classes"]), source, index, len(labels), AS_PUBLISHED))
    return sets[0], sets[1]


def _listing(place: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the archive, or of every file of the folder."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]

    listing = []
    for file in files:
        stat = file.stat()
        listing.append((file.name, stat.st_size, stat.st_mtime_ns))
    return listing


def _download(official: Official, root: Path) -> None:
    """Download the archive under another name, check it, then rename it: a file with the archive's name is complete."""
    from torchvision.datasets.utils import download_url

    kind = _torchvision_class(official)
    partial = root / f"{official.archive}.part"
    before = socket.getdefaulttimeout()
    made = [folder for folder in (root, *root.parents) if not folder.exists()]  # by this download, the innermost first
    socket.setdefaulttimeout(TIMEOUT)

    try:
        download_url(kind.url, str(root), partial.name, kind.tgz_md5)
        os.replace(partial, root / official.archive)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise UserError(
            f"{official.title}: {official.archive} cannot be downloaded to {root} ({one_line(error)}): run again to download it "
            f"from the start, or put {official.archive}, its folder {official.folder}, or image folders train/<class>/* and "
            "test/<class>/* there"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
        _tidy(partial, made)


def _tidy(partial: Path, made: list[Path]) -> None:
    """Remove what a failed download left: its part of the archive, and the folders that it made and that are empty."""
    partial.unlink(missing_ok=True)
    for folder in made:
        try:
            folder.rmdir()
        except OSError:  # it holds the archive now
            return


def _decode(official: Official, place: Path) -> store.Artifact:
    """All images of the archive or the folder `place`."""
    if place.is_dir():
        return _read_batches(official, place.parent)

    from torchvision.datasets.utils import check_integrity, extract_archive

    if not check_integrity(place, _torchvision_class(official).tgz_md5):
        raise UserError(
            f"{place} is incomplete or damaged (its checksum differs): delete it and run again to download it, or let `wget -c` "
            "or `curl -C - -O` continue a broken download"
        )

    try:
        # not beside the archive: its folder may be read-only
        with paths.scratch() as unpacked:
            extract_archive(str(place), str(unpacked))
            return _read_batches(official, unpacked)
    except OSError as error:
        raise UserError(f"{place} cannot be unpacked: {error.strerror or error}") from None


def _read_batches(official: Official, root: Path) -> store.Artifact:
    """All images of the unpacked files in `root`. Each file must have torchvision's checksum; its pickle is read by hand."""
    kind = _torchvision_class(official)
    folder = root / official.folder
    arrays = {}

    for part, files in (("train", kind.train_list), ("test", kind.test_list)):
        images, labels = [], []
        for name, checksum in files:
            batch = _entry(official, folder / name, checksum)
            images.append(batch["data"])
            labels += batch["labels"] if "labels" in batch else batch["fine_labels"]

        arrays[f"{part}_images"] = np.vstack(images).reshape(-1, 3, 32, 32)
        arrays[f"{part}_labels"] = np.array(labels, dtype=np.int64)

    names = _entry(official, folder / kind.meta["filename"], kind.meta["md5"])
    return store.Artifact(arrays, {"classes": list(names[kind.meta["key"]])})


def _entry(official: Official, file: Path, checksum: str) -> dict[str, Any]:
    """The content of one published file."""
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(file, checksum):
        raise UserError(
            f"{file.parent}: a file is missing or damaged (its checksum differs): delete the folder and unpack "
            f"{official.archive} again, or run again to download it"
        )

    try:
        return cifar_batches.loads(file.read_bytes())
    except pickle.UnpicklingError as error:
        raise UserError(f"{file}: not loaded: {error}: download {official.archive} again from its own site") from None


def _torchvision_class(official: Official) -> Any:
    """`torchvision.datasets.CIFAR10` or `CIFAR100`."""
    from torchvision import datasets

    return getattr(datasets, official.dataset)
