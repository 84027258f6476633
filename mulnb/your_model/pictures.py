"""What users call images: arrays in any axis order, PIL images, encoded bytes, files of a folder, as [C, H, W] tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulnb.core import paths
from mulnb.core.errors import UserError, one_line
from mulnb.your_model.adapt import described

CHANNELS = (1, 3, 4)
GREY = ("L", "LA", "1", "I", "I;16", "I;16B", "I;16L")  # PIL's modes of grey images
ENCODED = (str, bytes, os.PathLike)  # an image file, or what is in one


# --- arrays --------------------------------------------------------------------------------------------------------------


def is_stack(value: Any) -> bool:
    """Whether `value` may be all images of a set, and not one of them."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim in (3, 4)
    return isinstance(value, (list, tuple)) and len(value) > 0 and not isinstance(value[0], (int, float))


def as_tensor(given: Any, name: str) -> Tensor:
    """All images at once, uint8 or floating point [N, C, H, W]. Shares the memory of a tensor or array in this order.

    Raises:
        UserError: they are no images, or are of two sizes.
    """
    if getattr(getattr(given, "dtype", None), "kind", "") == "O":  # an array or a column of pandas that holds one image each
        given = list(given)
    if isinstance(given, (list, tuple)) and len(given) and not isinstance(given[0], (int, float)):
        pictures = []
        for place, value in enumerate(given):
            pictures.append(picture(value, f"{name}: image {place}"))
            check_alike(pictures[-1], pictures[0], f"{name}: image {place}")

        images = torch.stack(pictures)
        return _grey(images) if isinstance(given[0], ENCODED) else images

    if given is None:
        raise UserError(f"{name} are missing: give a tensor, an array, a data set or a folder")
    images = _tensor(given, name)
    if images.ndim == 3:
        images = images[:, None]  # grey: [N, H, W] -> [N, 1, H, W]
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise UserError(f"{name} are {described(images)}: expected uint8 or floating point [N, C, H, W]{_hint(images, 2)}")
    if len(images) == 0:
        raise UserError(f"{name}: there is no image")
    if _channels_last(images.shape[1:]):
        warnings.warn(f"{name} are {described(images)}: taken as [N, H, W, C]", stacklevel=2)
        images = images.permute(0, 3, 1, 2)

    return images


def check_alike(image: Tensor, first: Tensor, what: str) -> None:
    """Raises `UserError` unless an image [C, H, W] has the size and the kind of values of the first one."""
    sizes = f"{list(image.shape)}, the first is {list(first.shape)}"
    if image.shape[1:] != first.shape[1:]:
        raise UserError(f"{what} is {sizes}: resize all to one size in the data set")
    if len(image) != len(first):
        raise UserError(f"{what} is {sizes}: give all the same number of channels, image.convert('RGB') for example")
    if (image.dtype == torch.uint8) != (first.dtype == torch.uint8):  # one is scaled to [0, 1], the other is not
        raise UserError(f"{what} is {described(image)}, the first is {described(first)}: give all in uint8, or all scaled alike")


def is_table(given: Any) -> bool:
    """Whether this is a DataFrame, of pandas or alike."""
    return hasattr(given, "iloc") and hasattr(given, "columns")


def _hint(value: Tensor, vector: int) -> str:
    """What to do with a tensor that is no image; `vector`: the number of axes of vectors."""
    if value.ndim == vector and not (value.dtype == torch.uint8 or value.is_floating_point()):
        return "; tokens and other whole numbers are not worked with"
    if value.ndim == vector:
        return "; of vectors, add two axes, [:, None, None], and begin the model with nn.Flatten()"
    if value.ndim == vector + 3:
        return "; of volumes, give the depth as channels"
    integers = not value.is_floating_point() and not value.is_complex() and value.dtype not in (torch.uint8, torch.bool)
    return "; values 0 … 255 belong in uint8" if integers else ""


def _channels_last(shape: Sequence[int]) -> bool:
    return shape[2] in CHANNELS and shape[0] not in CHANNELS


def turned(given: Any) -> bool:
    """Whether an image, or images, are taken as [H, W, C] because of their shape alone: it may be one of features [C, H, W]."""
    if isinstance(given, (list, tuple)) and len(given):
        given = given[0]
    shape = getattr(given, "shape", ())
    return len(shape) in (3, 4) and _channels_last(shape[-3:])


def picture(value: Any, what: str, turn: bool = True) -> Tensor:
    """One image as uint8 or floating point [C, H, W]; PIL images become grey or RGB, image files RGB.

    Args:
        value: a tensor, an array, a PIL image, an image file, or a mapping with the `bytes` or the `path` of one.
        what: how the message of an error begins.
        turn: whether one that looks like [H, W, C] is taken as such.

    Raises:
        UserError: it is none.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} & set(value):  # as Hugging Face's files hold images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, ENCODED):
        value = _decoded(value, what)
    elif hasattr(value, "getbands"):  # a PIL image
        try:
            value = _from_pil(value)
        except Exception as error:  # it may be read only now, from a damaged file
            raise UserError(f"{what}: the picture (mode {value.mode}) cannot be read: {one_line(error)}") from None

    image = _tensor(value, what)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise UserError(f"{what} is {described(image)}: expected uint8 or floating point [C, H, W]{_hint(image, 1)}")

    return image.permute(2, 0, 1) if turn and _channels_last(image.shape) else image


def _from_pil(image: Any) -> np.ndarray:
    if image.mode in ("L", "F") and not image.has_transparency_data:
        return np.array(image)
    if image.mode == "I" and not _is_sixteen_bit(image):
        raise ValueError("its values are not those of 16 bits, 0 … 65535: give an array of uint8 or floating point")
    from mulnb.data.decode import _to_rgb  # 16-bit grey and transparency, as in a folder

    colours = np.array(_to_rgb(image)).transpose(2, 0, 1)
    return colours[0] if image.mode in GREY else colours


def _is_sixteen_bit(image: Any) -> bool:
    """Whether the 32 bits of a pixel hold 16: as 8 bits, what is small would be black."""
    low, high = image.getextrema()
    return low >= 0 and (high == 0 or 255 < high < 2**16)


def _decoded(value: str | bytes | os.PathLike, what: str) -> np.ndarray:
    """An image file as those of a folder are read, uint8 [3, H, W]."""
    from mulnb.data.decode import pixels

    name = "its bytes" if isinstance(value, bytes) else os.fspath(value)

    try:
        content = value if isinstance(value, bytes) else paths.given(value, what).read_bytes()
        return pixels(content)[0]
    except UserError:
        raise
    except OSError as error:  # also PIL's error about bytes that are no image
        reason = error.strerror or "no image format is recognised"
        raise UserError(f"{what}: {name} cannot be read as an image: {reason}") from None
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UserError(f"{what}: {name} cannot be read as an image: {one_line(error)}") from None


def _grey(images: Tensor) -> Tensor:
    """One channel, if all images are grey: [N, 3, H, W] -> [N, 1, H, W]."""
    grey = bool((images == images[:, :1]).all())
    return (images[:, :1] if grey else images).contiguous()


def labels_of(given: Any, n: int, name: str) -> Tensor:
    """Labels int64 [n], on the CPU.

    Raises:
        UserError: there are none, or they are not one whole number per image.
    """
    what = name.replace("images", "labels") if "images" in name else f"labels of {name}"
    if given is None:
        raise UserError(f"{what} are missing: give one whole number per image")
    if (word := _first_word(given)) is not None:
        raise UserError(f"{what} are text ('{word}', …): number the classes 0 … K − 1")

    labels = _tensor(given, what)
    if labels.ndim == 2 and labels.shape == (n, 1):
        labels = labels[:, 0]
    if labels.ndim == 1 and labels.is_floating_point() and bool((labels == labels.round()).all()):
        labels = labels.long()  # binary cross-entropy takes labels as 0.0 and 1.0
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or len(labels) != n:
        hint = _rows_hint(labels) if labels.ndim == 2 else ""
        raise UserError(f"{what} are {described(labels)} for {n} images: expected one whole number per image{hint}")

    return labels.to("cpu", torch.long)


def _rows_hint(rows: Tensor) -> str:
    """What to do with a row of numbers per image."""
    known = bool(((rows == 0) | (rows == 1)).all())
    if known and bool((rows.sum(1) == 1).all()):
        return " (of one-hot rows, argmax(1))"
    return ": several or soft labels of an image are not supported"


def _first_word(given: Any) -> str | None:
    """The first of some labels, if it is text: of a list, an array, or a column of pandas."""
    if isinstance(given, Tensor) or not hasattr(given, "__len__") or len(given) == 0:
        return None
    first = next(iter(given))
    return str(first) if isinstance(first, str) else None


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.is_nested:
            raise UserError(f"{name}: a sparse, quantised or nested tensor: give an ordinary one (.to_dense())")
        if value.is_meta:
            raise UserError(f"{name}: a tensor on the meta device, which has no values: load them first")
        return value.detach()
    if isinstance(value, np.ma.MaskedArray):
        raise UserError(f"{name}: a masked array: fill in what is masked, .filled(0) for example")

    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.asarray(array.tolist())  # whole numbers that a table held as objects
        if array.dtype == object:
            raise TypeError("it holds other things")
        if any(stride < 0 for stride in array.strides):
            array = array.copy()  # torch cannot read backwards
        if array.dtype.kind in "iuf" and not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))  # of files in the other byte order, such as MNIST's

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # read-only arrays, such as memory maps: nothing is ever written
            return torch.as_tensor(array)
    except Exception as error:  # anything may be given
        raise UserError(f"{name}: a {type(value).__name__} is no tensor or array of numbers: {one_line(error)}") from None


# --- folders -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderImages:
    """`images` uint8 [N, C, H, W], `labels` [N], the `classes` by name, and the file of each image, relative to the folder.

    Given to `mulnb.unlearn` and the others, it is what the folder itself would be. Unpacks as (images, labels, classes).
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    files: tuple[str, ...]
    root: Path | None = None

    def __iter__(self):
        return iter((self.images, self.labels, list(self.classes)))

    def __getitem__(self, place: int | slice) -> Any:
        return tuple(self)[place]


def read_folder(
    root: str | os.PathLike, *, size: int | None = None, skip_corrupt: bool = False, classes: Sequence[str] | None = None
) -> FolderImages:
    """Images of a folder with one sub-folder per class, read as those of a profile are; grey if all of them are.

    Args:
        root: the folder.
        size: resize every image to size × size pixels; None: all must have one size.
        skip_corrupt: leave out files that cannot be read, with a notice that names them.
        classes: the order of the classes; by default sorted by name as text, as torchvision does.

    Raises:
        UserError: see `mulnb.data.read_folder`, which reads the files.
    """
    from mulnb.data import read_folder as read_files

    root = paths.given(root, "the folder")
    if os.path.isfile(root):
        raise UserError(f"{root} is a file: expected a folder with one sub-folder per class")

    found = read_files(root, size=size, skip_corrupt=skip_corrupt, classes=classes)
    images = _grey(torch.from_numpy(found.images))  # of [N, 3, H, W]
    files = tuple(file.removeprefix("/") for file in found.files)

    return FolderImages(images, torch.from_numpy(found.labels), tuple(found.classes), files, root)
