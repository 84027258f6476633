"""The record beside a profile's results, `run.json`: what ran, where, with which versions, and how much compute it took."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from mulnb import study
from mulnb.config import Profile
from mulnb.core import locks, memory, paths, plain_file
from mulnb.core.errors import UserError
from mulnb.core.machine import device_name, git_commit

MADE_BY = ("git_commit", "device")  # of each stage: they may have been run on different machines
PACKAGES = ("mulnb", "torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib")


def read(folder: Path) -> dict[str, Any]:
    """The `run.json` of a folder of results.

    Args:
        folder: a profile's.

    Returns:
        What it says; empty if it is missing or no record, so that nothing is taken from it and the next run writes it anew. All
        parts that are mappings in a good record are mappings here.
    """
    try:
        plain_file.check(folder / "run.json")
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, UserError, ValueError, RecursionError):
        return {}

    stages = found.get("stages", {}) if isinstance(found, dict) else None
    if not isinstance(stages, dict) or not all(_is_stage(stage) for stage in stages.values()):
        return {}
    return found


def is_of(folder: Path, profile: Profile) -> bool | None:
    """Whether the results in a folder are of this very profile, wherever its images lie; None where the record does not say."""
    known = read(folder).get("profile")
    return None if known is None else known == profile.numbers()


def _is_stage(found: Any) -> bool:
    """Whether this can be what the record says of a stage: the peaks of earlier runs are compared with this one's."""
    peaks = found.get("peak_memory_mb", {}) if isinstance(found, dict) else None
    return isinstance(peaks, dict) and all(type(peak) in (int, float) for peak in peaks.values())


def held(profile: Profile) -> contextlib.AbstractContextManager[None]:
    """Keep other runs from the results of a profile inside a `with` block: what lies there is of one run's settings."""
    return locks.held([f"results/{profile.name}"])


def begin(profile: Profile) -> None:
    """Say in `run.json`, before the first frame is written, which settings its frames are of from now on.

    A run that is killed half-way leaves frames of two settings; the stages of the earlier ones are forgotten before that.

    Args:
        profile: the study.

    Raises:
        UserError: the folder cannot be written.
    """
    folder, numbers = paths.results(profile.name), profile.numbers()
    with held(profile):
        if not is_of(folder, profile):
            paths.write_text(folder / "run.json", json.dumps({"profile": numbers, "stages": {}}, indent=1) + "\n")


def write(profile: Profile, stage: str, frames: Mapping[str, pd.DataFrame], order: Iterable[str]) -> None:
    """Add a stage to `run.json`; stages that were run with other settings are forgotten.

    Args:
        profile: the study.
        stage: what has run.
        frames: its frames by name.
        order: all stages, as they stand in the record.

    Raises:
        UserError: the folder cannot be written.
    """
    folder, numbers = paths.results(profile.name), profile.numbers()
    made_by = {"git_commit": git_commit(), "device": device_name()}
    rows = {name: len(frame) for name, frame in frames.items()}
    seconds = round(study.compute_seconds(profile, stage, frames), 1)
    record = {
        "profile": numbers,
        "source": study.splits(profile).source,
        "seeds": list(profile.seeds),
        "git_commit": made_by["git_commit"],
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": made_by["device"],
    }

    with held(profile):  # another run may add a stage at the same time
        known = read(folder)
        stages = known.get("stages", {}) if known.get("profile") == numbers else {}
        for before in stages.values():  # of another machine or commit, perhaps
            for fact in MADE_BY:
                before.setdefault(fact, known.get(fact))

        peak = _peak_memory(profile, stages.get(stage, {}))
        stages[stage] = {"rows": rows, "compute_s": seconds, "peak_memory_mb": peak} | made_by
        record["stages"] = {name: stages[name] for name in order if name in stages}
        paths.write_text(folder / "run.json", json.dumps(record, indent=1) + "\n")


def _peak_memory(profile: Profile, before: dict) -> dict[str, int]:
    """The most resident memory in MB that a stage took: in the process that publishes it, and in any one of its workers.

    A stage that finds its results stored trains nothing and takes less: the largest value of all runs with these settings stays.
    Workers that decode images are not counted.
    """
    now = {"main": memory.peak_mb(), "largest_worker": study.Study.of(profile).worker_peak_mb}
    known = before.get("peak_memory_mb", {})
    return {name: max(round(value), known.get(name, 0)) for name, value in now.items()}
