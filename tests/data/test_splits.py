"""The split of a profile's images: balanced, seeded, complete, with the label noise that was asked for."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from image_trees import source, tree

from mulnb import load_data, load_profile
from mulnb.core.errors import UserError
from mulnb.data import Splits
from mulnb.study import Study


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


def test_a_name_in_place_of_a_profile_is_one_line():
    for takes_a_profile in (load_data, Study.of):
        with pytest.raises(UserError, match=r"'digits' is not a profile: load it first, for example mulnb\.load_profile"):
            takes_a_profile("digits")


def test_only_training_labels_are_noisy():
    noisy, clean = (load_data(load_profile("digits", {"dataset.label_noise": share})) for share in (0.1, 0))
    assert np.array_equal(noisy.train.images, clean.train.images)
    assert np.array_equal(noisy.train.labels != clean.train.labels, noisy.flipped)
    assert not clean.flipped.any() and noisy.flipped.sum() == round(0.1 * len(noisy.train))
    assert np.array_equal(noisy.holdout.labels, clean.holdout.labels) and np.array_equal(noisy.test.labels, clean.test.labels)


def part_of(root, **options):
    given = {"dataset.name": "folder", "dataset.root": str(root), "forget.size": 1, "sequential.steps": 2}
    given["dataset.label_noise"] = 0
    return load_data(load_profile("digits", given | {f"dataset.{key}": value for key, value in options.items()}))


def test_without_a_test_folder_a_share_is_split_off(tmp_path):
    tree(tmp_path / "a", train=20)
    shutil.rmtree(tmp_path / "a" / "test")
    profile = {"dataset.name": "folder", "dataset.root": str(tmp_path / "a"), "forget.size": 2, "sequential.steps": 2}
    splits = load_data(load_profile("digits", {**profile, "dataset.test": 0.25, "dataset.holdout": 0.2}))
    assert np.bincount(splits.test.labels).tolist() == [5, 5, 5]
    assert np.bincount(splits.holdout.labels).tolist() == [3, 3, 3]
    assert splits.source == "a (image folder)"
    every = np.concatenate([part.images for part in (splits.train, splits.holdout, splits.test)])
    assert len(np.unique(every.reshape(60, -1), axis=0)) == 60
    (tmp_path / "a" / "val").mkdir()
    with pytest.warns(UserWarning, match="val is not read"):
        source("folder", tmp_path / "a")


def test_the_fingerprint_does_not_know_the_place(tmp_path):
    tree(tmp_path / "a", train=20)
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)  # new times: decoded again
    small = {"dataset.name": "folder", "forget.size": 2, "sequential.steps": 2}
    one, two = (
        load_data(load_profile("digits", {**small, "dataset.root": str(tmp_path / name)})).fingerprint for name in ("a", "b")
    )
    assert one == two


def test_a_part_is_balanced_and_drawn_by_seed(tmp_path):
    tree(tmp_path / "a", train=20, test=8)
    splits = part_of(tmp_path / "a", train_images=31, test_images=9, holdout=0.1)
    counts = np.bincount(splits.train.labels) + np.bincount(splits.holdout.labels)
    assert sorted(counts) == [10, 10, 11] and np.bincount(splits.test.labels).tolist() == [3, 3, 3]
    again, other = (part_of(tmp_path / "a", train_images=31, test_images=9, holdout=0.1, seed=seed) for seed in (0, 1))
    assert splits.fingerprint == again.fingerprint != other.fingerprint
    drawn = [{*part.train.index, *part.holdout.index} for part in (splits, other)]
    assert drawn[0] != drawn[1] and {*splits.test.index} != {*other.test.index}
    source_images = {image.tobytes() for image in source("folder", tmp_path / "a")[0].images}
    assert {image.tobytes() for image in splits.train.images} <= source_images
    assert (np.diff(splits.train.labels) >= 0).all()  # still in the source's order


def test_the_first_classes(tmp_path):
    tree(tmp_path / "a", train=10)
    two = part_of(tmp_path / "a", classes=2)
    assert two.train.classes == two.test.classes == ("cat", "dog") and set(two.test.labels) == {0, 1}
    digits = load_data(load_profile("digits", {"dataset.classes": 3, "sequential.steps": 2}))
    assert digits.train.classes == ("0", "1", "2") and set(digits.train.labels) == {0, 1, 2}
    with pytest.raises(UserError, match=r"dataset.classes = 4: a \(image folder\) has 3 classes"):
        part_of(tmp_path / "a", classes=4)


def test_more_images_than_there_are(tmp_path):
    tree(tmp_path / "a", train=10, test=4)
    with pytest.raises(UserError, match=r"train_images = 33: class \w+ has 10 images, 11 are needed; at most 30"):
        part_of(tmp_path / "a", train_images=33)
    with pytest.raises(UserError, match=r"test_images = 13: class \w+ has 4 images, 5 are needed; at most 12"):
        part_of(tmp_path / "a", test_images=13)


def test_a_part_of_the_test_images_leaves_the_training_images_alone():
    whole, part = (load_data(load_profile("digits", given)) for given in ({}, {"dataset.test_images": 100}))
    assert len(part.test) == 100 and np.array_equal(whole.train.images, part.train.images)
    assert np.array_equal(whole.train.labels, part.train.labels)


def test_digits_are_what_they_always_were():
    assert load_data(load_profile("digits")).fingerprint == "63a2a6b47f793d23ecf1c18c"


def test_a_training_image_that_is_also_a_test_image_is_told(tmp_path):
    tree(tmp_path / "a", train=10)
    shutil.copy(tmp_path / "a" / "train" / "dog" / "dog_03.png", tmp_path / "a" / "test" / "dog" / "dog_01.png")
    told = r"1 of 9 test images are also training images, the first is number \d+ of its source"
    with pytest.warns(UserWarning, match=told):
        part_of(tmp_path / "a", holdout=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_data(load_profile("digits"))


def test_mean_and_std_are_those_of_the_pixels(tmp_path):
    tree(tmp_path / "a", train=20)
    splits = part_of(tmp_path / "a")
    pixels = splits.train.images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert np.allclose(splits.mean, pixels.mean(1), rtol=1e-7) and np.allclose(splits.std, pixels.std(1), rtol=1e-7)
    assert splits.mean.dtype == splits.std.dtype == np.float32


def test_the_source_index_finds_every_image_and_is_no_part_of_the_fingerprint():
    whole, _ = source("digits", None)
    some = {"dataset.train_images": 900, "dataset.classes": 8, "sequential.steps": 2}
    splits = load_data(load_profile("digits", some))

    for part in (splits.train, splits.holdout, splits.test):
        assert part.index.dtype == np.int64
        assert np.array_equal(part.images, whole.images[part.index])
    assert np.array_equal(splits.train.labels != whole.labels[splits.train.index], splits.flipped)

    every = np.concatenate([part.index for part in (splits.train, splits.holdout, splits.test)])
    assert len(np.unique(every)) == len(every) and splits.train.source_size == 1797

    unknown = [replace(part, index=None, source_size=None) for part in (splits.train, splits.holdout, splits.test)]
    assert Splits(*unknown, splits.flipped).fingerprint == splits.fingerprint
