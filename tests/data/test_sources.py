"""Image sources: every layout comes out as the same checked arrays, is decoded once, and bad input is one line."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mulnb import load_data, load_profile
from mulnb.config import Dataset
from mulnb.core import store
from mulnb.core.errors import UserError
from mulnb.data import archives, decode, reader
from mulnb.data.sources import SOURCES

CLASSES = ("cat", "dog", "eel")


def picture(seed, size=(6, 6), mode="RGB"):
    """Noise, so that no two images are alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise if mode == "RGB" else noise[:, :, 0])


def tree(root, train=6, test=3, classes=CLASSES, suffix=".png", size=(6, 6)):
    """An image folder; returns its images [N, 3, H, W] of train and test in the order of the names."""
    made = []
    for part, count, start in (("train", train, 0), ("test", test, 1000)):
        arrays = []
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                image = picture(start + 100 * label + index, size)
                image.save(root / part / name / f"{name}_{index:02}{suffix}")
                arrays.append(np.asarray(image).transpose(2, 0, 1))
        made.append(np.stack(arrays))
    return made


def source(name, root, **options):
    return SOURCES[name](Dataset(name=name, root=None if root is None else str(root), **options))


def refused(name, root, **options):
    """The message of the refusal: one line."""
    with pytest.raises(UserError) as error:
        source(name, root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def _no_unexpected_notice():
    """A notice that a test does not expect fails it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# image folders


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


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".webp", ".gif", ".bmp"])
def test_other_formats(tmp_path, suffix):
    tree(tmp_path / "a", train=1, test=1, suffix=suffix)
    train, _ = source("folder", tmp_path / "a")
    with Image.open(tmp_path / "a" / "train" / "dog" / f"dog_00{suffix}") as image:
        assert np.array_equal(train.images[1], np.asarray(image.convert("RGB")).transpose(2, 0, 1))


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


# what an image becomes


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_mode_becomes_rgb():
    def rgb(image, kind="PNG", **options):
        return decode.pixels(encoded(image, kind, **options))[0]

    grey = picture(0, mode="L")
    assert np.array_equal(rgb(grey), np.stack([np.asarray(grey)] * 3))
    palette = picture(1).quantize(16)
    assert np.array_equal(rgb(palette), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    deep = np.arange(36, dtype=np.uint16).reshape(6, 6) * 1820
    assert np.array_equal(rgb(Image.fromarray(deep))[0], deep // 256)
    glass = np.zeros((6, 6, 4), np.uint8)
    glass[:3] = (10, 20, 30, 255)  # the lower half is transparent
    seen = rgb(Image.fromarray(glass))
    assert (seen[:, :3] == np.array([10, 20, 30])[:, None, None]).all() and (seen[:, 3:] == 255).all()
    ink = Image.new("CMYK", (6, 6), (255, 0, 0, 0))
    cyan = rgb(ink, "JPEG")
    assert (cyan[0] < 10).all() and (cyan[1:] > 245).all()


def test_an_image_stands_upright_and_an_animation_stands_still():
    image, turned = picture(2, size=(8, 4)), Image.Exif()
    turned[0x0112] = 6  # the camera was held a quarter turn to the left
    upright, size = decode.pixels(encoded(image, exif=turned))
    assert size == (4, 8)
    assert np.array_equal(upright, np.asarray(image.transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1))
    frames = [picture(seed).quantize(8) for seed in (3, 4)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode.pixels(moving)[0], np.asarray(frames[0].convert("RGB")).transpose(2, 0, 1))


def test_a_large_jpeg_is_resized_as_a_whole():
    ramp = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    small, size = decode.pixels(encoded(Image.fromarray(ramp), "JPEG"), 10)
    assert small.shape == (3, 10, 10) and size == (400, 300)
    assert np.allclose(small[0], np.linspace(0, 255, 21)[1::2], atol=6)


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


# what is refused


def broken(root):
    """Four files that are no images, one for each way to be none. Returns their names."""
    cats = root / "train" / "cat"
    (cats / "cat_00.png").write_bytes(b"")
    (cats / "cat_01.png").write_bytes(b"<html>not found</html>")
    whole = encoded(picture(0, size=(64, 64)), "JPEG")
    (cats / "cat_02.jpg").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((cats / "cat_03.png").read_bytes())
    damaged[60] ^= 255
    (cats / "cat_03.png").write_bytes(damaged)
    return ["cat_00.png", "cat_01.png", "cat_02.jpg", "cat_03.png"]


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


def test_a_tree_that_is_none(tmp_path):
    assert refused("folder", tmp_path / "none").startswith(f"dataset.root = {tmp_path / 'none'} does not exist")
    root = tmp_path / "a"
    root.mkdir()
    assert "train does not exist: expected train/<class>/*" in refused("folder", root)
    (root / "train" / "cat").mkdir(parents=True)
    assert "has too few class folders (1 of at least two)" in refused("folder", root)
    (root / "train" / "dog").mkdir()
    assert f"{root / 'train' / 'cat'} holds no image" in refused("folder", root)


def test_nothing_there_says_what_to_put_where(home):
    assert f"{home / 'data' / 'folder'} does not exist: put train/<class>/*" in refused("folder", None)
    message = refused("tiny-imagenet", None)
    assert f"{home / 'data' / 'tiny-imagenet'}: no Tiny-ImageNet here: put tiny-imagenet-200.zip" in message


def test_classes_that_differ_between_train_and_test(tmp_path):
    tree(tmp_path / "a")
    (tmp_path / "a" / "test" / "fox").mkdir()
    assert "has images of class fox, which train does not have" in refused("folder", tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "test" / "fox")
    shutil.rmtree(tmp_path / "a" / "test" / "dog")
    assert "has no images of class dog: every class of train must be in test" in refused("folder", tmp_path / "a")


def test_two_sizes(tmp_path):
    tree(tmp_path / "a")
    picture(0, size=(7, 6)).save(tmp_path / "a" / "test" / "dog" / "wide.png")
    message = refused("folder", tmp_path / "a")
    assert "wide.png is 7×6, the first image is 6×6: set dataset.size, for example 6" in message


def test_nested_folders_and_links_to_nowhere(tmp_path):
    tree(tmp_path / "a")
    link = tmp_path / "a" / "train" / "cat" / "gone.png"
    link.symlink_to(tmp_path / "nowhere.png")
    assert refused("folder", tmp_path / "a") == f"{link}: this link leads nowhere: remove it"
    link.unlink()
    (tmp_path / "a" / "train" / "cat" / "images").mkdir()
    message = refused("folder", tmp_path / "a")
    assert "holds a folder, images" in message and "tiny-imagenet" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path):
    tree(tmp_path / "a")
    (tmp_path / "a" / "train" / "cat" / "cat_00.png").chmod(0)
    assert "cat_00.png: cannot be read: Permission denied" in refused("folder", tmp_path / "a")


# a part of the images


def part_of(root, **options):
    given = {"dataset.name": "folder", "dataset.root": str(root), "forget.size": 1, "sequential.steps": 2}
    given["dataset.label_noise"] = 0
    return load_data(load_profile("digits", given | {f"dataset.{key}": value for key, value in options.items()}))


def test_a_part_is_balanced_and_drawn_by_seed(tmp_path):
    tree(tmp_path / "a", train=20, test=8)
    splits = part_of(tmp_path / "a", train_images=31, test_images=9, holdout=0.1)
    counts = np.bincount(splits.train.labels) + np.bincount(splits.holdout.labels)
    assert sorted(counts) == [10, 10, 11] and np.bincount(splits.test.labels).tolist() == [3, 3, 3]
    again, other = (part_of(tmp_path / "a", train_images=31, test_images=9, holdout=0.1, seed=seed) for seed in (0, 1))
    assert splits.fingerprint == again.fingerprint != other.fingerprint
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


def test_mean_and_std_are_those_of_the_pixels(tmp_path):
    tree(tmp_path / "a", train=20)
    splits = part_of(tmp_path / "a")
    pixels = splits.train.images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert np.allclose(splits.mean, pixels.mean(1), rtol=1e-7) and np.allclose(splits.std, pixels.std(1), rtol=1e-7)
    assert splits.mean.dtype == splits.std.dtype == np.float32


# Tiny-ImageNet

WNIDS = ("n01", "n02", "n03")


def tiny(root, train=4, val=2):
    """Tiny-ImageNet's official layout. Returns the training images."""
    arrays, lines = [], []
    for label, wnid in enumerate(WNIDS):
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        (folder.parent / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t5\t5\n")
        for index in range(train):
            image = picture(10 * label + index, mode="L" if index == 0 else "RGB")
            image.save(folder / f"{wnid}_{index}.JPEG", quality=95)
            with Image.open(folder / f"{wnid}_{index}.JPEG") as saved:
                arrays.append(np.asarray(saved.convert("RGB")).transpose(2, 0, 1))
    (root / "val" / "images").mkdir(parents=True)
    for index in range(val * len(WNIDS)):
        picture(100 + index).save(root / "val" / "images" / f"val_{index}.JPEG")
        lines.append(f"val_{index}.JPEG\t{WNIDS[index % 3]}\t0\t0\t5\t5\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n03\nn01\nn02\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\tunused\n")
    return np.stack(arrays)


def zipped(folder, place, top=""):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, top + path.relative_to(folder).as_posix())
    return place


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


@pytest.mark.parametrize("top", ["tiny-imagenet-200/", ""])
def test_a_zip_is_unpacked_once_into_the_artifacts_and_read_as_the_folder(tmp_path, top, home, monkeypatch):
    expected = tiny(tmp_path / "made")
    (tmp_path / "data").mkdir()
    place = zipped(tmp_path / "made", tmp_path / "data" / "tiny-imagenet-200.zip", top)
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("__MACOSX/._train", b"litter")
    (tmp_path / "data").chmod(0o555)  # read-only data are fine

    train, test = source("tiny-imagenet", tmp_path / "data")
    folder_train, folder_test = source("tiny-imagenet", tmp_path / "made")
    assert np.array_equal(train.images, expected) and train.classes == folder_train.classes
    assert np.array_equal(test.images, folder_test.images) and np.array_equal(test.labels, folder_test.labels)

    monkeypatch.setattr(reader, "_decode_parts", None)
    monkeypatch.setattr(archives, "_unpack", None)
    assert np.array_equal(source("tiny-imagenet", place)[0].images, expected)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny-imagenet-200.zip"]
    assert len(list((home / "artifacts" / "unpacked").iterdir())) == 1


def test_a_zip_that_changed_is_unpacked_again(tmp_path):
    first = tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    assert np.array_equal(source("tiny-imagenet", place)[0].images, first)

    picture(777).save(tmp_path / "made" / "train" / "n01" / "images" / "n01_0.JPEG", quality=95)
    zipped(tmp_path / "made", place)
    second, _ = source("tiny-imagenet", place)
    assert not np.array_equal(second.images[0], first[0]) and np.array_equal(second.images[1:], first[1:])


def test_some_classes_of_tiny_imagenet(tmp_path):
    tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    for root in (tmp_path / "made", place):
        train, test = source("tiny-imagenet", root, classes=2)
        assert train.classes == ("goldfish", "crane") and test.labels.tolist() == [0, 0, 1, 1]


def test_a_broken_zip(tmp_path, home):
    tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    message = refused("tiny-imagenet", place)
    assert message.startswith(f"{place}: not a complete zip") and "delete it and download it again" in message
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start = archive.getinfo("train/n02/images/n02_1.JPEG").header_offset
    damaged = bytearray(whole)
    damaged[start + 120] ^= 255
    place.write_bytes(damaged)
    assert f"{place}: train/n02/images/n02_1.JPEG (" in refused("tiny-imagenet", place)
    assert not list((home / "artifacts" / "unpacked").iterdir())  # nothing half unpacked stays


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


# CIFAR


def test_a_copy_as_an_image_folder_says_so(tmp_path):
    tree(tmp_path / "jpeg", suffix=".jpg")
    tree(tmp_path / "png")
    assert source("cifar10", tmp_path / "jpeg")[0].source == "CIFAR-10 (JPEG copy)"
    assert source("cifar100", tmp_path / "png")[0].source == "CIFAR-100 (image folder)"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small CIFAR-10 archive in the published format, with its own checksums. Returns (folder, images, labels) of it."""
    from torchvision import datasets

    rng = np.random.default_rng(0)
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 3

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name, part):
        return write(name, {"data": images[part].reshape(-1, 3072), "labels": labels[part].tolist()})

    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [batch(f"data_batch_{k}", slice(10 * k - 10, 10 * k)) for k in range(1, 6)])
    monkeypatch.setattr(kind, "test_list", [batch("test_batch", slice(50, 60))])
    name, md5 = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": md5})
    archive = tmp_path / "made" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return tmp_path / "made", images, labels


def test_the_published_files(published, tmp_path, monkeypatch):
    place, images, labels = published
    (tmp_path / "packed").mkdir()
    archive = shutil.copy(place / "cifar-10-python.tar.gz", tmp_path / "packed")
    for root in (place, place / "cifar-10-batches-py", tmp_path / "packed", Path(archive)):
        train, test = source("cifar10", root)
        assert np.array_equal(train.images, images[:50]) and np.array_equal(test.images, images[50:])
        assert np.array_equal(train.labels, labels[:50]) and train.classes == CLASSES
        assert train.source == "CIFAR-10 (torchvision, checksum verified)"
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["cifar-10-python.tar.gz"]


def test_published_files_that_are_damaged(published):
    place, *_ = published
    batch = place / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-100])
    message = refused("cifar10", place)
    assert message.startswith(f"{batch.parent}: a file is missing or damaged (its checksum differs): delete the folder")
    shutil.rmtree(batch.parent)
    archive = place / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    message = refused("cifar10", place)
    assert message.startswith(f"{archive} is incomplete or damaged") and "delete it and run again" in message


def test_a_download_is_whole_or_not_there(published, home, monkeypatch):
    from torchvision.datasets import utils

    place, images, _ = published
    whole, sent = (place / "cifar-10-python.tar.gz").read_bytes(), []

    def offline(url, max_hops):
        raise OSError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(utils, "_get_redirect_url", offline)
    message = refused("cifar10", None)
    where = home / "data" / "cifar10"
    assert message.startswith(f"CIFAR-10: cifar-10-python.tar.gz cannot be downloaded to {where} ([Errno -3] Temporary failure")
    assert "run again" in message and "cifar-10-batches-py" in message and "train/<class>/*" in message
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: sent.append(Path(path).write_bytes(whole[: len(whole) // 2])))
    assert "cannot be downloaded" in refused("cifar10", None) and sent and not list(where.iterdir())
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: sent.append(Path(path).write_bytes(whole)))
    assert np.array_equal(source("cifar10", None)[0].images, images[:50])
    assert [path.name for path in where.iterdir()] == ["cifar-10-python.tar.gz"]


# the real images, where there are any

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
