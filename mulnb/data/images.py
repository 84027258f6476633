"""`ImageSet`: images, their labels and class names, checked; of a user's folder, also the names of their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.whole import whole

AS_PUBLISHED = "as published"
BY_FILE_NAME = "by file name"


@dataclass(frozen=True, repr=False)
class ImageSet:
    """Images with labels.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], each in 0 … len(classes) − 1.
        classes: the names of the classes, in the order of the labels.
        source: where the images come from, for people ("CIFAR-10 (JPEG copy)"). Nothing is keyed by it.
        index: int64 [N], the position of each example in its source's own order, which scores from outside refer to: 0 … 49 999
            for CIFAR's training images as torchvision gives them; for image folders, the position in the sorted listing. None
            where it is unknown. No result is keyed by it.
        source_size: how many examples the source has in that order; None where it is unknown.
        order: which order that is, `AS_PUBLISHED` or `BY_FILE_NAME`; "" where it is unknown.
        files: [N], the file of each example of a user's folder, relative to the folder; () where there is no such folder.

    Raises:
        UserError: another dtype or shape, more or fewer labels than images, or a label without a class.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str = ""
    index: np.ndarray | None = None
    source_size: int | None = None
    order: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels

        if not isinstance(images, np.ndarray):
            raise UserError(f"images are a {type(images).__name__}: expected a numpy array, uint8 [N, C, H, W]")
        if isinstance(labels, (list, tuple)) or (isinstance(labels, np.ndarray) and labels.dtype != np.int64):
            given = np.asarray(labels)
            labels = whole(given) if given.size else given.astype(np.int64)
            if labels is None:
                raise UserError(f"labels are {given.dtype}: expected whole numbers, the places of the classes")
            object.__setattr__(self, "labels", labels)
        if not isinstance(labels, np.ndarray) or labels.ndim != 1:
            kind = f"of shape {labels.shape}" if isinstance(labels, np.ndarray) else f"a {type(labels).__name__}"
            raise UserError(f"labels are {kind}: expected a numpy array, int64 [N]")

        channels_last = images.ndim == 4 and images.shape[3] == 3 and images.shape[1] > 4
        if images.dtype != np.uint8 or images.ndim != 4 or channels_last:
            raise UserError(f"images are {images.dtype} of shape {images.shape}: expected uint8 [N, C, H, W]")
        if len(images) != len(labels):
            raise UserError(f"{len(images)} images but {len(labels)} labels: give one label per image")
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise UserError(f"labels run from {labels.min()} to {labels.max()}: expected 0 … {len(self.classes) - 1}")
        if self.index is not None and len(self.index) != len(labels):
            raise UserError(f"{len(labels)} images but {len(self.index)} source positions: give one index per image")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:  # a notebook's cell shows it: not the pixels
        size = "×".join(map(str, self.images.shape[1:]))
        return f"{type(self).__name__}({len(self)} images of {size}, {len(self.classes)} classes, {self.source or 'no source'})"

    def take(self, chosen: np.ndarray) -> Self:
        """The examples at the positions `chosen` (int [n]), in that order; they keep their source positions and files."""
        index = None if self.index is None else self.index[chosen]
        files = tuple(self.files[position] for position in chosen) if self.files else ()
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], index=index, files=files)
