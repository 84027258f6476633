"""Unlearning while the notebook stays alive: work in a thread, with progress that is told and a cancel that is obeyed.

Cancelling is cooperative: it takes effect after the optimizer step that is under way. What was finished by then (the oracle)
stays stored, of the run itself nothing is; no model but its own copy was touched.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mulnb import study
from mulnb.config import Profile
from mulnb.core import workers
from mulnb.forget import Strata

TELL_EVERY = 0.1  # seconds between two reports of progress: each one is a message to the browser


class Cancelled(Exception):
    """The user cancelled the work."""


class Background:
    """`work(self)` in a thread. `progress(steps)` is told now and then, `finished(result, error)` once; both in that thread."""

    def __init__(
        self,
        work: Callable[[Background], Any],
        progress: Callable[[int], None],
        finished: Callable[[Any, BaseException | None], None],
    ) -> None:
        self._work, self._progress, self._finished = work, progress, finished
        self._stop = threading.Event()
        self._told = 0.0
        self.steps = 0
        self.thread = threading.Thread(target=self._run, name="mulnb-unlearn", daemon=True)

    def start(self) -> Background:
        self.thread.start()
        return self

    def cancel(self) -> None:
        self._stop.set()

    def reached(self, steps: int) -> None:
        """So many steps are behind us, whether they were taken or their result was stored; the place to be cancelled at."""
        self.steps = steps
        if time.monotonic() - self._told > TELL_EVERY:
            self._told = time.monotonic()
            self._progress(self.steps)
        if self._stop.is_set():
            raise Cancelled

    def _run(self) -> None:
        try:
            with _as_it_was(), each_step(lambda: self.reached(self.steps + 1)):
                result = self._work(self)
        except BaseException as error:
            self._finished(None, error)
        else:
            self._finished(result, None)


@contextmanager
def each_step(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` after every optimizer step that this thread takes; an exception that it raises ends the training.

    A hook of torch's optimizers reaches every algorithm, also one of yours, without an argument handed down to `training.fit`.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

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
def _as_it_was() -> Iterator[None]:
    """One torch thread: the same bits whether a run is live or part of a study. Random states are put back.

    A replayed step (CUDA graph) bypasses the optimizer, where steps are counted and cancelled, so steps are plain ones.
    """
    import torch

    from mulnb.fast.graphs import plain_steps

    with workers.single_thread(), plain_steps(), torch.random.fork_rng():
        yield


def unlearn(
    profile: Profile, chosen: Strata, score: str, seed: int, runs: Sequence[tuple[str, str]], told: Background
) -> list[dict[str, Any]]:
    """The row of `study.unlearning` for each (algorithm, strategy) on the strata `chosen`; what is stored is not done again."""
    study.check(profile)
    wanted = planned(profile, score, seed, runs)
    oracle, *plan = expected_steps(profile, chosen, wanted)
    rows, behind = [], oracle
    for run, steps in zip(wanted, plan, strict=True):
        rows.append(study.outcome(profile, run, chosen))
        behind += steps
        told.reached(behind)
    return rows


def expected_steps(profile: Profile, chosen: Strata, runs: Sequence[study.Run]) -> list[int]:
    """Optimizer steps of the oracle and of each run, about: what an algorithm calls an epoch is a pass over what is retained."""
    rest = len(study.splits(profile).train) - len(chosen.forget)
    stages = ([settings for _, settings in run.stages] for run in runs)
    return [_passes(profile.training.model_dump(), rest), *(sum(_passes(one, rest) for one in each) for each in stages)]


def planned(profile: Profile, score: str, seed: int, runs: Sequence[tuple[str, str]]) -> list[study.Run]:
    """Each (algorithm, strategy) with the settings that the profile has for it."""
    settings = {(algorithm, strategy): one for algorithm, strategy, one in study.ways(profile)}
    return [study.Run(*run, score, seed, settings[run]) for run in runs]


def _passes(settings: Mapping[str, Any], examples: int) -> int:
    return int(settings.get("epochs", 5)) * math.ceil(examples / int(settings.get("batch", 256)))
