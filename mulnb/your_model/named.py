"""What a data set calls its classes and examples, where it is certain that the names belong to the labels and items read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Subset

from mulnb.core.errors import UserError
from mulnb.your_model.pictures import labels_of, picture

if TYPE_CHECKING:
    from mulnb.your_model.items import Items

LABEL_KEYS = ("label", "labels", "fine_label", "target", "targets", "y", "class")
LOOKED_AT = 16  # items


def behind(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """The data set behind Subsets, and the places of their items in it, int64 [n]; None where there is no Subset."""
    if not isinstance(dataset, Subset):
        return dataset, None
    whole, places = behind(dataset.dataset)
    own = np.asarray(list(dataset.indices), dtype=np.int64)
    return whole, own if places is None else places[own]


def kept_labels(dataset: Any) -> Any | None:
    """All labels of a data set that keeps them, before its `target_transform`."""
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):  # a Hugging Face data set: a column is read without the images
        key = next((key for key in LABEL_KEYS if key in columns), None)
        return None if key is None else list(dataset[key])

    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if isinstance(found, (list, tuple, np.ndarray, torch.Tensor)) and len(found) == len(dataset):
            return found

    return None


# --- classes -------------------------------------------------------------------------------------------------------------


def classes_of(dataset: Any, labels: np.ndarray) -> tuple[str, ...] | None:
    """The names of the labels 0 … K − 1, where the data set knows them; None where they may be those of other labels.

    They may be if labels differ from those that the data set keeps, or if a `target_transform` makes one of two classes. A data
    set that keeps no labels is believed: what its items do to them cannot be checked.

    Args:
        dataset: a map-style data set, also behind Subsets.
        labels: int64 [N], as they are used.
    """
    whole, places = behind(dataset)
    numbers = _numbers(whole)
    if numbers is None or _changed_elsewhere(dataset, whole):
        return None

    try:
        kept = _kept(whole, places, len(labels))
        if (change := getattr(whole, "target_transform", None)) is not None:
            made = _made(change, [*numbers.values(), *(() if kept is None else np.unique(kept).tolist())])
            numbers = {name: made[number] for name, number in numbers.items()}
            kept = None if kept is None else np.array([made[number] for number in kept.tolist()])
    except Exception:  # the user's own code
        return None

    if kept is not None and not np.array_equal(kept, labels):
        return None
    if sorted(numbers.values()) != list(range(len(numbers))):
        return None
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _numbers(dataset: Any) -> dict[str, int] | None:
    """The label of each class by its name, before a `target_transform`: its `class_to_idx`, or the place in its list."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)  # of Hugging Face data sets
    if names is None and isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return None

    known = getattr(dataset, "class_to_idx", None)
    if isinstance(known, Mapping) and set(known) == set(names):  # else names were changed since, in the order of the list
        return dict(known)
    return {name: number for number, name in enumerate(names)} if len(set(names)) == len(names) else None


def _changed_elsewhere(dataset: Any, whole: Any) -> bool:
    """Whether a `target_transform` is set on the way to the data set with the names, or below one that only repeats them."""
    while dataset is not whole:
        if getattr(dataset, "target_transform", None) is not None:
            return True
        dataset = dataset.dataset

    names = list(whole.classes) if hasattr(whole, "classes") else None
    inside = (inner for inner in _inside(whole) if getattr(inner, "target_transform", None) is not None)
    return any(list(getattr(behind(inner)[0], "classes", None) or ()) == names for inner in inside)


def _inside(dataset: Any, depth: int = 4) -> Iterator[Any]:
    """The data sets that one is made of."""
    parts = getattr(dataset, "datasets", None)
    several = list(parts) if isinstance(parts, (list, tuple)) else []
    for part in [getattr(dataset, "dataset", None), *several] if depth else ():
        if part is not None:
            yield part
            yield from _inside(part, depth - 1)


def _kept(whole: Any, places: np.ndarray | None, n: int) -> np.ndarray | None:
    """The labels that a data set keeps of the items in use, int64 [N]; None if it keeps none, or no whole numbers."""
    found = kept_labels(whole)
    if found is None:
        return None
    try:
        return labels_of(found if places is None else np.asarray(found)[places], n, "kept").numpy()
    except UserError:
        return None


def _made(change: Any, labels: list[int]) -> dict[int, int]:
    """What a `target_transform` makes of each label."""
    return {label: int(change(label)) for label in set(labels)}


# --- files ---------------------------------------------------------------------------------------------------------------


def files_of(items: Items, labels: np.ndarray) -> tuple[tuple[str, ...], Path] | None:
    """The file of each item and the folder that these names are relative to, for torchvision's image folders.

    None if the items are not those of the list `samples`, which a `__getitem__` of the user's own may read in another order: then
    labels differ from the list's, and a few images from their files. Another order within classes alone cannot be told.

    Args:
        items: what is read.
        labels: int64 [N], as they are used.
    """
    whole, places = behind(items.dataset)
    samples, root = getattr(whole, "samples", None), getattr(whole, "root", None)
    if not isinstance(samples, list) or len(samples) != len(whole) or not isinstance(root, (str, Path)):
        return None
    if not all(isinstance(sample, tuple) and sample and isinstance(sample[0], str) for sample in samples):
        return None

    chosen = samples if places is None else [samples[place] for place in places]
    if not _labels_agree(items, whole, chosen, labels) and not _images_agree(items, whole, chosen):
        return None
    try:
        return tuple(Path(file).relative_to(root).as_posix() for file, *_ in chosen), Path(root)
    except ValueError:
        return None


def _labels_agree(items: Items, whole: Any, samples: list[tuple], labels: np.ndarray) -> bool:
    """Whether items have the labels of the list: all of them, or, where labels are given beside the data set, a few.

    Also if the list has no whole numbers to compare with.
    """
    try:
        told = labels_of([sample[1] for sample in samples], len(samples), "samples").tolist()
    except (IndexError, UserError):
        return True

    try:
        if (change := getattr(whole, "target_transform", None)) is not None:
            made = _made(change, told)
            told = [made[label] for label in told]
        if items.labelled:
            return bool(np.array_equal(told, labels))

        own = items.with_labels()
        return all(own[place][1] == told[place] for place in few(len(samples)))
    except Exception:  # items without labels, or the user's own code
        return not items.labelled


def _images_agree(items: Items, whole: Any, samples: list[tuple]) -> bool:
    """Whether a few items are the images in their files."""
    try:
        for place in few(len(samples)):
            image = whole.loader(samples[place][0])
            image = image if whole.transform is None else whole.transform(image)
            if not torch.equal(picture(image, "its file"), items[place][0]):
                return False
    except Exception:  # the user's own loader and transform
        return False
    return True


def few(n: int, count: int = LOOKED_AT) -> list[int]:
    """At most `count` of n places, from all over."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).astype(int)).tolist()
