"""Several forget sets in a row, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from mulnb.core.store import Artifact
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.study.frames import compare, converged
from mulnb.study.oracles import without
from mulnb.study.recipes import floor_job, oracle_job, step_job
from mulnb.study.study import SHOWN_SEEDS, Study


def _chains(study: Study) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    plan = study.profile.sequential
    places = list(itertools.product(plan.strategies, study.profile.seeds))

    chains: dict[tuple[str, int], list[Artifact]] = {place: [] for place in places}
    for step in range(1, plan.steps + 1):
        jobs = [step_job(study, *place, step) for place in places]
        done = study.gather(jobs, f"sequential unlearning, step {step}")
        for place, artifact in zip(places, done, strict=True):
            chains[place].append(artifact)
    return chains


def _forgotten(step: Artifact) -> np.ndarray:
    """The forget set of one step, sorted."""
    low, medium, high = [step.arrays[name] for name in STRATA]
    return Strata(low, medium, high).forget


def sequential(study: Study) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope`.

    `scope` is `step` (that step's set) or `union` (all sets so far); the oracle is retrained without the union. The floor, on the
    sets of the chain `vanilla`, is the original model (`strategy` "nothing"); the ceiling is a second oracle ("retrain").
    """
    plan = study.profile.sequential
    n = len(study.splits.train)
    scored = study.score_seeds(study.profile.seeds)

    # every step of every chain, and its oracle
    steps, oracle_jobs = [], []
    for (strategy, seed), chain in _chains(study).items():
        for step, artifact in enumerate(chain, start=1):
            sets = (_forgotten(artifact), np.flatnonzero(~artifact.arrays["present"]))
            steps.append((strategy, seed, step, artifact.meta, sets))
            oracle_jobs.append(oracle_job(study, sets[1], sets, seed, relearns=False))

    # floor and ceiling, on the sets of the first strategy's chains
    ends, floors, second = [], [], []
    for strategy, seed, step, _, sets in steps:
        if strategy == plan.strategies[0]:
            ends.append((seed, step, sets))
            floors.append(floor_job(study, seed, sets, without(n, sets[1])))
            second.append(oracle_job(study, sets[1], sets, seed, number=1, relearns=False))

    trained = study.gather([*oracle_jobs, *second], "oracles of the steps")
    scratch = {"passes_retain": float(study.profile.training.epochs), "passes_forget": 0.0}  # what an oracle's training reads
    oracles, ceilings = trained[: len(oracle_jobs)], trained[len(oracle_jobs) :]
    floored = study.gather(floors, "the original models on every step's sets")

    trusted = converged(scored, [seed for _, seed, *_ in steps], oracles)
    rows = []
    reference = {}  # by seed and step, the oracle of the first strategy's chain
    for (strategy, seed, step, meta, sets), oracle, fitted in zip(steps, oracles, trusted, strict=True):
        reference.setdefault((seed, step), (oracle, fitted))
        unlearned = {"outcomes": [meta["step"], meta["union"]]} | meta
        rows += _rows(study, strategy, seed, step, sets, unlearned, oracle, fitted)

    for strategy, artifacts in (("nothing", floored), ("retrain", ceilings)):
        for (seed, step, sets), artifact in zip(ends, artifacts, strict=True):
            rows += _rows(study, strategy, seed, step, sets, scratch | artifact.meta, *reference[seed, step])
    return pd.DataFrame(rows)


def _rows(
    study: Study,
    strategy: str,
    seed: int,
    step: int,
    sets: tuple[np.ndarray, ...],
    unlearned: dict[str, Any],
    oracle: Artifact,
    fitted: bool,
) -> list[dict[str, Any]]:
    """The two rows, `step` and `union`, of one step of one chain."""
    plan = study.profile.sequential
    cost = {name: unlearned.get(name, np.nan) for name in ("seconds", "passes_retain", "passes_forget")}

    rows = []
    for number, scope in enumerate(("step", "union")):
        head = {
            "profile": study.profile.name,
            "algorithm": plan.algorithm,
            "strategy": strategy,
            "score": plan.score,
            "seed": seed,
            "step": step,
            "scope": scope,
            "n_forget": len(sets[number]),
        }
        reference = oracle.meta["outcomes"][number] | {"seconds": oracle.meta["seconds"]}
        own = compare(unlearned["outcomes"][number] | cost, reference)
        rows.append(head | own | {"converged": fitted})
    return rows


def sequential_scores(study: Study) -> pd.DataFrame:
    """Figure 7: the proxy before and after each step. Columns `strategy seed step moment group example value`.

    Of the first `SHOWN_SEEDS` seeds: a row for every example is much to keep, and the figure shows their spread.
    `group` is `forget` (the step's set) or `retain` (what is still present after the step).
    """
    study.score_seeds(study.profile.seeds)
    frames = []
    shown = study.profile.seeds[:SHOWN_SEEDS]
    for (strategy, seed), chain in _chains(study).items():
        if seed not in shown:
            continue
        for step, artifact in enumerate(chain, start=1):
            groups = {"forget": _forgotten(artifact), "retain": np.flatnonzero(artifact.arrays["present"])}
            for moment, (group, members) in itertools.product(("before", "after"), groups.items()):
                head = {"strategy": strategy, "seed": seed, "step": step, "moment": moment, "group": group}
                frames.append(pd.DataFrame(head | {"example": members, "value": artifact.arrays[moment][members]}))
    return pd.concat(frames, ignore_index=True)
