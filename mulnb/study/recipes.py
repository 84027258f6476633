"""The recipe of every expensive step of a study: a `Job` with all that its result depends on, and the function that computes it.

The keys of the store are made here and nowhere else in `study`. Who computes knows no keys: the jobs whose results it reads stand
in its task.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb.core import store
from mulnb.core.registry import ALGORITHMS, ARCHITECTURES, PROXIES, STACKABLE_ALGORITHMS
from mulnb.forget import Strata
from mulnb.study import oracles, runs, scoring, steps
from mulnb.study.jobs import Job
from mulnb.study.runs import Run

if TYPE_CHECKING:
    from mulnb.study.study import Study

# what every network is trained with
TRAINING = ("examples", "fast.graphs", "fast.sgd", "fast.stacked", "models", "step", "training")

# what an outcome is measured with
MEASURED = ("audit.evaluation", "audit.attack", "audit.margins", "audit.relearn", "fast.svc")


def made_from(study: Study, *modules: str, architecture: str | None = None) -> dict[str, Any]:
    """The part of a key that says which data, which network, and which code.

    Args:
        study: the data and the network.
        modules: names below `mulnb` of the code that the result depends on, besides those of `TRAINING`.
        architecture: of the network, where it is not that of the profile's own.
    """
    key = {
        "data": [study.splits.fingerprint, study.splits.mean, study.splits.std],
        "model": study.profile.model,
        "code": store.code_version(*TRAINING, *modules),
    }

    # entries from outside the package are not in its code
    if version := ARCHITECTURES.version(architecture or study.profile.model.arch):
        key["architecture"] = version
    if PROXIES.added and "proxies" in modules:
        key["proxies"] = PROXIES.versions
    return key


# ---- the pool, the original models and their proxies


def pool_jobs(study: Study) -> list[Job]:
    """The pool in groups of `pool.group` models, which train as one network where the architecture allows it."""
    profile = study.profile
    plan = profile.pool
    recipe = {
        **made_from(study, "pool", "audit.margins", architecture=profile.pool_model.arch),
        "model": profile.pool_model,
        "recipe": profile.pool_training,
        "share": plan.share,
        "seed": plan.seed,
    }

    found = []
    for start in range(0, plan.models, plan.group):
        stop = min(start + plan.group, plan.models)
        found.append(Job("pool", recipe | {"numbers": [start, stop]}, scoring.train_pool, range(start, stop)))
    return found


def original_job(study: Study, seed: int) -> Job:
    """θ_o of one seed: its weights, and the proxies that are read off its training."""
    parts = {
        **made_from(study, "proxies", "recording", "audit.margins"),
        "recipe": study.profile.training,
        "curvature": study.profile.proxies.loss_curvature,
        "seed": seed,
    }
    return Job("original", parts, scoring.train_originals, seed, group="original")


def holdout_job(study: Study, seed: int) -> Job:
    """Hold-out retraining of the original model of one seed."""
    original = original_job(study, seed).with_weights
    parts = {"original": original.parts, "settings": study.profile.proxies.holdout_retraining, "seed": seed}
    return Job("holdout_retraining", parts, scoring.score_by_holdout, (original, seed), group="holdout", needs=(original,))


# ---- unlearning


def oracle_job(
    study: Study, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int, number: int = 0, relearns: bool = True
) -> Job:
    """θ_r: a network trained without `forgotten`, and its outcome on each of the sets `evaluated`.

    Args:
        study: the recipe and the data.
        forgotten: indices int64, left out of D.
        evaluated: subsets of `forgotten`, indices int64.
        seed: of the original model; the oracle's own is `oracles.ORACLE_SEEDS` larger.
        number: 0, or 1 for the second oracle of the same seed.
        relearns: whether relearn time of `forgotten` and the other attacks are measured, too.
    """
    original = original_job(study, seed)
    parts = {
        **made_from(study, *MEASURED),
        "algorithm": algorithm_version("retrain"),
        "recipe": study.profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
        "number": number,
        "relearn": [study.profile.audit.relearn, original.parts] if relearns else None,
    }
    needs = (original,) if relearns else ()
    task = oracles.Retraining(forgotten, tuple(evaluated), seed, number, original if relearns else None)
    return Job("oracle", parts, oracles.retrain_together, task, group=f"{len(forgotten)} {relearns}", needs=needs)


def oracle_of(study: Study, chosen: Strata, seed: int, number: int = 0) -> Job:
    """The oracle of one forget set, measured on it; `seed` and `number` as of `oracle_job`."""
    return oracle_job(study, chosen.forget, [chosen.forget], seed, number)


def unlearning_job(study: Study, run: Run, chosen: Strata) -> Job:
    """One unlearning run.

    Args:
        study: the profile and the original models.
        run: what to do.
        chosen: the forget set.
    """
    profile, original = study.profile, original_job(study, run.seed).with_weights
    parts = {
        **made_from(study, "rum", *MEASURED),
        "algorithm": [algorithm_version(name) for name in run.algorithms],
        "original": original.parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "relearn": profile.audit.relearn,
    }

    # runs that differ in their seeds and forget sets only can be one stack
    stacks = set(run.algorithms) <= STACKABLE_ALGORITHMS
    group = same_settings([run.plan, run.strategy, [len(part) for part in chosen]]) if stacks else ""
    return Job("unlearned", parts, runs.unlearn_together, (original, run, chosen), group, needs=(original,))


def job_of(study: Study, run: Run, chosen: Strata) -> Job:
    """A run, or the second oracle where the run is the ceiling; arguments as of `unlearning_job`."""
    if (run.algorithm, run.strategy, run.settings) == runs.SECOND_ORACLE:
        return oracle_of(study, chosen, run.seed, number=1)
    return unlearning_job(study, run, chosen)


def same_settings(settings: Any) -> str:
    """A text that is equal for equal settings, for `Job.group`."""

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json")  # a part of a profile

    return json.dumps(settings, sort_keys=True, default=plain)


# ---- several forget sets in a row


def step_job(study: Study, strategy: str, seed: int, step: int) -> Job:
    """One step of a chain. Computing it also computes the missing steps before it.

    Args:
        study: the profile and the original models.
        strategy: of the chain.
        seed: of the chain's original model.
        step: 1, 2, …
    """
    profile, plan, original = study.profile, study.profile.sequential, original_job(study, seed).with_weights
    parts = {
        **made_from(study, "rum", "audit.evaluation", "audit.attack", "fast.svc", "proxies", "recording", "forget"),
        "algorithm": algorithm_version(plan.algorithm),
        "original": original.parts,
        "holdout": profile.proxies.holdout_retraining,
        "size": profile.forget.size,
        "run": [plan.algorithm, strategy, profile.unlearning.algorithms[plan.algorithm][strategy], seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "step": step,
    }
    group = f"{strategy} {step}" if plan.algorithm in STACKABLE_ALGORITHMS else ""
    first = (original, holdout_job(study, seed))
    before = (step_job(study, strategy, seed, step - 1).with_weights,) if step > 1 else first
    return Job("sequential", parts, steps.take_together, steps.Step(strategy, seed, step, before), group, needs=before)


def floor_job(study: Study, seed: int, forgets: tuple[np.ndarray, ...], kept: np.ndarray) -> Job:
    """The floor of a chain: the outcome of the original model, which has forgotten nothing.

    Args:
        study: the original models.
        seed: of the original model.
        forgets: the sets to measure it on, indices int64.
        kept: R, indices int64.
    """
    original = original_job(study, seed).with_weights
    parts = {
        **made_from(study, *MEASURED),
        "original": original.parts,
        "forgets": list(forgets),
        "kept": kept,
    }
    return Job("floor", parts, steps.measure_floors, (original, seed, forgets, kept), group="floor", needs=(original,))


# ---- which code an unlearning algorithm is

ALGORITHM_FILES = Path(__file__).parents[1] / "unlearning"


def algorithm_version(name: str) -> str:
    """A hash of what an unlearning algorithm does. It is part of the results' keys: only an edited algorithm runs again.

    Args:
        name: an algorithm of the package or one from outside.
    """
    if (ALGORITHM_FILES / f"{name}.py").is_file():  # read from its file: torch takes seconds to import
        return store.code_version(*(f"unlearning.{file}" for file in _with_imports(name)))
    ALGORITHMS.check(name)
    return ALGORITHMS.version(name) or ""


@functools.cache  # every job of a study asks
def _with_imports(name: str) -> frozenset[str]:
    """An algorithm's file and the files of the same folder that it imports."""
    found = {name}
    for node in ast.walk(ast.parse((ALGORITHM_FILES / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mulnb.unlearning."):
            found |= _with_imports(node.module.rsplit(".", 1)[1])
    return frozenset(found)
