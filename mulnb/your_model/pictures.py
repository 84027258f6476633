"""What users call images: arrays in any axis order, PIL images, encoded bytes, files of a folder, as [C, H, W] tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.your_model.adapt import described, first_line

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
            if pictures[-1].shape != pictures[0].shape:
                shapes = f"{list(pictures[-1].shape)}, the first is {list(pictures[0].shape)}"
                raise UserError(f"{name}: image {place} is {shapes}: resize all to one size and one number of channels")

        images = torch.stack(pictures)
        return _grey(images) if isinstance(given[0], ENCODED) else images

    images = _tensor(given, name)
    if images.ndim == 3:
        images = images[:, None]  # grey: [N, H, W] -> [N, 1, H, W]
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        hint = "; values 0 … 255 belong in uint8" if not images.is_floating_point() else ""
        raise UserError(f"{name} are {described(images)}: expected uint8 or floating point [N, C, H, W]{hint}")
    if len(images) == 0:
        raise UserError(f"{name}: there is no image")
    if _channels_last(images.shape[1:]):
        warnings.warn(f"{name} are {described(images)}: taken as [N, H, W, C]", stacklevel=2)
        images = images.permute(0, 3, 1, 2)

    return images


def _channels_last(shape: Sequence[int]) -> bool:
    return shape[2] in CHANNELS and shape[0] not in CHANNELS


def picture(value: Any, what: str) -> Tensor:
    """One image as uint8 or floating point [C, H, W]; PIL images become grey or RGB, image files RGB.

    Raises:
        UserError: it is none; the message begins with `what`.
    """
    if isinstance(value, ENCODED):
        value = _decoded(value, what)
    elif hasattr(value, "getbands"):  # a PIL image
        value = _from_pil(value)

    image = _tensor(value, what)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise UserError(f"{what} is {described(image)}: expected uint8 or floating point [C, H, W]")

    return image.permute(2, 0, 1) if _channels_last(image.shape) else image


def _from_pil(image: Any) -> np.ndarray:
    if image.mode == "L" and not image.has_transparency_data:
        return np.array(image)
    from mulnb.data.decode import _to_rgb  # 16-bit grey and transparency, as in a folder

    colours = np.array(_to_rgb(image)).transpose(2, 0, 1)
    return colours[0] if image.mode in GREY else colours


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
        raise UserError(f"{what}: {name} cannot be read as an image: {first_line(error)}") from None


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
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or len(labels) != n:
        hint = " (of one-hot rows, argmax(1))" if labels.ndim == 2 else ""
        raise UserError(f"{what} are {described(labels)} for {n} images: expected one whole number per image{hint}")

    return labels.to("cpu", torch.long)


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
        return value.detach()

    try:
        array = np.asarray(value)
        if any(stride < 0 for stride in array.strides):
            array = array.copy()  # torch cannot read backwards
        if array.dtype.kind in "iuf" and not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))  # of files in the other byte order, such as MNIST's

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # read-only arrays, such as memory maps: nothing is ever written
            return torch.as_tensor(array)
    except Exception as error:  # anything may be given
        raise UserError(f"{name}: a {type(value).__name__} is no tensor or array of numbers: {first_line(error)}") from None


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


def read_folder(root: str | os.PathLike, *, skip_corrupt: bool = False, classes: Sequence[str] | None = None) -> FolderImages:
    """Images of a folder with one sub-folder per class, read as those of a profile are; grey if all of them are.

    Args:
        root: the folder.
        skip_corrupt: leave out files that cannot be read, with a notice that names them.
        classes: the order of the classes; by default sorted by name as text, as torchvision does.

    Raises:
        UserError: see `mulnb.data.read_folder`, which reads the files.
    """
    from mulnb.data import read_folder as read_files

    found = read_files(Path(root), skip_corrupt=skip_corrupt, classes=classes)
    images = _grey(torch.from_numpy(found.images))  # of [N, 3, H, W]
    files = tuple(file.removeprefix("/") for file in found.files)

    return FolderImages(images, torch.from_numpy(found.labels), tuple(found.classes), files, Path(root))
