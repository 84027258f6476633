"""Forget sets: three disjoint strata of a score (METHOD §4), and the file that holds such a set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mulnb.core import paths, plain_file, store
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA


@dataclass(frozen=True)
class Strata:
    """Three disjoint sets of example indices, int64 [n] each."""

    low: np.ndarray
    medium: np.ndarray
    high: np.ndarray

    def __iter__(self):
        return iter((self.low, self.medium, self.high))

    @property
    def forget(self) -> np.ndarray:
        """S = low ∪ medium ∪ high, sorted."""
        return np.sort(np.concatenate(list(self)))


def strata(
    scores: np.ndarray,
    size: int | Sequence[int],
    centre: float | Literal["median"] = "median",
    seed: int = 0,
    candidates: np.ndarray | None = None,
) -> Strata:
    """Choose three strata of a score (METHOD §4): the largest, the smallest, and the examples nearest to `centre`.

    An example that belongs to two of them goes to the largest first, then to the smallest. Ties are broken by a random
    permutation, never by the order of the examples.

    Args:
        scores: [N], oriented: higher means more memorized.
        size: examples in each stratum, or one size each for low, medium and high.
        centre: where the medium stratum lies; "median" is the median of the candidates' scores.
        seed: draws the permutation, ≥ 0.
        candidates: int64 [n], the indices that may be chosen (default: all).

    Returns:
        Sorted indices into `scores`.

    Raises:
        UserError: the strata do not fit, or a candidate's score is not a number.
    """
    candidates = np.arange(len(scores)) if candidates is None else np.asarray(candidates)
    n_low, n_medium, n_high = _sizes(size, len(candidates))

    values = np.asarray(scores, dtype=np.float64)[candidates]
    if np.isnan(values).any():
        raise UserError(
            f"the score of example {candidates[np.isnan(values)][0]} is not a number: scores must be known for all candidates"
        )

    shuffled = np.random.default_rng(seed).permutation(len(candidates))
    order = shuffled[np.argsort(values[shuffled], kind="stable")]  # ascending, ties in random order
    low, rest, high = np.split(order, [n_low, len(order) - n_high])

    # `rest` is sorted, so a stable sort by distance alone would put ties in order of value: shuffle it again
    middle = np.median(values) if centre == "median" else float(centre)
    rest = np.random.default_rng((seed, 1)).permutation(rest)
    medium = rest[np.argsort(np.abs(values[rest] - middle), kind="stable")[:n_medium]]
    return Strata(np.sort(candidates[low]), np.sort(candidates[medium]), np.sort(candidates[high]))


def split(members: np.ndarray, scores: np.ndarray, seed: int = 0) -> Strata:
    """Cut a given set into three parts of nearly equal size by the scores of its members.

    Args:
        members: indices int64 [n].
        scores: of all examples, [N], oriented.
        seed: breaks ties at random.

    Returns:
        The terciles of the members' own scores.
    """
    mixed = np.random.default_rng(seed).permutation(np.sort(members))
    ordered = mixed[np.argsort(scores[mixed], kind="stable")]  # ascending, ties in random order
    low, medium, high = np.array_split(ordered.astype(np.int64), 3)
    return Strata(np.sort(low), np.sort(medium), np.sort(high))


def _sizes(size: int | Sequence[int], available: int) -> tuple[int, int, int]:
    """The sizes of low, medium and high, which `available` examples must be enough for."""
    if isinstance(size, (int, np.integer)):
        if size < 1 or 3 * size > available:
            raise UserError(
                f"stratum size {size}: three strata need {3 * size} of {available} examples; use 1 … {available // 3}"
            )
        return int(size), int(size), int(size)

    low, medium, high = map(int, size)
    if min(low, medium, high) < 1 or low + medium + high > available:
        raise UserError(f"strata of {low}, {medium} and {high}: each needs at least 1, all together at most {available} examples")
    return low, medium, high


# ---- the file that holds a forget set

FORMAT = "mulnb forget set 1"


@dataclass(frozen=True)
class ForgetSet:
    """Strata as a file holds them, with the data that they belong to."""

    strata: Strata
    data: str  # fingerprint of the images and labels that the indices point into
    n: int  # how many examples those are
    settings: dict[str, Any] = field(default_factory=dict)  # how the set was chosen: score, sizes, seed, …

    @property
    def hash(self) -> str:
        """A hash of everything that the file says."""
        return store.digest(self._contents())

    def _contents(self) -> dict[str, Any]:
        """What the file says, apart from the hash."""
        contents: dict[str, Any] = {}
        for name, part in zip(STRATA, self.strata, strict=True):
            contents[name] = part.tolist()

        return contents | {"format": FORMAT, "data": self.data, "n": self.n, "settings": self.settings}


def save(path: str | Path, strata: Strata, data: str, n: int, settings: Mapping[str, Any] | None = None) -> ForgetSet:
    """Write a forget set as JSON: the indices of each stratum, the settings and a hash of it all.

    Args:
        path: the file.
        strata: the forget set.
        data: `Splits.fingerprint` of the data that it belongs to.
        n: |D|, the number of training examples.
        settings: how the set was chosen: score, sizes, seed, …

    Returns:
        What `load` will read.

    Raises:
        UserError: the strata are not valid for `n` examples, or the file cannot be written.
    """
    chosen = ForgetSet(strata, data, n, dict(settings or {}))
    check(strata, n, f"forget set for {path}")

    lines = []  # a line for each key, so that a difference between two files can be read
    for key, value in (chosen._contents() | {"hash": chosen.hash}).items():
        lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    paths.write_text(Path(path), "{\n" + ",\n".join(lines) + "\n}\n")
    return chosen


def load(path: str | Path, data: str | None = None, n: int | None = None) -> ForgetSet:
    """Read a file written by `save`.

    Args:
        path: the file; a relative path is looked for in the current folder, then in `MULNB_HOME`.
        data: `Splits.fingerprint` of the data that it must belong to (default: any).
        n: |D| of those data (default: any).

    Returns:
        The forget set.

    Raises:
        UserError: the file is missing, no forget set, changed since it was saved or made for other data, or its strata overlap
            or point outside the data.
    """
    path = _find(path)
    try:
        tree = plain_file.json_tree(plain_file.text(path))
        if tree["format"] != FORMAT:
            raise ValueError
        strata = Strata(*(_indices(tree[name]) for name in STRATA))
        found = ForgetSet(strata, str(tree["data"]), int(tree["n"]), dict(tree["settings"]))
        stated = tree["hash"]
    except OSError as error:
        raise UserError(f"forget set {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is no forget set: expected a JSON file written by mulnb.forget.save or the explorer") from None

    if stated != found.hash:
        raise UserError(f"forget set {path} was changed after it was saved (its hash differs): export it again")

    # the indices mean nothing for other data
    if (data is not None and data != found.data) or (n is not None and n != found.n):
        origin = f"{found.settings.get('profile', 'unnamed')}, {found.n} examples"
        raise UserError(f"forget set {path} was made for other images or labels ({origin}): choose it again for these")

    check(found.strata, found.n, f"forget set {path}")
    return found


def _indices(values: Any) -> np.ndarray:
    """The indices of one stratum, int64 [n]."""
    part = np.asarray(values)
    if part.ndim != 1 or not np.issubdtype(part.dtype, np.integer):
        raise ValueError
    return part.astype(np.int64)


def _find(path: str | Path) -> Path:
    """The file in the current folder or in `MULNB_HOME`."""
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() else [Path.cwd() / given, paths.home() / given]
    for place in places:
        if place.is_file():
            return place

    raise UserError(f"forget set {path} does not exist; looked in {' and '.join(str(place.parent) for place in places)}")


def check(strata: Strata, n: int, what: str) -> None:
    """Check that strata are disjoint, not empty, and inside the data.

    Args:
        strata: three sets of indices.
        n: |D|; indices are 0 … n − 1.
        what: how the message calls the set.

    Raises:
        UserError: they are not.
    """
    every = np.concatenate(list(strata))
    if min(map(len, strata)) == 0:
        raise UserError(f"{what} has an empty stratum: low, medium and high each need at least one example")

    if every.min() < 0 or every.max() >= n:
        outside = every.min() if every.min() < 0 else every.max()
        raise UserError(f"{what} has index {outside}: the data have 0 … {n - 1}")

    if len(np.unique(every)) < len(every):
        values, counts = np.unique(every, return_counts=True)
        raise UserError(f"{what}: example {values[counts > 1][0]} is in it twice; strata must not overlap")
