"""Where images come from: one function per `dataset.name`, and the registry `SOURCES`.

A source returns its training images and, if it has any, its test images. Images that were decoded are kept in the store, so that
a source is slow only once. To add a data set, write such a function and enter it in `SOURCES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mulnb.config import Dataset
from mulnb.core import paths, store
from mulnb.core.errors import UserError, notice
from mulnb.core.registry import DATASETS, Registry
from mulnb.data import cifar, folders, reader
from mulnb.data.archives import unpacked
from mulnb.data.decode import resized
from mulnb.data.folders import Folder
from mulnb.data.images import AS_PUBLISHED, ImageSet

Source = Callable[[Dataset], tuple[ImageSet, ImageSet | None]]


def digits(dataset: Dataset) -> tuple[ImageSet, None]:
    """1 797 handwritten digits of 8×8 pixels that ship with scikit-learn (UCI ML repository, Alpaydin & Kaynak 1998)."""

    def decode() -> store.Artifact:
        from sklearn.datasets import load_digits

        published = load_digits()
        images = np.rint(published.images * (255 / 16)).astype(np.uint8)[:, None]  # 0 … 16 → 0 … 255, [N, 1, 8, 8]
        return store.Artifact({"images": images, "labels": published.target.astype(np.int64)})

    # The store spares the import of scikit-learn, which takes a second.
    arrays = store.get_or_compute("images", {"source": "sklearn digits", "version": 1}, decode).arrays
    images, labels = arrays["images"], arrays["labels"]
    classes, n = tuple("0123456789"), len(labels)
    whole = ImageSet(images, labels, classes, "Digits (scikit-learn)", np.arange(n), n, AS_PUBLISHED)

    return resized(whole, dataset.size), None


def cifar_images(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """CIFAR-10 or CIFAR-100: a copy as image folders if there is one, else the published files, downloaded if necessary.

    The source index of the published files is the published order, to which scores of other projects refer. That of a copy is its
    listing, sorted by class and file name: such scores cannot be joined to a copy by position.

    Raises:
        UserError: the files are damaged or cannot be downloaded, or the folder has another layout.
    """
    official = cifar.OFFICIAL[dataset.name]
    root = _root(dataset)

    if not (root / "train").is_dir():
        train, test = cifar.read(official, root)
        return resized(train, dataset.size), resized(test, dataset.size)

    folder = Folder(root)
    listing = folders.class_folders(folder, dataset.classes)
    if dataset.classes is None and len(listing.classes) != official.classes:
        raise UserError(
            f"{root / 'train'} has {len(listing.classes)} classes, {official.title} has {official.classes}: for images of your "
            "own, set dataset.name: folder"
        )
    first, _ = listing.train[0]
    kind = "JPEG copy" if first.lower().endswith((".jpg", ".jpeg")) else "image folder"

    return reader.read(folder, listing, dataset, f"{official.title} ({kind})")


def tiny_imagenet(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """Tiny-ImageNet as it is published, or some of its classes: 200 classes of 500 training images of 64×64 pixels.

    Raises:
        UserError: there is no Tiny-ImageNet, it has another layout, or its zip is damaged.
    """
    folder = _find_tiny_imagenet(_root(dataset))
    listing = folders.tiny_imagenet(folder, dataset.classes)
    train, test = reader.read(folder, listing, dataset, "Tiny-ImageNet")

    if len(train.classes) != 200:
        title = f"Tiny-ImageNet ({len(train.classes)} of 200 classes)"
        train = replace(train, source=train.source.replace("Tiny-ImageNet", title))
    return train, test


def image_folder(dataset: Dataset) -> tuple[ImageSet, ImageSet | None]:
    """Any folder with train/<class>/* and, if there is a test set, test/<class>/*.

    Raises:
        UserError: the folder is missing or has another layout.
    """
    root = _root(dataset)
    if not root.exists():
        raise UserError(f"{root} does not exist: put train/<class>/* there and test/<class>/*, or set dataset.root")

    if not root.is_dir():
        raise UserError(f"{root} is not a folder: unpack it, if it is an archive, and set dataset.root to the folder with train")

    folder = Folder(root)
    if os.path.isfile(root / "test"):
        raise UserError(
            f"{root / 'test'} is a file: expected a folder with the test images, test/<class>/*; call the file otherwise"
        )
    others = [name for name in folder.entries("").folders if name != "train"]
    if others and "test" not in others and folder.has("train"):
        notice(f"{root}: {others[0]} is not read and a share of train becomes the test set: call it test to use it")

    listing = folders.class_folders(folder, dataset.classes)
    return reader.read(folder, listing, dataset, f"{root.name} (image folder)")


SOURCES: Registry[Source] = DATASETS
_OWN: dict[str, Source] = {
    "digits": digits,
    "cifar10": cifar_images,
    "cifar100": cifar_images,
    "tiny-imagenet": tiny_imagenet,
    "folder": image_folder,
}
SOURCES.attach(_OWN)


def _root(dataset: Dataset) -> Path:
    """Where the images lie, or should lie. A place that the profile names must exist."""
    if dataset.root is None:
        return paths.data() / dataset.name

    # Notebooks run in several working folders: a relative path may also start at the home.
    given = paths.expanded(dataset.root)
    for root in (given.absolute(), paths.home() / given):
        if os.path.exists(root):  # unlike Path.exists, it takes a name that is too long for the system
            return root

    raise UserError(f"dataset.root = {given.absolute()} does not exist: correct it, or create it and put the images there")


def _find_tiny_imagenet(root: Path) -> Folder:
    """The published folder or zip: `root` itself, or in it. A zip is unpacked into the artifacts."""
    name = "tiny-imagenet-200"

    for place in (root, root / name, root / f"{name}.zip"):
        if (place / "train").is_dir():
            _check_layout(place / "train")
            return Folder(place)
        if place.suffix.lower() == ".zip" and place.is_file():
            return Folder(unpacked(place))

    raise UserError(
        f"{root}: no Tiny-ImageNet here: put {name}.zip there, or the folder {name} that it unpacks to, or set dataset.root to "
        "where it is"
    )


def _check_layout(train: Path) -> None:
    """Raises `UserError` for images right below their class, which is not how Tiny-ImageNet is published."""
    classes = sorted(place for place in train.iterdir() if place.is_dir())
    if classes and not any((place / "images").exists() for place in classes):
        raise UserError(
            f"{classes[0]}: no folder images, as Tiny-ImageNet has it in every class: for images in train/<class>/* set "
            "dataset.name: folder"
        )
