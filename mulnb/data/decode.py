"""Turns image files into uint8 arrays: one file (`pixels`), or a part of a folder as one task (`decode_files`)."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulnb.core import memory, store
from mulnb.core.errors import UserError, notice, one_line
from mulnb.data.folders import Folder
from mulnb.data.images import ImageSet

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # recognised by the content: a file with a wrong suffix is read all the same

Size = tuple[int, int]  # width, height in pixels


# --- one file ------------------------------------------------------------------------------------------------------------


def pixels(content: bytes, size: int | None = None) -> tuple[np.ndarray, Size]:
    """Decode an image file, in RGB and upright. What is transparent becomes white; an animation gives its first frame.

    Args:
        content: the bytes of a JPEG, PNG, WEBP, BMP or GIF file.
        size: resize to size × size pixels (bicubic; the aspect ratio is not kept). None: as it is.

    Returns:
        uint8 [3, H, W], and the image's width and height before resizing.

    Raises:
        Exception: of any kind, if the file is damaged.
    """
    from PIL import Image, ImageOps

    if not content:
        raise ValueError("the file is empty")

    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        stored = image.size
        if size:
            # Let libjpeg decode a large JPEG at a fraction of its size, which is several times faster.
            image.draft(None, (2 * size, 2 * size))
        picture = _to_rgb(ImageOps.exif_transpose(image))

    if size:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    else:
        stored = picture.size  # upright

    return np.asarray(picture).transpose(2, 0, 1), stored  # [H, W, 3] → [3, H, W]


def _to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))

    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)

    return image.convert("RGB")


# --- many files ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Files of the folder `root` to decode."""

    root: str
    names: tuple[str, ...]  # relative to the folder
    size: int | None  # resize to size × size pixels; None: as they are
    expected: Size | None  # refuse an image of another size (after resizing); None: take any
    hint: str = "resize to one size"  # what a message about two sizes tells the user to do


@dataclass
class Chunk:
    """What came out of a `Task`."""

    images: np.ndarray  # uint8 [n, 3, H, W] of the files that could be decoded; [0, 3, 0, 0] if there are none
    corrupt: list[tuple[str, str]] = field(default_factory=list)  # the other files, each with the reason
    sizes: set[Size] = field(default_factory=set)  # all sizes that images had before resizing


def decode_files(task: Task) -> Chunk:
    """Decode some files of a folder.

    Raises:
        UserError: an image of another size than `task.expected`, or a file that cannot be read from disk.
    """
    from PIL import Image

    folder = Folder(Path(task.root))
    chunk = Chunk(np.empty((0, 3, 0, 0), np.uint8))
    pictures = []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, which are not needed
        warnings.simplefilter("error", Image.DecompressionBombWarning)

        for name in task.names:
            content = folder.read(name)
            try:
                picture, size = pixels(content, task.size)
            except Exception as error:  # a decoder may raise anything on damaged bytes
                chunk.corrupt.append((name, _reason(error)))
                continue

            if task.expected and picture.shape[1:] != task.expected[::-1]:
                raise UserError(f"{folder.where(name)} is {times(size)}, the first image is {times(task.expected)}: {task.hint}")
            pictures.append(picture)
            chunk.sizes.add(size)

    if pictures:
        chunk.images = np.stack(pictures)  # [n, 3, H, W]
    return chunk


def times(size: Size) -> str:
    """A size for people: "32×32"."""
    width, height = size
    return f"{width}×{height}"


def _reason(error: Exception) -> str:
    """Why a file could not be decoded, in one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image format is recognised"
    return one_line(error)


# --- images that never were files ----------------------------------------------------------------------------------------


def resized(whole: ImageSet, size: int | None) -> ImageSet:
    """Resize images to size × size pixels (bicubic) with a notice; the result is kept in the store.

    Args:
        whole: images of any size and number of channels.
        size: in pixels; None leaves the images as they are.
    """
    from PIL import Image

    n, channels, height, width = whole.images.shape
    if size is None or (height, width) == (size, size):
        return whole

    memory.check_room(n * channels * size**2, f"{n} images of {times((size, size))} pixels: set a smaller dataset.size")

    def resize() -> store.Artifact:
        planes = np.empty((n * channels, size, size), np.uint8)
        for index, plane in enumerate(whole.images.reshape(-1, height, width)):
            planes[index] = np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC))
        return store.Artifact({"images": planes.reshape(n, channels, size, size)})

    notice(f"{whole.source}: images of {width}×{height} pixels are resized to {size}×{size}")
    parts = {"source": "resized", "images": whole.images, "size": size, "version": 1}
    images = store.get_or_compute("images", parts, resize).arrays["images"]

    return replace(whole, images=images, source=f"{whole.source}, resized to {size}×{size}")
