"""Steps that are computed once: what each is made from, and who computes the missing ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mulnb.config import Profile
from mulnb.core import registry, store, workers
from mulnb.core.store import Artifact

if TYPE_CHECKING:
    from mulnb.study.study import Study


@dataclass(frozen=True)
class Job:
    """One step of a study.

    `parts` is its complete recipe, by which the result is stored; `compute(study, *args)` makes it, in any process.
    """

    kind: str
    parts: Mapping[str, Any]
    compute: Callable[..., Artifact]
    args: tuple = ()

    @property
    def key(self) -> str:
        return store.digest(self.parts)


def gather(study: Study, jobs: Sequence[Job], label: str) -> list[Artifact]:
    """The artefact of every job, in this order. The missing ones are computed on the workers first.

    Args:
        label: what the progress bar is called.
    """
    found = [store.get(job.kind, job.parts) for job in jobs]
    missing = {job.key: job for job, artifact in zip(jobs, found, strict=True) if artifact is None}
    if missing:
        check(study.profile)  # reject a mistake before the first training, not after the last
        work = functools.partial(_work, study.profile, registry.additions())
        workers.run_all(work, list(missing.values()), label)
    return [artifact or run_job(study, job) for job, artifact in zip(jobs, found, strict=True)]


def run_job(study: Study, job: Job) -> Artifact:
    """The artefact of a job, computed here and now if it is missing: with one thread, as a worker would."""

    def compute() -> Artifact:
        with workers.single_thread():
            return job.compute(study, *job.args)

    return store.get_or_compute(job.kind, job.parts, compute)


def _work(profile: Profile, added: list[dict[str, Any]], job: Job) -> None:
    """What a worker process does: its own study of the profile stays loaded from job to job."""
    from mulnb.study.study import Study

    registry.adopt(added)
    run_job(Study.of(profile), job)


def check(profile: Profile) -> None:
    """Raises `UserError` if an algorithm or one of its settings is unknown: before anything is trained."""
    from mulnb import unlearning

    for algorithm, strategies in profile.unlearning.algorithms.items():
        for settings in strategies.values():
            for stage in settings if isinstance(settings, tuple) else (settings,):
                unlearning.check(algorithm, stage)

    for stage in profile.unlearning.rum.stages if profile.unlearning.rum else ():
        if stage.algorithm:
            unlearning.check(stage.algorithm, stage.settings)

    for algorithm, axes in profile.tune.grid.items():
        unlearning.check(algorithm, dict.fromkeys(axes))
