"""From image files to one checked uint8 array, decoded once on all workers and kept in the store."""

from __future__ import annotations

import functools
import hashlib
import io
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulnb.config import Dataset
from mulnb.core import store, workers
from mulnb.core.errors import UserError
from mulnb.data.folders import Archive, Files, Folder, Tree, class_folder
from mulnb.data.images import ImageSet

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # told by the content: a file with the wrong suffix is read all the same
CHUNK = 1000  # files a task decodes
REPLACE = ": replace or remove it, or set dataset.skip_corrupt: true"
Size = tuple[int, int]  # width, height


def read(tree: Tree, listed: Callable[[], Files], dataset: Dataset, source: str) -> tuple[ImageSet, ImageSet | None]:
    """The training and test images of a tree, from the store if none of its files has changed since they were decoded.

    `listed` lists the tree's files. Images are RGB, upright, of one size. Raises `UserError` for a tree that does not fit its
    layout, images that cannot be decoded (unless `dataset.skip_corrupt`), and images of two sizes (unless `dataset.size`).
    """
    if isinstance(tree, Archive):  # the directory of a large zip takes a second to read: only when something is decoded
        files, key = None, {"archive": tree.stamp(), "classes": dataset.classes}
    else:
        files = listed()
        listing = "\n".join(f"{name}\t{stamp}" for name, stamp in files.listing)
        key = {"listing": hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()}
    parts = {"source": "image files", **key, "size": dataset.size, "version": 1}
    found = store.get_or_compute("images", parts, lambda: _decode(tree, files or listed(), dataset))
    _tell(tree, files.ignored if files else found.meta["ignored"], found.meta, dataset)
    classes = files.classes if files else tuple(found.meta["classes"])
    sets = [
        ImageSet(found.arrays[f"{part}_images"], found.arrays[f"{part}_labels"], classes, source + _note(found.meta, dataset))
        for part in ("train", "test")
        if f"{part}_images" in found.arrays
    ]
    return sets[0], (sets[1] if len(sets) == 2 else None)


def read_class_folders(root: Path) -> ImageSet:
    """All images of a folder with one sub-folder per class, read as those of a profile are, but kept nowhere.

    Raises `UserError` for a folder that is missing or has another layout, an unreadable image, or images of two sizes.
    """
    tree = Folder(root)
    classes, members = class_folder(tree)
    names = tuple(name for name, _ in members)
    chunk = decode_files(Task(str(root), names, None, _first_size(tree, names)))
    if chunk.corrupt:
        raise UserError(_corrupt(tree, chunk.corrupt) + ": replace or remove it")
    labels = np.array([label for _, label in members], dtype=np.int64)
    return ImageSet(chunk.images, labels, tuple(classes), f"{root.name} (image folder)")


def _note(meta: dict, dataset: Dataset) -> str:
    resized = f", resized to {dataset.size}×{dataset.size}" if _resized(meta, dataset) else ""
    return resized + (f", unreadable images left out: {len(meta['corrupt'])}" if meta["corrupt"] else "")


def _resized(meta: dict, dataset: Dataset) -> list[list[int]]:
    """The sizes that images had before they were resized, smallest first."""
    return [size for size in meta["sizes"] if dataset.size and size != [dataset.size] * 2]


def _tell(tree: Tree, ignored: list[str], meta: dict, dataset: Dataset) -> None:
    """What was done to the images beyond decoding them."""
    if meta["corrupt"]:
        if not dataset.skip_corrupt:
            raise UserError(_corrupt(tree, meta["corrupt"]) + REPLACE)
        notice(_corrupt(tree, meta["corrupt"]) + ": left out")
    if sizes := _resized(meta, dataset):
        span = " to ".join(f"{width}×{height}" for width, height in ([sizes[0], sizes[-1]] if len(sizes) > 1 else sizes))
        notice(f"{tree.place}: images of {span} pixels are resized to {dataset.size}×{dataset.size}")
    if ignored:
        notice(f"{tree.place}: files of other kinds are ignored ({len(ignored)}), the first is {ignored[0]}")


def notice(text: str) -> None:
    """A line on stderr that stops nothing. Workers load the same data and keep quiet."""
    if multiprocessing.parent_process() is None:
        warnings.warn(text, stacklevel=2)


def resized(whole: ImageSet, size: int | None) -> ImageSet:
    """Images that never were files, resized to size × size with a notice; `size` None leaves them as they are."""
    from PIL import Image

    n, channels, height, width = whole.images.shape
    if size is None or (height, width) == (size, size):
        return whole
    notice(f"{whole.source}: images of {width}×{height} pixels are resized to {size}×{size}")

    def resize() -> store.Artifact:
        planes = np.empty((n * channels, size, size), np.uint8)
        for index, plane in enumerate(whole.images.reshape(-1, height, width)):
            planes[index] = np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC))
        return store.Artifact({"images": planes.reshape(n, channels, size, size)})

    parts = {"source": "resized", "images": whole.images, "size": size, "version": 1}
    images = store.get_or_compute("images", parts, resize).arrays["images"]
    return replace(whole, images=images, source=f"{whole.source}, resized to {size}×{size}")


def _corrupt(tree: Tree, corrupt: Sequence[Sequence[str]]) -> str:
    """One line about images that cannot be decoded; all are named if they are few."""
    named = "; ".join(f"{tree.where(name)} ({reason})" for name, reason in corrupt[:3])
    return f"not a readable image: {named}" + (f"; and {len(corrupt) - 3} more" if len(corrupt) > 3 else "")


def _decode(tree: Tree, files: Files, dataset: Dataset) -> store.Artifact:
    """All images of both parts, their labels, and what was found on the way."""
    parts = {"train": files.train} | ({} if files.test is None else {"test": files.test})
    everything = [name for part in parts.values() for name, _ in part]
    shape = (dataset.size,) * 2 if dataset.size else _first_size(tree, everything)
    hint = f"set dataset.size, for example {min(shape)}, to resize all of them" if shape else ""
    tasks = [
        Task(str(tree.place), tuple(everything[start : start + CHUNK]), dataset.size, shape, hint)
        for start in range(0, len(everything), CHUNK)
    ]
    chunks = workers.run_all(decode_files, tasks, "decoding images", on_gpu=False)
    corrupt = [problem for chunk in chunks for problem in chunk.corrupt]
    if corrupt and not dataset.skip_corrupt:
        raise UserError(_corrupt(tree, corrupt) + REPLACE)
    good = ~np.isin(np.arange(len(everything)), _positions(everything, corrupt))
    images = _join(chunks)
    arrays, start, kept = {}, 0, 0
    for part, members in parts.items():
        labels = np.array([label for _, label in members], dtype=np.int64)[good[start : start + len(members)]]
        _check_classes(tree, part, labels, files.classes)
        arrays |= {f"{part}_images": images[kept : kept + len(labels)], f"{part}_labels": labels}
        start, kept = start + len(members), kept + len(labels)
    sizes = sorted({size for chunk in chunks for size in chunk.sizes})
    facts = {"corrupt": corrupt, "sizes": [list(size) for size in sizes], "classes": files.classes, "ignored": files.ignored}
    return store.Artifact(arrays, facts)


def _positions(everything: list[str], corrupt: Sequence[tuple[str, str]]) -> list[int]:
    place = {name: index for index, name in enumerate(everything)} if corrupt else {}
    return [place[name] for name, _ in corrupt]


def _join(chunks: list[Chunk]) -> np.ndarray:
    """One array of all images, which the chunks let go one by one: two copies of everything need not fit in memory."""
    shape = next((chunk.images.shape[1:] for chunk in chunks if len(chunk.images)), (3, 0, 0))
    whole, start = np.empty((sum(len(chunk.images) for chunk in chunks), *shape), np.uint8), 0
    for chunk in chunks:
        if count := len(chunk.images):  # those of an empty chunk have no size
            whole[start : start + count] = chunk.images
            start += count
            chunk.images = chunk.images[:0].copy()
    return whole


def _check_classes(tree: Tree, part: str, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if (counts == 0).any():
        raise UserError(f"{tree.where(part)}: class {classes[int(counts.argmin())]} has no readable image: fill or remove it")


def _first_size(tree: Tree, names: Sequence[str]) -> Size | None:
    """The size of the first image that can be decoded: what all others must have."""
    for name in names:
        chunk = decode_files(Task(str(tree.place), (name,), None, None))
        if chunk.sizes:
            return next(iter(chunk.sizes))
    return None


@dataclass(frozen=True)
class Task:
    """Files to decode, of the folder or zip `place`. `size`: resize to it; `expected`: refuse another one; both in pixels."""

    place: str
    names: tuple[str, ...]
    size: int | None
    expected: Size | None
    hint: str = "resize to one size"  # what to do about two sizes


@dataclass
class Chunk:
    """`images` uint8 [n, 3, H, W] of the files that could be decoded, the others with a reason, and all sizes that came up."""

    images: np.ndarray
    corrupt: list[tuple[str, str]] = field(default_factory=list)
    sizes: set[Size] = field(default_factory=set)


def decode_files(task: Task) -> Chunk:
    """Decode some files. Raises `UserError` for a size other than the expected one, and for a file that cannot be read."""
    from PIL import Image

    tree = _open(task.place, Path(task.place).stat().st_mtime_ns)
    chunk, pictures = Chunk(np.empty((0, 3, 0, 0), np.uint8)), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, which is not needed
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for name in task.names:
            try:
                picture, size = pixels(tree.read(name), task.size)
            except UserError:
                raise
            except Exception as error:  # a decoder may raise anything at all on damaged bytes
                chunk.corrupt.append((name, _reason(error)))
                continue
            if task.expected and picture.shape[1:] != task.expected[::-1]:
                expected = "×".join(map(str, task.expected))
                raise UserError(f"{tree.where(name)} is {size[0]}×{size[1]}, the first image is {expected}: {task.hint}")
            pictures.append(picture)
            chunk.sizes.add(size)
    if pictures:
        chunk.images = np.stack(pictures)
    return chunk


@functools.lru_cache(maxsize=1)  # the directory of a large zip takes a second to read: once a worker, not once a chunk
def _open(place: str, changed: int) -> Tree:
    return Folder(Path(place)) if Path(place).is_dir() else Archive(Path(place))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image format is recognised"
    return " ".join(str(error).split()) or type(error).__name__


def pixels(blob: bytes, size: int | None = None) -> tuple[np.ndarray, Size]:
    """An image file as uint8 [3, H, W], upright and in RGB, and its size before resizing; the first frame of an animation.

    `size`: resize to size × size pixels (bicubic; the shape is not kept). What is transparent becomes white.
    """
    from PIL import Image, ImageOps

    if not blob:
        raise ValueError("the file is empty")
    with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
        stored = image.size
        if size:
            image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size, several times faster
        upright = _rgb(ImageOps.exif_transpose(image))
    if not size:
        return np.asarray(upright).transpose(2, 0, 1), upright.size
    return np.asarray(upright.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1), stored


def _rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
