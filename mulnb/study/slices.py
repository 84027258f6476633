"""A profile in slices of some minutes, the most valuable work first: for a machine that is lent for a short while.

A slice begins no work whose time does not fit into what is left of it. Everything that is finished is stored, so the next slice
goes on from there, and the tables at the end are those of one run.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean

from mulnb.core import store
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import CEILING, FLOOR, label
from mulnb.study import chains, cost, frames, jobs
from mulnb.study.cost import Prices
from mulnb.study.jobs import Job
from mulnb.study.recipes import holdout_job, job_of, oracle_of, original_job, pool_jobs
from mulnb.study.runs import ways
from mulnb.study.study import Study

ORIGINALS = "original models"
FIRST = "neg_grad_plus"  # the algorithm that the paper refines first
DURATION = re.compile(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")


def seconds_of(text: str) -> float:
    """Read a duration such as `90s`, `9m` or `1h30m`.

    Raises:
        UserError: it is no duration, or 0.
    """
    match = DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise UserError(f"slice '{text}': expected a duration above 0, such as 90s, 9m or 1h30m")
    return float(total)


# --- the work, in its order ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Jobs of one kind, which take about the same time."""

    name: str
    count: int  # how many jobs there will be
    price: Callable[[Prices], float]  # seconds of one of them, from a probe
    jobs: Callable[[], Sequence[Job]]  # to be asked when all work before it is done: forget sets depend on scores


def plan(study: Study) -> list[Work]:
    """All work of a profile but its search and the runs with mistakes.

    Scores, oracles and NegGrad+ come first, the rest in the order in which it is shown.
    """
    profile, seeds = study.profile, study.profile.seeds
    sets = len(study.refining_scores) * len(seeds)
    block = min(profile.pool.group, profile.pool.models)
    blocks = 0 if profile.pool.scores else math.ceil(profile.pool.models / block)
    orders = cost.counts(profile)["crossed runs"]

    return [
        Work(ORIGINALS, len(seeds), lambda of: of.original, lambda: [original_job(study, seed) for seed in seeds]),
        Work("hold-out retraining", len(seeds), lambda of: of.holdout, lambda: [holdout_job(study, seed) for seed in seeds]),
        Work(f"pool in blocks of {block}", blocks, lambda of: block * of.pool_model, lambda: pool_jobs(study) if blocks else []),
        Work("oracles", sets, lambda of: of.oracle, lambda: _oracles(study)),
        *_algorithms(study, sets),
        Work("floor: original models", sets, lambda of: of.floor, lambda: _runs(study, FLOOR)),
        Work("ceiling: second oracles", sets, lambda of: of.oracle, lambda: _runs(study, CEILING)),
        Work("one forget set in several orders", orders, lambda of: mean(of.runs.values()), lambda: _orders(study)),
        *_sequential(study),
    ]


def _algorithms(study: Study, sets: int) -> list[Work]:
    """The runs of every algorithm; `FIRST` is the first, the full RUM the last."""
    strategies: dict[str, list[str]] = {}
    for algorithm, strategy, _ in ways(study.profile):
        strategies.setdefault(algorithm, []).append(strategy)

    work = []
    for algorithm, used in sorted(strategies.items(), key=lambda item: item[0] != FIRST):  # the others stay in their order

        def price(of: Prices, algorithm: str = algorithm, used: Sequence[str] = tuple(used)) -> float:
            return mean(of.runs[algorithm, strategy] for strategy in used)

        work.append(Work(label(algorithm), len(used) * sets, price, functools.partial(_runs, study, algorithm)))
    return work


def _sequential(study: Study) -> list[Work]:
    """The chains of sequential unlearning, step by step, and what they are compared with."""
    steps, seeds = study.profile.sequential.steps, len(study.profile.seeds)
    chain_count = len(study.profile.sequential.strategies) * seeds

    work = []
    for step in range(1, steps + 1):
        jobs_of = functools.partial(chains.step_jobs, study, step)
        work.append(Work(f"sequential unlearning, step {step}", chain_count, lambda of: mean(of.steps.values()), jobs_of))

    def ends() -> list[chains.Link]:
        return chains.at_the_ends(study, chains.links(study))

    every, few = chain_count * steps, seeds * steps
    return [
        *work,
        Work("oracles of the steps", every, lambda of: of.oracle, lambda: [link.oracle(study) for link in chains.links(study)]),
        Work("floor of the steps", few, lambda of: of.floor, lambda: [link.floor(study) for link in ends()]),
        Work("ceiling of the steps", few, lambda of: of.oracle, lambda: [link.oracle(study, number=1) for link in ends()]),
    ]


def _oracles(study: Study) -> list[Job]:
    """The oracle of every forget set."""
    runs = [run for run in study.runs if run.algorithm == FLOOR]  # one for each score and seed
    return [oracle_of(study, study.strata(run.score, run.seed), run.seed) for run in runs]


def _runs(study: Study, algorithm: str) -> list[Job]:
    """All runs of an algorithm, or of `FLOOR` or `CEILING`."""
    runs = [run for run in study.runs if run.algorithm == algorithm]
    return [job_of(study, run, study.strata(run.score, run.seed)) for run in runs]


def _orders(study: Study) -> list[Job]:
    """The runs on one forget set in several orders; its oracles, too, which no other work has if no score gives this set."""
    found = []
    runs, _, sets = frames.orders_of(study)
    for run, chosen in zip(runs, sets, strict=True):
        found += [oracle_of(study, chosen, run.seed), job_of(study, run, chosen)]
    return found


# --- one slice -----------------------------------------------------------------------------------------------------------


@dataclass
class Slice:
    """What a slice did, and what is left."""

    done: dict[str, int] = field(default_factory=dict)  # jobs, by the name of their work
    next: str = ""  # the work that comes next; "" if there is none
    left: int = 0  # jobs of it
    needs_s: float = 0.0  # seconds of its next jobs
    remains_s: float = 0.0  # of everything that is left

    def __str__(self) -> str:
        """One line."""
        done = ", ".join(f"{name} ({count})" for name, count in self.done.items()) or "nothing"
        if not self.next:
            return f"slice: done {done}; no work is left"
        left = f"{self.left} left, {cost.duration(self.needs_s)} to the next result"
        return f"slice: done {done}; next {self.next} ({left}); about {cost.duration(self.remains_s)} of work remain"


class Meter:
    """How long work takes: as measured in this slice, else as stored results say, else as the probe says."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._measured: dict[str, float] = {}  # the most seconds of a job, by the name of its work
        self._stored: dict[str, float] = {}  # mean seconds
        self._spent = self._priced = 0.0  # seconds of all batches, and what the probe had said of them

    def stored(self, work: Work, found: Sequence[float]) -> None:
        """Note the seconds of jobs that are stored."""
        if found:
            self._stored[work.name] = mean(found)

    def measured(self, work: Work, together: int, seconds: float) -> None:
        """Note the time of a batch whose longest task has `together` jobs."""
        self._measured[work.name] = max(seconds / together, self._measured.get(work.name, 0.0))
        self._spent += seconds
        self._priced += together * work.price(self._prices)

    def expected(self, work: Work) -> float:
        """Seconds of one job on one worker."""
        if work.name in self._measured:
            return self._measured[work.name]
        if work.name in self._stored:
            return self._stored[work.name]
        return work.price(self._prices) * (self._spent / self._priced if self._priced else 1.0)


def run(
    study: Study,
    budget: float,
    clock: Callable[[], float] = time.monotonic,
    started: float | None = None,
    prices: Prices | None = None,
    shown: Callable[[str], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> Slice:
    """Work until nothing more fits into the slice, or nothing is left.

    Args:
        study: the profile and its store.
        budget: seconds of the slice.
        clock: tells the time in seconds.
        started: when the slice began; now if None.
        prices: what work costs before it was measured; by default from a probe.
        shown: is entered with the name of each work that is begun.

    Returns:
        What was done and what is left.

    Raises:
        UserError: the slice is too short for anything.
    """
    started = clock() if started is None else started
    jobs.check(study.profile)
    works, meter, outcome = plan(study), Meter(prices or cost.prices(study.profile)), Slice()

    for number, work in enumerate(works):
        missing = _missing(work, meter)
        with contextlib.ExitStack() as telling:
            while missing:
                places = jobs.places(study)
                batch, own = _batch(study, works, work, missing, places)  # of the work `own`
                together = math.ceil(len(batch) / places)
                expected = together * meter.expected(own)

                began = clock()
                if began - started + expected > budget:
                    outcome.next, outcome.left, outcome.needs_s = work.name, len(missing), expected
                    left = [(work, len(missing)), *((later, later.count) for later in works[number + 1 :])]
                    outcome.remains_s = sum(count * meter.expected(later) for later, count in left) / places
                    return _unless_too_short(outcome, budget, began - started)

                if own.name not in outcome.done:
                    telling.enter_context(shown(own.name))
                jobs.compute(study, batch, own.name)
                meter.measured(own, together, clock() - began)
                outcome.done[own.name] = outcome.done.get(own.name, 0) + len(batch)
                finished = {job.key for job in batch}
                missing = [job for job in missing if job.key not in finished]
    return outcome


def _unless_too_short(outcome: Slice, budget: float, spent: float) -> Slice:
    """The outcome. Raises `UserError` if nothing could be begun: called again and again, such slices would never end."""
    if not outcome.done:
        raise UserError(
            f"slice: {cost.duration(budget)} are too short for anything: to begin took {cost.duration(spent)}, and next is "
            f"{outcome.next}, which takes about {cost.duration(outcome.needs_s)}: "
            f"give --slice {math.ceil((spent + outcome.needs_s) / 60) + 1}m or more"
        )
    return outcome


def _missing(work: Work, meter: Meter) -> list[Job]:
    """The jobs that are not stored, each once; the meter learns from those that are."""
    missing: dict[str, Job] = {}
    took = []
    for job in work.jobs():
        there = store.look(job.kind, job.parts)
        if there is None:
            missing[job.key] = job
        else:
            took.append(there.meta["wall_s"])
    meter.stored(work, took)
    return list(missing.values())


def _batch(study: Study, works: Sequence[Work], work: Work, missing: Sequence[Job], places: int) -> tuple[list[Job], Work]:
    """What is computed at once, a task for every worker, and the work that it belongs to.

    Networks that were unpacked without weights come first, where the next jobs begin with them.
    """

    def first(wanted: Sequence[Job]) -> list[Job]:
        return list(itertools.chain(*jobs.chunks(wanted, study.together, places)[:places]))

    batch = first(missing)
    if lacking := jobs.without_weights(batch):
        return first(lacking), works[0] if lacking[0].kind == "original" else work
    return batch, work


# --- what there is -------------------------------------------------------------------------------------------------------


def stored(study: Study) -> Iterator[Job]:
    """The jobs whose results are stored, in the order of the plan, up to the first work that is not finished."""
    seen: set[str] = set()
    for work in plan(study):
        complete = True
        for job in work.jobs():
            if store.look(job.kind, job.parts) is None:
                complete = False
            elif job.key not in seen:
                seen.add(job.key)
                yield job
        if not complete:
            return
