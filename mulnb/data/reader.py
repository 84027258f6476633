"""Reads listed image files into an `ImageSet`: decoded on all workers, checked, and named where something is left out.

`read` serves the profiles and keeps the decoded images in the store; `read_folder` serves users' own folders and stores nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulnb.config import Dataset
from mulnb.core import memory, paths, store, workers
from mulnb.core.errors import UserError, notice
from mulnb.data.decode import Chunk, Size, Task, decode_files, times
from mulnb.data.folders import Folder, Listing, Member, class_folder
from mulnb.data.images import BY_FILE_NAME, ImageSet

CHUNK = 1000  # files that one task decodes


@dataclass(frozen=True)
class Rules:
    """What to do with images that do not fit, and how messages name these two settings."""

    size: int | None  # resize every image to size × size pixels; None: all must have the size of the first
    skip_corrupt: bool  # leave out images that cannot be decoded, instead of refusing them
    set_size: str = "set dataset.size, for example "  # what a user writes to set the size, up to the number
    set_skip: str = "set dataset.skip_corrupt: true"


def read(folder: Folder, listing: Listing, dataset: Dataset, source: str) -> tuple[ImageSet, ImageSet | None]:
    """The training and test images of a folder, from the store unless a file has changed since they were decoded.

    An example's source index is its position in the listing, which is sorted by class and file name. It is not the position in
    the published order: scores that refer to that order cannot be joined to an image folder by position.

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
    rules = Rules(dataset.size, dataset.skip_corrupt)

    # A file that changed has another stamp: then the key is another one, and the images are decoded again.
    stamps = "\n".join(f"{name}\t{stamp}" for name, stamp in listing.stamps)
    key = hashlib.sha256(stamps.encode(errors="surrogateescape")).hexdigest()
    parts = {"source": "image files", "listing": key, "size": rules.size, "version": 1}

    found = store.get_or_compute("images", parts, lambda: _decode_parts(folder, listing, rules))
    _report(folder, listing, found.meta, rules)

    source += _what_was_done(found.meta, rules)
    left_out = dict(found.meta["corrupt"])
    sets: list[ImageSet | None] = []

    for part, members in (("train", listing.train), ("test", listing.test)):
        if members is None:
            sets.append(None)
            continue

        images, labels = found.arrays[f"{part}_images"], found.arrays[f"{part}_labels"]
        index = _positions(members, left_out)
        size = len(members) if listing.complete else None
        sets.append(ImageSet(images, labels, listing.classes, source, index, size, BY_FILE_NAME))

    train, test = sets
    return train, test


def read_folder(
    root: str | Path, size: int | None = None, skip_corrupt: bool = False, classes: Sequence[str] | None = None
) -> ImageSet:
    """Read all images of a folder with one sub-folder per class, as those of a profile are read. Nothing is stored.

    Images are upright RGB; 16-bit grey keeps its range, and what is transparent becomes white. Hidden files and folders, and
    files that operating systems leave behind, are left out. A notice names other files that are not images, unreadable images
    that were left out, and numbered classes whose order may surprise.

    Args:
        root: the folder that holds <class>/*.
        size: resize every image to size × size pixels; None: all must have one size.
        skip_corrupt: leave out images that cannot be decoded, instead of refusing them.
        classes: the names of all classes in the order of their labels; None: sorted by name as text ("10" before "2").

    Returns:
        Images uint8 [N, 3, H, W] sorted by class, then by file name, with `files` (the file of each example) and `index`
        (its position in the listing, in which unreadable images count).

    Raises:
        UserError: the folder is missing or has another layout, a class has no readable image, an image is unreadable (unless
            `skip_corrupt`), there are images of two sizes (unless `size`), or `classes` or `size` do not fit.
    """
    if size is not None and not (isinstance(size, int) and size > 0):
        raise UserError(f"size = {size!r}: expected a whole number of pixels, at least 1, or None")

    folder = Folder(paths.given(root, "the folder of images"))
    listing = class_folder(folder, classes)
    rules = Rules(size, skip_corrupt, "pass size to read_folder, for example size=", "pass skip_corrupt=True to read_folder")

    found = _decode_parts(folder, listing, rules)
    _report(folder, listing, found.meta, rules)
    if classes is None:
        _report_order(folder, listing.classes)

    index = _positions(listing.train, dict(found.meta["corrupt"]))
    files = tuple(listing.train[position][0] for position in index)

    images, labels = found.arrays["train_images"], found.arrays["train_labels"]
    source = f"{folder.place.resolve().name} (image folder)" + _what_was_done(found.meta, rules)
    n = len(listing.train)
    return ImageSet(images, labels, listing.classes, source, index, n, BY_FILE_NAME, files)


# --- decoding ------------------------------------------------------------------------------------------------------------


def _decode_parts(folder: Folder, listing: Listing, rules: Rules) -> store.Artifact:
    """All images of both parts and their labels; in `meta`, unreadable files and the sizes of images before resizing."""
    members = {"train": listing.train}
    if listing.test is not None:
        members["test"] = listing.test

    names = []
    for part in members.values():
        names += [name for name, _ in part]

    corrupt: list[tuple[str, str]] = []  # (file, reason)
    sizes: set[Size] = set()
    chunks = _decode_all(folder, names, rules)

    for chunk in chunks:
        corrupt += chunk.corrupt
        sizes |= chunk.sizes
    if corrupt and not rules.skip_corrupt:
        raise UserError(_describe_corrupt(folder, corrupt) + f": replace or remove it, or {rules.set_skip}")

    images = _concatenate(chunks)  # train, then test
    left_out = dict(corrupt)
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


def _decode_all(folder: Folder, names: Sequence[str], rules: Rules) -> list[Chunk]:
    """Decode files in chunks on all workers, in their order. Without `rules.size`, all must be as large as the first."""
    expected = (rules.size, rules.size) if rules.size else _first_size(folder, names)
    hint = f"{rules.set_size}{min(expected)}, to resize all of them" if expected else ""
    if expected:
        width, height = expected
        what = f"{len(names)} images of {times(expected)} pixels: {rules.set_size}{min(64, width)}"
        memory.check_room(3 * width * height * len(names), what)

    tasks = []
    for start in range(0, len(names), CHUNK):
        part = tuple(names[start : start + CHUNK])
        tasks.append(Task(str(folder.place), part, rules.size, expected, hint))

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
        chunk.images = chunk.images[:0].copy()  # a view would keep the whole array in memory
        start = stop

    return whole


def _positions(members: Sequence[Member], left_out: Mapping[str, str]) -> np.ndarray:
    """The positions in the listing of the images that were read, int64 [n]."""
    kept = []
    for position, (name, _) in enumerate(members):
        if name not in left_out:
            kept.append(position)
    return np.array(kept, dtype=np.int64)


def _check_classes(folder: Folder, part: str, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Refuse a class without a single readable image."""
    counts = np.bincount(labels, minlength=len(classes))
    if (counts == 0).any():
        empty = classes[int(counts.argmin())]
        raise UserError(f"{folder.where(part)}: class {empty} has no readable image: fill or remove it")


# --- what the user is told -----------------------------------------------------------------------------------------------


def _report(folder: Folder, listing: Listing, meta: dict, rules: Rules) -> None:
    """Tell what was left out or changed; refuse unreadable images unless the rules leave them out."""
    if meta["corrupt"]:
        text = _describe_corrupt(folder, meta["corrupt"])
        if not rules.skip_corrupt:  # they were read from the store, where another profile left them out
            raise UserError(f"{text}: replace or remove it, or {rules.set_skip}")
        notice(f"{text}: left out")

    if sizes := _other_sizes(meta, rules):
        span = times(sizes[0])
        if len(sizes) > 1:
            span += f" to {times(sizes[-1])}"
        notice(f"{folder.place}: images of {span} pixels are resized to {rules.size}×{rules.size}")

    if listing.ignored:
        count, first = len(listing.ignored), listing.ignored[0]
        notice(f"{folder.place}: files of other kinds are ignored ({count}), the first is {first}")


def _report_order(folder: Folder, classes: tuple[str, ...]) -> None:
    """Tell that classes are sorted as text, if their numbers would give another order."""

    def by_number(name: str) -> list[tuple[int, str]]:
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)]

    expected = sorted(classes, key=by_number)
    if list(classes) != expected:
        notice(
            f"{folder.place}: labels follow the class names sorted as text ({', '.join(classes[:3])}, …): pass classes=[…] in "
            "the order of your labels if it is another one"
        )


def _what_was_done(meta: dict, rules: Rules) -> str:
    """An addition to the name of the source: whether images were resized or left out."""
    text = ""
    if _other_sizes(meta, rules):
        text += f", resized to {rules.size}×{rules.size}"
    if meta["corrupt"]:
        text += f", unreadable images left out: {len(meta['corrupt'])}"
    return text


def _other_sizes(meta: dict, rules: Rules) -> list[list[int]]:
    """The sizes from which images were resized, smallest first."""
    if rules.size is None:
        return []
    return [size for size in meta["sizes"] if list(size) != [rules.size, rules.size]]


def _describe_corrupt(folder: Folder, corrupt: Sequence[Sequence[str]]) -> str:
    """One line about images that cannot be decoded, which names the first three."""
    text = "not a readable image: " + "; ".join(f"{folder.where(name)} ({reason})" for name, reason in corrupt[:3])
    if len(corrupt) > 3:
        text += f"; and {len(corrupt) - 3} more"
    return text
