"""What is measured of a trained network, and the oracles: networks retrained without the forget set (METHOD §5, §7)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mulnb import audit
from mulnb.core.store import Artifact
from mulnb.study import diverged
from mulnb.study.jobs import Job
from mulnb.study.scoring import original_job, train_alone
from mulnb.study.study import Study, algorithm_version, without

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import Tensor, nn

# Added to a seed for its oracles, which must not share the original model's initialisation. The second one is the ceiling: how
# close one oracle comes to another.
ORACLE_SEEDS = (10_000, 20_000)
FAR_BELOW = 0.03  # a model whose accuracy on R is so far below the median of its like did not converge (METHOD §6)


# ---- what is measured of a trained network


@dataclass(frozen=True)
class Asked:
    """What to measure of one trained network: its outcome on each of several forget sets."""

    forgets: tuple[np.ndarray, ...]  # the sets, indices int64
    kept: np.ndarray  # R, indices int64
    seed: int  # draws the examples of R that the membership attack is trained on
    attacks: tuple[str, ...] = ("confidence",)  # the headline attack, or all of them


def measure(study: Study, logits: Tensor, test_logits: Tensor, asked: Asked) -> list[dict[str, float]]:
    """The outcome of one network on each set.

    Args:
        study: for the labels.
        logits: of D, [N, K].
        test_logits: of T, [|T|, K].
        asked: the sets, and which attacks to run.

    Returns:
        For each set what `audit.evaluate_outputs` finds.
    """
    data = (logits, study.train.labels, test_logits, study.test.labels)
    outcomes = []
    for forget in asked.forgets:
        outcomes.append(audit.evaluate_outputs(*data, forget, asked.kept, asked.seed, asked.attacks))
    return outcomes


def margins(study: Study, logits: Tensor, test_logits: Tensor) -> dict[str, np.ndarray]:
    """What every audit reads: the log-odds of the true class by one network, `margin` [N] on D and `margin_test` [|T|] on T."""
    return {
        "margin": audit.margins.log_odds(logits, study.train.labels),
        "margin_test": audit.margins.log_odds(test_logits, study.test.labels),
    }


def relearn(study: Study, model: nn.Module, forgets: Sequence[np.ndarray], seeds: Sequence[int]) -> list[float]:
    """Relearn time of each network (METHOD §7b): epochs until its accuracy on S is .9 of what the original model had.

    Args:
        study: its `audit.relearn` is the recipe.
        model: a network or a stack of k; see `Study.stack`.
        forgets: S of each network.
        seeds: of each network's original model, and of the order of examples.
    """
    targets = []
    for forget, seed in zip(forgets, seeds, strict=True):
        correct = study.get(original_job(study, seed)).arrays["correct"]
        targets.append(float(correct[forget].mean()))

    recipe = study.profile.audit.relearn
    if study.together > 1:
        return audit.relearn.relearn_epochs(model, study.train, np.stack(forgets), recipe, targets, list(seeds))
    return [audit.relearn.relearn_epochs(model, study.train, forgets[0], recipe, targets[0], seeds[0])]


# ---- oracles


def oracle_job(
    study: Study, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int, number: int = 0, relearns: bool = True
) -> Job:
    """θ_r: a network trained without `forgotten`, and its outcome on each of the sets `evaluated`.

    Args:
        study: the recipe and the data.
        forgotten: indices int64, left out of D.
        evaluated: subsets of `forgotten`, indices int64.
        seed: of the original model; the oracle's own is `ORACLE_SEEDS` larger.
        number: 0, or 1 for the second oracle of the same seed.
        relearns: whether relearn time of `forgotten` and the other attacks are measured, too.
    """
    original = original_job(study, seed)
    parts = {
        **study.key("audit.evaluation", "audit.attack", "audit.margins", "audit.relearn", "fast.svc"),
        "algorithm": algorithm_version("retrain"),
        "recipe": study.profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
        "number": number,
        "relearn": [study.profile.audit.relearn, original.parts] if relearns else None,
    }
    task = (forgotten, tuple(evaluated), seed, number, relearns)
    needs = (original,) if relearns else ()
    return Job("oracle", parts, _retrain, task, group=f"{len(forgotten)} {relearns}", needs=needs)


def _retrain(study: Study, tasks: list[tuple]) -> list[Artifact]:
    """Train the oracles of several jobs as one."""
    import torch

    from mulnb.unlearning import ALGORITHMS

    n, where = len(study.train), study.train.device
    forgets, seeds = [task[0] for task in tasks], [task[2] for task in tasks]
    kept = [without(n, forgotten) for forgotten in forgets]
    shifted = [seed + ORACLE_SEEDS[task[3]] for seed, task in zip(seeds, tasks, strict=True)]

    # [k, n] and k seeds for a stack, [n] and a seed for one network
    stacked = study.together > 1
    forget = torch.from_numpy(np.stack(forgets) if stacked else forgets[0]).to(where)
    retain = torch.from_numpy(np.stack(kept) if stacked else kept[0]).to(where)

    started = time.perf_counter()
    places = [f"oracle of seed {seed}" for seed in seeds]
    with diverged.at(places[0]):
        model = ALGORITHMS["retrain"](
            None,  # retraining starts from an untrained network
            study.train,
            forget,
            retain,
            seed=shifted if stacked else shifted[0],
            fresh=study.fresh,
            **study.profile.training.model_dump(),
        )
    seconds = (time.perf_counter() - started) / len(tasks)  # each one's share

    logits, test_logits = study.outputs(model)
    diverged.refuse(logits, places, lambda j: train_alone(study, shifted[j], torch.from_numpy(kept[j])))
    epochs = relearn(study, model, forgets, seeds) if tasks[0][4] else [np.nan] * len(tasks)

    found = []
    for j, (_, evaluated, seed, _, relearns) in enumerate(tasks):
        attacks = audit.ATTACKS if relearns else audit.ATTACKS[:1]
        outcomes = measure(study, logits[j], test_logits[j], Asked(evaluated, kept[j], seed, attacks))
        meta = {"outcomes": outcomes, "seconds": seconds, "relearn_epochs": epochs[j]}
        found.append(Artifact(margins(study, logits[j], test_logits[j]), meta))
    return found


def converged(study: Study, seeds: Sequence[int], oracles: Sequence[Artifact]) -> list[bool]:
    """Whether each oracle, and the original model of its seed, fitted its training set as well as the others (METHOD §6).

    A model counts as not converged if its accuracy on what it was trained on is `FAR_BELOW` below the median of its kind.

    Args:
        study: the original models.
        seeds: of each oracle.
        oracles: the artefacts of `oracle_job`.
    """
    originals = {seed: study.get(original_job(study, seed)).meta["acc_train"] for seed in sorted(set(seeds))}
    fitted = [oracle.meta["outcomes"][0]["acc_retain"] for oracle in oracles]

    low_original = np.median([*originals.values()]) - FAR_BELOW
    low_oracle = np.median(fitted) - FAR_BELOW

    found = []
    for seed, accuracy in zip(seeds, fitted, strict=True):
        found.append(bool(accuracy >= low_oracle and originals[seed] >= low_original))
    return found
