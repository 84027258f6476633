"""Several forget sets in a row, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from mulnb import audit, forget
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.proxies import centre
from mulnb.study.jobs import Job
from mulnb.study.runs import Run, apply, compare, oracle_job
from mulnb.study.scoring import holdout_job, holdout_scores, original_job, score_seeds
from mulnb.study.study import Study, algorithm_version, weights


def step_job(study: Study, strategy: str, seed: int, step: int) -> Job:
    """Step `step` = 1, 2, … of a chain. Computing it computes what is missing of the steps before."""
    profile, plan = study.profile, study.profile.sequential
    parts = {
        **study.key("rum", "audit", "fast.svc", "proxies", "forget"),
        "algorithm": algorithm_version(plan.algorithm),
        "original": original_job(study, seed).parts,
        "holdout": profile.proxies.holdout_retraining,
        "size": profile.forget.size,
        "run": [plan.algorithm, strategy, profile.unlearning.algorithms[plan.algorithm][strategy], seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "step": step,
    }
    return Job("sequential", parts, _take_step, (strategy, seed, step))


def _take_step(study: Study, strategy: str, seed: int, step: int) -> Artifact:
    """Choose a forget set by the current model's own hold-out retraining scores, unlearn it, and score the new model."""
    from mulnb.training import Diverged

    profile, plan = study.profile, study.profile.sequential
    if step == 1:
        last = study.get(original_job(study, seed))
        before = study.get(holdout_job(study, seed)).arrays["holdout_retraining"]
        present = np.ones(len(study.train), dtype=bool)
    else:
        last = study.get(step_job(study, strategy, seed, step - 1))
        before, present = last.arrays["after"], last.arrays["present"]
    model = study.restore(last)

    chosen = forget.strata(before, profile.forget.size, centre(plan.score), seed + step, np.flatnonzero(present))
    settings = profile.unlearning.algorithms[plan.algorithm][strategy]
    run = Run(plan.algorithm, strategy, plan.score, seed + step, settings)
    try:
        model, seconds = apply(study, model, run, chosen, present)
    except Diverged as error:  # a model without finite outputs has no scores to choose the next set by
        raise Diverged(f"sequential unlearning, {strategy}, seed {seed}, step {step} of {plan.steps}: {error}") from None

    present = present.copy()
    present[chosen.forget] = False
    kept, gone = np.flatnonzero(present), np.flatnonzero(~present)
    outcomes = {
        "step": audit.evaluate(model, study.train, study.test, chosen.forget, kept, seed),
        "union": audit.evaluate(model, study.train, study.test, gone, kept, seed),
    }
    arrays = {"low": chosen.low, "medium": chosen.medium, "high": chosen.high, "present": present}
    arrays |= {"before": before, "after": holdout_scores(study, model, seed)}
    return Artifact(weights(model) | arrays, outcomes | {"seconds": seconds})


def _chains(study: Study) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    profile, plan = study.profile, study.profile.sequential
    score_seeds(study, profile.seeds)
    places = list(itertools.product(plan.strategies, profile.seeds))
    study.gather([step_job(study, *place, plan.steps) for place in places], "sequential unlearning")

    chains = {}
    for place in places:
        chains[place] = [study.get(step_job(study, *place, step)) for step in range(1, plan.steps + 1)]
    return chains


def _forgotten(step: Artifact) -> np.ndarray:
    """The forget set of one step, sorted."""
    return Strata(*(step.arrays[name] for name in STRATA)).forget


def sequential(study: Study) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope`.

    `scope` is `step` (that step's set) or `union` (all sets so far); the oracle is retrained without the union.
    """
    plan = study.profile.sequential
    steps, oracle_jobs = [], []
    for (strategy, seed), chain in _chains(study).items():
        for step, artifact in enumerate(chain, start=1):
            sets = {"step": _forgotten(artifact), "union": np.flatnonzero(~artifact.arrays["present"])}
            steps.append((strategy, seed, step, artifact, sets))
            oracle_jobs.append(oracle_job(study, sets["union"], [sets["step"], sets["union"]], seed))
    oracles = study.gather(oracle_jobs, "oracles of the steps")

    rows = []
    for (strategy, seed, step, artifact, sets), oracle in zip(steps, oracles, strict=True):
        for outcome, (scope, members) in zip(oracle.meta["outcomes"], sets.items(), strict=True):
            unlearned = artifact.meta[scope] | {"seconds": artifact.meta["seconds"]}
            row = {
                "profile": study.profile.name,
                "algorithm": plan.algorithm,
                "strategy": strategy,
                "score": plan.score,
                "seed": seed,
                "step": step,
                "scope": scope,
                "n_forget": len(members),
            }
            rows.append(row | compare(unlearned, outcome | {"seconds": oracle.meta["seconds"]}))
    return pd.DataFrame(rows)


def sequential_scores(study: Study) -> pd.DataFrame:
    """Figure 7: the proxy before and after each step. Columns `strategy seed step moment group example value`.

    `group` is `forget` (the step's set) or `retain` (what is still present after the step).
    """
    frames = []
    for (strategy, seed), chain in _chains(study).items():
        for step, artifact in enumerate(chain, start=1):
            groups = {"forget": _forgotten(artifact), "retain": np.flatnonzero(artifact.arrays["present"])}
            for moment, (group, members) in itertools.product(("before", "after"), groups.items()):
                head = {"strategy": strategy, "seed": seed, "step": step, "moment": moment, "group": group}
                frames.append(pd.DataFrame(head | {"example": members, "value": artifact.arrays[moment][members]}))
    return pd.concat(frames, ignore_index=True)
