"""Unlearning while the notebook stays alive: work in a thread that reports its progress and can be cancelled.

Cancelling takes effect after the optimizer step under way. What was finished by then (the oracle) stays stored; nothing of the
unfinished run does, and no model but the run's own copy was touched.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mulnb import study
from mulnb.audit import margins
from mulnb.config import Profile
from mulnb.core import store, workers
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import CEILING, FLOOR, label
from mulnb.forget import Strata
from mulnb.study.frames import compare
from mulnb.study.recipes import oracle_of, original_job, unlearning_job

REPORT_EVERY = 0.1  # seconds between two reports of progress: each is a message to the browser


class Cancelled(Exception):
    """The user cancelled the work."""


class Background:
    """Work in a thread of its own.

    Args:
        work: what to do; it gets this object, to report to it.
        progress: called with the number of steps now and then, in that thread.
        finished: called once with the result, or with None and the exception, in that thread.
    """

    def __init__(
        self,
        work: Callable[[Background], Any],
        progress: Callable[[int], None],
        finished: Callable[[Any, BaseException | None], None],
    ) -> None:
        self._work, self._progress, self._finished = work, progress, finished
        self._stop = threading.Event()
        self._reported = 0.0
        # the oracle, then each run: `step` counts up to the expected end of a part
        self.started = time.monotonic()
        self.steps = 0
        self.phase, self._end = "", math.inf
        self.thread = threading.Thread(target=self._run, name="mulnb-unlearn", daemon=True)

    def start(self) -> Background:
        """Start the thread."""
        self.thread.start()
        return self

    def cancel(self) -> None:
        """Ask the work to stop after the step under way."""
        self._stop.set()

    def enter(self, phase: str, end: int) -> None:
        """Begin a part of the work, which is expected to last until step `end`."""
        self.phase, self._end = phase, end
        self.reached(self.steps)

    def step(self) -> None:
        """Count a step; those beyond the expected end of a part, such as an audit's, do not count."""
        self.reached(min(self.steps + 1, int(min(self._end, 1e9))))

    def reached(self, steps: int) -> None:
        """Report that `steps` steps are done, taken here or stored before. Raises `Cancelled` if the user cancelled."""
        self.steps = steps

        # every report is a message to the browser; thousands of them a second would delay its answers
        if time.monotonic() - self._reported > REPORT_EVERY:
            self._reported = time.monotonic()
            self._progress(self.steps)
        if self._stop.is_set():
            raise Cancelled

    def _run(self) -> None:
        try:
            with _undisturbed(), each_step(self.step):
                result = self._work(self)
        except BaseException as error:
            self._finished(None, error)
        else:
            self._finished(result, None)


@contextmanager
def each_step(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` after every optimizer step of this thread; an exception that it raises ends the training.

    A hook of torch's optimizers reaches every algorithm, also a user's own, without an argument passed down to `training.fit`.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    # the hook sees the steps of all threads; only this one's are to be counted and cancelled
    own = threading.get_ident()

    def hook(*_: Any) -> None:
        if threading.get_ident() == own:
            tick()

    handle = register_optimizer_step_post_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """One torch thread, so that a live run gives the same bits as the study's; random states are put back afterwards.

    CUDA graphs are off: a replayed step bypasses the optimizer, where steps are counted and cancelled.
    """
    import torch

    from mulnb.fast.graphs import plain_steps

    with workers.single_thread(), plain_steps(), torch.random.fork_rng():
        yield


class Result(NamedTuple):
    """A live run: its row as in `study.unlearning`, and what the models say of every example.

    `probability` and `unseen`: of the true class, by the original model, the unlearned one and the oracle, for every training
    example [N] and every test example [|T|]; empty if the run diverged.
    """

    row: dict[str, Any]
    run: study.Run
    chosen: Strata
    probability: dict[str, np.ndarray]
    unseen: dict[str, np.ndarray]


class Found(NamedTuple):
    """The runs on one set, and the ends of its scale: rows by `FLOOR` and `CEILING`; the ceiling only if it is stored."""

    results: list[Result]
    ends: dict[str, dict[str, Any]]


def unlearn(profile: Profile, chosen: Strata, score: str, seed: int, runs: Sequence[tuple[str, str]], job: Background) -> Found:
    """Unlearn the strata `chosen` by each (algorithm, strategy); what is stored is not computed again."""
    study.check(profile)
    here = study.Study.of(profile)
    planned = plan(profile, score, seed, runs)
    end, *counts = expected_steps(profile, chosen, planned)

    # the oracle first, as a part of its own: it takes longest, and the reader is told what it is for
    job.enter("training the oracle, a model that never sees the set", end)
    oracle = here.get(oracle_of(here, chosen, seed))
    original = here.get(original_job(here, seed))
    # nothing is trained for the floor, and a second oracle only when the reader asks for it (`ceiling`)
    ends = {FLOOR: study.outcome(profile, study.Run(FLOOR, FLOOR, score, seed, {}), chosen)}
    second = oracle_of(here, chosen, seed, number=1)
    if store.get(second.kind, second.parts) is not None:
        ends[CEILING] = _beside(here.get(second), oracle)
    job.reached(end)

    found = []
    for run, count in zip(planned, counts, strict=True):
        end += count
        job.enter(f"{label(run.algorithm)}, {label(run.strategy)}", end)
        row = study.outcome(profile, run, chosen)
        unlearned = here.get(unlearning_job(here, run, chosen))
        models = {"original": original, "unlearned": unlearned, "oracle": oracle}
        found.append(Result(row, run, chosen, _probability(models, "margin"), _probability(models, "margin_test")))
        job.reached(end)
    return Found(found, ends)


def ceiling(profile: Profile, chosen: Strata, seed: int, job: Background) -> dict[str, Any]:
    """The row of a second oracle of the set, beside the first: as close as retraining comes to itself."""
    here = study.Study.of(profile)
    job.enter("training a second oracle, to see how close one comes to another", expected_steps(profile, chosen, [])[0])
    oracle = here.get(oracle_of(here, chosen, seed))
    return _beside(here.get(oracle_of(here, chosen, seed, number=1)), oracle)


def _beside(second: Artifact, first: Artifact) -> dict[str, Any]:
    """The outcome of one oracle compared with another's, as columns of `study.unlearning`."""
    flat = [oracle.meta["outcomes"][0] | {"seconds": oracle.meta["seconds"]} for oracle in (second, first)]
    return compare(*flat)


def _probability(models: Mapping[str, Artifact], margin: str) -> dict[str, np.ndarray]:
    """The probability of the true class by each model, from its stored margins; empty if one of them diverged."""
    if not all(margin in artifact.arrays for artifact in models.values()):
        return {}
    return {name: margins.probability(artifact.arrays[margin].reshape(-1)) for name, artifact in models.items()}


def plan(profile: Profile, score: str, seed: int, runs: Sequence[tuple[str, str]]) -> list[study.Run]:
    """Each (algorithm, strategy) with the settings that the profile has for it."""
    settings = {(algorithm, strategy): found for algorithm, strategy, found in study.ways(profile)}
    return [study.Run(algorithm, strategy, score, seed, settings[algorithm, strategy]) for algorithm, strategy in runs]


def expected_steps(profile: Profile, chosen: Strata, runs: Sequence[study.Run]) -> list[int]:
    """About how many optimizer steps the oracle and each run take: an algorithm's epoch is a pass over the retain set."""
    retained = len(study.splits(profile).train) - len(chosen.forget)
    found = [_steps(profile.training.model_dump(), retained)]
    for run in runs:
        found.append(sum(_steps(settings, retained) for _, settings in run.stages))
    return found


def _steps(settings: Mapping[str, Any], examples: int) -> int:
    return int(settings.get("epochs", 5)) * math.ceil(examples / int(settings.get("batch", 256)))
