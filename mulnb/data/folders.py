"""Lists the image files of a folder in one of three layouts. Nothing is decoded here.

- `class_folders`: train/<class>/* and, if there is one, test/<class>/*.
- `class_folder`: <class>/*, without train and test.
- `tiny_imagenet`: train/<wnid>/images/*, and val/images/* with the classes in val/val_annotations.txt. A wnid is the name that
  WordNet gives to a class, such as "n01443537".

Classes and files are sorted by name, whatever order the disk lists them in. Hidden files and folders, and files that operating
systems leave behind, are left out.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mulnb.core import plain_file
from mulnb.core.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
LARGEST = 256 * 2**20  # bytes of an image file; a camera's largest has a fifth of it
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # written by Windows and macOS

File = tuple[str, str]  # name, and a stamp (size and time) that changes when the file does
Member = tuple[str, int]  # name of an image file, and its label


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, named relative to it."""

    classes: tuple[str, ...]  # in the order of the labels
    train: list[Member]
    test: list[Member] | None  # None if there is no test set
    stamps: list[File]  # all that was listed: they change when a file does
    ignored: list[str] = field(default_factory=list)  # files that are not images by their suffix
    complete: bool = True  # whether all classes of the folder are listed


class Entries(NamedTuple):
    """What lies in a folder, sorted by name, without what is hidden."""

    folders: list[str]
    files: list[File]


@dataclass(frozen=True)
class Folder:
    """A folder on disk. Names of what it holds are relative to it, with "/" between them."""

    place: Path

    def where(self, name: str) -> str:
        """The full path of a file or folder, for messages."""
        return str(self.place / name)

    def has(self, name: str) -> bool:
        """Whether there is a folder of this name."""
        return os.path.isdir(self.place / name)  # False, not an error, where a folder may not be entered

    def entries(self, name: str) -> Entries:
        """What lies in a folder; nothing if it does not exist.

        Raises:
            UserError: the folder cannot be listed, or holds a link to nowhere.
        """
        place = self.place / name
        folders, files = [], []

        try:
            with os.scandir(place) as found:
                for entry in found:
                    if is_litter(entry.name):
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                    else:
                        stat = entry.stat()
                        files.append((entry.name, f"{stat.st_size} {stat.st_mtime_ns}"))
        except (FileNotFoundError, NotADirectoryError) as error:
            if Path(error.filename) != place:
                raise UserError(f"{error.filename}: this link leads nowhere: remove it") from None
        except OSError as error:
            raise UserError(f"{error.filename or place}: cannot be read: {error.strerror}") from None

        return Entries(sorted(folders), sorted(files))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            UserError: the file does not exist, cannot be read, is longer than `LARGEST`, or is a named pipe, device or socket.
        """
        return plain_file.read(self.place / name, LARGEST)

    def read_text(self, name: str) -> str:
        """The content of a text file; raises as `read`."""
        return self.read(name).decode(errors="replace")


def normal(name: str) -> str:
    """A name in the Unicode form NFC: "é" is one character, not "e" and an accent."""
    return unicodedata.normalize("NFC", name)


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in LITTER


# --- the layouts ---------------------------------------------------------------------------------------------------------


def class_folders(folder: Folder, limit: int | None = None) -> Listing:
    """List train/<class>/* and, if there is one, test/<class>/*.

    Args:
        folder: the folder that holds `train`.
        limit: list only the first so many classes by name; None: all.

    Raises:
        UserError: another layout, an empty class, or classes that differ between train and test.
    """
    classes = _training_classes(folder, limit, "expected train/<class>/* and, if there is a test set, test/<class>/*")
    scan = _Scan(folder)
    train = scan.classes("train", classes)
    test = None

    if folder.has("test"):
        # One name may be spelled in two Unicode forms, as on disks of macOS and of Linux: find the spelling of test.
        spelling = {normal(name): name for name in folder.entries("test").folders}
        _check_same_classes(folder, "test", spelling.values(), classes)
        test = scan.classes("test", [spelling[normal(name)] for name in classes])

    complete = len(classes) == len(folder.entries("train").folders)
    return Listing(tuple(classes), train, test, scan.stamps, scan.ignored, complete)


def class_folder(folder: Folder, order: Sequence[str] | None = None) -> Listing:
    """List <class>/*. The listing's `train` has all images.

    Args:
        folder: the folder that holds the classes.
        order: the names of all classes in the order of their labels; None: sorted by name as text ("10" before "2").

    Raises:
        UserError: the folder does not exist, has another layout, has an empty class, or has other classes than `order`.
    """
    expected = "expected a folder with one sub-folder per class"
    if not folder.has(""):
        raise UserError(f"{folder.place} does not exist: {expected}")

    classes = folder.entries("").folders
    if not classes:
        raise UserError(f"{folder.place}: no images: {expected}")

    if order is not None:
        order = [str(name) for name in order]
        if sorted(order) != classes:
            raise UserError(f"classes = {order}: {folder.place} has the classes {', '.join(classes)}: name each of them once")
        classes = order

    scan = _Scan(folder)
    members = scan.classes("", classes)
    return Listing(tuple(classes), members, None, scan.stamps, scan.ignored)


def tiny_imagenet(folder: Folder, limit: int | None = None) -> Listing:
    """List Tiny-ImageNet as it is published. Its val is the test set; words.txt, if there is one, names the classes.

    Args:
        folder: the folder `tiny-imagenet-200`.
        limit: list only the first so many classes by wnid; None: all.

    Raises:
        UserError: another layout, an empty class, or annotations that do not fit the files.
    """
    wnids = _training_classes(folder, limit, "expected the folder tiny-imagenet-200 or tiny-imagenet-200.zip as it is published")
    scan = _Scan(folder)
    train = scan.classes("train", wnids, below="images")

    if not folder.has("val/images"):
        raise UserError(
            f"{folder.where('val/images')} does not exist: to read a copy that has val/<wnid>/*, rename val to test, move the "
            "training images into train/<wnid>/ themselves, and set dataset.name: folder"
        )

    wnid_of = _annotations(folder)  # file name → wnid
    found = {name.removeprefix("val/images/") for name, _ in scan.images("val/images")}

    if missing := sorted(wnid_of.keys() - found):
        raise UserError(f"{folder.where('val/images')}: {missing[0]} of val_annotations.txt is missing: unpack the archive again")
    for name in sorted(found - wnid_of.keys()):
        scan.ignored.append(f"val/images/{name}")  # an image without a class
    _check_same_classes(folder, "val", set(wnid_of.values()), wnids)

    # Sort by class, then by name, as the training images are.
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    labelled = sorted((label_of[wnid], f"val/images/{name}") for name, wnid in wnid_of.items() if wnid in label_of)
    test = [(name, label) for label, name in labelled]

    # The annotations decide about labels, and words.txt about names: a change of either is a change of the data.
    names = _class_names(folder, wnids)
    stamps = [*scan.stamps, ("val_annotations", repr(sorted(wnid_of.items()))), ("words", repr(names))]
    complete = len(wnids) == len(folder.entries("train").folders)
    return Listing(names, train, test, stamps, scan.ignored, complete)


class _Scan:
    """Collects the image files of class folders, and what was ignored on the way."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.stamps: list[File] = []
        self.ignored: list[str] = []

    def classes(self, part: str, classes: Iterable[str], below: str = "") -> list[Member]:
        """The images of all classes, from the folders <part>/<class>/<below>; their labels count the classes."""
        beside = self.folder.entries(part)
        self.ignored += [_join(part, name) for name, _ in beside.files]

        classes = list(classes)
        _check_names(self.folder.where(part), classes)

        members = []
        for label, name in enumerate(classes):
            place = _join(part, name, below)
            images = self.images(place)
            if not images:
                suffixes = ", ".join(SUFFIXES)
                raise UserError(f"{self.folder.where(place)} holds no image ({suffixes}): fill or remove the class")
            members += [(image, label) for image, _ in images]

        return members

    def images(self, place: str) -> list[File]:
        """The images of one folder, named relative to the root. Sub-folders are refused."""
        folders, files = self.folder.entries(place)

        if folders:
            # Unpacked by hand, Tiny-ImageNet is often read with the wrong dataset.name.
            hint = " (dataset.name: tiny-imagenet reads the layout train/<wnid>/images)" if folders == ["images"] else ""
            raise UserError(
                f"{self.folder.where(place)} holds a folder, {folders[0]}: put the images into the folder of their class itself"
                + hint
            )

        images = []
        for name, stamp in files:
            if name.lower().endswith(SUFFIXES):
                images.append((_join(place, name), stamp))
            else:
                self.ignored.append(_join(place, name))

        self.stamps += images
        return images


def _join(*names: str) -> str:
    """A relative path; empty names are left out."""
    return "/".join(name for name in names if name)


def _training_classes(folder: Folder, limit: int | None, expected: str) -> list[str]:
    """The classes in `train`, sorted by name; `expected` tells in messages what should be there."""
    if not folder.has("train"):
        raise UserError(f"{folder.where('train')} does not exist: {expected}")

    classes = folder.entries("train").folders
    if len(classes) < 2:
        raise UserError(f"{folder.where('train')} has too few class folders ({len(classes)} of at least two): {expected}")

    return classes[:limit]


def _check_names(place: str, classes: list[str]) -> None:
    """Refuse a class whose name cannot be shown in a table or a figure, and two that look the same."""
    looks: dict[str, str] = {}
    for name in classes:
        if not name.isprintable():
            raise UserError(f"{place}: the class {name!r} has signs in its name that cannot be printed: rename it")
        if normal(name) in looks:
            raise UserError(f"{place}: two classes are called {name}, in two Unicode forms: rename one, or put them together")
        looks[normal(name)] = name


def _check_same_classes(folder: Folder, part: str, found: Iterable[str], classes: list[str]) -> None:
    """Refuse a test set without one of the `classes`, or with a class that is not in train at all."""
    found = set(map(normal, found))
    known = set(map(normal, folder.entries("train").folders))  # also the classes beyond dataset.classes

    if missing := sorted(set(map(normal, classes)) - found):
        raise UserError(f"{folder.where(part)} has no images of class {missing[0]}: every class of train must be in {part}")
    if surplus := sorted(found - known):
        raise UserError(
            f"{folder.where(part)} has images of class {surplus[0]}, which train does not have: remove or add it there"
        )


def _annotations(folder: Folder) -> dict[str, str]:
    """File name → wnid of the validation images, from val_annotations.txt."""
    name = "val/val_annotations.txt"
    known = set(folder.entries("train").folders)
    wnid_of = {}

    for number, line in enumerate(folder.read_text(name).splitlines(), start=1):
        if not line.strip():
            continue

        file, wnid, *_ = (*line.split("\t"), "")
        wnid = wnid.strip()
        if wnid not in known:
            raise UserError(f"{folder.where(name)}, line {number}: {wnid or 'nothing'} is no class of train: remove the line")
        wnid_of[file] = wnid

    return wnid_of


def _class_names(folder: Folder, wnids: list[str]) -> tuple[str, ...]:
    """The first word that words.txt gives for each wnid. If it gives none, the wnid; if two share it, the word and the wnid."""
    words = {}
    if "words.txt" in dict(folder.entries("").files):
        for line in folder.read_text("words.txt").splitlines():
            wnid, separator, meaning = line.partition("\t")
            if separator:
                words[wnid] = meaning

    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return tuple(name if names.count(name) == 1 else f"{name} {wnid}" for name, wnid in zip(names, wnids, strict=True))
