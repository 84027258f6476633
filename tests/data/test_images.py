"""`ImageSet`: what it checks and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core.errors import UserError
from mulnb.data import ImageSet


def test_images_that_are_none():
    labels = np.zeros(2, dtype=np.int64)
    with pytest.raises(UserError, match=r"float64 of shape \(2, 1, 8, 8\): expected uint8"):
        ImageSet(np.zeros((2, 1, 8, 8)), labels, ("a",))
    with pytest.raises(UserError, match=r"images are uint8 of shape \(2, 8, 8, 3\): expected"):  # channels last
        ImageSet(np.zeros((2, 8, 8, 3), np.uint8), labels, ("a",))
    with pytest.raises(UserError, match="3 images but 2 labels"):
        ImageSet(np.zeros((3, 1, 8, 8), np.uint8), labels, ("a",))
    with pytest.raises(UserError, match="labels run from 0 to 1: expected 0 … 0"):
        ImageSet(np.zeros((2, 1, 8, 8), np.uint8), np.arange(2), ("a",))


def test_every_example_keeps_its_source_index_and_its_file():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 1, 2, 2), dtype=np.uint8)
    whole = ImageSet(images, np.arange(6) % 2, ("a", "b"), index=np.arange(10, 16), files=tuple("uvwxyz"))

    part = whole.take(np.array([4, 1])).take(np.array([1]))
    assert part.index.tolist() == [11] and part.files == ("v",) and np.array_equal(part.images, images[[1]])

    plain = ImageSet(images, np.zeros(6, np.int64), ("a",))
    assert plain.index is None and plain.take(np.arange(2)).index is None
    assert repr(plain) == "ImageSet(6 images of 1×2×2, 1 classes, no source)"
    with pytest.raises(UserError, match="6 images but 5 source positions"):
        ImageSet(images, np.zeros(6, np.int64), ("a",), index=np.arange(5))
