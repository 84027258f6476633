"""Steps that are computed once: what each is made from, and who computes the missing ones."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb.config import Profile
from mulnb.core import locks, memory, on_ray, paths, registry, store, workers
from mulnb.core.errors import UserError, notice
from mulnb.core.store import Artifact
from mulnb.core.validation import wrong_setting
from mulnb.study.networks import WEIGHTS

if TYPE_CHECKING:
    from mulnb.study.study import Study


FEW = 4  # networks of which a stack is worth its while


@dataclass(frozen=True)
class Job:
    """One step of a study that is computed once and stored."""

    kind: str  # the folder of its results
    parts: Mapping[str, Any]  # everything that the result depends on; the result is stored by it
    compute: Callable[[Study, list[Any]], list[Artifact]]  # (study, tasks) → an artefact for each task, in any process
    task: Any = None  # what distinguishes this job from others with the same `compute`
    group: str = ""  # jobs of one group can be computed as one stack; "" is computed by itself
    needs: tuple[Job, ...] = ()  # jobs whose results it reads: they travel with it to a machine with another store
    weights: bool = False  # whether a result that was unpacked without weights has to be computed again

    @cached_property
    def key(self) -> str:
        """A hash of `parts`."""
        return store.digest(self.parts)

    @property
    def place(self) -> str:
        """`kind/key`, as messages, locks and packs name the result."""
        return f"{self.kind}/{self.key}"

    @property
    def with_weights(self) -> Job:
        """The same job for whoever needs the network, and not only what was read off it."""
        return replace(self, weights=True)


def gather(study: Study, jobs: Sequence[Job], label: str, only: Collection[str] | None = None) -> list[Artifact]:
    """The artefact of every job. The missing ones are computed on the workers first.

    Args:
        study: whose jobs they are.
        jobs: in any order; a job that comes twice is computed and read once.
        label: of the progress bar.
        only: the arrays that are wanted of each; see `store.get`.

    Returns:
        One artefact for each job, in the order of `jobs`.
    """
    found: dict[str, Artifact | None] = {}
    missing = []
    for job in jobs:
        if job.key in found:
            continue
        found[job.key] = stored(job, only)
        if found[job.key] is None:
            missing.append(job)

    if missing:
        compute(study, missing, label)
        for job in missing:
            found[job.key] = run_job(study, job, only)

    return [found[job.key] for job in jobs]


def stored(job: Job, only: Collection[str] | None = None) -> Artifact | None:
    """The artefact of a job, or None if it has to be computed: also if its weights are needed, and not here.

    Args:
        job: what is wanted.
        only: the arrays that are wanted of it; see `store.get`.

    Raises:
        UserError: a part of it was not unpacked, which only another pack has.
    """
    found = store.get(job.kind, job.parts, only)
    if found is None or not found.left_out:
        return found

    wanted = {name for name in found.left_out if not name.startswith(WEIGHTS) and (only is None or name in only)}
    if wanted:
        raise UserError(f"{job.place} was unpacked without {', '.join(sorted(wanted))}: unpack the packs *.margins.* too")
    return None if job.weights and _lacks_weights(found) else found


def _lacks_weights(found: Artifact) -> bool:
    """Whether an artefact was unpacked without its network."""
    return any(name.startswith(WEIGHTS) for name in found.left_out)


def without_weights(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose networks these jobs begin with, and that are stored without weights: each once."""
    found: dict[str, Job] = {}
    for job in jobs:
        for need in job.needs:
            there = store.look(need.kind, need.parts) if need.weights else None
            if there is not None and _lacks_weights(there):
                found[need.key] = need
    return list(found.values())


def compute(study: Study, jobs: Sequence[Job], label: str) -> None:
    """Compute jobs on the workers, here or on a cluster, and store them.

    Args:
        study: whose jobs they are.
        jobs: none of them is stored, or not with the weights that are wanted.
        label: of the progress bar.

    Raises:
        UserError: a setting is wrong, or the store cannot be written; before anything is computed.
    """
    paths.check_writable(paths.artifacts())
    store.tidy()
    check(study.profile)  # reject a mistake before the first training, not after the last
    study.check({job.kind for job in jobs})
    if lacking := without_weights(jobs):  # here they can be one stack, and are computed on all workers
        compute(study, lacking, "networks that were unpacked without weights")

    if workers.backend() == "ray":
        from mulnb.study import cluster

        peaks = cluster.compute(study, jobs, label)
    else:
        work = functools.partial(_work, study.profile, registry.additions(), os.getpid())
        peaks = workers.run_all(work, chunks(jobs, study.together, places(study)), label)
    study.worker_peak_mb = max(study.worker_peak_mb, *peaks)


def places(study: Study) -> int:
    """How many tasks run at once, here or on a cluster."""
    if workers.backend() == "ray":
        return on_ray.places(study.terms)
    return workers.count()


def chunks(jobs: Sequence[Job], together: int, places: int) -> list[list[Job]]:
    """Divide jobs into tasks for the workers: jobs of one group together, and enough chunks for all workers.

    The result of a job does not depend on its chunk (`fast.stacked`), so an interrupted study may divide the rest differently.

    Args:
        jobs: what is to be computed.
        together: jobs in a chunk, at most.
        places: workers that there are.

    Returns:
        The chunks; each has jobs of one kind and one group.
    """
    groups: dict[tuple[str, str], list[Job]] = {}
    for number, job in enumerate(jobs):
        own = job.group or str(number)  # a job without a group is a group of its own
        groups.setdefault((job.kind, own), []).append(job)

    found = []
    for members in groups.values():
        count = math.ceil(len(members) / together)
        if together > 1 and len(members) >= places * FEW:  # an even share for every worker
            count = places * math.ceil(count / places)

        size = math.ceil(len(members) / count)
        for start in range(0, len(members), size):
            found.append(members[start : start + size])
    return found


def run_job(study: Study, job: Job, only: Collection[str] | None = None) -> Artifact:
    """The artefact of a job, computed in this process if it is missing: with one thread, as in a worker.

    Args:
        study: whose job it is.
        job: what is wanted.
        only: the arrays that are wanted of it, where it is stored; see `store.get`.
    """
    found = stored(job, only)
    if found is not None:
        return found
    return run_together(study, [job])[0]


def run_together(study: Study, jobs: Sequence[Job]) -> list[Artifact]:
    """Compute and store jobs of one group. `meta["wall_s"]` is each one's share of the time."""
    with locks.held([job.place for job in jobs]):
        found = [stored(job) for job in jobs]  # another run may have made them while this one waited
        missing = [job for job, artifact in zip(jobs, found, strict=True) if artifact is None]
        made = iter(_compute(study, missing))
        return [artifact or next(made) for artifact in found]


def _compute(study: Study, jobs: Sequence[Job]) -> list[Artifact]:
    """The artefacts of jobs of one group, computed now and stored."""
    if not jobs:
        return []

    memory.keep_freed()
    started = time.perf_counter()
    with workers.single_thread():
        made = jobs[0].compute(study, [job.task for job in jobs])

    share = (time.perf_counter() - started) / len(jobs)
    kept = []
    for job, artifact in zip(jobs, made, strict=True):
        artifact.meta["wall_s"] = share
        kept.append(store.put(job.kind, job.parts, artifact))
        if kept[-1] is not artifact:
            _compare(job, artifact, kept[-1])
    return kept


def _compare(job: Job, again: Artifact, before: Artifact) -> None:
    """Say how well a network that was trained again for its weights agrees with the one that its stored scores are of."""
    if "correct" not in before.arrays or np.array_equal(again.arrays["correct"], before.arrays["correct"]):
        return
    same = np.mean(again.arrays["correct"] == before.arrays["correct"])
    notice(
        f"{job.place}: trained again for its weights, which are not those of the machine that it was unpacked from: "
        f"both are right or wrong on the same {100 * same:.1f} % of the examples; the scores stay as they were unpacked"
    )


def _work(profile: Profile, added: registry.Additions, driver: int, jobs: Sequence[Job]) -> float:
    """What a worker process does: its own study of the profile stays loaded from task to task.

    Returns:
        The worker's peak memory in MB during this task; 0 in the process `driver`, which measures its own.
    """
    from mulnb.study.study import Study

    if os.getpid() == driver:
        run_together(Study.of(profile), jobs)
        return 0.0

    registry.adopt(added)
    memory.forget_peak()
    run_together(Study.of(profile), jobs)
    return memory.peak_mb()


def check(profile: Profile) -> None:
    """Raises `UserError` if an algorithm or a setting is unknown or out of range, or a file is missing: before any training."""
    from mulnb import unlearning
    from mulnb.data import forget_file

    where = f"profile {profile.name}: "
    if profile.forget.file and forget_file.find(profile.forget.file) is None:
        raise UserError(f"{where}forget.file = {profile.forget.file}: there is no file of this name: correct the path")
    if (scores := profile.pool.scores) and not os.path.isfile(paths.expanded(scores.file)):
        raise UserError(f"{where}pool.scores.file = {scores.file}: there is no file of this name: correct the path")

    wanted = profile.unlearning.every_setting
    wanted += [(f"tune.grid.{algorithm}", algorithm, dict.fromkeys(axes)) for algorithm, axes in profile.tune.grid.items()]
    for key, algorithm, settings in wanted:
        try:
            unlearning.check(algorithm, settings)
        except UserError as error:
            raise UserError(f"{where}{key.removesuffix('.settings')}: {error}") from None

    for key, algorithm, settings in profile.unlearning.every_setting:
        # the profile's own check does not know the defaults of what it leaves out
        if wrong := wrong_setting(algorithm, settings, unlearning.ALGORITHMS[algorithm]):
            raise UserError(f"{where}{key}.{wrong}")
