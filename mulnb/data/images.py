"""`ImageSet`: images, their labels and class names, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mulnb.core.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """Images with labels.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], each in 0 … len(classes) − 1.
        classes: the names of the classes, in the order of the labels.
        source: where the images come from, for people ("CIFAR-10 (JPEG copy)"). Nothing is keyed by it.

    Raises:
        UserError: another dtype or shape, more or fewer labels than images, or a label without a class.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels

        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(f"images are {images.dtype} of shape {images.shape}: expected uint8 [N, C, H, W]")
        if len(images) != len(labels):
            raise UserError(f"{len(images)} images but {len(labels)} labels: give one label per image")
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise UserError(f"labels run from {labels.min()} to {labels.max()}: expected 0 … {len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> ImageSet:
        """The examples at positions `index` (int [n]), in that order."""
        return replace(self, images=self.images[index], labels=self.labels[index])
