"""Images: sources, the class-balanced split into train / hold-out / test, and label noise.

Everything is uint8 on the way in and is decoded once; `load_data(profile)` returns the same `Splits` for the same profile on
any machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mulnb.config import Profile
from mulnb.core import store
from mulnb.core.errors import UserError
from mulnb.data.images import ImageSet
from mulnb.data.sources import SOURCES


@dataclass(frozen=True)
class Splits:
    """D (`train`), H (`holdout`, never trained on) and T (`test`) of METHOD §1; `flipped` bool [N] marks noisy training
    labels.
    """

    train: ImageSet
    holdout: ImageSet
    test: ImageSet
    flipped: np.ndarray

    @property
    def source(self) -> str:
        """Where the images come from, for people: "CIFAR-10 (JPEG copy)"."""
        return self.train.source

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image and label: what results computed from these data are keyed by."""
        return store.digest([[part.images, part.labels, part.classes] for part in (self.train, self.holdout, self.test)])

    @cached_property
    def mean(self) -> np.ndarray:
        """Channel means of the training images in [0, 1], float32 [C]."""
        return (self._moments[0] / 255).astype(np.float32)

    @cached_property
    def std(self) -> np.ndarray:
        """Channel standard deviations of the training images in [0, 1], float32 [C]."""
        return (np.sqrt(self._moments[1]) / 255).astype(np.float32)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance per channel, from sums of whole numbers: exact, and without a copy of all images as floats."""
        images, axes = self.train.images, (0, 2, 3)
        total, squares = 0, 0
        for start in range(0, len(images), 1000):
            part = images[start : start + 1000]
            total = total + part.sum(axis=axes, dtype=np.uint64)
            squares = squares + np.square(part, dtype=np.uint16).sum(axis=axes, dtype=np.uint64)
        count = images.size // images.shape[1]
        # n·Σx² − (Σx)² is a difference of large numbers: in Python's integers nothing is lost
        spread = [count * int(square) - int(one) ** 2 for one, square in zip(total, squares, strict=True)]
        return total / count, np.array([one / count**2 for one in spread])


def load_data(profile: Profile) -> Splits:
    """The profile's images, split and with its label noise. Raises `UserError` if the profile asks for more than there is."""
    dataset = profile.dataset
    rng = np.random.default_rng(dataset.seed)
    train, test = SOURCES[dataset.name](dataset)
    train = _first_classes(train, dataset.classes)
    if test is None:
        train, test = _split(train, dataset.test, rng)
    test = _first_classes(test, dataset.classes)
    # streams of their own: the split and the noise of a profile that takes all images do not depend on them
    train = _sample(train, dataset.train_images, "train_images", np.random.default_rng((dataset.seed, 1)))
    test = _sample(test, dataset.test_images, "test_images", np.random.default_rng((dataset.seed, 2)))
    train, holdout = _split(train, dataset.holdout, rng)
    train, flipped = _flip_labels(train, dataset.label_noise, rng)
    splits = Splits(train, holdout, test, flipped)
    _check_sizes(profile, len(train))
    return splits


def _first_classes(whole: ImageSet, count: int | None) -> ImageSet:
    """The first `count` classes by name (all sources sort them so)."""
    if count is None or count == len(whole.classes):
        return whole
    if count > len(whole.classes):
        raise UserError(f"dataset.classes = {count}: {whole.source} has {len(whole.classes)} classes")
    part = whole.take(np.flatnonzero(whole.labels < count))
    return replace(part, classes=whole.classes[:count])


def _sample(whole: ImageSet, count: int | None, key: str, rng: np.random.Generator) -> ImageSet:
    """`count` images in the source's order, as many of every class to within one; which class gets the odd one is drawn, too."""
    if count is None:
        return whole
    k = len(whole.classes)
    quota = np.full(k, count // k)
    quota[rng.permutation(k)[: count % k]] += 1
    there = np.bincount(whole.labels, minlength=k)
    short = int((there - quota).argmin())
    if there[short] < quota[short]:
        raise UserError(
            f"dataset.{key} = {count}: class {whole.classes[short]} has {there[short]} images, {quota[short]} are needed; "
            f"at most {k * there.min()}"
        )
    chosen = [rng.permutation(np.flatnonzero(whole.labels == label))[: quota[label]] for label in range(k)]
    return whole.take(np.sort(np.concatenate(chosen)))


def _split(whole: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, ImageSet]:
    """The rest, and a random `share` of every class (rounded); both in the source's order."""
    chosen = np.zeros(len(whole), dtype=bool)
    for label in range(len(whole.classes)):
        members = np.flatnonzero(whole.labels == label)
        chosen[rng.permutation(members)[: round(share * len(members))]] = True
    return whole.take(np.flatnonzero(~chosen)), whole.take(np.flatnonzero(chosen))


def _flip_labels(train: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, np.ndarray]:
    """Replace the labels of a random `share` of the examples by another class, drawn uniformly."""
    flipped = np.zeros(len(train), dtype=bool)
    flipped[rng.permutation(len(train))[: round(share * len(train))]] = True
    labels = train.labels.copy()
    shift = rng.integers(1, len(train.classes), size=int(flipped.sum()))
    labels[flipped] = (labels[flipped] + shift) % len(train.classes)
    return replace(train, labels=labels), flipped


def _check_sizes(profile: Profile, n: int) -> None:
    size, steps = profile.forget.size, profile.sequential.steps
    if 3 * size > n:
        raise UserError(
            f"profile {profile.name}: forget.size = {size}: three strata need {3 * size} of {n} training examples; "
            f"at most {n // 3}"
        )
    if 3 * size * steps >= n:
        raise UserError(
            f"profile {profile.name}: sequential.steps = {steps}: {steps} steps of 3 × {size} examples leave nothing of {n}; "
            f"at most {(n - 1) // (3 * size)} steps"
        )
