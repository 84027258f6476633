"""Which image files there are: a folder, or a zip read as one, in one of two layouts. Nothing is decoded here.

`class_folders`: train/<class>/* and, if there is one, test/<class>/*. `tiny_imagenet`: train/<wnid>/images/* and val/images/*
with the classes in val/val_annotations.txt. Classes and files are sorted by name, whatever order a disk lists them in.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mulnb.core.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what other programs leave behind; hidden files are left out, too

File = tuple[str, str]  # name, and a stamp that changes when the file does
Entries = tuple[list[str], list[File]]  # folders and files, each sorted by name


@dataclass(frozen=True)
class Files:
    """Names relative to the tree and labels, `test` None where the source has none; `listing` changes when a file does."""

    classes: tuple[str, ...]
    train: list[tuple[str, int]]
    test: list[tuple[str, int]] | None
    listing: list[File]
    ignored: list[str] = field(default_factory=list)


class Folder:
    """A folder on disk."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def where(self, name: str) -> str:
        return str(self.place / name)

    def entries(self, name: str) -> Entries | None:
        """What lies in a folder, or None if it does not exist. Raises `UserError` if it cannot be listed."""
        folders, files = [], []
        try:
            with os.scandir(self.place / name) as found:
                for entry in found:
                    if _litter(entry.name):
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                    else:
                        stat = entry.stat()
                        files.append((entry.name, f"{stat.st_size} {stat.st_mtime_ns}"))
        except (FileNotFoundError, NotADirectoryError) as error:
            if Path(error.filename) == self.place / name:
                return None
            raise UserError(f"{error.filename}: this link leads nowhere: remove it") from None
        except OSError as error:
            raise UserError(f"{error.filename or self.where(name)}: cannot be read: {error.strerror}") from None
        return sorted(folders), sorted(files)

    def read(self, name: str) -> bytes:
        """A file's content. Raises `UserError` if there is none to be had."""
        try:
            return (self.place / name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.where(name)}: cannot be read: {error.strerror}") from None


class Archive:
    """A zip, read as a folder without being unpacked; if all lies in one folder of the zip, that folder is the tree."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self.place}: not a complete zip ({error}): delete it and download it again, or let `wget -c` or "
                "`curl -C - -O` continue a broken download"
            ) from None

    @cached_property
    def _top(self) -> str:
        """What all names begin with: "", or one folder and a slash."""
        tops = {name.partition("/")[0] for name in self._zip.namelist() if not _litter(name.partition("/")[0])}
        return f"{tops.pop()}/" if len(tops) == 1 else ""

    @cached_property
    def _entries(self) -> dict[str, Entries]:
        found: dict[str, tuple[set[str], list[File]]] = {"": (set(), [])}
        for info in self._zip.infolist():
            folder, _, name = info.filename.removeprefix(self._top).rpartition("/")
            if any(map(_litter, (*folder.split("/"), name))):
                continue
            files = found.setdefault(folder, (set(), []))[1]
            if name:  # otherwise it is the folder's own entry
                files.append((name, f"{info.file_size} {info.CRC}"))
        for folder in list(found):
            while folder:
                parent, _, name = folder.rpartition("/")
                found.setdefault(parent, (set(), []))[0].add(name)
                folder = parent
        return {folder: (sorted(folders), sorted(files)) for folder, (folders, files) in found.items()}

    def stamp(self) -> str:
        """Changes when the zip does, and is quicker to have than its directory."""
        stat = self.place.stat()
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def where(self, name: str) -> str:
        return f"{self.place}: {self._top}{name}"

    def entries(self, name: str) -> Entries | None:
        """As `Folder.entries`."""
        return self._entries.get(name)

    def read(self, name: str) -> bytes:
        """A file's content. Raises `UserError` if it is not in the zip, and `zipfile.BadZipFile` if it is damaged."""
        try:
            return self._zip.read(self._top + name)
        except KeyError:
            raise UserError(f"{self.where(name)} is missing") from None


Tree = Folder | Archive


def class_folders(tree: Tree, limit: int | None = None) -> Files:
    """train/<class>/* and test/<class>/*, of the first `limit` classes. Raises `UserError` for what is not such a tree."""
    classes = _classes(tree, limit, "expected train/<class>/* and, if there is a test set, test/<class>/*")
    scan = _Scan(tree)
    train = scan.classes("train", classes)
    test = None
    if (found := tree.entries("test")) is not None:
        _same_classes(tree, found[0], classes, _folders(tree, "train"))
        test = scan.classes("test", classes)
    return Files(tuple(classes), train, test, scan.listing, scan.ignored)


def class_folder(tree: Tree) -> tuple[list[str], list[tuple[str, int]]]:
    """Classes and files of <class>/*, without train and test. Raises `UserError` for what is not such a folder."""
    expected = "expected a folder with one sub-folder per class"
    if tree.entries("") is None:
        raise UserError(f"{tree.place} does not exist: {expected}")
    classes = _folders(tree, "")
    if not classes:
        raise UserError(f"{tree.place}: no images: {expected}")
    return classes, _Scan(tree).classes("", classes)


def tiny_imagenet(tree: Tree, limit: int | None = None) -> Files:
    """The official layout of Tiny-ImageNet; val is the test set, classes are called by words.txt if there is one.

    Raises `UserError` for what is not such a tree.
    """
    wnids = _classes(tree, limit, "expected the folder tiny-imagenet-200 or tiny-imagenet-200.zip as it is published")
    scan = _Scan(tree)
    train = scan.classes("train", wnids, "images")
    if tree.entries("val/images") is None:
        raise UserError(
            f"{tree.where('val/images')} does not exist: a copy that has val/<wnid>/* is read by dataset.name: folder, once "
            "its val is called test and its images lie in train/<wnid>/ themselves"
        )
    answers = _annotations(tree, set(_folders(tree, "train")))
    found = {name.rpartition("/")[2] for name, _ in scan.files("val/images")}
    if missing := sorted(answers.keys() - found):
        raise UserError(f"{tree.where('val/images')}: {missing[0]} of val_annotations.txt is missing: unpack the archive again")
    scan.ignored += [f"val/images/{name}" for name in sorted(found - answers.keys())]
    _same_classes(tree, set(answers.values()), wnids, _folders(tree, "train"), "val")
    label = {wnid: index for index, wnid in enumerate(wnids)}
    test = sorted((label[wnid], f"val/images/{name}") for name, wnid in answers.items() if wnid in label)
    scan.listing += [("val_annotations", repr(sorted(answers.items()))), ("words", repr(names := _names(tree, wnids)))]
    return Files(names, train, [(name, index) for index, name in test], scan.listing, scan.ignored)


class _Scan:
    """The image files found so far, and what was passed over."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.listing, self.ignored = tree, [], []

    def files(self, folder: str) -> list[File]:
        """The images of a folder, their names with the folder's; sub-folders are refused."""
        folders, files = self.tree.entries(folder) or ([], [])
        if folders:
            raise UserError(
                f"{self.tree.where(folder)} holds a folder, {folders[0]}: put the images into the folder of their class itself"
                + (" (dataset.name: tiny-imagenet reads the layout train/<wnid>/images)" if folders == ["images"] else "")
            )
        images = [(f"{folder}/{name}", stamp) for name, stamp in files if name.lower().endswith(SUFFIXES)]
        if len(images) < len(files):
            self.ignored += [f"{folder}/{name}" for name, _ in files if not name.lower().endswith(SUFFIXES)]
        self.listing += images
        return images

    def classes(self, part: str, classes: Iterable[str], below: str = "") -> list[tuple[str, int]]:
        found = []
        self.ignored += [f"{part}/{name}" for name, _ in (self.tree.entries(part) or ([], []))[1]]
        for label, name in enumerate(classes):
            folder = "/".join(filter(None, (part, name, below)))
            files = self.files(folder)
            if not files:
                raise UserError(f"{self.tree.where(folder)} holds no image ({', '.join(SUFFIXES)}): fill or remove the class")
            found += [(file, label) for file, _ in files]
        return found


def _litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _folders(tree: Tree, name: str) -> list[str]:
    return (tree.entries(name) or ([], []))[0]


def _classes(tree: Tree, limit: int | None, expected: str) -> list[str]:
    if tree.entries("train") is None:
        raise UserError(f"{tree.where('train')} does not exist: {expected}")
    classes = _folders(tree, "train")
    if len(classes) < 2:
        raise UserError(f"{tree.where('train')} has too few class folders ({len(classes)} of at least two): {expected}")
    return classes[:limit]


def _same_classes(tree: Tree, found: Iterable[str], classes: list[str], known: list[str], part: str = "test") -> None:
    """Every class in both parts; those beyond `dataset.classes` need only be known."""
    if missing := sorted(set(classes) - set(found)):
        raise UserError(f"{tree.where(part)} has no images of class {missing[0]}: every class of train must be in {part}")
    if surplus := sorted(set(found) - set(known)):
        raise UserError(f"{tree.where(part)} has images of class {surplus[0]}, which train does not have: remove or add it there")


def _annotations(tree: Tree, known: set[str]) -> dict[str, str]:
    """File name → wnid of the validation images."""
    name = "val/val_annotations.txt"
    answers: dict[str, str] = {}
    for number, line in enumerate(_text(tree, name).splitlines(), start=1):
        file, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if not line.strip():
            continue
        if wnid not in known:
            raise UserError(f"{tree.where(name)}, line {number}: {wnid or 'nothing'} is no class of train: remove the line")
        answers[file] = wnid
    return answers


def _names(tree: Tree, wnids: list[str]) -> tuple[str, ...]:
    """The first word for each wnid; a wnid that has none, or shares it with another, stays in the name."""
    words = {}
    if any(name == "words.txt" for name, _ in (tree.entries("") or ([], []))[1]):
        words = dict(line.split("\t", 1) for line in _text(tree, "words.txt").splitlines() if "\t" in line)
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return tuple(name if names.count(name) == 1 else f"{name} {wnid}" for name, wnid in zip(names, wnids, strict=True))


def _text(tree: Tree, name: str) -> str:
    return tree.read(name).decode(errors="replace")
