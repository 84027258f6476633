"""Image files come out as checked arrays, are decoded once, and what does not fit is told in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from image_trees import CLASSES, broken, picture, refused, source, tree
from PIL import Image

from mulnb.core import memory, store
from mulnb.core.errors import UserError
from mulnb.data import read_folder, reader
from mulnb.data.images import BY_FILE_NAME


def test_a_folder_comes_out_in_the_order_of_its_names(tmp_path):
    train_images, test_images = tree(tmp_path / "zoo")
    train, test = source("folder", tmp_path / "zoo")
    assert np.array_equal(train.images, train_images) and np.array_equal(test.images, test_images)
    assert train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6 and test.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert train.classes == test.classes == CLASSES and train.labels.dtype == np.int64
    assert train.source == "zoo (image folder)"


def test_images_are_decoded_once_wherever_they_lie(tmp_path, monkeypatch):
    tree(tmp_path / "a")
    first, _ = source("folder", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "moved")  # keeps the times of the files
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_decode_parts", None)
        again, _ = source("folder", tmp_path / "moved")
    assert np.array_equal(first.images, again.images)
    changed = tmp_path / "a" / "train" / "cat" / "cat_00.png"
    picture(777).save(changed)
    after, _ = source("folder", tmp_path / "a")
    assert np.array_equal(after.images[0], np.asarray(Image.open(changed)).transpose(2, 0, 1))
    assert np.array_equal(after.images[1:], first.images[1:])


def test_a_damaged_cache_is_decoded_again(tmp_path, home):
    tree(tmp_path / "a")
    first, _ = source("folder", tmp_path / "a")
    (blob,) = home.glob("artifacts/images/*/arrays.safetensors")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again, _ = source("folder", tmp_path / "a")
    assert np.array_equal(first.images, again.images)


def test_chunks_are_put_together_in_order(tmp_path, monkeypatch):
    tree(tmp_path / "a")
    monkeypatch.setattr(reader, "CHUNK", 4)
    in_chunks, _ = source("folder", tmp_path / "a")
    monkeypatch.setattr(reader, "CHUNK", 1000)
    shutil.rmtree(store.paths.artifacts())
    at_once, _ = source("folder", tmp_path / "a")
    assert np.array_equal(in_chunks.images, at_once.images)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".webp", ".gif", ".bmp"])
def test_other_formats(tmp_path, suffix):
    tree(tmp_path / "a", train=1, test=1, suffix=suffix)
    train, _ = source("folder", tmp_path / "a")
    with Image.open(tmp_path / "a" / "train" / "dog" / f"dog_00{suffix}") as image:
        assert np.array_equal(train.images[1], np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_resizing_is_noticed(tmp_path):
    tree(tmp_path / "a", size=(6, 4))
    picture(5, size=(12, 12)).save(tmp_path / "a" / "test" / "cat" / "big.png")
    with pytest.warns(UserWarning, match="images of 6×4 to 12×12 pixels are resized to 8×8"):
        train, test = source("folder", tmp_path / "a", size=8)
    assert train.images.shape == (18, 3, 8, 8) and test.images.shape == (10, 3, 8, 8)
    assert train.source == "a (image folder), resized to 8×8"
    with pytest.warns(UserWarning, match="Digits .* 8×8 pixels are resized to 16×16"):
        digits, _ = source("digits", None, size=16)
    assert digits.images.shape == (1797, 1, 16, 16)


def test_corrupt_images_are_named_and_left_out_on_request(tmp_path):
    good, _ = tree(tmp_path / "a")
    names = broken(tmp_path / "a")
    message = refused("folder", tmp_path / "a")
    assert str(tmp_path / "a" / "train" / "cat" / names[0]) + " (the file is empty)" in message
    assert names[1] in message and names[2] in message and "and 1 more" in message
    assert "set dataset.skip_corrupt: true" in message
    with pytest.warns(UserWarning, match=r"cat_00.png .*; and 1 more: left out"):
        train, test = source("folder", tmp_path / "a", skip_corrupt=True)
    left = [index for index in range(18) if index not in (0, 1, 3)]  # cat_02.png is still there, beside cat_02.jpg
    assert np.array_equal(train.images, good[left]) and train.labels.tolist() == [0] * 3 + [1] * 6 + [2] * 6
    assert len(test) == 9
    assert train.source.endswith("unreadable images left out: 4")
    assert names[0] in refused("folder", tmp_path / "a")  # the stored images do not hide it


def test_a_class_of_which_nothing_is_left(tmp_path):
    tree(tmp_path / "a", test=1)
    (tmp_path / "a" / "test" / "dog" / "dog_00.png").write_bytes(b"")
    assert "class dog has no readable image" in refused("folder", tmp_path / "a", skip_corrupt=True)


def test_an_image_that_would_fill_the_memory(tmp_path, monkeypatch):
    tree(tmp_path / "a")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    picture(0, size=(8, 8)).save(tmp_path / "a" / "train" / "dog" / "bomb.png")
    assert "bomb.png (Image size (64 pixels) exceeds limit of 50 pixels" in refused("folder", tmp_path / "a")


def test_a_size_for_which_there_is_no_memory(tmp_path, monkeypatch):
    tree(tmp_path / "a")
    (tmp_path / "meminfo").write_text("MemTotal:  9000000 kB\nMemAvailable:  1000000 kB\n")
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    assert refused("folder", tmp_path / "a", size=4096) == (
        "1.4 GB of memory are needed, 1.0 GB are available: 27 images of 4096×4096 pixels: set dataset.size, for example 64"
    )
    assert "1797 images of 4096×4096 pixels: set a smaller dataset.size" in refused("digits", None, size=4096)


def test_two_sizes(tmp_path):
    tree(tmp_path / "a")
    picture(0, size=(7, 6)).save(tmp_path / "a" / "test" / "dog" / "wide.png")
    message = refused("folder", tmp_path / "a")
    assert "wide.png is 7×6, the first image is 6×6: set dataset.size, for example 6" in message


def test_the_source_index_of_a_file_is_its_place_in_the_listing(tmp_path):
    tree(tmp_path / "a")
    train, test = source("folder", tmp_path / "a")
    assert train.index.tolist() == list(range(18)) and test.index.tolist() == list(range(9))
    assert train.source_size == 18 and train.order == BY_FILE_NAME

    broken(tmp_path / "a")  # files 0, 1, 3 (cat_02.png is followed by cat_02.jpg)
    with pytest.warns(UserWarning, match="left out"):
        train, _ = source("folder", tmp_path / "a", skip_corrupt=True)
    assert train.index.tolist() == [3, *range(5, 19)] and train.source_size == 19


# a user's own folder


def folder_of(root, classes=("cat", "dog"), count=3):
    """An image folder without train and test; returns its images."""
    images, _ = tree(root.parent / f"{root.name}-parts", train=count, classes=classes)
    (root.parent / f"{root.name}-parts" / "train").rename(root)
    return images


def test_a_users_folder_comes_with_the_file_of_every_example(tmp_path, home):
    expected = folder_of(tmp_path / "mine")
    found = read_folder(tmp_path / "mine")
    assert np.array_equal(found.images, expected) and found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.classes == ("cat", "dog") and found.index.tolist() == list(range(6))
    for file, image in zip(found.files, found.images, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "mine" / file)).transpose(2, 0, 1), image)
    assert not home.exists()  # a user's images are copied nowhere


def test_nothing_is_left_out_of_a_users_folder_without_a_word(tmp_path):
    folder_of(tmp_path / "mine")
    place = tmp_path / "mine"
    (place / ".ipynb_checkpoints").mkdir()
    (place / "cat" / ".DS_Store").write_bytes(b"litter")
    picture(5).save(place / "cat" / "scan.tif")
    (place / "notes.txt").write_text("notes")
    (place / "dog" / "dog_01.png").write_bytes(b"")

    advice = "replace or remove it, or pass skip_corrupt=True to read_folder"
    with pytest.warns(UserWarning, match=r"files of other kinds are ignored \(2\), the first is notes.txt"):
        with pytest.raises(UserError, match=rf"dog_01.png \(the file is empty\): {advice}"):
            read_folder(place)
        with pytest.warns(UserWarning, match="dog_01.png .*: left out"):
            found = read_folder(place, skip_corrupt=True)

    assert found.labels.tolist() == [0, 0, 0, 1, 1] and found.index.tolist() == [0, 1, 2, 3, 5]
    assert found.files[3:] == ("dog/dog_00.png", "dog/dog_02.png") and found.classes == ("cat", "dog")


def test_the_order_of_classes_is_told_and_can_be_chosen(tmp_path):
    images = folder_of(tmp_path / "mine", classes=("1", "10", "2"), count=1)
    with pytest.warns(UserWarning, match=r"sorted as text \(1, 10, 2, …\): pass classes=\[…\]"):
        assert read_folder(tmp_path / "mine").classes == ("1", "10", "2")

    chosen = read_folder(tmp_path / "mine", classes=["1", "2", "10"])
    assert chosen.classes == ("1", "2", "10") and chosen.labels.tolist() == [0, 1, 2]
    assert np.array_equal(chosen.images, images[[0, 2, 1]]) and chosen.files[1].startswith("2/")
    with pytest.raises(UserError, match="mine has the classes 1, 10, 2: name each of them once"):
        read_folder(tmp_path / "mine", classes=["1", "2"])
    with pytest.raises(UserError, match="size = 0: expected a whole number of pixels"):
        read_folder(tmp_path / "mine", size=0)


def test_a_users_folder_of_two_sizes_or_an_empty_class(tmp_path):
    folder_of(tmp_path / "mine")
    picture(0, size=(7, 6)).save(tmp_path / "mine" / "dog" / "wide.png")
    with pytest.raises(UserError, match=r"wide.png is 7×6, the first image is 6×6: pass size to read_folder, for example size=6"):
        read_folder(tmp_path / "mine")
    with pytest.warns(UserWarning, match="resized to 8×8"):
        assert read_folder(tmp_path / "mine", size=8).images.shape == (7, 3, 8, 8)

    (tmp_path / "mine" / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no image"):
        read_folder(tmp_path / "mine")
    with pytest.raises(UserError, match="nowhere does not exist: expected a folder with one sub-folder per class"):
        read_folder(tmp_path / "nowhere")
