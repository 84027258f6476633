"""Where images come from: one function per `dataset.name`, each giving the training images and, if there are any, test images.

What is decoded is kept in the store as checked uint8 arrays, so that a source is slow only once. The official CIFAR archives
are opened by `cifar`, image files by `image_files`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mulnb.config import Dataset
from mulnb.core import paths, store
from mulnb.core.errors import UserError
from mulnb.core.registry import DATASETS, Registry
from mulnb.data import cifar
from mulnb.data import decode as image_files
from mulnb.data.folders import Archive, Folder, Tree, class_folders, tiny_imagenet
from mulnb.data.images import ImageSet

Source = Callable[[Dataset], tuple[ImageSet, ImageSet | None]]
TINY = "tiny-imagenet-200"


def _digits(dataset: Dataset) -> tuple[ImageSet, None]:
    """scikit-learn's 1 797 real handwritten digits, 8×8, from the package itself (UCI ML repository, Alpaydin & Kaynak 1998)."""

    def decode() -> store.Artifact:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        return store.Artifact({"images": images, "labels": digits.target.astype(np.int64)})

    # scikit-learn takes a second to import; the decoded arrays load in a millisecond
    arrays = store.get_or_compute("images", {"source": "sklearn digits", "version": 1}, decode).arrays
    whole = ImageSet(arrays["images"], arrays["labels"], tuple("0123456789"), "Digits (scikit-learn)")
    return image_files.resized(whole, dataset.size), None


def _cifar(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """The official files, which are downloaded if there are none, or a copy as an image folder."""
    official, root = cifar.OFFICIAL[dataset.name], _root(dataset)
    if not (root / "train").is_dir():
        train, test = cifar.read(official, root)
        return image_files.resized(train, dataset.size), image_files.resized(test, dataset.size)
    tree = Folder(root)
    files = class_folders(tree, dataset.classes)
    kind = "JPEG copy" if files.train[0][0].lower().endswith((".jpg", ".jpeg")) else "image folder"
    return image_files.read(tree, lambda: files, dataset, f"{official.title} ({kind})")


def _tiny_imagenet(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """Tiny-ImageNet as it is published: 200 classes of 500 training images, 64×64; or some of its classes."""
    tree = _find_tiny(_root(dataset))
    train, test = image_files.read(tree, lambda: tiny_imagenet(tree, dataset.classes), dataset, "Tiny-ImageNet")
    if len(train.classes) != 200:
        title = f"Tiny-ImageNet ({len(train.classes)} of 200 classes)"
        train = replace(train, source=train.source.replace("Tiny-ImageNet", title))
    return train, test


def _find_tiny(root: Path) -> Tree:
    """The folder or the zip: `root` itself, or in it."""
    for place in (root, root / TINY, root / f"{TINY}.zip"):
        if (place / "train").is_dir():
            return Folder(place)
        if place.suffix.lower() == ".zip" and place.is_file():
            return Archive(place)
    raise UserError(
        f"{root}: no Tiny-ImageNet here: put {TINY}.zip, or the folder {TINY} that it unpacks to, there, or say in dataset.root "
        "where it is"
    )


def _folder(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """Any tree train/<class>/* and test/<class>/* of images."""
    root = _root(dataset)
    if dataset.root is None and not root.exists():
        raise UserError(f"{root} does not exist: put train/<class>/* there and test/<class>/*, or set dataset.root")
    if (root / "val").is_dir() and not (root / "test").is_dir():
        image_files.notice(f"{root}: val is not read and a share of train becomes the test set: call it test to use it")
    tree = Folder(root)
    return image_files.read(tree, lambda: class_folders(tree, dataset.classes), dataset, f"{root.name} (image folder)")


def _root(dataset: Dataset) -> Path:
    """Where the images lie. Raises `UserError` if the profile names a place that does not exist."""
    if dataset.root is None:
        return paths.data() / dataset.name
    given = Path(dataset.root).expanduser()
    # notebooks run in several working folders: a relative path is one of the home, too
    for root in (given.absolute(), paths.home() / given):
        if root.exists():
            return root
    raise UserError(f"dataset.root = {given.absolute()} does not exist: correct it, or create it and put the images there")


SOURCES: Registry[Source] = DATASETS
SOURCES |= {
    "digits": _digits,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "tiny-imagenet": _tiny_imagenet,
    "folder": _folder,
}
