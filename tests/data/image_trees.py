"""Small image folders and archives that tests make, and the two ways to read them."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from mulnb.config import Dataset
from mulnb.core.errors import UserError
from mulnb.data.sources import SOURCES

CLASSES = ("cat", "dog", "eel")


WNIDS = ("n01", "n02", "n03")


def picture(seed, size=(6, 6), mode="RGB"):
    """Noise, so that no two images are alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise if mode == "RGB" else noise[:, :, 0])


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


def source(name, root, **options):
    return SOURCES[name](Dataset(name=name, root=None if root is None else str(root), **options))


def refused(name, root, **options):
    """The message of the refusal: one line."""
    with pytest.raises(UserError) as error:
        source(name, root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
