"""Reads a listing of image files into an `ImageSet`: decoded once on all workers, checked, and kept in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulnb.config import Dataset
from mulnb.core import store, workers
from mulnb.core.errors import UserError, notice
from mulnb.data.decode import Chunk, Size, Task, decode_files, times
from mulnb.data.folders import Folder, Listing, class_folder
from mulnb.data.images import ImageSet

CHUNK = 1000  # files that one task decodes
CURE = ": replace or remove it, or set dataset.skip_corrupt: true"


def read(folder: Folder, listing: Listing, dataset: Dataset, source: str) -> tuple[ImageSet, ImageSet | None]:
    """The training and test images of a folder, from the store unless a file has changed since they were decoded.

    Args:
        folder: where the files lie.
        listing: the files, with labels and classes.
        dataset: `size` and `skip_corrupt` say what to do with images of another size and with unreadable ones.
        source: the name of the data for people; what was done to the images is added to it.

    Returns:
        Training images and test images (None if the listing has none): RGB, upright, all of one size.

    Raises:
        UserError: images that cannot be decoded (unless `dataset.skip_corrupt`), images of two sizes (unless `dataset.size`), or
            a class without a readable image.
    """
    stamps = "\n".join(f"{name}\t{stamp}" for name, stamp in listing.stamps)
    key = hashlib.sha256(stamps.encode(errors="surrogateescape")).hexdigest()
    parts = {"source": "image files", "listing": key, "size": dataset.size, "version": 1}
    found = store.get_or_compute("images", parts, lambda: _decode(folder, listing, dataset))

    _report(folder, listing, found.meta, dataset)
    source += _what_was_done(found.meta, dataset)

    sets = []
    for part in ("train", "test"):
        if f"{part}_images" in found.arrays:
            images, labels = found.arrays[f"{part}_images"], found.arrays[f"{part}_labels"]
            sets.append(ImageSet(images, labels, listing.classes, source))
    return sets[0], (sets[1] if len(sets) == 2 else None)


def read_class_folders(root: Path) -> ImageSet:
    """All images of a folder with one sub-folder per class, read as those of a profile are, but not stored.

    Args:
        root: the folder that holds <class>/*.

    Returns:
        Images in RGB, sorted by class, then by file name.

    Raises:
        UserError: the folder is missing or has another layout, an image is unreadable, or there are images of two sizes.
    """
    folder = Folder(root)
    listing = class_folder(folder)
    names = tuple(name for name, _ in listing.train)

    chunk = decode_files(Task(str(root), names, None, _first_size(folder, names)))
    if chunk.corrupt:
        raise UserError(_describe_corrupt(folder, chunk.corrupt) + ": replace or remove it")

    labels = np.array([label for _, label in listing.train], dtype=np.int64)
    return ImageSet(chunk.images, labels, listing.classes, f"{root.name} (image folder)")


# --- decoding ------------------------------------------------------------------------------------------------------------


def _decode(folder: Folder, listing: Listing, dataset: Dataset) -> store.Artifact:
    """All images of both parts, their labels, and what was found on the way."""
    members = {"train": listing.train}
    if listing.test is not None:
        members["test"] = listing.test
    names = [name for part in members.values() for name, _ in part]

    chunks = _decode_all(folder, names, dataset)
    corrupt = [problem for chunk in chunks for problem in chunk.corrupt]
    sizes = set().union(*(chunk.sizes for chunk in chunks))

    if corrupt and not dataset.skip_corrupt:
        raise UserError(_describe_corrupt(folder, corrupt) + CURE)

    images = _concatenate(chunks)
    left_out = {name for name, _ in corrupt}
    arrays = {}
    start = 0

    for part, files in members.items():
        labels = np.array([label for name, label in files if name not in left_out], dtype=np.int64)
        _check_classes(folder, part, labels, listing.classes)

        stop = start + len(labels)
        arrays[f"{part}_images"] = images[start:stop]
        arrays[f"{part}_labels"] = labels
        start = stop

    return store.Artifact(arrays, {"corrupt": corrupt, "sizes": [list(size) for size in sorted(sizes)]})


def _decode_all(folder: Folder, names: Sequence[str], dataset: Dataset) -> list[Chunk]:
    """Decode files in chunks on all workers, in their order. Without `dataset.size`, all must be as large as the first."""
    expected = (dataset.size, dataset.size) if dataset.size else _first_size(folder, names)
    hint = f"set dataset.size, for example {min(expected)}, to resize all of them" if expected else ""

    tasks = []
    for start in range(0, len(names), CHUNK):
        part = tuple(names[start : start + CHUNK])
        tasks.append(Task(str(folder.place), part, dataset.size, expected, hint))

    return workers.run_all(decode_files, tasks, "decoding images", on_gpu=False)


def _first_size(folder: Folder, names: Sequence[str]) -> Size | None:
    """The size of the first image that can be decoded; None if no image can."""
    for name in names:
        chunk = decode_files(Task(str(folder.place), (name,), size=None, expected=None))
        if chunk.sizes:
            return next(iter(chunk.sizes))
    return None


def _concatenate(chunks: list[Chunk]) -> np.ndarray:
    """One array of all images, uint8 [N, 3, H, W]. The chunks are emptied one by one: the memory may not hold all twice."""
    filled = [chunk for chunk in chunks if len(chunk.images)]
    total = sum(len(chunk.images) for chunk in filled)
    shape = filled[0].images.shape[1:] if filled else (3, 0, 0)

    whole = np.empty((total, *shape), np.uint8)
    start = 0

    for chunk in filled:
        stop = start + len(chunk.images)
        whole[start:stop] = chunk.images
        chunk.images = chunk.images[:0].copy()
        start = stop

    return whole


def _check_classes(folder: Folder, part: str, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Refuse a class without a single readable image."""
    counts = np.bincount(labels, minlength=len(classes))
    if (counts == 0).any():
        empty = classes[int(counts.argmin())]
        raise UserError(f"{folder.where(part)}: class {empty} has no readable image: fill or remove it")


# --- what the user is told -----------------------------------------------------------------------------------------------


def _report(folder: Folder, listing: Listing, meta: dict, dataset: Dataset) -> None:
    """Tell what was left out or changed; refuse unreadable images unless the profile leaves them out."""
    if meta["corrupt"]:
        text = _describe_corrupt(folder, meta["corrupt"])
        if not dataset.skip_corrupt:  # the images were stored when another profile left them out
            raise UserError(text + CURE)
        notice(f"{text}: left out")

    if sizes := _other_sizes(meta, dataset):
        span = times(sizes[0])
        if len(sizes) > 1:
            span += f" to {times(sizes[-1])}"
        notice(f"{folder.place}: images of {span} pixels are resized to {dataset.size}×{dataset.size}")

    if listing.ignored:
        count, first = len(listing.ignored), listing.ignored[0]
        notice(f"{folder.place}: files of other kinds are ignored ({count}), the first is {first}")


def _what_was_done(meta: dict, dataset: Dataset) -> str:
    """An addition to the name of the source: whether images were resized or left out."""
    text = ""
    if _other_sizes(meta, dataset):
        text += f", resized to {dataset.size}×{dataset.size}"
    if meta["corrupt"]:
        text += f", unreadable images left out: {len(meta['corrupt'])}"
    return text


def _other_sizes(meta: dict, dataset: Dataset) -> list[list[int]]:
    """The sizes from which images were resized, smallest first."""
    if dataset.size is None:
        return []
    return [size for size in meta["sizes"] if size != [dataset.size, dataset.size]]


def _describe_corrupt(folder: Folder, corrupt: Sequence[Sequence[str]]) -> str:
    """One line about images that cannot be decoded, which names the first three."""
    text = "not a readable image: " + "; ".join(f"{folder.where(name)} ({reason})" for name, reason in corrupt[:3])
    if len(corrupt) > 3:
        text += f"; and {len(corrupt) - 3} more"
    return text
