"""The recipes of jobs: what they need is all that they read, and each result has one key."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from mulnb import load_profile
from mulnb.forget import Strata
from mulnb.study import Study, recipes
from mulnb.study.jobs import Job
from mulnb.study.runs import NOT_UNLEARNED, SECOND_ORACLE, Run, ways

CHOSEN = Strata(np.arange(0, 5), np.arange(5, 10), np.arange(10, 15))


@pytest.fixture(scope="module")
def study() -> Study:
    """Without images: a key takes their fingerprint only."""
    study = Study(load_profile("smoke"))
    study.splits = SimpleNamespace(fingerprint="of some images", mean=[0.5], std=[0.25])
    return study


def all_jobs(study: Study, seed: int = 0) -> list[Job]:
    """A job of every kind."""
    run = Run(*ways(study.profile)[0][:2], "confidence", seed, {"epochs": 1})
    return [
        recipes.pool_jobs(study)[0],
        recipes.original_job(study, seed),
        recipes.holdout_job(study, seed),
        recipes.oracle_job(study, CHOSEN.forget, [CHOSEN.forget], seed),
        recipes.oracle_job(study, CHOSEN.forget, [CHOSEN.forget], seed, number=1),
        recipes.oracle_job(study, CHOSEN.forget, [CHOSEN.forget], seed, relearns=False),
        recipes.unlearning_job(study, run, CHOSEN),
        recipes.step_job(study, "vanilla", seed, 1),
        recipes.step_job(study, "vanilla", seed, 2),
        recipes.floor_job(study, seed, (CHOSEN.forget,), np.arange(15, 30)),
    ]


def jobs_in(value: object) -> Iterator[Job]:
    """The jobs that stand in a task."""
    if isinstance(value, Job):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from jobs_in(part)


def test_what_a_task_reads_of_other_jobs_is_what_the_job_needs(study):
    for job in all_jobs(study):
        assert {read.key for read in jobs_in(job.task)} == {need.key for need in job.needs}, job.kind


def test_every_job_has_a_key_of_its_own(study):
    made = [*all_jobs(study), *all_jobs(study, seed=1)[1:]]  # the pool is the same for all seeds
    assert len({job.key for job in made}) == len(made)
    assert [job.key for job in all_jobs(study)] == [job.key for job in all_jobs(study)]


POOL, ORIGINAL, HOLDOUT, ORACLE, CEILING, ORACLE_ONLY, UNLEARNED, FIRST, SECOND, FLOOR = range(10)  # places in `all_jobs`
ALL = set(range(10))
CHANGES = {
    "pool.share": (0.4, {POOL}),
    "pool.seed": (1, {POOL}),
    "unlearning.retain_later_strata": (False, {UNLEARNED, FIRST, SECOND}),
    "proxies.holdout_retraining.epochs": (9, {HOLDOUT, FIRST, SECOND}),
    "proxies.loss_curvature.h": (0.5, ALL - {POOL, ORACLE_ONLY}),
    "audit.relearn.epochs": (9, {ORACLE, CEILING, UNLEARNED}),
    "training.epochs": (9, ALL),
    "forget.size": (11, {FIRST, SECOND}),
}


def keys(std: float = 0.25, **changes: object) -> list[str]:
    study = Study(load_profile("smoke", changes))
    study.splits = SimpleNamespace(fingerprint="of some images", mean=[0.5], std=[std])
    return [job.key for job in all_jobs(study)]


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_changes_the_keys_of_what_depends_on_it_and_no_others(name):
    value, expected = CHANGES[name]
    pairs = zip(keys(), keys(**{name: value}), strict=True)
    assert {place for place, (before, after) in enumerate(pairs) if before != after} == expected


def test_every_key_depends_on_how_images_are_scaled():
    assert not {*keys()} & {*keys(std=0.5)}


def test_a_key_depends_on_the_code_of_its_algorithm_and_of_what_that_imports(study):
    assert recipes.made_from(study, "rum")["code"] != recipes.made_from(study)["code"]
    assert recipes._with_imports("salun") == {"salun", "random_label"}


def test_the_ceiling_is_the_second_oracle_and_the_floor_a_run_that_does_nothing(study):
    ceiling = recipes.job_of(study, Run(*SECOND_ORACLE[:2], "confidence", 0, SECOND_ORACLE[2]), CHOSEN)
    assert ceiling.key == recipes.oracle_job(study, CHOSEN.forget, [CHOSEN.forget], 0, number=1).key
    floor = recipes.job_of(study, Run(*NOT_UNLEARNED[:2], "confidence", 0, NOT_UNLEARNED[2]), CHOSEN)
    assert floor.kind == "unlearned" and floor.parts["algorithm"] == []
