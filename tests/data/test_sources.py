"""Where images come from: the registry, and what is said where there are none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_trees import refused, source, tree

from mulnb import load_data, load_profile
from mulnb.config import Dataset
from mulnb.data import ImageSet
from mulnb.data.sources import SOURCES


def test_nothing_there_says_what_to_put_where(home):
    assert f"{home / 'data' / 'folder'} does not exist: put train/<class>/*" in refused("folder", None)
    message = refused("tiny-imagenet", None)
    assert f"{home / 'data' / 'tiny-imagenet'}: no Tiny-ImageNet here: put tiny-imagenet-200.zip" in message


def test_a_copy_as_an_image_folder_says_so(tmp_path):
    names = [f"{number:02}" for number in range(100)]
    tree(tmp_path / "jpeg", 1, 1, names[:10], suffix=".jpg")
    tree(tmp_path / "png", 1, 1, names)
    assert source("cifar10", tmp_path / "jpeg")[0].source == "CIFAR-10 (JPEG copy)"
    assert source("cifar100", tmp_path / "png")[0].source == "CIFAR-100 (image folder)"
    assert source("cifar100", tmp_path / "png", classes=20)[0].classes == tuple(names[:20])

    said = refused("cifar100", tmp_path / "jpeg")
    assert said.endswith("has 10 classes, CIFAR-100 has 100: for images of your own, set dataset.name: folder")


def test_a_root_that_is_no_folder(tmp_path):
    tree(tmp_path / "a")
    archive = shutil.make_archive(tmp_path / "a", "zip", tmp_path / "a")
    assert refused("folder", archive).startswith(f"{archive} is not a folder: unpack it")
    for name in ("x" * 5000, "a\0b", "~nobody-of-this-name"):
        assert "does not exist" in refused("folder", name)


@pytest.mark.parametrize("name", ["val", "Test", "validation", "testing"])
def test_a_test_set_of_another_name_is_told(tmp_path, name):
    tree(tmp_path / "a")
    (tmp_path / "a" / "test").rename(tmp_path / "a" / name)
    with pytest.warns(UserWarning, match=f"{name} is not read and a share of train becomes the test set: call it test to use it"):
        source("folder", tmp_path / "a")


REAL = os.environ.get("MULNB_REAL_DATA", "")


@pytest.mark.skipif(not REAL, reason="MULNB_REAL_DATA names no folder with cifar10, cifar100 and tiny-imagenet-200")
@pytest.mark.parametrize(
    ("name", "folder", "shape", "classes"),
    [
        ("cifar10", "cifar10", (50000, 3, 32, 32), 10),
        ("cifar100", "cifar100", (50000, 3, 32, 32), 100),
        ("tiny-imagenet", "tiny-imagenet-200", None, None),
    ],
)
def test_real_images(name, folder, shape, classes):
    train, test = source(name, Path(REAL) / folder)
    assert shape in (None, train.images.shape) and classes in (None, len(train.classes))
    for part in (train, test):
        counts = np.bincount(part.labels, minlength=len(part.classes))
        assert counts.min() == counts.max() > 0
    assert 80 < train.images.mean() < 150 and abs(train.images.mean() - test.images.mean()) < 3


def test_one_entry_adds_a_data_set_from_outside(monkeypatch):
    def stripes(dataset: Dataset) -> tuple[ImageSet, None]:
        images = np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)  # [100, 1, 4, 4]
        return ImageSet(images, np.arange(100) % 2, ("even", "odd"), "Stripes"), None

    monkeypatch.setitem(SOURCES, "stripes", stripes)
    profile = load_profile("digits", {"dataset.name": "stripes", "forget.size": 2, "sequential.steps": 2})
    splits = load_data(profile)
    assert splits.source == "Stripes" and splits.train.index is None
    assert np.array_equal(splits.test.images[:, 0, 0, 0] % 2, splits.test.labels)
