"""The split of a profile's images into train, hold-out and test, balanced over classes, with label noise if asked for.

`load_data(profile)` gives the same `Splits` for the same profile on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mulnb.config import Profile, check_is_profile
from mulnb.core import store
from mulnb.core.errors import UserError, notice
from mulnb.data.images import ImageSet
from mulnb.data.sources import SOURCES

FEWEST = 2  # images of a part: batch normalisation knows nothing of a single one
SMALLEST = {"vgg16_bn": 32}  # pixels of an image's side that an architecture halves five times; the others take any


@dataclass(frozen=True)
class Splits:
    """The data of a study: D, H and T of METHOD §1.

    Args:
        train: D, the training set.
        holdout: H, images that no model is trained on.
        test: T, the test set.
        flipped: bool [N], the training examples whose label is noise.
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
        """A hash of every image, label and class name. Results computed from these data are keyed by it."""
        parts = (self.train, self.holdout, self.test)
        return store.digest([[part.images, part.labels, part.classes] for part in parts])

    @cached_property
    def mean(self) -> np.ndarray:
        """Channel means of the training images in [0, 1], float32 [C]."""
        mean, _ = self._moments
        return (mean / 255).astype(np.float32)

    @cached_property
    def std(self) -> np.ndarray:
        """Channel standard deviations of the training images in [0, 1], float32 [C]."""
        _, variance = self._moments
        variance = np.where(variance > 0, variance, 255.0**2)  # a channel that is the same everywhere says nothing
        return (np.sqrt(variance) / 255).astype(np.float32)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance per channel, float64 [C], from sums of integers: exact, and without a float copy of all images."""
        images = self.train.images  # uint8 [N, C, H, W]
        total, squares = 0, 0

        for start in range(0, len(images), 1000):
            part = images[start : start + 1000]
            total = total + part.sum(axis=(0, 2, 3), dtype=np.uint64)
            squares = squares + np.square(part, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)

        count = images.size // images.shape[1]  # pixels per channel
        variance = []

        for sum_x, sum_xx in zip(total, squares, strict=True):
            # n·Σx² − (Σx)² is a small difference of large numbers; Python's integers lose nothing.
            spread = count * int(sum_xx) - int(sum_x) ** 2
            variance.append(spread / count**2)

        return total / count, np.array(variance)


def load_data(profile: Profile) -> Splits:
    """Load and split the images of a profile.

    Args:
        profile: its `dataset` names the source, the sizes, the label noise and the seed.

    Returns:
        The splits; the training and hold-out images are in the source's order.

    Raises:
        UserError: the images are missing or damaged, or the profile asks for more images, classes or forget sets than there are;
            or what is given is not a profile.
    """
    check_is_profile(profile)
    dataset = profile.dataset
    rng = np.random.default_rng(dataset.seed)

    found = SOURCES[dataset.name](dataset)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise UserError(
            f"data set '{dataset.name}' gives a {type(found).__name__}: expected (training images, test images or None)"
        )
    train, test = found
    _check_alike(dataset.name, train, test)
    classes = dataset.classes
    if classes is not None and profile.limit.steps is not None:  # a dry run takes fewer, and the user named no number
        classes = min(classes, len(train.classes))
    train = _first_classes(train, classes)
    if test is None:
        train, test = _split(train, dataset.test, rng)
    test = _first_classes(test, classes)

    # Samples have random streams of their own: taking all images does not change the split and the noise.
    dry = "" if profile.limit.steps is None else f"limit.steps = {profile.limit.steps}: "
    train = _sample(train, dataset.train_images, f"{dry}dataset.train_images", np.random.default_rng((dataset.seed, 1)))
    test = _sample(test, dataset.test_images, f"{dry}dataset.test_images", np.random.default_rng((dataset.seed, 2)))

    train, holdout = _split(train, dataset.holdout, rng)
    train, flipped = _flip_labels(train, dataset.label_noise, rng)

    check_sizes(profile, len(train), len(holdout), len(test), side=min(train.images.shape[2:]))
    _report_shared(train, {"hold-out": holdout, "test": test})
    return Splits(train, holdout, test, flipped)


def _check_alike(name: str, train: Any, test: Any) -> None:
    """Raises `UserError` unless a source gives training images, and test images like them or None."""
    for what, images in (("training", train), ("test", test)):
        if not isinstance(images, ImageSet) and not (what == "test" and images is None):
            raise UserError(f"data set '{name}': its {what} images are a {type(images).__name__}: expected an ImageSet")
    if test is not None and (test.images.shape[1:], test.classes) != (train.images.shape[1:], train.classes):
        raise UserError(
            f"data set '{name}': test images {list(test.images.shape[1:])} of {len(test.classes)} classes, training images "
            f"{list(train.images.shape[1:])} of {len(train.classes)}: they must have the same size and the same classes"
        )


def _at_most(size: int) -> str:
    return f"at most {size}" if size else "take more training images: dataset.train_images"


def _first_classes(whole: ImageSet, count: int | None) -> ImageSet:
    """The first `count` classes by name; all sources sort them by name."""
    if count is None or count == len(whole.classes):
        return whole
    if count > len(whole.classes):
        raise UserError(f"dataset.classes = {count}: {whole.source} has {len(whole.classes)} classes")

    part = whole.take(np.flatnonzero(whole.labels < count))
    return replace(part, classes=whole.classes[:count])


def _sample(whole: ImageSet, count: int | None, key: str, rng: np.random.Generator) -> ImageSet:
    """`count` random images in the source's order, balanced over classes to within one image; `key` names it in messages."""
    if count is None:
        return whole

    # If the count is no multiple of the classes, random classes get one image more.
    classes = len(whole.classes)
    quota = np.full(classes, count // classes)
    quota[rng.permutation(classes)[: count % classes]] += 1

    available = np.bincount(whole.labels, minlength=classes)
    short = int((available - quota).argmin())
    if available[short] < quota[short]:
        most = classes * available.min()
        how = f"at most {most}" if most else "leave more of them: a smaller dataset.test, if it takes the test images from these"
        raise UserError(
            f"{key} = {count}: class {whole.classes[short]} has {available[short]} images, {quota[short]} are needed; {how}"
        )

    chosen = []
    for label in range(classes):
        members = np.flatnonzero(whole.labels == label)
        chosen.append(rng.permutation(members)[: quota[label]])
    return whole.take(np.sort(np.concatenate(chosen)))


def _split(whole: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, ImageSet]:
    """Split off a random `share` of every class (rounded): the rest and the share, both in the source's order."""
    chosen = np.zeros(len(whole), dtype=bool)

    for label in range(len(whole.classes)):
        members = np.flatnonzero(whole.labels == label)
        chosen[rng.permutation(members)[: round(share * len(members))]] = True

    return whole.take(np.flatnonzero(~chosen)), whole.take(np.flatnonzero(chosen))


def _flip_labels(train: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, np.ndarray]:
    """Replace the labels of a random `share` of the examples by another class, drawn uniformly; and which ones, bool [N]."""
    flipped = np.zeros(len(train), dtype=bool)
    flipped[rng.permutation(len(train))[: round(share * len(train))]] = True

    labels = train.labels.copy()
    shift = rng.integers(1, len(train.classes), size=int(flipped.sum()))  # never 0: never the true class
    labels[flipped] = (labels[flipped] + shift) % len(train.classes)

    return replace(train, labels=labels), flipped


def _report_shared(train: ImageSet, unseen: Mapping[str, ImageSet]) -> None:
    """Tell of images that should be unseen and are, pixel for pixel, training images: published sets have a few."""
    known = set(_digests(train))

    for part, other in unseen.items():
        shared = [digest in known for digest in _digests(other)]
        if not any(shared):
            continue

        first = int(np.argmax(shared))
        where = "" if other.index is None else f", the first is number {other.index[first]} of its source"
        notice(
            f"{train.source}: {sum(shared)} of {len(other)} {part} images are also training images{where}: networks have seen "
            "them, though they count as unseen; remove copies from the data if they are many"
        )


def _digests(part: ImageSet) -> list[bytes]:
    """A hash of every image, in their order."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in part.images]


def check_sizes(profile: Profile, train: int, holdout: int, test: int, side: int) -> None:
    """Check that a profile fits its data.

    Args:
        profile: the profile.
        train: examples in D.
        holdout: examples in H.
        test: examples in T.
        side: pixels of an image's shorter side.

    Raises:
        UserError: a part of the data is too small to train on, the forget sets need more of D than there is, or the images are
            too small for a network.
    """
    data = profile.dataset
    tested = f"dataset.test = {data.test:g}" if data.test_images is None else f"dataset.test_images = {data.test_images}"
    shares = f"dataset.holdout = {data.holdout:g}"
    if data.train_images is not None:
        shares += f", dataset.train_images = {data.train_images}"
    parts = (
        ("training", train, f"dataset.test = {data.test:g}, {shares}"),
        ("hold-out", holdout, shares),
        ("test", test, tested),
    )
    for name, count, settings in parts:
        if count < FEWEST:
            raise UserError(f"profile {profile.name}: {settings}: {count} {name} images are left; at least {FEWEST} are needed")

    for key, model in (("model", profile.model), ("pool.model", profile.pool_model)):
        if side < (smallest := SMALLEST.get(model.arch, 1)):
            raise UserError(
                f"profile {profile.name}: {key}.arch = {model.arch}: images of {side} pixels are too small for it; at least "
                f"{smallest}: set dataset.size = {smallest}, or take another network"
            )

    size, steps = profile.forget.size, profile.sequential.steps
    if 3 * size > train:
        raise UserError(
            f"profile {profile.name}: forget.size = {size}: three strata need {3 * size} of {train} training examples; "
            f"at most {train // 3}"
        )

    most = (train - 1) // (3 * size)
    if most < 2:
        raise UserError(
            f"profile {profile.name}: forget.size = {size}: two steps of sequential unlearning take {6 * size} of {train} "
            f"examples, and something must be left; {_at_most((train - 1) // 6)}"
        )
    if steps > most:
        raise UserError(
            f"profile {profile.name}: sequential.steps = {steps}: {steps} steps of 3 × {size} examples leave nothing of {train}; "
            f"at most {most} steps"
        )
