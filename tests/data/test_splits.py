"""Data: the split, the label noise, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb import load_data, load_profile
from mulnb.core.errors import UserError
from mulnb.data import ImageSet


def test_the_split_is_class_balanced_complete_and_seeded():
    from sklearn.datasets import load_digits

    splits = load_data(load_profile("digits"))
    everything = np.concatenate([part.images for part in (splits.train, splits.holdout, splits.test)]).reshape(1797, -1)
    real = np.rint(load_digits().data * (255 / 16)).astype(np.uint8)
    assert np.array_equal(np.sort(everything.view("V64").ravel()), np.sort(real.view("V64").ravel()))
    for part, share in ((splits.test, 0.2), (splits.holdout, 0.8 * 0.1)):
        counts = np.bincount(part.labels, minlength=10)
        assert counts.max() - counts.min() <= 3 and len(part) == pytest.approx(share * 1797, abs=12)
    again, other = load_data(load_profile("digits")), load_data(load_profile("digits", {"dataset.seed": 1}))
    assert splits.fingerprint == again.fingerprint != other.fingerprint


def test_only_training_labels_are_noisy():
    noisy, clean = (load_data(load_profile("digits", {"dataset.label_noise": share})) for share in (0.1, 0))
    assert np.array_equal(noisy.train.images, clean.train.images)
    assert np.array_equal(noisy.train.labels != clean.train.labels, noisy.flipped)
    assert not clean.flipped.any() and noisy.flipped.sum() == round(0.1 * len(noisy.train))
    assert np.array_equal(noisy.holdout.labels, clean.holdout.labels) and np.array_equal(noisy.test.labels, clean.test.labels)


def test_images_that_are_none():
    labels = np.zeros(2, dtype=np.int64)
    with pytest.raises(UserError, match=r"float64 of shape \(2, 1, 8, 8\): expected uint8"):
        ImageSet(np.zeros((2, 1, 8, 8)), labels, ("a",))
    with pytest.raises(UserError, match="3 images but 2 labels"):
        ImageSet(np.zeros((3, 1, 8, 8), np.uint8), labels, ("a",))
    with pytest.raises(UserError, match="labels run from 0 to 1: expected 0 … 0"):
        ImageSet(np.zeros((2, 1, 8, 8), np.uint8), np.arange(2), ("a",))
