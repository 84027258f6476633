"""Images: sources, the class-balanced split into train / hold-out / test, and label noise.

Everything is uint8 on the way in and is decoded once; `load_data(profile)` returns the same `Splits` for the same profile on
any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mulnb import store
from mulnb.config import Dataset, Profile
from mulnb.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """`images` uint8 [N, C, H, W], `labels` int64 [N] in 0 … len(classes) − 1, `classes` the names."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

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
        return ImageSet(self.images[index], self.labels[index], self.classes)


@dataclass(frozen=True)
class Splits:
    """D (`train`), H (`holdout`, never trained on) and T (`test`) of METHOD §1; `flipped` bool [N] marks noisy training
    labels.
    """

    train: ImageSet
    holdout: ImageSet
    test: ImageSet
    flipped: np.ndarray

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image and label: what results computed from these data are keyed by."""
        return store.digest([[part.images, part.labels, part.classes] for part in (self.train, self.holdout, self.test)])

    @cached_property
    def mean(self) -> np.ndarray:
        """Channel means of the training images in [0, 1], float32 [C]."""
        return (self.train.images.mean(axis=(0, 2, 3), dtype=np.float64) / 255).astype(np.float32)

    @cached_property
    def std(self) -> np.ndarray:
        """Channel standard deviations of the training images in [0, 1], float32 [C]."""
        return (self.train.images.std(axis=(0, 2, 3), dtype=np.float64) / 255).astype(np.float32)


def load_data(profile: Profile) -> Splits:
    """The profile's images, split and with its label noise. Raises `UserError` if the profile asks for more than there is."""
    dataset = profile.dataset
    rng = np.random.default_rng(dataset.seed)
    train, test = SOURCES[dataset.name](dataset)
    if test is None:
        train, test = _split(train, dataset.test, rng)
    train, holdout = _split(train, dataset.holdout, rng)
    train, flipped = _flip_labels(train, dataset.label_noise, rng)
    splits = Splits(train, holdout, test, flipped)
    _check_sizes(profile, len(train))
    return splits


def _digits(dataset: Dataset) -> tuple[ImageSet, None]:
    """scikit-learn's 1 797 real handwritten digits, 8×8, from the package itself (UCI ML repository, Alpaydin & Kaynak 1998)."""

    def decode() -> store.Artifact:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        return store.Artifact({"images": images, "labels": digits.target.astype(np.int64)})

    # scikit-learn takes a second to import; the decoded arrays load in a millisecond
    arrays = store.get_or_compute("images", {"source": "sklearn digits", "version": 1}, decode).arrays
    return ImageSet(arrays["images"], arrays["labels"], tuple("0123456789")), None


SOURCES: dict[str, Callable[[Dataset], tuple[ImageSet, ImageSet | None]]] = {"digits": _digits}


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
    return ImageSet(train.images, labels, train.classes), flipped


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
