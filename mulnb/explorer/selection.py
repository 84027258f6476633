"""Choosing a forget set by hand, without torch and without widgets: thresholds ↔ sizes ↔ strata, and what is in the strata.

The explorer asks this module many times a second, so everything that depends on the score alone is sorted once (`Ranking`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from mulnb import config, forget, study
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.proxies import PROXIES, centre
from mulnb.results import publish

SCORED_BY = ("dataset", "model", "training", "pool", "proxies", "seeds")  # the part of a profile that its scores depend on


@dataclass(frozen=True)
class Stock:
    """What the explorer shows: images uint8 [N, C, H, W], labels [N], scores by (name, seed) [N], memorization ± `se` [N]."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    flipped: np.ndarray  # bool [N]: label noise
    memorization: np.ndarray
    se: np.ndarray
    proxies: dict[tuple[str, int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    def scores(self, name: str, seed: int) -> np.ndarray:
        return self.memorization if name == "memorization" else self.proxies[name, seed]

    @cached_property
    def names(self) -> list[str]:
        """Memorization, and the proxies that are there."""
        return ["memorization", *(name for name in PROXIES if any(name == known for known, _ in self.proxies))]


def stock(profile: Profile) -> Stock:
    """The profile's stored results. Nothing is trained: raises `UserError` with the command to give where there are none."""
    frames = _published(profile)
    if frames is None:
        if not study.stored(profile):
            raise UserError(f"profile {profile.name} has no results for these settings yet: run {command(profile)} first")
        frames = study.memorization(profile), study.proxies(profile)
    memorization, proxies = frames
    data = study.splits(profile).train
    values = {key: one.value.to_numpy() for key, one in proxies.groupby(["proxy", "seed"], sort=False)}
    exact = (memorization[name].to_numpy() for name in ("flipped", "memorization", "se"))
    return Stock(data.images, data.labels, data.classes, *exact, values)


def _published(profile: Profile) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The committed frames, if they were made with these settings: they are there on a fresh clone, where the store is empty."""
    try:
        known = Profile.model_validate(json.loads((paths.results(profile.name) / "run.json").read_text())["profile"])
    except (OSError, ValueError, KeyError):
        return None
    if any(getattr(known, key) != getattr(profile, key) for key in SCORED_BY):
        return None
    frames = publish.load(profile.name, "memorization"), publish.load(profile.name, "proxies")
    return None if frames[0] is None or frames[1] is None else frames


def command(profile: Profile, notebooks: str = "01,02") -> str:
    """The command that makes the profile's results, with what distinguishes it from the packaged profile of its name."""
    if profile.name not in config.known_profiles():
        return f"`./run_all.sh --profile YOUR.yaml --only {notebooks}` with the file of profile '{profile.name}'"
    packaged, own = (_leaves(one.model_dump(mode="json")) for one in (config.load_profile(profile.name), profile))
    changed = [f" --set '{key}={json.dumps(value)}'" for key, value in own.items() if packaged.get(key) != value]
    return f"`./run_all.sh --profile {profile.name} --only {notebooks}{''.join(changed)}`"


def _leaves(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return leaves


class Ranking:
    """One score, sorted once. A stratum may hold up to a quarter of the examples, so that another quarter is always retained."""

    def __init__(self, score: str, values: np.ndarray, seed: int) -> None:
        self.score, self.seed, self.centre = score, seed, centre(score)
        self.values = np.asarray(values, dtype=np.float64)
        self.sorted = np.sort(self.values)
        self.limit = max(1, len(self.values) // 4)

    def size(self, side: Literal["low", "high"], threshold: float) -> int:
        """How many examples lie at or beyond `threshold`, kept within 1 … `limit`."""
        below = int(np.searchsorted(self.sorted, threshold, "right" if side == "low" else "left"))
        return min(max(below if side == "low" else len(self.sorted) - below, 1), self.limit)

    def threshold(self, side: Literal["low", "high"], size: int) -> float:
        """The score of the last example that a stratum of `size` takes."""
        return float(self.sorted[size - 1] if side == "low" else self.sorted[-size])

    def ties(self, side: Literal["low", "high"], size: int) -> tuple[int, int]:
        """Of the examples exactly at the threshold: how many the stratum takes (drawn by seed), and how many there are."""
        at = self.threshold(side, size)
        first, last = np.searchsorted(self.sorted, [at, np.nextafter(at, np.inf)])
        taken = size - first if side == "low" else size - (len(self.sorted) - last)
        return int(taken), int(last - first)

    def strata(self, sizes: Sequence[int]) -> Strata:
        return forget.strata(self.values, sizes, self.centre, self.seed)

    @cached_property
    def middle(self) -> float:
        return float(np.median(self.sorted)) if self.centre == "median" else float(self.centre)

    @cached_property
    def skewed(self) -> bool:
        """A score that spreads over orders of magnitude is drawn on a logarithmic axis."""
        low, middle, high = np.quantile(self.sorted, [0.1, 0.5, 0.99])
        return bool(low > 0 and high > 20 * middle)

    def growth(self, memorization: np.ndarray, points: int = 40) -> tuple[np.ndarray, np.ndarray]:
        """Mean memorization of low, medium and high [3, points] if all had the same size, and those sizes [points].

        Exact but for ties: the examples nearest to the centre are a window of the sorted ones, so prefix sums are enough.
        """
        sizes = np.unique(np.geomspace(min(5, self.limit), self.limit, points).round().astype(int))
        order = np.argsort(self.values, kind="stable")
        total = np.r_[0.0, np.cumsum(memorization[order])]
        n = len(order)
        starts = np.array([self._window(size) for size in sizes])
        sums = [total[sizes], total[starts + sizes] - total[starts], total[n] - total[n - sizes]]
        return sizes, np.array(sums) / sizes

    def _window(self, size: int) -> int:
        """Where the `size` examples nearest to the centre begin among the sorted ones, low and high being taken."""
        first, last = size, len(self.sorted) - 2 * size
        while first < last:
            half = (first + last) // 2
            if self.middle - self.sorted[half] > self.sorted[half + size] - self.middle:
                first = half + 1
            else:
                last = half
        return first


def overlap(chosen: Strata, truth: Strata, n: int) -> np.ndarray:
    """Counts [3, 4]: how many examples of each chosen stratum (rows) lie in the true low, medium, high stratum, or in none."""
    place = np.full(n, len(STRATA))
    for column, part in enumerate(truth):
        place[part] = column
    return np.array([np.bincount(place[part], minlength=len(STRATA) + 1) for part in chosen])


def mean_memorization(chosen: Strata, memorization: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Mean and standard error [3, 2] of each stratum's memorization; the errors of examples are taken as independent."""
    return np.array([(memorization[part].mean(), np.sqrt((se[part] ** 2).sum()) / len(part)) for part in chosen])


def class_counts(chosen: Strata, labels: np.ndarray, classes: int) -> np.ndarray:
    """Examples of each class in each stratum [3, classes]."""
    return np.array([np.bincount(labels[part], minlength=classes) for part in chosen])


def sample(values: np.ndarray, part: np.ndarray, stratum: str, middle: float, count: int) -> np.ndarray:
    """`count` examples of a stratum, evenly spaced from the most typical of it to the one at its edge."""
    away = {"low": values[part], "medium": np.abs(values[part] - middle), "high": -values[part]}[stratum]
    ordered = part[np.argsort(away, kind="stable")]
    return ordered[np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int))]
