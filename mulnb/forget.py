"""The one selector of forget sets: three disjoint strata of a score (METHOD §4), and the file that carries a set elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mulnb.core import paths, store
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
    """The `size` largest, the `size` smallest and the `size` examples nearest to `centre`, in this order of precedence.

    `scores` [N], oriented (higher = more memorized); `size`: one for all, or one each for low, medium and high; `candidates`:
    the indices that may be chosen (all by default). Ties are broken by a random permutation drawn from `seed`, never by the order
    of the examples.
    Raises `UserError` if the strata do not fit or a score is not a number.
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
    middle = np.median(values) if centre == "median" else float(centre)
    # `rest` is sorted, so a stable sort by distance alone would put ties in order of value: shuffle it again
    rest = np.random.default_rng((seed, 1)).permutation(rest)
    medium = rest[np.argsort(np.abs(values[rest] - middle), kind="stable")[:n_medium]]
    return Strata(*(np.sort(candidates[part]) for part in (low, medium, high)))


def _sizes(size: int | Sequence[int], available: int) -> tuple[int, int, int]:
    if isinstance(size, (int, np.integer)):
        if size < 1 or 3 * size > available:
            raise UserError(
                f"stratum size {size}: three strata need {3 * size} of {available} examples; use 1 … {available // 3}"
            )
        return (int(size),) * 3
    low, medium, high = (int(one) for one in size)
    if min(low, medium, high) < 1 or low + medium + high > available:
        raise UserError(f"strata of {low}, {medium} and {high}: each needs at least 1, all together at most {available} examples")
    return low, medium, high


# --- the file that carries a forget set ----------------------------------------------------------------------------------

FORMAT = "mulnb forget set 1"


@dataclass(frozen=True)
class ForgetSet:
    """Strata as a file holds them. `data`: fingerprint of the images and labels that the indices point into, `n` of them."""

    strata: Strata
    data: str
    n: int
    settings: dict[str, Any] = field(default_factory=dict)  # how the set was chosen: score, sizes, seed, …

    @property
    def hash(self) -> str:
        return store.digest(self._contents())

    def _contents(self) -> dict[str, Any]:
        return {name: part.tolist() for name, part in zip(STRATA, self.strata, strict=True)} | {
            "format": FORMAT,
            "data": self.data,
            "n": self.n,
            "settings": self.settings,
        }


def save(path: str | Path, strata: Strata, data: str, n: int, settings: Mapping[str, Any] | None = None) -> ForgetSet:
    """Write a forget set as JSON: indices per stratum, settings and a hash of it all. `data` as `Splits.fingerprint`, `n` = |D|.

    Raises `UserError` if the strata are not valid for `n` examples or the file cannot be written.
    """
    chosen = ForgetSet(strata, data, n, dict(settings or {}))
    check(strata, n, f"forget set for {path}")
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (chosen._contents() | {"hash": chosen.hash}).items()]
    paths.write_text(Path(path), "{\n" + ",\n".join(lines) + "\n}\n")
    return chosen


def load(path: str | Path, data: str | None = None, n: int | None = None) -> ForgetSet:
    """Read a file written by `save`. `data` and `n` say which data it must belong to (`Splits.fingerprint`, |D|).

    A relative path is looked for where you stand, then in `MULNB_HOME`. Raises `UserError` for a file that is missing, no forget
    set, changed since it was saved, made for other data, or whose strata overlap or point outside the data.
    """
    path = _find(path)
    try:
        tree = json.loads(path.read_text())
        parts = [np.asarray(tree[name]) for name in STRATA]
        if any(part.ndim != 1 or not np.issubdtype(part.dtype, np.integer) for part in parts) or tree["format"] != FORMAT:
            raise ValueError
        strata = Strata(*(part.astype(np.int64) for part in parts))
        found = ForgetSet(strata, str(tree["data"]), int(tree["n"]), dict(tree["settings"]))
        stated = tree["hash"]
    except OSError as error:
        raise UserError(f"forget set {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no forget set: expected a JSON file written by mulnb.forget.save or the explorer") from None
    if stated != found.hash:
        raise UserError(f"forget set {path} was changed after it was saved (its hash differs): export it again")
    if (data is not None and data != found.data) or (n is not None and n != found.n):
        origin = f"{found.settings.get('profile', 'unnamed')}, {found.n} examples"
        raise UserError(f"forget set {path} was made for other images or labels ({origin}): choose it again for these")
    check(found.strata, found.n, f"forget set {path}")
    return found


def _find(path: str | Path) -> Path:
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() else [Path.cwd() / given, paths.home() / given]
    for place in places:
        if place.is_file():
            return place
    raise UserError(f"forget set {path} does not exist; looked in {' and '.join(str(place.parent) for place in places)}")


def check(strata: Strata, n: int, what: str) -> None:
    every = np.concatenate(list(strata))
    if min(len(part) for part in strata) == 0:
        raise UserError(f"{what} has an empty stratum: low, medium and high each need at least one example")
    if every.min() < 0 or every.max() >= n:
        raise UserError(f"{what} has index {every.min() if every.min() < 0 else every.max()}: the data have 0 … {n - 1}")
    if len(np.unique(every)) < len(every):
        values, counts = np.unique(every, return_counts=True)
        raise UserError(f"{what}: example {values[counts > 1][0]} is in it twice; strata must not overlap")
