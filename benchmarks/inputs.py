"""What the work is done on: the images of the profile `digits`, or random ones, in the forms that both ways take."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from benchmarks import usual
from mulnb import config, training
from mulnb.data import ImageSet, Splits, load_data
from mulnb.training import Examples


def random_images(n: int, channels: int, side: int, classes: int = 10) -> ImageSet:
    """Random images and labels: a step takes as long on them as on real ones."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)  # [N, C, H, W]
    labels = rng.integers(0, classes, n)
    return ImageSet(pixels, labels, tuple(map(str, range(classes))))


@functools.cache
def digits(n: int | None = None) -> ImageSet:
    """The training images of the profile `digits`, or the first n of them."""
    train = load_data(config.load_profile("digits")).train
    return train if n is None else train.take(np.arange(n))


def examples_of(images: ImageSet) -> Examples:
    """The images as this package trains on them: bytes on the device."""
    where = training.device()
    pixels, labels = torch.from_numpy(images.images).to(where), torch.from_numpy(images.labels).to(where)
    return Examples(pixels, labels, *_statistics(images))


def pil(images: ImageSet) -> usual.PilImages:
    """The images as the usual way trains on them: PIL images behind a `DataLoader`."""
    return usual.PilImages(images, *_statistics(images))


def _statistics(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel, as `Splits` computes them."""
    splits = Splits(images, images, images, np.zeros(len(images), dtype=bool))
    return torch.from_numpy(splits.mean), torch.from_numpy(splits.std)
