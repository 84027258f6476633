"""Several forget sets in a row, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mulnb import forget
from mulnb.core.registry import STACKABLE_ALGORITHMS
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.proxies import centre
from mulnb.study.frames import compare
from mulnb.study.jobs import Job
from mulnb.study.oracles import Asked, converged, measure, oracle_job
from mulnb.study.runs import Run, apply
from mulnb.study.scoring import holdout_job, holdout_scores, original_job, score_seeds
from mulnb.study.study import SHOWN_SEEDS, Study, algorithm_version, weights, without


def step_job(study: Study, strategy: str, seed: int, step: int) -> Job:
    """One step of a chain. Computing it also computes the missing steps before it.

    Args:
        study: the profile and the original models.
        strategy: of the chain.
        seed: of the chain's original model.
        step: 1, 2, …
    """
    profile, plan, original = study.profile, study.profile.sequential, original_job(study, seed)
    parts = {
        **study.key("rum", "audit.evaluation", "audit.attack", "fast.svc", "proxies", "recording", "forget"),
        "algorithm": algorithm_version(plan.algorithm),
        "original": original.parts,
        "holdout": profile.proxies.holdout_retraining,
        "size": profile.forget.size,
        "run": [plan.algorithm, strategy, profile.unlearning.algorithms[plan.algorithm][strategy], seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "step": step,
    }
    group = f"{strategy} {step}" if plan.algorithm in STACKABLE_ALGORITHMS else ""
    if step > 1:
        before = (step_job(study, strategy, seed, step - 1).with_weights,)
    else:
        before = (original.with_weights, holdout_job(study, seed))
    return Job("sequential", parts, _take_steps, (strategy, seed, step), group, needs=before)


def _take_steps(study: Study, tasks: list[tuple[str, int, int]]) -> list[Artifact]:
    """The same step of several chains: choose a forget set by the current model's own scores, unlearn it, score the new model."""
    from mulnb.training import Diverged

    plan = study.profile.sequential
    strategy, _, step = tasks[0]
    seeds, last = [], []
    for task in tasks:
        seeds.append(task[1])
        last.append(_before(study, *task))
    model = study.restore(last)
    present = np.stack([own.arrays["present"] for own in last])  # [k, N]

    # the next forget set of each chain, by the scores of its current model
    settings = study.profile.unlearning.algorithms[plan.algorithm][strategy]
    sets, runs = [], []
    for own, seed in zip(last, seeds, strict=True):
        candidates = np.flatnonzero(own.arrays["present"])
        sets.append(forget.strata(own.arrays["after"], study.profile.forget.size, centre(plan.score), seed + step, candidates))
        runs.append(Run(plan.algorithm, strategy, plan.score, seed + step, settings))

    place = f"{strategy}, seed {seeds[0]}, step {step} of {plan.steps}"
    try:
        model, facts = apply(study, model, runs, sets, present)
        logits, test_logits = study.outputs(model)
    except Diverged as error:  # a model without finite outputs has no scores to choose the next set by
        raise Diverged(f"sequential unlearning, {place}: {error}") from None
    for own, seed in zip(logits, seeds, strict=True):
        if not own.isfinite().all():
            place = f"{strategy}, seed {seed}, step {step} of {plan.steps}"
            raise Diverged(f"sequential unlearning, {place}: the model diverged; use a smaller lr")
    after = holdout_scores(study, model, seeds)

    found = []
    for j, network in enumerate(study.unstack(model)):
        left = present[j].copy()  # [N], what the network still contains
        left[sets[j].forget] = False

        # measured on the set of this step, and on all sets so far
        asked = Asked((sets[j].forget, np.flatnonzero(~left)), np.flatnonzero(left), seeds[j])
        of_step, of_union = measure(study, logits[j], test_logits[j], asked)

        arrays = {name: getattr(sets[j], name) for name in STRATA}
        arrays |= {"present": left, "before": last[j].arrays["after"], "after": after[j]}
        own = {name: values[j] for name, values in facts.items()}
        found.append(Artifact(weights(network) | arrays, {"step": of_step, "union": of_union} | own))

    return found


def _before(study: Study, strategy: str, seed: int, step: int) -> Artifact:
    """What a step begins with: the weights, `present` bool [N], and the current model's scores `after` [N]."""
    if step > 1:
        return study.get(step_job(study, strategy, seed, step - 1).with_weights)

    # the first step begins with the original model, which contains all of D
    original = study.get(original_job(study, seed).with_weights)
    scores = study.get(holdout_job(study, seed)).arrays["holdout_retraining"]
    everything = np.ones(len(study.train), dtype=bool)
    return Artifact(original.arrays | {"present": everything, "after": scores}, original.meta)


def _places(study: Study) -> list[tuple[str, int]]:
    """The strategy and the seed of every chain."""
    return list(itertools.product(study.profile.sequential.strategies, study.profile.seeds))


def step_jobs(study: Study, step: int) -> list[Job]:
    """The same step of every chain."""
    return [step_job(study, *place, step) for place in _places(study)]


def _chains(study: Study) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    score_seeds(study, study.profile.seeds)
    places = _places(study)

    chains: dict[tuple[str, int], list[Artifact]] = {place: [] for place in places}
    for step in range(1, study.profile.sequential.steps + 1):
        done = study.gather(step_jobs(study, step), f"sequential unlearning, step {step}")
        for place, artifact in zip(places, done, strict=True):
            chains[place].append(artifact)
    return chains


def _forgotten(step: Artifact) -> np.ndarray:
    """The forget set of one step, sorted."""
    low, medium, high = [step.arrays[name] for name in STRATA]
    return Strata(low, medium, high).forget


def floor_job(study: Study, seed: int, forgets: tuple[np.ndarray, ...], kept: np.ndarray) -> Job:
    """The floor: the outcome of the original model, which has forgotten nothing.

    Args:
        study: the original models.
        seed: of the original model.
        forgets: the sets to measure it on, indices int64.
        kept: R, indices int64.
    """
    original = original_job(study, seed)
    parts = {
        **study.key("audit.evaluation", "audit.attack", "audit.margins", "audit.relearn", "fast.svc"),
        "original": original.parts,
        "forgets": list(forgets),
        "kept": kept,
    }
    return Job("floor", parts, _measure_floors, (seed, forgets, kept), group="floor", needs=(original.with_weights,))


def _measure_floors(study: Study, tasks: list[tuple[int, tuple[np.ndarray, ...], np.ndarray]]) -> list[Artifact]:
    """Measure the original models of several jobs; each of them predicts only once."""
    seeds = sorted({seed for seed, *_ in tasks})

    outputs = {}  # by seed, logits of D and of T
    for start in range(0, len(seeds), study.together):
        some = seeds[start : start + study.together]
        model = study.restore([study.get(original_job(study, seed).with_weights) for seed in some])
        for seed, logits, test_logits in zip(some, *study.outputs(model), strict=True):
            outputs[seed] = (logits, test_logits)

    found = []
    for seed, forgets, kept in tasks:
        outcomes = measure(study, *outputs[seed], Asked(forgets, kept, seed))
        meta = {"outcomes": outcomes, "seconds": 0.0, "passes_retain": 0.0, "passes_forget": 0.0}
        found.append(Artifact(meta=meta))
    return found


class References(NamedTuple):
    """What the steps of the chains are compared with. A step here is (strategy, seed, step, its `meta`, its two forget sets)."""

    steps: list[tuple[str, int, int, dict[str, Any], tuple[np.ndarray, np.ndarray]]]
    oracles: list[Job]  # of each step
    ends: list[tuple[int, int, tuple[np.ndarray, np.ndarray]]]  # seed, step and sets of the first strategy's chains
    floors: list[Job]  # of each of `ends`
    ceilings: list[Job]  # of each of `ends`


def references(study: Study) -> References:
    """The jobs that the steps are compared with; the steps themselves are computed where they are missing."""
    found = References([], [], [], [], [])
    for (strategy, seed), chain in _chains(study).items():
        for step, artifact in enumerate(chain, start=1):
            sets = (_forgotten(artifact), np.flatnonzero(~artifact.arrays["present"]))
            found.steps.append((strategy, seed, step, artifact.meta, sets))
            found.oracles.append(oracle_job(study, sets[1], sets, seed, relearns=False))

    # floor and ceiling, on the sets of the first strategy's chains
    n = len(study.splits.train)
    for strategy, seed, step, _, sets in found.steps:
        if strategy == study.profile.sequential.strategies[0]:
            found.ends.append((seed, step, sets))
            found.floors.append(floor_job(study, seed, sets, without(n, sets[1])))
            found.ceilings.append(oracle_job(study, sets[1], sets, seed, number=1, relearns=False))
    return found


def sequential(study: Study) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope`.

    `scope` is `step` (that step's set) or `union` (all sets so far); the oracle is retrained without the union. The floor, on the
    sets of the chain `vanilla`, is the original model (`strategy` "nothing"); the ceiling is a second oracle ("retrain").
    """
    steps, oracle_jobs, ends, floors, second = references(study)
    trained = study.gather([*oracle_jobs, *second], "oracles of the steps")
    scratch = {"passes_retain": float(study.profile.training.epochs), "passes_forget": 0.0}  # what an oracle's training reads
    oracles, ceilings = trained[: len(oracle_jobs)], trained[len(oracle_jobs) :]
    floored = study.gather(floors, "the original models on every step's sets")

    trusted = converged(study, [seed for _, seed, *_ in steps], oracles)
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
