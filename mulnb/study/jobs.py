"""Steps that are computed once: what each is made from, and who computes the missing ones."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulnb.config import Profile
from mulnb.core import paths, store, workers
from mulnb.core.store import Artifact


@dataclass(frozen=True)
class Job:
    kind: str
    parts: Mapping[str, Any]
    compute: Callable[..., Artifact]
    args: tuple


def gather(profile: Profile, jobs: Sequence[Job], label: str) -> list[Artifact]:
    """The artefact of every job, in this order; the missing ones are computed on the workers first."""
    found = [store.get(job.kind, job.parts) for job in jobs]
    missing = {store.digest(job.parts): job for job, artifact in zip(jobs, found, strict=True) if artifact is None}
    if missing:
        check(profile)  # a mistake is told before the first training, not after the last
        workers.run_all(functools.partial(_run_knowing, _added_algorithms()), list(missing.values()), label)
    return [artifact or run_job(job) for job, artifact in zip(jobs, found, strict=True)]


def run_job(job: Job) -> Artifact:
    """The artefact of a job, computed here and now if it is missing: with one thread, as a worker would."""
    return store.get_or_compute(job.kind, job.parts, functools.partial(workers.single_threaded, _compute, job))


def _compute(job: Job) -> Artifact:
    return job.compute(*job.args)


def _added_algorithms() -> dict[str, Callable]:
    """Unlearning algorithms that this process added to the registry: a worker would not know them."""
    if "mulnb.unlearning" not in sys.modules:
        return {}
    from mulnb import unlearning

    return {name: one for name, one in unlearning.ALGORITHMS.items() if not one.__module__.startswith("mulnb.unlearning.")}


def _run_knowing(added: Mapping[str, Callable], job: Job) -> Artifact:
    if added:
        from mulnb import unlearning

        unlearning.ALGORITHMS.update(added)
    return run_job(job)


def check(profile: Profile) -> None:
    """Raises `UserError` if an algorithm or one of its settings is unknown: before anything is trained."""
    from mulnb import unlearning

    stages = [
        (name, one)
        for name, strategies in profile.unlearning.algorithms.items()
        for settings in strategies.values()
        for one in ([settings] if isinstance(settings, dict) else settings)
    ]
    rum = profile.unlearning.rum
    stages += [(one.algorithm, one.settings) for one in (rum.stages if rum else ()) if one.algorithm]
    candidates = [(name, dict.fromkeys(grid)) for name, grid in profile.tune.grid.items()]
    for name, settings in stages + candidates:
        unlearning.check(name, settings)


def once(function: Callable) -> Callable:
    """Remember the result for a profile (profiles hold dicts, so they are compared by their JSON) and the store in use."""
    memory: dict[tuple, Any] = {}

    @functools.wraps(function)
    def remembered(profile: Profile, *args: Any) -> Any:
        key = (profile.model_dump_json(), paths.home(), args)
        if key not in memory:
            memory[key] = function(profile, *args)
        return memory[key]

    return remembered
