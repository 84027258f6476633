"""What a stage of a study leaves behind: tidy frames (`data/*.parquet`), tables (CSV and Markdown) and `run.json`.

The notebooks call `publish` and draw figures from the frames that it returns; `mulnb run` calls it without the figures.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from mulnb import study
from mulnb.config import Profile
from mulnb.core import paths, vocabulary
from mulnb.core.errors import UserError
from mulnb.core.machine import device_name, git_commit
from mulnb.results import claims, tables

Frames = dict[str, pd.DataFrame]
PACKAGES = ("mulnb", "torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib")


def _memorization(profile: Profile) -> Frames:
    return {"memorization": study.memorization(profile), "convergence": study.convergence(profile)}


def _proxies(profile: Profile) -> Frames:
    frames = {"proxies": study.proxies(profile), "proxy_costs": study.proxy_costs(profile)}
    caption = "Table 1. Each proxy against exact memorization: Spearman ρ of the oriented proxy, and its cost on top of training."
    tables.write(tables.proxy_table(frames["proxy_costs"]), profile, "table1_proxies", caption)
    return frames


def _unlearning(profile: Profile) -> Frames:
    frame = study.unlearning(profile)
    mix = vocabulary.mix(profile.unlearning.rum)
    mixed = f" {mix}." if mix else ""
    caption = "Tables 2-7. ToW and ToW-MIA against the retrained oracle (1 is best), by the score that chose the forget set."
    tables.write(tables.tow_table(frame), profile, "table2_tow", caption + mixed)
    caption = "Tables 2-7, what is behind ToW: accuracies, MIA efficacy and runtime, with the oracle's beside them."
    tables.write(tables.accuracy_table(frame), profile, "table3_accuracies", caption + mixed)
    if mix:
        caption = f"The full {mix} against every other run on the same forget sets, each for itself: above 0, RUM is better."
        tables.write(tables.rum_table(frame), profile, "table_rum", caption)
    return {"unlearning": frame}


def _sequential(profile: Profile) -> Frames:
    frames = {"sequential": study.sequential(profile), "sequential_scores": study.sequential_scores(profile)}
    caption = "Figure 3 as numbers: five sets in a row, each chosen by hold-out retraining on the current model."
    tables.write(tables.sequential_table(frames["sequential"]), profile, "table_sequential", caption)
    return frames


def _tune(profile: Profile) -> Frames:
    """The search of the algorithms in `tune.grid`; of the others, the table keeps what an earlier search found."""
    found = study.tune(profile)
    try:
        before = pd.read_csv(paths.results(profile.name) / "tune.csv", dtype={"seeds": str})
        frame = pd.concat([before[~before["algorithm"].isin(found["algorithm"])], found], ignore_index=True)
    except FileNotFoundError:
        frame = found
    caption = (
        "Grid search on seeds that no result uses: mean ToW + ToW-MIA of every candidate. The chosen settings are those pinned "
        "in the profile."
    )
    text = f"**{profile.title}** (profile `{profile.name}`). {caption}\n\n{frame.round(4).to_markdown(index=False)}\n"
    tables.write(frame, profile, "tune", caption, text=text)
    return {}


STAGES: dict[str, Callable[[Profile], Frames]] = {
    "memorization": _memorization,
    "proxies": _proxies,
    "unlearning": _unlearning,
    "sequential": _sequential,
}


def publish(profile: Profile, stage: str) -> Frames:
    """Compute a stage (or read it from the store), write its frames and tables, and return the frames by name.

    `stage` is one of `STAGES`, or `tune`. Raises `UserError` for another one, or if the results folder cannot be written.
    """
    if stage == "tune":
        return _tune(profile)
    if stage not in STAGES:
        raise UserError(f"unknown stage '{stage}': known are {', '.join(STAGES)}, tune")
    frames = STAGES[stage](profile)
    for name, frame in frames.items():
        path = paths.results(profile.name) / "data" / f"{name}.parquet"
        paths.write_file(path, lambda to, frame=frame: _write_parquet(frame, to))
    _record(profile, stage, frames)
    return frames


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Exactly the frame, in two thirds of the size: it is committed. Numbers are stored by byte (floats) or as differences."""
    encodings = {"f": "BYTE_STREAM_SPLIT", "i": "DELTA_BINARY_PACKED"}
    numeric = {name: encodings[kind.kind] for name, kind in frame.dtypes.items() if kind.kind in encodings}
    words = [name for name in frame.columns if name not in numeric]
    frame.to_parquet(path, index=False, compression="zstd", compression_level=15, use_dictionary=words, column_encoding=numeric)


def load(profile_name: str, frame: str) -> pd.DataFrame | None:
    """A published frame of a profile, or None if that stage was not run."""
    path = paths.results(profile_name) / "data" / f"{frame}.parquet"
    return pd.read_parquet(path) if path.is_file() else None


# the paper's dataset/architecture pairs; a reduced profile stands in for a pair until the full one has results
PAIRS = {
    "cifar10": ("cifar10", "cifar10-mini"),
    "cifar100": ("cifar100",),
    "tiny-imagenet": ("tiny-imagenet", "tiny-imagenet-mini"),
}


def across(profile: Profile, frame: str, pairs: Sequence[str] = tuple(PAIRS)) -> tuple[dict[str, pd.DataFrame | None], list[str]]:
    """`frame` by profile name, None where there are no results; and the profiles that stand for the paper's pairs, in its order.

    While a pair is missing, this profile stands before them, so that there is something to see.
    """
    shown = [next((name for name in PAIRS[pair] if load(name, frame) is not None), pair) for pair in pairs]
    found = {name: load(name, frame) for name in shown}
    if profile.name not in found and any(one is None for one in found.values()):
        found = {profile.name: load(profile.name, frame)} | found
    return found, shown


def publish_claims(profile: Profile) -> pd.DataFrame:
    """The paper's claims against what this profile shows: writes `claims.csv` and `claims.md`, returns the frame."""
    frames = {"costs": "proxy_costs", "unlearning": "unlearning", "sequential": "sequential"}
    verdicts = claims.verdicts(profile, **{name: load(profile.name, frame) for name, frame in frames.items()})
    claims.write(verdicts, profile)
    return verdicts


def _record(profile: Profile, stage: str, frames: Frames) -> None:
    """Add the stage to `run.json`: what ran, where, with which versions, and the compute it took."""
    path = paths.results(profile.name) / "run.json"
    # where the images lie is a matter of one machine: what they are stands in `source`
    numbers = profile.model_dump(mode="json", exclude={"dataset": {"root"}})
    try:
        known = json.loads(path.read_text())
        stages = known["stages"] if known.get("profile") == numbers else {}
    except (OSError, ValueError, KeyError):
        stages = {}
    rows = {name: len(frame) for name, frame in frames.items()}
    stages[stage] = {"rows": rows, "compute_s": round(study.compute_seconds(profile, stage, frames), 1)}
    record = {
        "profile": numbers,
        "source": study.splits(profile).source,
        "seeds": list(profile.seeds),
        "git_commit": git_commit(),
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": device_name(),
        "stages": {name: stages[name] for name in STAGES if name in stages},
    }
    paths.write_text(path, json.dumps(record, indent=1) + "\n")
