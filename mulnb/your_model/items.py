"""Data sets whose items are read one by one: any map-style Dataset, a DataLoader, a list of pairs, as (image, label)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
)

from mulnb.core.errors import UserError, users_code
from mulnb.your_model.named import LABEL_KEYS, behind, few, kept_labels
from mulnb.your_model.pictures import check_alike, labels_of, picture, turned

# in this order: beside `pixel_values`, an `image` is the picture that they were made from
IMAGE_KEYS = ("pixel_values", "image", "img", "images", "x", "input", "inputs", "data")
VALUES = 2048


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
        _check_subset(loader.dataset, name)

        if not _in_order(loader):
            raise UserError(
                f"{name}: the DataLoader shuffles or samples, so that an index names another image each time: "
                "give shuffle=False, or its .dataset"
            )

        own = loader.collate_fn not in (default_collate, default_convert)
        dataset = Collated(loader.dataset, loader.collate_fn, loader.batch_sampler is not None) if own else loader.dataset
        return dataset, loader.num_workers

    _check_subset(given, name)
    if isinstance(given, IterableDataset):
        raise UserError(f"{name}: an IterableDataset has no index to name examples by: give a map-style Dataset")

    if pairs(given):
        return given, 0

    if isinstance(given, Iterator):
        what = f"{name}: a {type(given).__name__} is no tensor or array of numbers"
        raise UserError(f"{what}: it can be read once only; give a list, or a map-style Dataset")
    if isinstance(given, Dataset) and not hasattr(given, "__len__"):
        raise UserError(f"{name}: the data set does not say how many examples it has: give it a __len__ that does")

    known = (Tensor, np.ndarray, list, tuple, str, bytes, Mapping, range)
    if isinstance(given, known) or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        return None, None
    if hasattr(given, "dtype") or hasattr(given, "iloc"):  # arrays of other libraries, pandas
        return None, None
    return given, None


def _in_order(loader: DataLoader) -> bool:
    """Whether a DataLoader gives the examples of its data set in their order, and all of them."""
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        return False  # a class or a list of the user's own: nobody knows what it does
    sampler = loader.sampler if batches is None else batches.sampler
    return type(sampler) is SequentialSampler and len(sampler) == _length(loader.dataset)


def _length(dataset: Any) -> int | None:
    """How many examples a data set says that it has; None if it cannot say so."""
    try:
        return len(dataset)
    except Exception:  # the user's own code
        return None


def _check_subset(dataset: Any, name: str) -> None:
    """Raises `UserError` if a Subset names examples that its data set does not have, or has a mask in place of indices."""
    while isinstance(dataset, Subset):
        if hasattr(dataset.indices, "iloc"):
            raise UserError(f"{name}: the indices of a Subset are a Series, which torch reads by its own index: give .tolist()")
        index = np.asarray(dataset.indices)
        n = _length(dataset.dataset)
        if len(index) and index.dtype.kind not in "iu":
            what = f"{name}: the indices of a Subset are {index.dtype}"
            raise UserError(f"{what}: expected whole numbers (of a mask, np.flatnonzero)")
        if n is not None and len(index) and (index.min() < -n or index.max() >= n):
            wrong = index.min() if index.min() < -n else index.max()
            raise UserError(f"{name}: a Subset has index {wrong}, and its data set has {n} examples")
        dataset = dataset.dataset


def pairs(given: Any) -> bool:
    """Whether this is a list of examples, each an (image, label) or a dict, and not a list of images."""
    if not isinstance(given, (list, tuple)) or not given:
        return False
    if isinstance(given[0], Mapping):
        return any(key in given[0] for key in IMAGE_KEYS)
    if not isinstance(given[0], (tuple, list)) or len(given[0]) < 2:
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
    whole, places = behind(dataset)
    if type(whole) is not TensorDataset or len(whole.tensors) < 2 or whole.tensors[0].ndim != 4:
        return None
    images, labels = whole.tensors[:2]
    return (images, labels) if places is None else (images[places], labels[places])


class Items:
    """A Dataset whose item i is (image [C, H, W], label), whatever its own items are.

    `for_workers`: what worker processes read, without an opened file of `dataset`; None: all is read in this process.
    """

    def __init__(self, dataset: Any, name: str, labelled: bool) -> None:
        self.dataset, self.label, self.labelled = dataset, name, labelled
        self.for_workers: Any | None = None
        self.turn = True  # what looks like [H, W, C] is taken as such
        self.turned = False  # an item looked like it
        self.first: Tensor | None = None  # the image that the others must be like
        self.seen: dict[int, Tensor] = {}  # some values of the items that `check` read

        n = _length(dataset)
        if n is None:
            raise UserError(f"{name}: the data set does not say how many examples it has: give it a __len__ that does")
        if n == 0:
            raise UserError(f"{name}: the data set is empty")
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with users_code(f"{self.label}: example {index} cannot be read"):
            item = self.dataset[index]

        image, label = self._parts(item, index)
        self.turned = self.turned or turned(image)
        image = picture(image, f"{self.label}: example {index}", self.turn).clone()  # one buffer may be used for all items
        if self.first is None:
            self.first = image
        check_alike(image, self.first, f"{self.label}: example {index}")

        return image, label

    def _parts(self, item: Any, index: int) -> tuple[Any, int]:
        """Image and label of an item; the label is -1 where labels are given beside the data set."""
        if hasattr(item, "_asdict") and any(key in item._fields for key in IMAGE_KEYS):
            item = item._asdict()  # a named tuple
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
            number = label.item() if isinstance(label, Tensor) else np.asarray(label).reshape(()).item()
            # binary cross-entropy takes labels as 0.0 and 1.0
            if not isinstance(number, (int, float)) or int(number) != number or abs(number) >= 2**63:
                raise ValueError
            return int(number)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            shape = list(getattr(label, "shape", ()))
            shown = f"{type(label).__name__} {shape}" if math.prod(shape) > 4 else f"{label!r:.40}"
            raise UserError(f"{self.label}: the label of example {index} is {shown}: expected a whole number") from None

    def check(self, count: int) -> None:
        """Read some items twice, from all over the set. Raises `UserError` if they are no examples, or differ the second time."""
        for index in few(len(self), count):
            first, again = self[index], self[index]
            if first[1] != again[1]:
                told = f"{self.label}: example {index} has label {first[1]}, and {again[1]} when it is read again"
                raise UserError(f"{told}: give every example one label")
            if not torch.equal(first[0].nan_to_num(), again[0].nan_to_num()):
                raise UserError(
                    f"{self.label}: example {index} is another image each time it is read (a random transform): "
                    "give the data set without augmentation, and the augmentation as Training(transform=…)"
                )
            self.seen[index] = _some_values(first[0])

    def compare(self, index: Sequence[int], images: Tensor) -> None:
        """Raises `UserError` if images [B, C, H, W] that a worker process read are others than this process read before."""
        for place, image in zip(index, images, strict=True):
            if place not in self.seen:
                continue
            known, found = self.seen[place], _some_values(image)
            if not torch.allclose(found, known, rtol=1e-3, atol=1e-3 * float(known.nan_to_num().abs().max()), equal_nan=True):
                raise UserError(
                    f"{self.label}: example {place} is another image when a worker process reads it (an opened file is shared, "
                    "perhaps): open files in the process that reads them, or give the DataLoader num_workers=0"
                )

    def in_workers(self) -> Items:
        """These items, read from the data set that worker processes get."""
        return self if self.for_workers is None else self._of(self.for_workers, self.labelled)

    def with_labels(self) -> Items:
        """These items with labels of their own, also where others are given beside the data set."""
        return self._of(self.dataset, True)

    def _of(self, dataset: Any, labelled: bool) -> Items:
        other = copy.copy(self)
        other.dataset, other.labelled, other.for_workers, other.seen = dataset, labelled, None, {}
        return other

    def known_labels(self) -> Any | None:
        """All labels without reading the images, where the data set keeps them and they are those of its first items."""
        whole, places = behind(self.dataset)
        found = kept_labels(whole) if getattr(whole, "target_transform", None) is None else None
        if found is None:
            return None

        try:
            kept = labels_of(found if places is None else np.asarray(found)[places], len(self), self.label)
        except UserError:
            return None

        probe = range(0, len(self), max(1, len(self) // 4))
        return kept if all(self[index][1] == int(kept[index]) for index in probe) else None

    def all_labels(self, workers: int, batch: int) -> Tensor:
        """All labels, by reading every item once."""
        pieces = torch.arange(len(self)).split(batch)
        return torch.cat(list(loaded(self, pieces, workers, _only_labels)))


class _Told:
    """Items for worker processes, where a mistake becomes an item: torch would put the worker's traceback into its message."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, index: int) -> Any:
        try:
            return self.items[index]
        except UserError as error:
            return error


class _Collected:
    """A `collate_fn` of items among which there may be a mistake."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> Any:
        return next((item for item in items if isinstance(item, UserError)), None) or self.collate(items)


def loaded(
    items: Items, pieces: Sequence[Tensor], workers: int, collate: Callable[[Any], Any], pin: bool = False
) -> Iterator[Any]:
    """Batches of items, read in worker processes; in this one where there are none, or no copy of the data for them.

    Raises:
        UserError: an item cannot be read, or a worker process died.
    """
    workers = 0 if items.for_workers is None else min(workers, len(pieces))
    loader = DataLoader(
        _Told(items.in_workers() if workers else items),
        batch_sampler=[piece.tolist() for piece in pieces],
        num_workers=workers,
        collate_fn=_Collected(collate),
        pin_memory=pin,
        generator=torch.Generator(),  # its own: the order and the weights must not depend on the number of workers
    )
    batches = iter(loader)

    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:  # torch's, where a process was killed
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{items.label}: a process that reads the data set ended: {reason}: give a DataLoader with num_workers=0"
            ) from error

        if isinstance(batch, UserError):
            raise batch
        yield batch


def _some_values(image: Tensor) -> Tensor:
    """At most some thousand values of an image, by which it is known again."""
    values = image.flatten()
    return values[:: max(1, len(values) // VALUES)].float().clone()


def stack(items: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """The images [B, C, H, W] and labels int64 [B] of some items."""
    return torch.stack([image for image, _ in items]), _only_labels(items)


def _only_labels(items: Sequence[tuple[Tensor, int]]) -> Tensor:
    return torch.tensor([label for _, label in items])
