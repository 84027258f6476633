"""Several forget sets in a row, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from mulnb import audit, forget
from mulnb.config import Profile
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import STRATA, centre
from mulnb.study.jobs import Job, gather, run_job
from mulnb.study.runs import Run, apply, compare, oracle_job
from mulnb.study.scoring import holdout_job, holdout_scores, original_job, score_seeds
from mulnb.study.setup import algorithm_version, bench, key_parts, restore, weights


def _step_job(profile: Profile, strategy: str, seed: int, step: int) -> Job:
    """Step `step` = 1, 2, … of a chain; computing it computes what is missing of the steps before."""
    plan = profile.sequential
    parts = key_parts(profile, "rum", "audit", "fast.svc", "proxies", "forget") | {
        "algorithm": algorithm_version(plan.algorithm),
        "original": original_job(profile, seed).parts,
        "holdout": profile.proxies.holdout_retraining,
        "size": profile.forget.size,
        "run": [plan.algorithm, strategy, profile.unlearning.algorithms[plan.algorithm][strategy], seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "step": step,
    }
    return Job("sequential", parts, _take_step, (profile, strategy, seed, step))


def _take_step(profile: Profile, strategy: str, seed: int, step: int) -> Artifact:
    """Choose a forget set by the current model's own hold-out retraining scores, unlearn it, and score the new model."""
    from mulnb.training import Diverged

    here, plan = bench(profile), profile.sequential
    if step == 1:
        model = restore(profile, run_job(original_job(profile, seed)).arrays)
        before = run_job(holdout_job(profile, seed)).arrays["holdout_retraining"]
        present = np.ones(len(here.train), dtype=bool)
    else:
        last = run_job(_step_job(profile, strategy, seed, step - 1)).arrays
        model, before, present = restore(profile, last), last["after"], last["present"]
    candidates = np.flatnonzero(present)
    chosen = forget.strata(before, profile.forget.size, centre(plan.score), seed + step, candidates)
    settings = profile.unlearning.algorithms[plan.algorithm][strategy]
    run = Run(plan.algorithm, strategy, plan.score, seed + step, settings)
    try:
        model, seconds = apply(profile, model, run, chosen, present)
    except Diverged as error:  # a model without finite outputs has no scores to choose the next set by
        raise Diverged(f"sequential unlearning, {strategy}, seed {seed}, step {step} of {plan.steps}: {error}") from None
    present = present.copy()
    present[chosen.forget] = False
    kept, gone = np.flatnonzero(present), np.flatnonzero(~present)
    step_outcome, union_outcome = (audit.evaluate(model, here.train, here.test, one, kept, seed) for one in (chosen.forget, gone))
    arrays = {"low": chosen.low, "medium": chosen.medium, "high": chosen.high, "present": present}
    arrays |= {"before": before, "after": holdout_scores(profile, model, seed)}
    return Artifact(weights(model) | arrays, {"step": step_outcome, "union": union_outcome, "seconds": seconds})


def _chains(profile: Profile) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    plan = profile.sequential
    score_seeds(profile, profile.seeds)
    keys = list(itertools.product(plan.strategies, profile.seeds))
    gather(profile, [_step_job(profile, *key, plan.steps) for key in keys], "sequential unlearning")
    return {key: [run_job(_step_job(profile, *key, step)) for step in range(1, plan.steps + 1)] for key in keys}


def sequential(profile: Profile) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope` (`step`: that step's set, `union`: all sets so
    far).
    """
    plan, chains = profile.sequential, _chains(profile)
    places, jobs = [], []
    for (strategy, seed), chain in chains.items():
        for step, artifact in enumerate(chain, start=1):
            gone = np.flatnonzero(~artifact.arrays["present"])
            own = np.sort(np.concatenate([artifact.arrays[name] for name in STRATA]))
            places.append((strategy, seed, step, artifact, {"step": own, "union": gone}))
            jobs.append(oracle_job(profile, gone, [own, gone], seed))
    rows = []
    for (strategy, seed, step, artifact, sets), oracle in zip(places, gather(profile, jobs, "oracles of the steps"), strict=True):
        for number, (scope, members) in enumerate(sets.items()):
            row = {"profile": profile.name, "algorithm": plan.algorithm, "strategy": strategy, "score": plan.score, "seed": seed}
            row |= {"step": step, "scope": scope, "n_forget": len(members)}
            own = artifact.meta[scope] | {"seconds": artifact.meta["seconds"]}
            rows.append(row | compare(own, oracle.meta["outcomes"][number] | {"seconds": oracle.meta["seconds"]}))
    return pd.DataFrame(rows)


def sequential_scores(profile: Profile) -> pd.DataFrame:
    """Figure 7: the proxy before and after each step. Columns `strategy seed step moment group example value`.

    `group` is `forget` (the step's set) or `retain` (what is still present after the step).
    """
    frames = []
    for (strategy, seed), chain in _chains(profile).items():
        for step, artifact in enumerate(chain, start=1):
            groups = {
                "forget": np.sort(np.concatenate([artifact.arrays[name] for name in STRATA])),
                "retain": np.flatnonzero(artifact.arrays["present"]),
            }
            for moment, (group, members) in itertools.product(("before", "after"), groups.items()):
                head = {"strategy": strategy, "seed": seed, "step": step, "moment": moment, "group": group}
                frames.append(pd.DataFrame(head | {"example": members, "value": artifact.arrays[moment][members]}))
    return pd.concat(frames, ignore_index=True)
