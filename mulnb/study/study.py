"""`Study`: one object that holds what all experiments of a profile share.

It has the data and the networks, reads and writes the store, and gives scores and strata. The experiments themselves are
functions of a `Study`: `ranking`, `frames`, `chains`, `tuning`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mulnb import forget
from mulnb import memorization as exact
from mulnb.config import Profile, check_is_profile
from mulnb.core import on_ray, paths, store
from mulnb.core.bits import Bits
from mulnb.core.registry import ARCHITECTURES, DATASETS, PROXIES
from mulnb.core.store import Artifact
from mulnb.data import forget_file
from mulnb.forget import ForgetSet, Strata
from mulnb.memorization import Pool
from mulnb.proxies import centre, orient
from mulnb.study import additions, jobs, scoring
from mulnb.study.jobs import Job
from mulnb.study.networks import Networks
from mulnb.study.recipes import holdout_job, original_job, pool_jobs
from mulnb.study.runs import NOT_UNLEARNED, SECOND_ORACLE, Run, ways

if TYPE_CHECKING:  # torch takes seconds to import
    from mulnb.audit.membership import Shadow

SHOWN_SEEDS = 3  # of the frames that have a row for every example and run

_open: dict[tuple[str, Path], Study] = {}


@dataclass(frozen=True)
class Scored:
    """The original model of one seed, as the proxies that were read off its training."""

    raw: dict[str, np.ndarray]  # by name, [N] each
    seconds: dict[str, float]  # what each proxy costs on top of training
    training_s: float  # seconds of the training alone
    acc_train: float  # accuracy on D


class Study(Networks):
    """A profile with everything that is made from it, loaded or computed when first asked for.

    `Study.of(profile)` gives the same object again in the same process; nothing is computed by opening one.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._entries = _entries(profile)
        self._scored: dict[int, Scored] = {}
        self._versions: dict[str, str] = {}  # of the proxies in `_scored`
        self._strata: dict[tuple[str, int], Strata] = {}
        self.worker_peak_mb = 0.0  # memory of the worker that took the most; whoever measures sets it to 0 first

    @classmethod
    def of(cls, profile: Profile) -> Study:
        """The study of `profile` with the current store. Equal profiles share one study. Raises `UserError` for anything else."""
        check_is_profile(profile)
        key = (profile.model_dump_json(), paths.home())
        if key not in _open or _open[key]._entries != _entries(profile):
            _open[key] = cls(profile)
        return _open[key]

    @property
    def terms(self) -> on_ray.Terms:
        """What a task takes of a node of a cluster."""
        return on_ray.Terms(self.profile.resources.num_cpus, self.profile.resources.num_gpus)

    # ---- the store

    def gather(self, wanted: Sequence[Job], label: str, only: Collection[str] | None = None) -> list[Artifact]:
        """The artefacts of jobs, or `only` some arrays of each; the missing ones are computed on the workers."""
        return jobs.gather(self, wanted, label, only)

    def get(self, job: Job) -> Artifact:
        """The artefact of one job, computed in this process if it is missing."""
        return jobs.run_job(self, job)

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
            UserError: too small a pool; before any training.
        """
        if self.profile.pool.scores:
            return None

        groups = self._pool_groups("member", "correct")
        member, correct = (Bits(_joined(groups, name), len(self.splits.train)) for name in ("member", "correct"))
        return Pool(member, correct, seconds=sum(group.meta["wall_s"] for group in groups))

    @cached_property
    def _pool_fits(self) -> bool:
        """Counts in how many subsets of the pool each example is."""
        scoring.check_pool(self.profile, len(self.splits.train))
        return True

    def check(self, kinds: Collection[str]) -> None:
        """Check what the profile asks for against its data, before jobs of these `kinds` are computed.

        Raises:
            UserError: a file of scores or a forget set does not fit the data, the pool is too small, or see `additions`.
        """
        _ = self.given  # reads the forget set of a file, which others only need late
        if self.profile.pool.scores:
            _ = self.memorization
        if "pool" in kinds:
            _ = self._pool_fits
        additions.check(self)

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
        data = self.splits.train
        if self.pool is None:
            from mulnb.data.scores import load_scores

            own = self.profile.pool.scores
            given = load_scores(own.file, key=own.key, index=own.index, orientation=own.orientation, data=data)
            columns = {"example": np.arange(len(data)), "memorization": given, "se": np.nan, "n_in": 0, "n_out": 0}
            frame = pd.DataFrame(columns)
        else:
            frame = exact.estimate(self.pool.correct, self.pool.member)
        frame.insert(1, "label", data.labels)
        return frame.assign(flipped=self.splits.flipped)

    # ---- scores and strata

    def score_seeds(self, seeds: Iterable[int]) -> dict[int, Scored]:
        """The proxies of several seeds. Missing original models are trained on the workers, together.

        Whoever needs several seeds asks for all of them first: one after the other, they would be trained one by one.
        """
        self._forget_other_proxies()
        seeds = list(seeds)
        new = [seed for seed in seeds if seed not in self._scored]
        originals = self.gather([original_job(self, seed) for seed in new], "original models", PROXIES.names)
        tuned = self.gather([holdout_job(self, seed) for seed in new], "hold-out retraining")

        for seed, original, last in zip(new, originals, tuned, strict=True):
            raw = {name: value for name, value in original.arrays.items() if name in PROXIES}
            known = original.meta
            seconds = known["seconds"] | {"holdout_retraining": last.meta["wall_s"]}
            self._scored[seed] = Scored(raw | last.arrays, seconds, known["training_s"], known["acc_train"])
        return {seed: self._scored[seed] for seed in seeds}

    def _forget_other_proxies(self) -> None:
        """In a notebook, a proxy may have been added or changed since scores were kept."""
        if PROXIES.versions != self._versions:
            self._versions = dict(PROXIES.versions)
            self._scored.clear()
            self._strata.clear()

    def scores(self, score: str, seed: int) -> np.ndarray:
        """The oriented score [N] that the forget sets of `seed` are chosen by."""
        if score == "memorization":
            return self.memorization.memorization.to_numpy()
        raw = self.score_seeds([seed])[seed].raw[score]
        return orient(score, raw)

    def strata(self, score: str, seed: int) -> Strata:
        """The three strata of `score` for `seed`, which also draws ties; those of the file, where the profile names one."""
        if self.given is not None:
            return self.given.strata
        self._forget_other_proxies()
        if (score, seed) not in self._strata:
            scores, middle = self.scores(score, seed), centre(score)
            if self.listed is not None:
                self._strata[score, seed] = forget.split(self.listed, scores, seed)
            else:
                self._strata[score, seed] = forget.strata(scores, self.profile.forget.size, middle, seed)
        return self._strata[score, seed]

    @cached_property
    def given(self) -> ForgetSet | None:
        """The forget set of the profile's `forget.file`, if it names one. Raises `UserError` if it does not fit these data."""
        if self.profile.forget.file is None or self.listed is not None:
            return None
        return forget_file.load(self.profile.forget.file, self.splits.fingerprint, len(self.splits.train))

    @cached_property
    def listed(self) -> np.ndarray | None:
        """The examples [n] of a `forget.file` that is a plain list; the score of a run splits them into strata."""
        if self.profile.forget.file is None:
            return None
        train = self.splits.train
        return forget_file.members(self.profile.forget.file, train.labels, train.classes)

    @property
    def refining_scores(self) -> tuple[str, ...]:
        """The values of the column `score`. A forget set from a file counts as one score."""
        if self.listed is not None:
            return self.profile.unlearning.scores[:1]
        if self.given is None:
            return self.profile.unlearning.scores

        return (str(self.given.settings.get("score", "forget_file")),)

    @property
    def runs(self) -> list[Run]:
        """What the profile does with every forget set of every seed, with the floor and the ceiling."""
        found = []
        for algorithm, strategy, settings in [*ways(self.profile), NOT_UNLEARNED, SECOND_ORACLE]:
            for score, seed in itertools.product(self.refining_scores, self.profile.seeds):
                found.append(Run(algorithm, strategy, score, seed, settings))
        return found


def _joined(groups: Sequence[Artifact], name: str) -> np.ndarray:
    """The rows of all groups of the pool, [M, …]."""
    return np.concatenate([group.arrays[name] for group in groups])


def _entries(profile: Profile) -> tuple[Any, ...]:
    """The data set and the networks from outside that a study of the profile keeps in memory: in a notebook they are edited."""
    networks = [ARCHITECTURES.version(model.arch) for model in (profile.model, profile.pool_model)]
    return DATASETS.version(profile.dataset.name), *networks
