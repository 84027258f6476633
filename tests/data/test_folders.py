"""Which files of a folder are images of which class, in each of the layouts."""

from __future__ import annotations

import os
import shutil
import unicodedata

import numpy as np
import pytest
from image_trees import refused, source, tiny, tree, zipped
from PIL import Image


def test_strange_names_links_and_litter(tmp_path):
    expected, _ = tree(tmp_path / "a", classes=("chat noir", "éléphant", "猫"))
    cats = tmp_path / "a" / "train" / "chat noir"
    for name in (".DS_Store", "Thumbs.db", "._cat.png", "desktop.ini"):
        (cats / name).write_bytes(b"litter")
    (tmp_path / "a" / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(cats, tmp_path / "elsewhere" / "cats")
    cats.symlink_to(tmp_path / "elsewhere" / "cats")
    train, _ = source("folder", tmp_path / "a")
    assert train.classes == ("chat noir", "éléphant", "猫") and np.array_equal(train.images, expected)
    for name in ("notes.txt", "labels.csv"):
        (cats / name).write_text("not an image")
    with pytest.warns(UserWarning, match=r"files of other kinds are ignored \(2\), the first is train/chat noir/labels.csv"):
        source("folder", tmp_path / "a")


def test_a_tree_that_is_none(tmp_path):
    assert refused("folder", tmp_path / "none").startswith(f"dataset.root = {tmp_path / 'none'} does not exist")
    root = tmp_path / "a"
    root.mkdir()
    assert "train does not exist: expected train/<class>/*" in refused("folder", root)
    (root / "train" / "cat").mkdir(parents=True)
    assert "has too few class folders (1 of at least two)" in refused("folder", root)
    (root / "train" / "dog").mkdir()
    assert f"{root / 'train' / 'cat'} holds no image" in refused("folder", root)


def test_classes_that_differ_between_train_and_test(tmp_path):
    tree(tmp_path / "a")
    (tmp_path / "a" / "test" / "fox").mkdir()
    assert "has images of class fox, which train does not have" in refused("folder", tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "test" / "fox")
    shutil.rmtree(tmp_path / "a" / "test" / "dog")
    assert "has no images of class dog: every class of train must be in test" in refused("folder", tmp_path / "a")


def test_nested_folders_and_links_to_nowhere(tmp_path):
    tree(tmp_path / "a")
    link = tmp_path / "a" / "train" / "cat" / "gone.png"
    link.symlink_to(tmp_path / "nowhere.png")
    assert refused("folder", tmp_path / "a") == f"{link}: this link leads nowhere: remove it"
    link.unlink()
    (tmp_path / "a" / "train" / "cat" / "images").mkdir()
    message = refused("folder", tmp_path / "a")
    assert "holds a folder, images" in message and "tiny-imagenet" in message


def test_layouts_that_are_taken_for_each_other(tmp_path):
    tree(tmp_path / "a")
    message = refused("tiny-imagenet", tmp_path / "a")
    assert f"{tmp_path / 'a' / 'train' / 'cat'}: no folder images" in message and "set dataset.name: folder" in message

    shutil.rmtree(tmp_path / "a" / "test")
    (tmp_path / "a" / "test").write_text("a list of names")
    assert "test is a file: expected a folder with the test images" in refused("folder", tmp_path / "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path):
    tree(tmp_path / "a")
    (tmp_path / "a" / "train" / "cat" / "cat_00.png").chmod(0)
    assert "cat_00.png: cannot be read: Permission denied" in refused("folder", tmp_path / "a")


def test_the_official_layout(tmp_path):
    expected = tiny(tmp_path / "tiny-imagenet-200")
    train, test = source("tiny-imagenet", tmp_path / "tiny-imagenet-200")
    assert np.array_equal(train.images, expected) and train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.classes == ("goldfish", "crane n02", "crane n03")
    with Image.open(tmp_path / "tiny-imagenet-200" / "val" / "images" / "val_4.JPEG") as image:
        assert np.array_equal(test.images[test.labels == 1][1], np.asarray(image).transpose(2, 0, 1))
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2] and train.source == "Tiny-ImageNet (3 of 200 classes)"
    from_parent, _ = source("tiny-imagenet", tmp_path)
    assert np.array_equal(from_parent.images, expected)


def test_some_classes_of_tiny_imagenet(tmp_path):
    tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    for root in (tmp_path / "made", place):
        train, test = source("tiny-imagenet", root, classes=2)
        assert train.classes == ("goldfish", "crane") and test.labels.tolist() == [0, 0, 1, 1]


def test_annotations_that_do_not_fit(tmp_path):
    root = tmp_path / "made"
    tiny(root)
    annotations = root / "val" / "val_annotations.txt"
    lines = annotations.read_text()
    annotations.write_text(lines + "val_9.JPEG\tn77\t0\t0\t5\t5\n")
    assert "val_annotations.txt, line 7: n77 is no class of train" in refused("tiny-imagenet", root)
    annotations.write_text(lines + "val_9.JPEG\tn01\t0\t0\t5\t5\n")
    assert "val_9.JPEG of val_annotations.txt is missing" in refused("tiny-imagenet", root)
    annotations.write_text("".join(line + "\n" for line in lines.splitlines() if "n02" not in line))
    assert "has no images of class n02: every class of train must be in val" in refused("tiny-imagenet", root)
    annotations.unlink()
    assert f"{annotations}: cannot be read: No such file" in refused("tiny-imagenet", root)


def test_annotations_of_windows_and_a_copy_sorted_into_class_folders(tmp_path):
    root = tmp_path / "made"
    expected = tiny(root)
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_bytes(annotations.read_bytes().replace(b"\n", b"\r\n"))
    train, test = source("tiny-imagenet", root)
    assert np.array_equal(train.images, expected) and test.labels.tolist() == [0, 0, 1, 1, 2, 2]

    # many scripts move the validation images into a folder per class
    for line in annotations.read_text().splitlines():
        file, wnid, *_ = line.split("\t")
        (root / "val" / wnid).mkdir(exist_ok=True)
        (root / "val" / "images" / file).rename(root / "val" / wnid / file)
    (root / "val" / "images").rmdir()
    message = refused("tiny-imagenet", root)
    assert "rename val to test, move the training images into train/<wnid>/ themselves, and set dataset.name: folder" in message

    # and what the message says to do works
    (root / "val").rename(root / "test")
    for file in (root / "train").glob("*/images/*"):
        file.rename(file.parents[1] / file.name)
    for folder in (root / "train").glob("*/images"):
        folder.rmdir()
    with pytest.warns(UserWarning, match="files of other kinds are ignored"):
        train, test = source("folder", root)
    assert np.array_equal(train.images, expected) and test.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    composed, apart = (unicodedata.normalize(form, "éléphant") for form in ("NFC", "NFD"))
    train_images, test_images = tree(tmp_path / "a", classes=("cat", composed))
    (tmp_path / "a" / "test" / composed).rename(tmp_path / "a" / "test" / apart)

    train, test = source("folder", tmp_path / "a")
    assert np.array_equal(train.images, train_images) and np.array_equal(test.images, test_images)
    assert test.classes == ("cat", composed)


def test_two_classes_that_look_the_same_are_refused(tmp_path):
    tree(tmp_path / "a", classes=("cat", *(unicodedata.normalize(form, "éléphant") for form in ("NFC", "NFD"))))
    assert "two classes are called éléphant, in two Unicode forms" in refused("folder", tmp_path / "a")


@pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31mred", b"\xff\xfe", "\u202egnp".encode()])
def test_a_class_whose_name_cannot_be_shown_is_refused(tmp_path, name):
    tree(tmp_path / "a", train=1, test=1)
    for part in ("train", "test"):
        (tmp_path / "a" / part / "eel").rename(os.fsdecode(os.fsencode(tmp_path / "a" / part) + b"/" + name))
    said = refused("folder", tmp_path / "a")
    assert "has signs in its name that cannot be printed: rename it" in said and said.isprintable()


@pytest.mark.parametrize("name", ["🙈 cat", "a'b", "$HOME", "-dash", "%s", "None", "1e3"])
def test_a_class_with_an_odd_name_is_a_class(tmp_path, name):
    tree(tmp_path / "a", train=1, test=1, classes=("cat", name))
    train, _ = source("folder", tmp_path / "a")
    assert set(train.classes) == {"cat", name}
