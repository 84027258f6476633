"""The runs behind `study.mistakes`: each is made once without and once with each mistake of `study.mistaken`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mulnb.forget import Strata
from mulnb.study.frames import OUTCOME, compare
from mulnb.study.jobs import Job
from mulnb.study.mistaken import MISTAKES, SCORE, STRATEGIES
from mulnb.study.mistaken_jobs import MEASURED, RIGHT, job
from mulnb.study.oracles import ORACLE_SEEDS
from mulnb.study.recipes import oracle_of, unlearning_job
from mulnb.study.runs import Run, ways
from mulnb.study.study import Study


def mistakes(study: Study) -> pd.DataFrame:
    """What ToW would have been with each mistake: a row per mistake × algorithm × strategy × seed.

    Returns:
        Columns `profile mistake item algorithm strategy score seed metric right wrong touched`, and the outcomes behind `wrong`:
        `acc_forget acc_retain acc_test mia`, each with the oracle's. `metric` is ToW, or ToW-MIA by the attack that the mistake
        is in; `right` is its value without the mistake, `wrong` with it. Where the mistake cannot be made (`touched` is False),
        both are the same. A mistake that no run of the profile can make has no rows.
    """
    seeds = study.profile.seeds
    study.score_seeds(seeds)
    runs = _runs(study)
    right = {seed: study.strata(runs[0].score, seed) for seed in seeds}

    oracle_jobs = [oracle_of(study, chosen, seed) for seed, chosen in right.items()]
    oracles = {}
    for seed, oracle in zip(right, study.gather(oracle_jobs, "oracles, retrained from scratch"), strict=True):
        oracles[seed] = oracle.meta["outcomes"][0] | {"seconds": oracle.meta["seconds"]}
    done = study.gather([unlearning_job(study, run, right[run.seed]) for run in runs], "unlearning without mistakes")

    made = _made(study, runs, right)
    rows = []
    for name in MISTAKES:
        found = []
        for run, artifact in zip(runs, done, strict=True):
            place = name, run.algorithm, run.strategy, run.seed
            found.append(_row(study, name, run, (artifact.meta, oracles[run.seed]), made.get(place)))
        if any(row["touched"] for row in found):
            rows += found
    return pd.DataFrame(rows)


def _runs(study: Study) -> list[Run]:
    """The runs that may be made with a mistake: vanilla and RUM^F of every algorithm, on the forget sets of one score."""
    score = SCORE if study.profile.forget.file is None else study.refining_scores[0]
    found = []
    for algorithm, strategy, settings in ways(study.profile):
        if strategy in STRATEGIES:
            found += [Run(algorithm, strategy, score, seed, settings) for seed in study.profile.seeds]
    return found


Place = tuple[str, str, str, int]  # mistake, algorithm, strategy, seed
Made = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]  # of an unlearned network and its oracle; None: the right one


def _wanted(study: Study, runs: Sequence[Run], right: Mapping[int, Strata]) -> dict[Place, tuple[Job | None, Job | None]]:
    """The jobs of every run that can make a mistake: of the unlearned network, and of its oracle."""
    found = {}
    for name, mistake in MISTAKES.items():
        for run in runs:
            if mistake.hits(study, run.algorithm, run.strategy):
                found[name, run.algorithm, run.strategy, run.seed] = _jobs(study, name, run, right[run.seed])
    return found


def _distinct(wanted: Mapping[Place, tuple[Job | None, Job | None]]) -> dict[str, Job]:
    """Each job once, by its key: an oracle serves all algorithms."""
    found = {}
    for pair in wanted.values():
        found |= {asked.key: asked for asked in pair if asked is not None}
    return found


def _made(study: Study, runs: Sequence[Run], right: Mapping[int, Strata]) -> dict[Place, Made]:
    """What every run that can make a mistake becomes by it."""
    wanted = _wanted(study, runs, right)
    distinct = _distinct(wanted)
    metas = {}
    for key, artifact in zip(distinct, study.gather(list(distinct.values()), "unlearning with mistakes"), strict=True):
        metas[key] = artifact.meta

    found = {}
    for place, pair in wanted.items():
        by = place[0] if MISTAKES[place[0]].measure else RIGHT
        found[place] = tuple(asked and _outcome(metas[asked.key], by) for asked in pair)
    return found


def _jobs(study: Study, name: str, run: Run, chosen: Strata) -> tuple[Job | None, Job | None]:
    """The jobs of the unlearned network and of its oracle; None where the mistake changes nothing about it."""
    mistake, recipe = MISTAKES[name], study.profile.training
    oracle = Run("retrain", "vanilla", run.score, run.seed + ORACLE_SEEDS[0], recipe.model_dump(mode="json"))

    if mistake.measure:
        return job(study, MEASURED, run, chosen, run.seed), job(study, MEASURED, oracle, chosen, run.seed)
    if mistake.strata:
        chosen = mistake.strata(study, run.score, run.seed)
        return job(study, name, run, chosen, run.seed), job(study, name, oracle, chosen, run.seed)
    if mistake.oracle:
        oracle = replace(oracle, settings=mistake.oracle(recipe).model_dump(mode="json"))
        return None, job(study, name, oracle, chosen, run.seed)
    if mistake.settings:
        run = replace(run, settings=mistake.settings(study.profile, run.algorithm))
    return job(study, name, run, chosen, run.seed), None


def _outcome(meta: Mapping[str, Any], by: str) -> Mapping[str, Any]:
    """One outcome of a network, with its seconds; what is stored of a network that diverged."""
    return meta if "diverged" in meta else meta["outcomes"][by] | {"seconds": meta["seconds"]}


def _row(study: Study, name: str, run: Run, without: tuple[Mapping, Mapping], made: Made | None) -> dict[str, Any]:
    """One row of `mistakes`."""
    mistake = MISTAKES[name]
    unlearned, oracle = ({**meta, "mia": meta.get(mistake.attack, np.nan)} for meta in without)
    right = wrong = compare(unlearned, oracle)
    if made is not None:
        wrong = compare(made[0] or unlearned, made[1] or oracle)

    row = {
        "profile": study.profile.name,
        "mistake": name,
        "item": mistake.item,
        "algorithm": run.algorithm,
        "strategy": run.strategy,
        "score": run.score,
        "seed": run.seed,
        "metric": mistake.metric,
        "right": right[mistake.metric],
        "wrong": wrong[mistake.metric],
        "touched": made is not None,
    }
    for part in OUTCOME:
        row |= {part: wrong[part], f"oracle_{part}": wrong[f"oracle_{part}"]}
    return row


def seconds(study: Study) -> float:
    """Seconds that the runs with mistakes took, summed over workers, as the artefacts recorded them."""
    runs = _runs(study)
    right = {seed: study.strata(runs[0].score, seed) for seed in study.profile.seeds}
    jobs = _distinct(_wanted(study, runs, right))
    return sum(study.get(made).meta["wall_s"] for made in jobs.values())
