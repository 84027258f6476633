"""Small copies of the images, published so that the explorer opens without them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic

from mulnb import study
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import thumbnails


def images(n, channels, side=24):
    """Image k is of one grey, which grows with k, and brighter in its upper half."""
    values = np.linspace(20, 160, n).astype(np.uint8)[:, None, None, None]
    pictures = np.broadcast_to(values, (n, channels, side, side)).copy()
    pictures[:, :, : side // 2] += 80
    return pictures


def split_into(pictures):
    train = SimpleNamespace(images=pictures, classes=("cat", "dog"))
    return SimpleNamespace(train=train, fingerprint="abc")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    return synthetic.profile()


@pytest.mark.parametrize("channels", [1, 3])
def test_each_copy_looks_like_its_image(profile, monkeypatch, channels):
    pictures = images(120, channels)  # the last row of the sheet is not full
    monkeypatch.setattr(study, "splits", lambda profile: split_into(pictures))
    thumbnails.write(profile)

    found = thumbnails.read(paths.results(profile.name))
    assert found.images.shape == (120, channels, 12, 12) and found.images.dtype == np.uint8
    assert (found.classes, found.fingerprint) == (("cat", "dog"), "abc")
    for half, rows in ((slice(0, 12), slice(1, 5)), (slice(12, 24), slice(7, 11))):
        near = found.images[:, :, rows].mean((1, 2, 3)) - pictures[:, :, half].mean((1, 2, 3))
        assert np.abs(near).max() < 20


@pytest.mark.parametrize("pictures", [images(4, 1, side=8), np.zeros((thumbnails.MOST + 1, 1, 16, 16), np.uint8)])
def test_images_that_are_small_or_too_many_have_no_copies(profile, monkeypatch, pictures):
    monkeypatch.setattr(study, "splits", lambda profile: split_into(pictures))
    thumbnails.write(profile)
    assert thumbnails.read(paths.results(profile.name)) is None


def test_a_damaged_sheet_is_one_line(profile, monkeypatch):
    monkeypatch.setattr(study, "splits", lambda profile: split_into(images(60, 3)))
    thumbnails.write(profile)
    folder = paths.results(profile.name)
    facts = json.loads((folder / "data" / "thumbnails.json").read_text())

    (folder / "data" / "thumbnails.json").write_text(json.dumps(facts | {"n": 5000}))
    with pytest.raises(UserError, match=r"damaged .*remove it, or put the images"):
        thumbnails.read(folder)
    (folder / "data" / "thumbnails.webp").write_bytes(b"no picture")
    with pytest.raises(UserError, match="damaged"):
        thumbnails.read(folder)
