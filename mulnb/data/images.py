"""`ImageSet`: images and their labels, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mulnb.core.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """`images` uint8 [N, C, H, W], `labels` int64 [N] in 0 … len(classes) − 1, `classes` the names.

    `source` says for people where they come from ("CIFAR-10 (JPEG copy)"); nothing is keyed by it.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise UserError(f"images are {self.images.dtype} of shape {self.images.shape}: expected uint8 [N, C, H, W]")
        if len(self.images) != len(self.labels):
            raise UserError(f"{len(self.images)} images but {len(self.labels)} labels: give one label per image")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise UserError(f"labels run from {self.labels.min()} to {self.labels.max()}: expected 0 … {len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> ImageSet:
        return replace(self, images=self.images[index], labels=self.labels[index])
