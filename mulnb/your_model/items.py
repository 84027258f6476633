"""Data sets whose items are read one by one: any map-style Dataset, a DataLoader, a list of pairs, as (image, label)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
)

from mulnb.core.errors import UserError
from mulnb.your_model.adapt import first_line
from mulnb.your_model.pictures import labels_of, picture

IMAGE_KEYS = ("image", "img", "pixel_values", "images", "x", "input", "inputs", "data")
LABEL_KEYS = ("label", "labels", "fine_label", "target", "targets", "y", "class")


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

        own = loader.collate_fn not in (default_collate, default_convert)
        dataset = Collated(loader.dataset, loader.collate_fn, loader.batch_sampler is not None) if own else loader.dataset
        return dataset, loader.num_workers

    if isinstance(given, IterableDataset):
        raise UserError(f"{name}: an IterableDataset has no index to name examples by: give a map-style Dataset")

    if pairs(given):
        return given, 0

    known = (Tensor, np.ndarray, list, tuple, str, bytes, Mapping, range)
    if isinstance(given, known) or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        return None, None
    if hasattr(given, "dtype") or hasattr(given, "iloc"):  # arrays of other libraries, pandas
        return None, None
    if len(given) == 0:
        raise UserError(f"{name}: the data set is empty")

    return given, None


def pairs(given: Any) -> bool:
    """Whether this is a list of examples, each an (image, label) or a dict, and not a list of images."""
    if not isinstance(given, (list, tuple)) or not given:
        return False
    if isinstance(given[0], Mapping):
        return any(key in given[0] for key in IMAGE_KEYS)
    if not isinstance(given[0], tuple) or len(given[0]) < 2:
        return False

    image, label = given[0][:2]
    # an image has more than one number: a row of numbers is no pair
    return np.ndim(label) == 0 and not isinstance(label, (str, bytes)) and (hasattr(image, "getbands") or np.ndim(image) >= 2)


def columns_of(given: Mapping, name: str) -> tuple[Any, Any]:
    """Images and labels (None if there are none) of a mapping of columns: an opened .npz, a slice of a Hugging Face data set."""
    image_key = next((key for key in IMAGE_KEYS if key in given), None)
    if image_key is None:
        raise UserError(f"{name}: a {type(given).__name__} with {', '.join(map(str, given))}: expected 'images' and 'labels'")

    label_key = next((key for key in LABEL_KEYS if key in given), None)
    return given[image_key], None if label_key is None else given[label_key]


class Collated:
    """The examples of a DataLoader with a `collate_fn` of its own, which may turn them into images: one at a time."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool) -> None:
        self.dataset, self.collate, self.batched = dataset, collate, batched

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not self.batched:
            return self.collate(self.dataset[index])

        batch = self.collate([self.dataset[index]])
        if isinstance(batch, Mapping):
            return {key: column[0] for key, column in batch.items() if np.ndim(column) or isinstance(column, (list, tuple))}
        return tuple(column[0] for column in batch) if isinstance(batch, (list, tuple)) else batch[0]


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
        """The names of the classes, where the data set knows them."""
        dataset = _whole(self.dataset)
        names = getattr(dataset, "classes", None)
        features = getattr(dataset, "features", None)  # of Hugging Face data sets
        if names is None and isinstance(features, Mapping):
            names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)

        good = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        return tuple(names) if good else None

    @property
    def files(self) -> tuple[tuple[str, ...], Path] | None:
        """The file of each item and the folder that these names are relative to, for torchvision's image folders."""
        found = _kept_files(self.dataset)
        root = getattr(_whole(self.dataset), "root", None)
        if found is None or not isinstance(root, (str, Path)):
            return None

        try:
            return tuple(Path(file).relative_to(root).as_posix() for file in found), Path(root)
        except ValueError:
            return None

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


def _whole(dataset: Any) -> Any:
    """The data set behind Subsets."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _kept_files(dataset: Any) -> list[str] | None:
    if isinstance(dataset, Subset):
        found = _kept_files(dataset.dataset)
        return None if found is None else [found[int(place)] for place in dataset.indices]

    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, list) or len(samples) != len(dataset):
        return None
    good = all(isinstance(sample, tuple) and sample and isinstance(sample[0], str) for sample in samples)
    return [sample[0] for sample in samples] if good else None


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
