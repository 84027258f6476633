"""Data as users hold them, read by index, batch by batch: `read` makes one of three kinds of `Images` of whatever is given.

`TensorImages` are a tensor or an array; `ItemImages` ask a map-style Dataset for its items, in worker processes where that
pays, and never hold more than a few batches. A folder is decoded by the same reader as a profile's and becomes the former.
"""

from __future__ import annotations

import copy
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulnb.core import paths, series
from mulnb.core.errors import UserError, notice
from mulnb.core.workers import cores
from mulnb.data import ImageSet
from mulnb.training import moved
from mulnb.your_model import items as of_items
from mulnb.your_model import named, pictures
from mulnb.your_model.copied import copy_of
from mulnb.your_model.items import Items

Normalize = tuple[Sequence[float] | float, Sequence[float] | float] | None  # mean and std, one for all or one a channel

ON_DEVICE = 0.25  # share of an accelerator's free memory that images may take; larger sets stay on the host
AT_ONCE = 2**24  # values of a batch that is only predicted, 64 MiB as float32
SLOW = 20.0  # seconds a pass over the items may take in this process; beyond, workers decode them
PROBE = 16  # items looked at before anything else


class Images(ABC):
    """Images and labels beside a model. What all kinds have in common; `fit` and `predict` of `mulnb.training` read it.

    Attributes:
        labels: int64 [N] on the model's device.
        device, dtype: where batches go, and the precision that the model reads.
        files: the names of the images, where they are files, else None; `root`: the folder that these are relative to.
        classes: the names of the classes, where they are known, else None.
        largest_batch: images to predict at once.
        turned: whether the images may be [C, H, W] as given, and were taken as [H, W, C]; until a model has read them.
        repeats: how often the network's inputs have each channel of the images, more than once of grey images in colour.
    """

    files: tuple[str, ...] | None = None
    root: str | Path | None = None
    classes: tuple[str, ...] | None = None
    repeats = 1
    turned = False

    def __init__(self, labels: Tensor, device: torch.device, dtype: torch.dtype, normalize: Normalize) -> None:
        self.labels = labels.to(device)
        self.device, self.dtype = device, dtype
        self.affine = _affine(normalize, device, dtype)
        self.largest_batch = 1024
        self.memo: dict[str, Any] = {}  # what was once found out about all images; shared with copies for other devices

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def pixels(self, index: Tensor) -> Tensor:
        """The images at `index` [B] as they are held: uint8 or floating point [B, C, H, W], on any device."""

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        """Network inputs of the examples at `index` [B]: [B, C, H, W] on the model's device, scaled and normalised.

        `moves` [B, 3]: how each image is shifted and mirrored; see `training.moved`.
        """
        x = self.pixels(index).to(self.device, non_blocking=True)
        if self.repeats > 1:
            x = x.expand(-1, self.repeats * x.shape[1], -1, -1)
        if moves is not None:
            x = moved(x, moves).contiguous()

        x = x.to(self.dtype) / 255 if x.dtype == torch.uint8 else x.to(self.dtype)
        return x if self.affine is None else (x - self.affine[0]) / self.affine[1]

    def in_order(self) -> Iterator[tuple[int, Tensor]]:
        """All images as they are held, in batches of `largest_batch`: the place of the first, and the batch."""
        pieces = torch.arange(len(self)).split(self.largest_batch)
        self.announce(pieces)
        for piece in pieces:
            yield int(piece[0]), self.pixels(piece)

    @abstractmethod
    def turn(self) -> None:
        """Take images that may be [C, H, W] or [H, W, C] in the other order. Raises `UserError` if `normalize` forbids it."""

    def announce(self, pieces: Sequence[Tensor]) -> None:  # noqa: B027, not abstract: most kinds have nothing to prepare
        """Hear which batches come next; only data that are read from files make use of it."""

    def on(self, device: torch.device, dtype: torch.dtype) -> Images:
        """The same images for a model on another device or in another precision."""
        if (device, dtype) == (self.device, self.dtype):
            return self

        other = copy.copy(self)
        other.labels, other.device, other.dtype = self.labels.to(device), device, dtype
        other.affine = None if self.affine is None else [part.to(device, dtype) for part in self.affine]
        return other

    def name(self, index: int) -> str:
        """What a message calls an example: its index, and its file where there is one."""
        return f"{index} ({self.files[index]})" if self.files else str(index)


class TensorImages(Images):
    """Images that are all in memory: [N, C, H, W]. They go to the device as a whole only if it has room to spare."""

    def __init__(
        self, images: Tensor, labels: Tensor, device: torch.device, dtype: torch.dtype, normalize: Normalize = None
    ) -> None:
        super().__init__(labels, device, dtype, normalize)
        _check_affine(self.affine, images[0])
        self.largest_batch = _largest_batch(images[:1])
        self.images = images.to(device) if _has_room(device, images) else images
        self.is_turned = True  # in the order that `turn` leaves first

    def pixels(self, index: Tensor) -> Tensor:
        return self.images[index.to(self.images.device)].contiguous()  # the same bits, however the user holds them

    def turn(self) -> None:
        self.images = self.images.permute(0, 2, 3, 1) if self.is_turned else self.images.permute(0, 3, 1, 2)
        self.is_turned = not self.is_turned
        _check_affine(self.affine, self.images[0])


class ItemImages(Images):
    """Images of a map-style Dataset, asked for item by item.

    `items` reads them; `workers` processes decode batches ahead of time, in the order that `announce` was
    told. Batches that were not announced are read at once.
    """

    def __init__(
        self,
        items: Items,
        labels: Tensor,
        device: torch.device,
        dtype: torch.dtype,
        normalize: Normalize = None,
        workers: int = 0,
    ) -> None:
        super().__init__(labels, device, dtype, normalize)
        self.items, self.workers = items, workers
        first = items[0][0]
        self.turned = items.turned
        _check_affine(self.affine, first)
        self.largest_batch = _largest_batch(first.unsqueeze(0))
        self._other_order: dict[int, Tensor] = {}  # what `items.seen` was before `turn`
        self._expected: Iterator[Tensor] = iter(())
        self._next: Tensor | None = None
        self._loaded: Iterator[tuple[Tensor, Tensor]] = iter(())

    def announce(self, pieces: Sequence[Tensor]) -> None:
        self._next = None
        if self.workers == 0 or len(pieces) < 2:
            return

        if not self.items.seen:
            self.items.check(PROBE)
        self._loaded = of_items.loaded(self.items, pieces, self.workers, of_items.stack, pin=self.device.type == "cuda")
        self._expected = iter([piece.cpu() for piece in pieces])
        self._next = next(self._expected)

    def pixels(self, index: Tensor) -> Tensor:
        index = index.cpu()
        if self._next is not None and torch.equal(index, self._next):
            self._next = next(self._expected, None)
            images, labels = next(self._loaded)
            self.items.compare(index.tolist(), images)
        else:
            images, labels = of_items.stack([self.items[int(place)] for place in index])

        if self.items.labelled:
            self._check_labels(index, labels)
        return images

    def turn(self) -> None:
        self.items.turn = not self.items.turn
        self.items.first = None
        self.items.seen, self._other_order = self._other_order, self.items.seen
        _check_affine(self.affine, self.items[0][0])

    def _check_labels(self, index: Tensor, found: Tensor) -> None:
        """Raises `UserError` if an item that was read has another label than the data set said without reading it."""
        said = self.labels[index.to(self.labels.device)].cpu()
        wrong = (found != said).nonzero().flatten()
        if len(wrong):
            place = int(wrong[0])
            raise UserError(
                f"{self.items.label}: example {int(index[place])} has label {int(found[place])} when it is read, and had "
                f"{int(said[place])} before (or in .targets or .labels of the data set): make them agree, or give "
                "(data set, labels)"
            )

    def on(self, device: torch.device, dtype: torch.dtype) -> Images:
        other = super().on(device, dtype)
        if other is not self:
            other._next = None  # the batches that were announced are read by one of them only
        return other


def read(
    given: Any,
    labels: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    normalize: Normalize = None,
    name: str = "images",
) -> Images:
    """Images and labels of any kind, checked.

    Args:
        given: a tensor or array [N, C, H, W], [N, H, W, C] or [N, H, W]; a list of PIL images, arrays or tensors; a map-style
            Dataset or a DataLoader that does not shuffle, of (x, y, …) or of dicts; a list of these; a pair (images, labels); a
            mapping or an .npz file with `images` and `labels`; a folder with one sub-folder per class, or what `read_folder`
            returned; or what an earlier call of this function returned.
        labels: whole numbers [N], or None where `given` has them.
        device, dtype: of the model.
        normalize: mean and std, applied after uint8 images were scaled to [0, 1].
        name: what messages call it.

    Raises:
        UserError: they are no images or labels, do not fit each other, or come in another order each time.
    """
    if isinstance(given, Images):
        return given.on(device, dtype)
    if labels is None and isinstance(given, (tuple, list)) and len(given) == 2 and pictures.is_stack(given[0]):
        given, labels = given
    if isinstance(given, (str, bytes, os.PathLike)):
        path = paths.given(given, name)
        if path.suffix.lower() != ".npz":
            return _folder(path, labels, device, dtype, normalize)
        given = _archive(path, name)
    if isinstance(given, (pictures.FolderImages, ImageSet)):
        return _of_folder(given, labels, device, dtype, normalize)
    if pictures.is_table(given):
        given = {str(column): given[column] for column in given.columns}
    if isinstance(given, Mapping):
        given, own = of_items.columns_of(given, name)
        labels = own if labels is None else labels
    for column in (given, labels):
        series.keep_rows(column)

    dataset, workers = of_items.dataset_of(given, name)
    if dataset is None:
        return _tensors(given, labels, device, dtype, normalize, name)

    tensors = of_items.tensors_of(dataset)
    if tensors is not None:
        return _tensors(tensors[0], tensors[1] if labels is None else labels, device, dtype, normalize, name)

    return _items(dataset, labels, workers, device, dtype, normalize, name)


def _tensors(given: Any, labels: Any, device: torch.device, dtype: torch.dtype, normalize: Normalize, name: str) -> TensorImages:
    """Images that are in memory, all in one or in a list."""
    images = pictures.as_tensor(given, name)
    found = TensorImages(images, pictures.labels_of(labels, len(images), name), device, dtype, normalize)
    found.turned = pictures.turned(given)
    return found


def _items(
    dataset: Any, labels: Any, workers: int | None, device: torch.device, dtype: torch.dtype, normalize: Normalize, name: str
) -> ItemImages:
    """A Dataset whose items are read one by one."""
    items = Items(dataset, name, labelled=labels is None)
    if workers:  # the user's own object stays unread, for the workers
        _part(items, name)
    started = time.perf_counter()
    items.check(PROBE)
    per_item = (time.perf_counter() - started) / min(PROBE, len(items)) / 2  # each was read twice
    if workers is None:
        workers = min(4, cores()) if per_item * len(items) > SLOW else 0
        if workers:
            _part(items, name)

    workers = 0 if items.for_workers is None else workers
    found = items.known_labels() if labels is None else labels
    images = ItemImages(items, torch.zeros(len(items), dtype=torch.long), device, dtype, normalize, workers)
    if found is None:  # they are only in the items: one pass over all of them
        found = items.all_labels(workers, images.largest_batch)

    used = pictures.labels_of(found, len(items), name)
    images.labels = used.to(device)
    images.classes = named.classes_of(items.dataset, used.numpy())
    if (files := named.files_of(items, used.numpy())) is not None:
        images.files, images.root = files

    return images


def _part(items: Items, name: str) -> None:
    """Let worker processes read a data set of their own; where it cannot be copied, tell that they are not used."""
    copied, why = copy_of(items.dataset)
    if copied is None:
        what = f"{name}: the data set cannot be copied for worker processes ({why}), and is read in this one"
        notice(f"{what}: to let workers read it, open files in __getitem__")
        return
    items.dataset, items.for_workers = copied, items.dataset


def _folder(root: Any, labels: Any, device: torch.device, dtype: torch.dtype, normalize: Normalize) -> TensorImages:
    if os.path.isfile(root):
        raise UserError(f"{root} is a file: expected a folder with one sub-folder per class, or an .npz")
    if labels is not None:
        raise UserError(f"{root} is a folder, whose sub-folders are the classes: labels must be None")

    found = pictures.read_folder(root)
    return _of_folder(found, None, device, dtype, normalize)


def _of_folder(
    found: pictures.FolderImages | ImageSet, labels: Any, device: torch.device, dtype: torch.dtype, normalize: Normalize
) -> TensorImages:
    """What was read from a folder, by `your_model.read_folder` or by the readers of a profile."""
    pixels = torch.as_tensor(found.images)
    own = pictures.labels_of(found.labels if labels is None else labels, len(pixels), "images")
    images = TensorImages(pixels, own, device, dtype, normalize)
    images.files, images.root = found.files or None, getattr(found, "root", None)
    images.classes = tuple(found.classes)
    return images


def _archive(path: Path, name: str) -> dict[str, Any]:
    """The arrays of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as found:
            keys = [key for key in (*of_items.IMAGE_KEYS, *of_items.LABEL_KEYS) if key in found]
            return {key: found[key] for key in keys or found.files}
    except FileNotFoundError:
        raise UserError(f"{name}: {path} does not exist") from None
    except Exception as error:  # a damaged archive may fail anywhere in the reader
        raise UserError(f"{name}: {path} cannot be read: {error}") from None


def _affine(normalize: Normalize, device: torch.device, dtype: torch.dtype) -> list[Tensor] | None:
    if normalize is None:
        return None
    if not isinstance(normalize, (tuple, list)) or len(normalize) != 2:
        raise UserError("normalize: expected a pair (mean, std), each a number or one number per channel")

    try:
        mean, std = (torch.as_tensor(part, dtype=torch.float32).reshape(-1, 1, 1) for part in normalize)
    except (TypeError, ValueError, RuntimeError):
        raise UserError("normalize: mean and std must be numbers, one for all channels or one per channel") from None

    if not bool(torch.isfinite(mean).all()) or not bool((std > 0).all()) or not bool(torch.isfinite(std).all()):
        raise UserError("normalize: the mean must be finite and every std positive and finite")

    return [mean.to(device, dtype), std.to(device, dtype)]


def _check_affine(affine: list[Tensor] | None, image: Tensor) -> None:
    """Raises `UserError` if mean or std are for other images than this one [C, H, W].

    They may be for another number of channels (of grey images, three make colour images), or for values 0 … 255, as which uint8
    images are not normalised.
    """
    if affine is None:
        return
    channels = len(image)
    for part, name in zip(affine, ("mean", "std"), strict=True):
        if channels > 1 and part.numel() not in (1, channels):
            raise UserError(
                f"normalize: the {name} has {part.numel()} numbers, and the images have {channels} channels: "
                "give one number, or one per channel"
            )

    highest = float(affine[0].max())
    if image.dtype == torch.uint8 and highest > 1:
        raise UserError(
            f"normalize: the mean is {highest:g}, and uint8 images are scaled to [0, 1] first: divide mean and std by 255"
        )


def _largest_batch(image: Tensor) -> int:
    return max(8, min(1024, AT_ONCE // max(image.numel(), 1)))


def _has_room(device: torch.device, images: Tensor) -> bool:
    """Whether the whole set may lie on `device`: on a GPU only if it takes a small part of what is free."""
    if images.device == device or device.type == "cpu":
        return True
    if device.type != "cuda":
        return images.nbytes < 2**30
    return images.nbytes < ON_DEVICE * torch.cuda.mem_get_info(device)[0]
