"""What users call images: arrays in any axis order, PIL images, items of a Dataset, files of a folder, as [C, H, W] tensors."""

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
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, Subset, TensorDataset

from mulnb.core.errors import UserError
from mulnb.your_model.adapt import described, first_line

CHANNELS = (1, 3, 4)
IMAGE_KEYS = ("image", "img", "pixel_values", "images", "x", "input", "inputs", "data")
LABEL_KEYS = ("label", "labels", "fine_label", "target", "targets", "y", "class")


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
    if isinstance(given, (list, tuple)) and len(given) and not isinstance(given[0], (int, float)):
        pictures = []
        for place, value in enumerate(given):
            pictures.append(picture(value, f"{name}: image {place}"))
            if pictures[-1].shape != pictures[0].shape:
                shapes = f"{list(pictures[-1].shape)}, the first is {list(pictures[0].shape)}"
                raise UserError(f"{name}: image {place} is {shapes}: resize all to one size and one number of channels")
        return torch.stack(pictures)

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
    """One image as uint8 or floating point [C, H, W]; PIL images become grey or RGB.

    Raises:
        UserError: it is none; the message begins with `what`.
    """
    if hasattr(value, "getbands"):  # a PIL image
        value = _from_pil(value)

    image = _tensor(value, what)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise UserError(f"{what} is {described(image)}: expected uint8 or floating point [C, H, W]")

    return image.permute(2, 0, 1) if _channels_last(image.shape) else image


def _from_pil(image: Any) -> np.ndarray:
    if image.mode == "L":
        return np.array(image)
    from mulnb.data.decode import _to_rgb  # 16-bit grey and transparency, as in a folder

    return np.array(_to_rgb(image)).transpose(2, 0, 1)


def labels_of(given: Any, n: int, name: str) -> Tensor:
    """Labels int64 [n], on the CPU.

    Raises:
        UserError: there are none, or they are not one whole number per image.
    """
    what = name.replace("images", "labels") if "images" in name else f"labels of {name}"
    if given is None:
        raise UserError(f"{what} are missing: give one whole number per image")
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], str):
        raise UserError(f"{what} are text ('{given[0]}', …): number the classes 0 … K − 1")

    labels = _tensor(given, what)
    if labels.ndim == 2 and labels.shape == (n, 1):
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or len(labels) != n:
        hint = " (of one-hot rows, argmax(1))" if labels.ndim == 2 else ""
        raise UserError(f"{what} are {described(labels)} for {n} images: expected one whole number per image{hint}")

    return labels.to("cpu", torch.long)


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    try:
        array = np.asarray(value)
        if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
            array = array.copy()  # torch takes neither; nothing is ever written into it
        return torch.as_tensor(array)
    except Exception as error:  # anything may be given
        raise UserError(f"{name}: a {type(value).__name__} is no tensor or array of numbers: {first_line(error)}") from None


# --- data sets -----------------------------------------------------------------------------------------------------------


def dataset_of(given: Any, name: str) -> tuple[Any | None, int | None]:
    """The map-style Dataset in what was given, and the number of workers to read it with (None: not said).

    Returns (None, None) for what is no data set.

    Raises:
        UserError: it can only be iterated over, or comes in another order each time.
    """
    if isinstance(given, DataLoader):
        loader = given
        if isinstance(loader.dataset, IterableDataset):
            raise UserError(f"{name}: the DataLoader reads a stream: examples need an index; give a map-style Dataset")

        sampler = loader.batch_sampler if isinstance(loader.batch_sampler, BatchSampler) else loader.sampler
        inner = getattr(sampler, "sampler", sampler)
        if not isinstance(inner, SequentialSampler):
            raise UserError(
                f"{name}: the DataLoader shuffles or samples, so that an index names another image each time: "
                "give shuffle=False, or its .dataset"
            )

        return loader.dataset, loader.num_workers

    if isinstance(given, IterableDataset):
        raise UserError(f"{name}: an IterableDataset has no index to name examples by: give a map-style Dataset")

    known = (Tensor, np.ndarray, list, tuple, str, bytes, Mapping, range)
    if isinstance(given, known) or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        return None, None
    if hasattr(given, "dtype") or hasattr(given, "iloc"):  # arrays of other libraries, pandas
        return None, None
    if len(given) == 0:
        raise UserError(f"{name}: the data set is empty")

    return given, None


def tensors_of(dataset: Any) -> tuple[Tensor, Tensor] | None:
    """Images and labels of a TensorDataset, also behind Subsets; None for other data sets."""
    if isinstance(dataset, Subset):
        found = tensors_of(dataset.dataset)
        if found is None:
            return None

        index = torch.as_tensor(list(dataset.indices), dtype=torch.long)
        return found[0][index], found[1][index]
    if type(dataset) is TensorDataset and len(dataset.tensors) >= 2 and dataset.tensors[0].ndim == 4:
        return dataset.tensors[0], dataset.tensors[1]
    return None


class Items:
    """A Dataset whose item i is (image [C, H, W], label), whatever its own items are. Workers get a copy of it."""

    def __init__(self, dataset: Any, name: str, labelled: bool) -> None:
        self.dataset, self.label, self.labelled = dataset, name, labelled
        self.shape: torch.Size | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            item = self.dataset[index]
        except UserError:
            raise
        except Exception as error:  # the user's own code
            message = f"{self.label}: example {index} cannot be read: {type(error).__name__}: {first_line(error)}"
            raise UserError(message) from error

        image, label = self._parts(item, index)
        image = picture(image, f"{self.label}: example {index}")
        if self.shape is None:
            self.shape = image.shape
        if image.shape != self.shape:
            sizes = f"{list(image.shape)}, the first is {list(self.shape)}"
            raise UserError(f"{self.label}: example {index} is {sizes}: resize all to one size in the data set")

        return image, label

    def _parts(self, item: Any, index: int) -> tuple[Any, int]:
        """Image and label of an item; the label is -1 where labels are given beside the data set."""
        if isinstance(item, Mapping):
            image_key = next((key for key in IMAGE_KEYS if key in item), None)
            label_key = next((key for key in LABEL_KEYS if key in item), None)
            if image_key is None or (label_key is None and self.labelled):
                keys = ", ".join(map(str, item))
                raise UserError(f"{self.label}: items have {keys}: expected an image as 'image' and a label as 'label'")

            image, label = item[image_key], item.get(label_key) if label_key else None
        elif isinstance(item, (tuple, list)):
            if len(item) < (2 if self.labelled else 1):
                raise UserError(f"{self.label}: example {index} has no label: items must be (image, label)")
            image, label = item[0], item[1] if len(item) > 1 else None
        elif self.labelled:
            raise UserError(f"{self.label}: items are a {type(item).__name__} without a label: give labels=, or (image, label)")
        else:
            image, label = item, None
        return image, self._whole(label, index) if self.labelled else -1

    def _whole(self, label: Any, index: int) -> int:
        try:
            value = np.asarray(label.detach().cpu() if isinstance(label, Tensor) else label)
            if value.size != 1 or value.dtype.kind not in "iub":
                raise ValueError
            return int(value.reshape(()))
        except (TypeError, ValueError):
            raise UserError(f"{self.label}: the label of example {index} is {label!r:.40}: expected a whole number") from None

    def check(self, count: int) -> None:
        """Read the first items twice. Raises `UserError` if they are no examples, or differ the second time."""
        for index in range(min(count, len(self))):
            first, again = self[index], self[index]
            if not torch.equal(first[0].nan_to_num(), again[0].nan_to_num()) or first[1] != again[1]:
                raise UserError(
                    f"{self.label}: example {index} is another image each time it is read (a random transform): "
                    "give the data set without augmentation, and the augmentation as Training(transform=…)"
                )

    @property
    def classes(self) -> tuple[str, ...] | None:
        names = getattr(self.dataset, "classes", None)
        good = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        return tuple(names) if good else None

    def known_labels(self) -> Any | None:
        """All labels without reading the images, where the data set keeps them and they are those of its first items."""
        found = _kept_labels(self.dataset)
        if found is None:
            return None

        try:
            kept = labels_of(found, len(self), self.label)
        except UserError:
            return None

        probe = range(0, len(self), max(1, len(self) // 4))
        return kept if all(self[index][1] == int(kept[index]) for index in probe) else None

    def all_labels(self, workers: int, batch: int) -> Tensor:
        """All labels, by reading every item once."""
        loader = DataLoader(self, batch, num_workers=workers, collate_fn=_only_labels, generator=torch.Generator())
        return torch.cat(list(loader))


def _kept_labels(dataset: Any) -> Any | None:
    if isinstance(dataset, Subset):
        found = _kept_labels(dataset.dataset)
        return None if found is None else np.asarray(found)[np.asarray(list(dataset.indices), dtype=np.int64)]
    if getattr(dataset, "target_transform", None) is not None:
        return None

    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):  # a Hugging Face data set: a column is read without the images
        key = next((key for key in LABEL_KEYS if key in columns), None)
        return None if key is None else list(dataset[key])

    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if isinstance(found, (list, tuple, np.ndarray, Tensor)) and len(found) == len(dataset):
            return found

    return None


def stack(items: Sequence[tuple[Tensor, int]]) -> Tensor:
    """The images of some items, [B, C, H, W]."""
    return torch.stack([image for image, _ in items])


def _only_labels(items: Sequence[tuple[Tensor, int]]) -> Tensor:
    return torch.tensor([label for _, label in items])


# --- folders -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderImages:
    """`images` uint8 [N, C, H, W], `labels` [N], the `classes` by name, and the file of each image, relative to the folder.

    Unpacks as (images, labels, classes).
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    files: tuple[str, ...]

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
    images = torch.from_numpy(found.images)  # [N, 3, H, W]
    grey = bool((images == images[:, :1]).all())
    images = (images[:, :1] if grey else images).contiguous()
    files = tuple(file.removeprefix("/") for file in found.files)

    return FolderImages(images, torch.from_numpy(found.labels), tuple(found.classes), files)
