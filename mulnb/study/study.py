"""`Study`: one object that holds what all experiments of a profile share.

It has the data and the networks, reads and writes the store, and gives scores and strata. The experiments themselves are
functions of a `Study`: `ranking`, `frames`, `chains`, `tuning`.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb import forget
from mulnb import memorization as exact
from mulnb.config import Profile
from mulnb.core import locks, memory, paths, registry, store, workers
from mulnb.core.bits import Bits
from mulnb.core.registry import PROXIES
from mulnb.core.store import Artifact
from mulnb.forget import ForgetSet, Strata
from mulnb.memorization import Pool
from mulnb.proxies import centre, orient
from mulnb.study import scoring
from mulnb.study.jobs import Job, chunks, holdout_job, original_job, pool_jobs
from mulnb.study.networks import Networks

if TYPE_CHECKING:
    import pandas as pd

    from mulnb.audit.membership import Shadow

SHOWN_SEEDS = 3  # of the frames that have a row for every example and run

_open: dict[tuple[str, Path], Study] = {}


@dataclass(frozen=True)
class Scored:
    """The proxies of one seed."""

    raw: dict[str, np.ndarray]  # by name, [N] each
    seconds: dict[str, float]  # what each proxy costs on top of training


class Study(Networks):
    """A profile with everything that is made from it, loaded or computed when first asked for.

    `Study.of(profile)` gives the same object again in the same process; nothing is computed by opening one.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._scored: dict[int, Scored] = {}
        self._strata: dict[tuple[str, int], Strata] = {}
        self.worker_peak_mb = 0.0  # memory of the worker that took the most; whoever measures sets it to 0 first

    @classmethod
    def of(cls, profile: Profile) -> Study:
        """The study of `profile` with the current store. Equal profiles share one study."""
        key = (profile.model_dump_json(), paths.home())
        if key not in _open:
            _open[key] = cls(profile)
        return _open[key]

    # ---- the store

    def gather(self, wanted: Sequence[Job], label: str, only: Collection[str] | None = None) -> list[Artifact]:
        """The artefact of every job. The missing ones are computed on the workers first.

        Args:
            wanted: in any order; a job that comes twice is computed and read once.
            label: of the progress bar.
            only: the arrays that are wanted of each; see `store.get`.

        Returns:
            One artefact for each job, in the order of `wanted`.
        """
        jobs = {job.name: job for job in wanted}
        found = {name: store.get(job.kind, job.parts, only) for name, job in jobs.items()}

        missing = [job for name, job in jobs.items() if found[name] is None]
        if missing:
            check(self.profile)  # reject a mistake before the first training, not after the last
            self._compute(missing, label)
            for job in missing:
                found[job.name] = self.get(job, only)

        return [found[job.name] for job in wanted]

    def get(self, job: Job, only: Collection[str] | None = None) -> Artifact:
        """The artefact of one job, computed in this process if it is missing.

        Args:
            job: what is wanted.
            only: the arrays that are wanted of it, where it is stored; see `store.get`.
        """
        return store.get(job.kind, job.parts, only) or self.make([job])[0]

    def _compute(self, missing: Sequence[Job], label: str) -> None:
        """Compute jobs on the workers, here or on a cluster, and store them."""
        if workers.backend() == "ray":
            from mulnb.study import cluster

            peaks = cluster.compute(self, missing, label)
        else:
            work = functools.partial(_work, self.profile, registry.additions(), os.getpid())
            peaks = workers.run_all(work, chunks(missing, self.together, workers.count()), label)
        self.worker_peak_mb = max(self.worker_peak_mb, *peaks)

    def make(self, jobs: Sequence[Job]) -> list[Artifact]:
        """Compute jobs of one group in this process, with one thread as in a worker, and store them.

        `meta["wall_s"]` is each one's share of the time.
        """
        with locks.held([job.name for job in jobs]):
            found = [store.get(job.kind, job.parts) for job in jobs]  # another run may have made them while this one waited
            missing = [job for job, artifact in zip(jobs, found, strict=True) if artifact is None]
            if not missing:
                return found

            started = time.perf_counter()
            with workers.single_thread():
                made = missing[0].compute(self, [job.task for job in missing])
            share = (time.perf_counter() - started) / len(missing)

            for job, artifact in zip(missing, made, strict=True):
                artifact.meta["wall_s"] = share
                store.put(job.kind, job.parts, artifact)

            rest = iter(made)
            return [artifact or next(rest) for artifact in found]

    def stored(self) -> bool:
        """Whether memorization and proxies can be read without training anything."""
        wanted = pool_jobs(self)
        for seed in self.profile.seeds:
            wanted += [original_job(self, seed), holdout_job(self, seed)]
        return all(store.folder(job.kind, job.parts).is_dir() for job in wanted)

    # ---- the pool and its exact scores

    @cached_property
    def pool(self) -> Pool | None:
        """The models on random subsets, as what they left behind (METHOD §2) but for their margins, which only `shadow` needs.

        What is stored as bits stays bits. None where scores come from a file.

        Raises:
            UserError: too small a pool for the membership audits that the profile asks for; before any training.
        """
        if self.profile.pool.scores:
            return None

        n = len(self.splits.train)
        if self.profile.audit.membership:
            scoring.check_shadows(self.profile, n)
        groups = self._pool_groups("member", "correct")
        member, correct = (Bits(_joined(groups, name), n) for name in ("member", "correct"))
        return Pool(member, correct, seconds=sum(group.meta["wall_s"] for group in groups))

    @cached_property
    def shadow(self) -> Shadow | None:
        """Margins of the pool's models on examples that they were not trained on, for LiRA and RMIA.

        None where there is no pool, or where `audit.membership` is off.
        """
        from mulnb.audit.membership import Shadow

        if self.pool is None or not self.profile.audit.membership:
            return None

        # float16, [M, N] on D and [M, |T|] on T: sixteen times what the bits need
        groups = self._pool_groups("margin", "margin_test")
        return Shadow.of(_joined(groups, "margin"), self.pool.member, _joined(groups, "margin_test"))

    def _pool_groups(self, *names: str) -> list[Artifact]:
        """Some arrays of all groups of the pool."""
        return self.gather(pool_jobs(self), f"pool of {self.profile.pool.models} models", names)

    @cached_property
    def memorization(self) -> pd.DataFrame:
        """The exact scores; columns `example label memorization se n_in n_out flipped` (METHOD §2); `flipped` marks label noise.

        Scores from a file have no standard error and no models: NaN and 0.
        """
        import pandas as pd

        data = self.splits.train
        if self.pool is None:
            given = scoring.imported_scores(self.profile.pool.scores, data)
            columns = {"example": np.arange(len(data)), "memorization": given, "se": np.nan, "n_in": 0, "n_out": 0}
            frame = pd.DataFrame(columns)
        else:
            frame = exact.estimate(self.pool.correct, self.pool.member)
        frame.insert(1, "label", data.labels)
        return frame.assign(flipped=self.splits.flipped)

    # ---- scores and strata

    def score_seeds(self, seeds: Iterable[int]) -> dict[int, Artifact]:
        """Compute the missing original models and proxies of several seeds on the workers.

        Returns:
            What is known of each seed's original model, without its arrays.
        """
        seeds = list(seeds)
        originals = self.gather([original_job(self, seed) for seed in seeds], "original models", only=())
        self.gather([holdout_job(self, seed) for seed in seeds], "hold-out retraining", only=())
        return dict(zip(seeds, originals, strict=True))

    def scored(self, seed: int) -> Scored:
        """The proxies of one seed, from the store or computed in this process."""
        if seed not in self._scored:
            original, tuned = self.get(original_job(self, seed)), self.get(holdout_job(self, seed))
            raw = {name: value for name, value in original.arrays.items() if name in PROXIES}
            seconds = original.meta["seconds"] | {"holdout_retraining": tuned.meta["wall_s"]}
            self._scored[seed] = Scored(raw | tuned.arrays, seconds)
        return self._scored[seed]

    def scores(self, score: str, seed: int) -> np.ndarray:
        """The oriented score [N] that the forget sets of `seed` are chosen by."""
        if score == "memorization":
            return self.memorization.memorization.to_numpy()
        return orient(score, self.scored(seed).raw[score])

    def strata(self, score: str, seed: int) -> Strata:
        """The three strata of `score` for `seed`, which also draws ties; those of the file, where the profile names one."""
        if self.given is not None:
            return self.given.strata
        if (score, seed) not in self._strata:
            scores, size = self.scores(score, seed), self.profile.forget.size
            self._strata[score, seed] = forget.strata(scores, size, centre(score), seed)
        return self._strata[score, seed]

    @cached_property
    def given(self) -> ForgetSet | None:
        """The forget set of the profile's `forget.file`, if it names one. Raises `UserError` if it does not fit these data."""
        if self.profile.forget.file is None:
            return None
        return forget.load(self.profile.forget.file, self.splits.fingerprint, len(self.splits.train))

    @property
    def refining_scores(self) -> tuple[str, ...]:
        """The values of the column `score`. A forget set from a file counts as one score."""
        if self.given is None:
            return self.profile.unlearning.scores

        return (str(self.given.settings.get("score", "forget_file")),)


def _joined(groups: Sequence[Artifact], name: str) -> np.ndarray:
    """The rows of all groups of the pool, [M, …]."""
    return np.concatenate([group.arrays[name] for group in groups])


def _work(profile: Profile, added: list[dict[str, Any]], driver: int, jobs: Sequence[Job]) -> float:
    """What a worker process does: its own study of the profile stays loaded from task to task.

    Returns:
        The worker's peak memory in MB during this task; 0 in the process `driver`, which measures its own.
    """
    registry.adopt(added)
    if os.getpid() == driver:
        Study.of(profile).make(jobs)
        return 0.0

    memory.forget_peak()
    Study.of(profile).make(jobs)
    return memory.peak_mb()


def check(profile: Profile) -> None:
    """Raises `UserError` if an algorithm or one of its settings is unknown, before any training."""
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
