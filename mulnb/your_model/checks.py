"""Gates before any work: what would make a result wrong is refused in one line that names the example.

`survey` reads all images once and remembers a fingerprint of each; the other checks compare fingerprints, accuracies and
settings with what can be right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mulnb import training, unlearning
from mulnb.config import STRATEGIES, Recipe
from mulnb.core import series
from mulnb.core.errors import UserError, notice
from mulnb.core.validation import wrong_setting
from mulnb.core.whole import is_whole
from mulnb.forget import Strata
from mulnb.your_model import verdict
from mulnb.your_model.adapt import Adapted, first_floating, predicted
from mulnb.your_model.inputs import Images

ROUNDING = 2.0**-21  # by which a value in [0, 1] may miss a level of 8 bits: some roundings of float32
SCALES = 20  # 0 … 255 is 255 times 0 … 1; the brightest pixel of two sets of images differs by much less
REPEATED = 0.1  # share of training images that equal another one, from which on an equal unseen one may be chance
SAMPLE = 1000  # images on which a model's accuracy is estimated before any work


@dataclass(frozen=True)
class Survey:
    """`digests`: uint64 [N], equal for images with equal pixels. `data`: one hash of all images and labels."""

    digests: np.ndarray
    data: str


def survey(data: Images, name: str = "images") -> Survey:
    """Read every image once, unless this very object was read before.

    Raises:
        UserError: a pixel is not finite; the message names the image.
    """
    if "survey" not in data.memo:
        data.memo["survey"] = _survey(data, name)
    return data.memo["survey"]


def _survey(data: Images, name: str) -> Survey:
    digests = np.empty(len(data), dtype=np.uint64)
    whole = hashlib.sha256()

    for start, batch in data.in_order():
        batch = batch.cpu()
        if batch.is_floating_point():
            good = torch.isfinite(batch).flatten(1).all(1)
            if not bool(good.all()):
                place = start + int((~good).nonzero()[0])
                raise UserError(f"{name}: image {data.name(place)} has a pixel that is not finite (NaN or infinite)")

        for offset, row in enumerate(_canonical(batch)):
            digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
            digests[start + offset] = np.frombuffer(digest, dtype=np.uint64)[0]

    whole.update(digests.tobytes())
    whole.update(data.labels.cpu().numpy().tobytes())

    return Survey(digests, whole.hexdigest())


def _canonical(batch: Tensor) -> list[np.ndarray]:
    """The images of a batch as rows. One of levels of 8 bits is uint8, so that it equals the same image held as uint8."""
    rows = batch.flatten(1)  # [B, C·H·W]
    if not batch.is_floating_point():
        return list(rows.numpy())

    levels = (rows.float() * 255).round()
    exact = _are_levels(rows, levels)  # [B]
    as_levels, as_given = levels.clamp(0, 255).to(torch.uint8).numpy(), rows.float().numpy()

    return [as_levels[place] if exact[place] else as_given[place] for place in range(len(batch))]


def _are_levels(rows: Tensor, levels: Tensor) -> Tensor:
    """bool [B]: which rows are multiples of 1/255 but for rounding, and not just small: one reaches 1/255, or all are zero.

    Args:
        rows: floating point [B, V]; of 16 bits, a value of its own rounding misses its level by more.
        levels: the nearest whole multiples [B, V].
    """
    allowed = 255 * ROUNDING + (levels.abs() * torch.finfo(rows.dtype).eps).clamp(max=1e-2)
    near = ((rows.float() * 255 - levels).abs() <= allowed) & (levels >= 0) & (levels <= 255)
    return near.all(1) & ((levels >= 1).any(1) | (rows == 0).all(1))


def overlap(data: Images, other: Images, name: str) -> tuple[int, int] | None:
    """The first image of `other` that is also in `data`: its place there and here.

    None if there is none, if `keep_overlap` accepted it, and, with a notice, where it is chance.
    """
    mine, theirs = survey(data), survey(other, name)
    shared = np.isin(theirs.digests, mine.digests)  # 64 bits each: a chance hit among a million images has odds of 1 in 10⁷
    if not shared.any() or "overlap kept" in other.memo:
        return None
    if _by_chance(mine.digests, shared):
        keep_overlap(other)
        told = f"{name}: {int(shared.sum())} of {len(other)} images are also training images, as often as these equal each other"
        notice(f"{told}: taken for chance, and kept")
        return None

    place = int(np.flatnonzero(shared)[0])
    return place, int(np.flatnonzero(mine.digests == theirs.digests[place])[0])


def keep_overlap(other: Images) -> None:
    """Accept that some of these images are also training images: `overlap` finds none from here on."""
    other.memo["overlap kept"] = True


def _by_chance(digests: np.ndarray, shared: np.ndarray) -> bool:
    """Whether unseen images equal a training image about as often as another training image does: rows of few values do.

    A training set in which every image stands the same number of times was repeated on purpose: nothing follows from it.

    Args:
        digests: uint64 [N], of the training images.
        shared: bool [n], which of the unseen images are among them.
    """
    _, counts = np.unique(digests, return_counts=True)
    expected = counts[counts > 1].sum() / len(digests)
    if expected < REPEATED or counts.min() == counts.max():
        return False

    above = 3 * np.sqrt(expected * (1 - expected) / len(shared)) + 1 / len(shared)
    return bool(expected / 2 <= shared.mean() <= expected + above)


def check_scale(data: Images, other: Images, name: str) -> None:
    """Raises `UserError` if the values of other images are of another order than those of the training images."""
    largest = []
    for part in (data, other):
        few = torch.linspace(0, len(part) - 1, min(len(part), 32)).long()
        largest.append(float(part.inputs(few).abs().max()))

    low, high = sorted(largest)
    if 0 < low < high / SCALES:
        raise UserError(
            f"{name}: values go up to {largest[1]:.3g}, those of the training images up to {largest[0]:.3g}: "
            "give both in uint8, or both scaled alike"
        )


def check_unseen(data: Images, holdout: Images) -> None:
    """Raises `UserError` if an image of the hold-out is among the training images, or their values are on another scale."""
    check_scale(data, holdout, "holdout")
    if (found := overlap(data, holdout, "holdout")) is not None:
        there, here = found
        raise UserError(
            f"holdout: image {holdout.name(there)} is also training image {data.name(here)}: "
            "give images that no model was trained on"
        )


def check_classes(data: Images, holdout: Images) -> None:
    """Tells of a hold-out that has one class only, or classes that nobody was trained on: it then says little of the others."""
    ours, theirs = set(data.labels.unique().tolist()), set(holdout.labels.unique().tolist())
    if len(theirs) == 1 and len(ours) > 1:
        notice(f"holdout has images of class {theirs.pop()} only: give some of every class, as the training images have them")
    elif new := sorted(theirs - ours):
        named = ", ".join(map(str, new[:8])) + (", …" if len(new) > 8 else "")
        notice(f"holdout has images of class {named}, of which there is no training image: leave these out")


def check_duplicates(data: Images, forget: np.ndarray, present: np.ndarray) -> None:
    """Raises `UserError` if an image to be forgotten stays among the retained ones as an exact copy.

    Args:
        data: the training images.
        forget: int64 [n], the examples to forget.
        present: bool [N], what the model still contains.
    """
    digests = survey(data).digests
    retained = present.copy()
    retained[forget] = False
    copies = retained & np.isin(digests, digests[forget])
    if copies.any():
        copy = int(np.flatnonzero(copies)[0])
        original = int(forget[np.flatnonzero(digests[forget] == digests[copy])[0]])
        raise UserError(
            f"image {data.name(original)} is to be forgotten, and image {data.name(copy)}, which stays, has the same pixels "
            f"({int(copies.sum())} such copies): add the copies to the request, or give duplicates='keep'"
        )


def duplicates_of(data: Images, forget: np.ndarray) -> np.ndarray:
    """`forget` and all exact copies of its images, int64, sorted."""
    digests = survey(data).digests
    return np.flatnonzero(np.isin(digests, digests[forget]))


def check_labels(data: Images, classes: int, name: str = "labels") -> None:
    """Raises `UserError` unless all labels are 0 … `classes` − 1."""
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        place = int(((data.labels < 0) | (data.labels >= classes)).nonzero()[0])
        raise UserError(
            f"{name} run from {low} to {high}, the model has {classes} classes: 0 … {classes - 1} "
            f"(example {data.name(place)} is {int(data.labels[place])})"
        )


def at_chance(
    network: nn.Module, data: Images, retain: np.ndarray | None = None, unseen: Images | None = None
) -> tuple[str, str]:
    """A line about training images that a model knows no better than chance, and one about such a hold-out; "" if it is not so.

    A finished model that is at chance on its own training images, or on the hold-out alone, was given wrong labels or another
    normalisation than it was trained with. At most `SAMPLE` images of each kind are looked at.

    Args:
        network: the model.
        data: its training images.
        retain: int64, which of these to look at; None: all.
        unseen: the hold-out, if there is one.

    Raises:
        UserError: the model's outputs are not finite.
    """
    where = "the training images" if retain is None else "the retain set"
    chance, guess = chances(data.labels)
    right, labels = _right(network, data, np.arange(len(data)) if retain is None else retain, where)
    known = float(right.mean())
    told = verdict.near_chance(known, chance, len(right), where, verdict.above_chance(right, labels))
    if told or unseen is None:  # a model that does not know its own images says nothing about a hold-out
        return told, ""

    right, _ = _right(network, unseen, np.arange(len(unseen)), "the hold-out")
    return "", verdict.unseen_at_chance(float(right.mean()), known, guess, "the hold-out")


def check_knows(oracle: Adapted, known: Adapted, data: Images, retain: np.ndarray) -> None:
    """Raises `UserError` if an oracle is near chance on what it was trained on, and the model beside it is not.

    Args:
        oracle, known: the networks.
        data: the training images.
        retain: int64, those that both were trained on.
    """
    told, of_known = (_at_chance_beside(network, data, retain) for network in (oracle, known))
    if told and not of_known:
        raise UserError(f"oracle: {told}, or it was hardly trained: give one that was trained as the original was")


def _at_chance_beside(network: Adapted, data: Images, retain: np.ndarray) -> str:
    """The first line of `at_chance`, for a network that may be of another precision or elsewhere than the images."""
    place = first_floating(network)
    return at_chance(network, data.on(place.device, place.dtype), retain)[0]


def chances(labels: Tensor) -> tuple[float, float]:
    """The accuracy of always saying the most frequent of these labels, and that of guessing each as often as it occurs."""
    shares = torch.bincount(labels.cpu()).double() / len(labels)
    return float(shares.max()), float((shares**2).sum())


def _right(network: nn.Module, data: Images, index: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether the model is right about some of the images at `index`, bool [n], and their labels [n]."""
    if len(index) > SAMPLE:  # its own generator: no other draw depends on it
        index = np.sort(np.random.default_rng(0).choice(index, SAMPLE, replace=False))

    chosen = torch.from_numpy(index).to(data.device)
    try:
        found = predicted(network, data, chosen).argmax(1)
    except training.Diverged:
        raise UserError(
            f"the model's outputs on {where} are not finite: its weights or normalize=(mean, std) are wrong"
        ) from None

    labels = data.labels[chosen]
    return (found == labels).cpu().numpy(), labels.cpu().numpy()


def check_strata(strata: Strata, n: int) -> None:
    """Raises `UserError` unless `strata` are disjoint sets of indices into `n` examples, not all empty, that leave some."""
    every = np.concatenate(list(strata))
    if len(every) == 0:
        raise UserError("the forget set is empty: name at least one example")
    if every.min() < 0 or every.max() >= n:
        raise UserError(f"the forget set has index {every.min() if every.min() < 0 else every.max()}: the data have 0 … {n - 1}")

    values, counts = np.unique(every, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"the forget set: example {values[counts > 1][0]} is in it twice; strata must not overlap")
    if len(every) >= n:
        raise UserError(f"the forget set is all of the {n} examples: nothing would be retained")


def scores_of(scores: Any, n: int | None = None, caller: str = "") -> np.ndarray:
    """Scores float64 [N], of a Series by its index. Raises `UserError` unless they are one number per example.

    Args:
        scores: whatever holds numbers.
        n: the number of images, where that is known.
        caller: how the message about another number begins.
    """
    if hasattr(scores, "files") and hasattr(scores, "close"):  # an opened .npz archive
        raise UserError(f"strata: scores is an archive with {', '.join(scores.files)}: read it by mulnb.load_scores(file)")

    try:
        if isinstance(scores, Tensor):
            scores = scores.detach().cpu().double()  # numpy has no bfloat16
        if np.iscomplexobj(scores) or isinstance(scores, np.ma.MaskedArray):
            raise TypeError
        values = np.asarray(series.in_order(scores, "scores"), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"strata: scores is a {type(scores).__name__}: expected one number per example") from None

    if values.ndim != 1 or len(values) == 0:
        raise UserError(f"strata: scores have the shape {list(values.shape)}: expected one number per example")
    if n is not None and len(values) != n:
        raise UserError(f"{caller}{len(values)} scores for {n} images: give one per image")

    return values


def size_of(size: Any) -> int | list[int]:
    """Sizes of strata as plain numbers. Raises `UserError` unless it is one whole number, or three."""
    three = isinstance(size, (list, tuple, np.ndarray)) and len(size) == 3
    sizes = list(size) if three else [size]
    if not all(map(is_whole, sizes)):
        raise UserError(f"strata: size = {size!r}: should be a whole number, or one for each of low, medium and high")
    return [int(value) for value in sizes] if three else int(size)


def is_split(strata: Strata) -> bool:
    """Whether there are three strata, and not a request that is all in one."""
    return min(len(part) for part in strata) > 0


def check_strategy(strategy: Any, strata: Strata) -> None:
    """Raises `UserError` if a strategy is unknown, or needs strata that are not there."""
    if strategy not in STRATEGIES:
        raise UserError(f"unknown strategy {strategy!r}: known are {', '.join(STRATEGIES)}")
    if strategy != "vanilla" and not is_split(strata):
        raise UserError(
            f"strategy '{strategy}' needs three strata, and the request of {len(strata.forget)} is not split: "
            "give mulnb.strata(scores, forget=…) of at least three examples, or strategy='vanilla'"
        )


# --- settings of algorithms ----------------------------------------------------------------------------------------------


def check_settings(algorithm: str, settings: Mapping[str, Any]) -> None:
    """Raises `UserError` for an unknown algorithm or setting, and for a value that cannot be right."""
    if not isinstance(settings, Mapping):
        raise UserError(f"settings of {algorithm} are a {type(settings).__name__}: expected keyword arguments as a dict")

    unlearning.check(algorithm, settings)
    if algorithm == "retrain":
        recipe_of(Recipe, algorithm, settings)
        return

    if wrong := wrong_setting(algorithm, settings, unlearning.ALGORITHMS[algorithm]):
        raise UserError(f"{algorithm}: {wrong}")


def recipe_of(kind: type, what: str, given: Mapping[str, Any]) -> Any:
    """Keyword arguments as a settings model of `mulnb.config`. Raises `UserError` for one that is unknown or out of range."""
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        raise UserError(f"{what}: {'.'.join(map(str, first['loc']))}: {first['msg']}; its settings are {known}") from None


def seed_of(seed: Any) -> int:
    """A seed as a plain number. Raises `UserError` unless every generator takes it."""
    if not is_whole(seed) or not 0 <= seed < 2**31:
        raise UserError(f"seed = {seed!r}: should be a whole number from 0 to {2**31 - 1}")
    return int(seed)


def one_of(name: str, given: Any, known: Sequence[str]) -> Any:
    """What was given for an argument, if it is one of the words that are known; else raises `UserError`."""
    if not isinstance(given, str) or given not in known:
        raise UserError(f"{name} = {given!r}: should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}")
    return given


def algorithm_names(given: Any) -> list[str | None]:
    """The names in what was given as an algorithm. Raises `UserError` if it is neither a name nor a list of names."""
    names: Sequence[Any] = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(name is None or isinstance(name, str) for name in names):
        raise UserError(f"algorithm = {given!r}: expected a name, or for strategy='rum' a list of three names, None for nothing")
    return list(names)
