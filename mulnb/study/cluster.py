"""Jobs on a Ray cluster whose nodes may have stores of their own.

The images go to each node once. So do the results that a job reads, such as the original model that is to be unlearned. What a
job makes comes back, and is stored here as it comes: a cluster that is lost takes nothing finished with it.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mulnb.config import Profile
from mulnb.core import memory, on_ray, registry, store, workers
from mulnb.core.errors import UserError
from mulnb.core.store import Artifact
from mulnb.study.jobs import Job, chunks, places, run_together, stored

if TYPE_CHECKING:
    from mulnb.study.study import Study


def compute(study: Study, jobs: Sequence[Job], label: str) -> list[float]:
    """Compute jobs on the cluster, and store their results in this process's store.

    Args:
        study: whose jobs they are.
        jobs: none of them is stored.
        label: of the progress bar.

    Returns:
        The peak memory of the worker in MB, for every task.

    Raises:
        UserError: as `on_ray.run`; or a node has another version of the package.
    """
    tasks = chunks(jobs, study.together, places(study))

    images = f"held images {study.splits.fingerprint}"
    needed: dict[str, Job] = {}  # by place
    shares = []
    for task in tasks:
        own = {need.place: need for job in task for need in job.needs}
        needed |= own
        shares.append([images, *own])

    def lend(name: str) -> Any:  # the splits, or a job with its result
        if name == images:
            return study.splits
        return needed[name], study.get(needed[name])

    work = functools.partial(_work, study.profile, registry.additions(), code(), images)
    results = on_ray.run(work, tasks, shares, lend, study.terms)

    peaks = []
    for number, (peak, made) in workers.progress(results, len(tasks), label):
        for job, artifact in zip(tasks[number], made, strict=True):
            if stored(job, ()) is None:  # a node with the same file system has stored it
                store.put(job.kind, job.parts, artifact)
        peaks.append(peak)
    return peaks


def code() -> str:
    """The version of the code that results depend on, on this machine."""
    # "": the files of mulnb/ itself
    return store.code_version("", "audit", "config", "core", "data", "fast", "study", "unlearning")


def _work(
    profile: Profile,
    added: registry.Additions,
    version: str,
    images: str,
    jobs: Sequence[Job],
    shared: Mapping[str, Any],
) -> tuple[float, list[Artifact]]:
    """What a worker of the cluster does with one task.

    Args:
        added: entries from outside of the registries.
        version: of the code that asks.
        images: the name of the splits in `shared`.
        shared: by name, the splits and the results that the jobs read.

    Returns:
        The worker's peak memory in MB during this task, and the artefacts.
    """
    from mulnb.study.study import Study

    if code() != version:
        raise UserError(f"the node {platform.node()} has another version of mulnb: install the same one on every node")
    registry.adopt(added)
    study = Study.of(profile)
    study.splits = shared[images]

    for name, lent in shared.items():
        if name != images:
            job, artifact = lent
            if stored(job, ()) is None:
                store.put(job.kind, job.parts, artifact)

    memory.forget_peak()
    made = run_together(study, jobs)
    return memory.peak_mb(), made
