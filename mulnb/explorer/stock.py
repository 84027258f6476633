"""What the explorer shows: images, labels and scores, from a profile's stored results or given as arrays. Nothing is trained.

torch is not imported: an explorer of published results opens in a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mulnb import config, study
from mulnb.config import Profile
from mulnb.core import paths, store
from mulnb.core.errors import UserError, one_line
from mulnb.proxies import PROXIES
from mulnb.results import record, thumbnails, written

COPIES = (
    "The images of this data set are not on this machine: small copies are shown, which were published with the scores. "
    "Choosing and exporting work; unlearning needs the images and asks for them."
)
FRAMES = ("memorization.parquet", "proxies.parquet")
MOST = 100_000  # classes; every one has a name, and is counted in every stratum
HUGE = 1e100  # of a score; beyond, the axes of its pictures are no numbers any more
SCORED_BY = ("dataset", "model", "training", "pool", "proxies", "seeds")  # the part of a profile that its scores depend on


@dataclass(frozen=True)
class Stock:
    """N examples and their scores.

    `images` uint8 [N, C, H, W], `labels` [N], `flipped` bool [N] (label noise); `memorization` ± `se` [N], or None where it is
    not known; `proxies` [N] by (name, seed); `fingerprint`: a hash of the data that exported sets carry; `places` [N, 2] on the
    map, None for those that the pixels give.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    flipped: np.ndarray
    memorization: np.ndarray | None
    se: np.ndarray | None
    proxies: dict[tuple[str, int], np.ndarray]
    fingerprint: str = ""
    places: np.ndarray | None = None
    copies: bool = False  # the images are the small ones that were published with the scores

    def __len__(self) -> int:
        return len(self.labels)

    def scores(self, name: str, seed: int) -> np.ndarray:
        """The score `name` of every example [N]; memorization does not depend on the seed."""
        return self.memorization if name == "memorization" else self.proxies[name, seed]

    @cached_property
    def names(self) -> list[str]:
        """The scores that are there: memorization, the known proxies in their order, then others."""
        found = {name for name, _ in self.proxies}
        exact = [] if self.memorization is None else ["memorization"]
        return exact + [name for name in PROXIES if name in found] + sorted(found - set(PROXIES))


def of_profile(profile: Profile) -> Stock:
    """The stored results of a profile.

    Args:
        profile: its memorization and proxy scores must be published under `figures/` or be in the store.

    Returns:
        The training examples with all scores. Where the data set is not on this machine, the images are the small copies that
        were published with the scores: choosing needs no more.

    Raises:
        UserError: there are no results for these settings; the message has the command that makes them.
    """
    folder = _published(profile)
    if folder is not None:
        # both from one folder: two machines may differ in the last digits
        memorization, proxies = (written.frame(folder / "data" / name) for name in FRAMES)
        written.check_columns(folder / "data" / FRAMES[0], memorization, ("se", "flipped"))
        written.check_same_examples(folder / "data" / FRAMES[0], proxies, memorization)
    elif study.stored(profile):
        memorization, proxies = study.memorization(profile), study.proxies(profile)
    else:
        raise UserError(f"profile {profile.name} has no results for these settings yet: run {command(profile)} first")

    memorization = memorization.sort_values("example")
    rankings = proxies.sort_values("example").groupby(["proxy", "seed"], sort=False)
    copies = None if folder is None or _has_images(profile) else thumbnails.read(folder)
    if copies is None:
        splits = study.splits(profile)
        images, classes, fingerprint = splits.train.images, splits.train.classes, splits.fingerprint
    else:
        images, classes, fingerprint = copies.images, copies.classes, copies.fingerprint

    return Stock(
        images=images,
        labels=memorization["label"].to_numpy().astype(np.int64),
        classes=classes,
        flipped=memorization["flipped"].to_numpy(),
        memorization=memorization["memorization"].to_numpy(),
        se=np.nan_to_num(memorization["se"].to_numpy()),  # imported scores have none
        proxies={key: rows.value.to_numpy() for key, rows in rankings},
        fingerprint=fingerprint,
        copies=copies is not None,
    )


def _has_images(profile: Profile) -> bool:
    """Whether somebody put the data set on this machine; reading one that is not there would download it."""
    folder = paths.data() / profile.dataset.name
    return profile.dataset.root is not None or (folder.is_dir() and any(folder.iterdir()))


def of_arrays(
    images: Any,
    labels: Any,
    scores: Any,
    memorization: Any = None,
    classes: Sequence[str] | None = None,
    places: Any = None,
) -> Stock:
    """Images, labels and scores of your own, as a profile's results without seeds; arguments and errors: `explorer.explore`."""
    pictures, labels = _pixels(_array("images", images)), _array("labels", labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(pictures):
        raise UserError(f"labels have shape {labels.shape}: expected whole numbers, one for each of the {len(pictures)} images")

    # memorization is a score like the others, but the strata are also compared with it
    named = dict(scores) if isinstance(scores, Mapping) else {"score": scores}
    if odd := [name for name in named if not isinstance(name, str) or not name]:
        raise UserError(f"scores: a name is {odd[0]!r}: expected words")
    if memorization is not None and "memorization" in named:
        raise UserError("scores have a 'memorization', and memorization is given, too: leave one of them out")
    if memorization is not None:
        named["memorization"] = memorization
    values = {name: _finite(f"score '{name}' has", score, (len(labels),)) for name, score in named.items()}
    exact = values.pop("memorization", None)
    if len(labels) < 4 or not (values or exact is not None):
        raise UserError(f"{len(labels)} examples with {len(values)} scores: the explorer needs at least 4 examples and one score")

    if places is not None:
        places = _finite("places have", places, (len(labels), 2))
    names = _class_names(labels, classes)
    return Stock(
        images=pictures,
        labels=labels.astype(np.int64),
        classes=names,
        flipped=np.zeros(len(labels), dtype=bool),
        memorization=exact,
        se=None if exact is None else np.zeros(len(labels)),
        proxies={(name, 0): score for name, score in values.items()},
        fingerprint=store.digest([pictures, labels, names]),
        places=places,
    )


def check(profile: Any, data: Any) -> None:
    """Raises `UserError` unless an explorer can be opened with these two: a profile, or None, and a stock, or None."""
    if not (profile is None or isinstance(profile, Profile)):
        raise UserError(f"Explorer({profile!r}): expected a profile, its name or its YAML file")
    if not (data is None or isinstance(data, Stock)):
        raise UserError(f"Explorer: data is a {type(data).__name__}: make it with mulnb.explorer.stock.of_arrays")
    if profile is None and data is None:
        raise UserError("Explorer(None) has nothing to show: name a profile, for example Explorer('digits')")


def command(profile: Profile, notebooks: str = "01,02") -> str:
    """The command that makes the profile's results, with the settings that differ from the packaged profile of its name."""
    if profile.name not in config.known_profiles():
        return f"`./run_all.sh --profile YOUR.yaml --only {notebooks}` with the file of profile '{profile.name}'"
    changed = "".join(f" --set '{key}={json.dumps(value)}'" for key, value in overrides(profile).items())
    return f"`./run_all.sh --profile {profile.name} --only {notebooks}{changed}`"


def overrides(profile: Profile) -> dict[str, Any]:
    """The settings, by dotted key, in which a profile differs from the packaged one of its name."""
    # compared as they are written in a file, where tuples are lists
    packaged = _leaves(config.load_profile(profile.name).model_dump(mode="json"))
    own = _leaves(profile.model_dump(mode="json"))
    return {key: value for key, value in own.items() if packaged.get(key) != value}


def _leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return leaves


def _published(profile: Profile) -> Path | None:
    """The user's own or the committed folder of frames made with these settings: a fresh clone has one, and an empty store."""
    for root in paths.readable():
        folder = root / profile.name
        try:
            known = Profile.model_validate(record.read(folder).get("profile"))
        except ValueError:  # no record, or of a version whose profiles had other keys
            continue
        # only what the scores depend on: another forget set or algorithm needs no new scores
        if any(getattr(known, key) != getattr(profile, key) for key in SCORED_BY):
            continue

        if all((folder / "data" / name).is_file() for name in FRAMES):
            return folder

    return None


def _pixels(images: np.ndarray) -> np.ndarray:
    """Images as uint8 [N, C, H, W] with one or three channels."""
    if images.ndim == 3:
        images = images[:, None]  # [N, H, W] -> [N, 1, H, W]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)  # [N, H, W, C]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"images have shape {images.shape}: expected [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels"
        )
    if images.size == 0:
        raise UserError(f"images have shape {images.shape}: expected at least one image of one pixel")
    if images.dtype == np.uint8:
        return images
    # not "outside of 0 … 1": that would be false of NaN, too
    if not np.issubdtype(images.dtype, np.floating) or not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"images are {images.dtype}: expected uint8, or floating point from 0 to 1")
    return (images * 255).round().astype(np.uint8)


def _class_names(labels: np.ndarray, given: Sequence[str] | None) -> tuple[str, ...]:
    """A name for each class number in `labels`."""
    count = int(labels.max()) + 1
    if count > MOST:
        raise UserError(f"labels go up to {count - 1}: number the classes 0 … K − 1, at most {MOST} of them")
    if given is not None and (isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable)):
        raise UserError(f"classes is a {type(given).__name__}: expected a list of names, that of class 0 first")

    names = tuple(map(str, range(count) if given is None else given))
    if labels.min() < 0 or len(names) < count:
        raise UserError(f"labels run from {labels.min()} to {count - 1}, but there are {len(names)} classes: give one name each")
    return names


def _array(what: str, values: Any) -> np.ndarray:
    """What a user gave, as an array."""
    try:
        if hasattr(values, "detach"):  # a tensor; torch itself is not imported here
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values  # numpy has no such type
        return np.asarray(values)
    except Exception as error:  # anything may be given: rows of several lengths, a tensor without values
        raise UserError(f"{what}: this is no array ({one_line(error)}): pass an array of numbers") from None


def _finite(what: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers as float64 of this shape; `what` ends with its verb, as in "places have"."""
    name = what.rsplit(" ", 1)[0]
    values = _array(name, values)
    try:
        if values.dtype.kind not in "fiubO":
            raise TypeError
        values = values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name}: expected numbers, not {values.dtype}") from None

    each = "numbers, one" if len(shape) == 1 else "pairs of numbers, one"
    expected = f"expected {shape[0]} finite {each} for each image"
    if values.shape != shape:
        raise UserError(f"{what} shape {values.shape}: {expected}")
    if not (fine := np.abs(values) < HUGE).all():
        place = int(np.argwhere(~fine)[0, 0])
        raise UserError(f"{name.removesuffix('s')} of image {place} is {values[place]}: {expected}")
    return values
