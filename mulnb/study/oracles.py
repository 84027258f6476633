"""What is measured of a trained network, and the oracles: networks retrained without the forget set (METHOD §5, §7)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mulnb import audit
from mulnb.core import workers
from mulnb.core.store import Artifact
from mulnb.study import diverged
from mulnb.study.scoring import train_alone

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from mulnb.study.jobs import Job
    from mulnb.study.study import Study

# Added to a seed for its oracles, which must not share the original model's initialisation. The second one is the ceiling: how
# close one oracle comes to another.
ORACLE_SEEDS = (10_000, 20_000)


def without(n: int, gone: np.ndarray) -> np.ndarray:
    """The indices 0 … n − 1 without those in `gone`, int64, in ascending order."""
    kept = np.ones(n, dtype=bool)
    kept[gone] = False
    return np.flatnonzero(kept)


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


def relearn(
    study: Study, model: nn.Module, originals: Sequence[Artifact], forgets: Sequence[np.ndarray], seeds: Sequence[int]
) -> list[float]:
    """Relearn time of each network (METHOD §7b): epochs until its accuracy on S is .9 of what the original model had.

    Args:
        study: its `audit.relearn` is the recipe.
        model: a network or a stack of k; see `Study.stack`.
        originals: the original model of each network.
        forgets: S of each network.
        seeds: of the order of examples, of each network.
    """
    targets = []
    for original, forget in zip(originals, forgets, strict=True):
        targets.append(float(original.arrays["correct"][forget].mean()))

    recipe = study.profile.audit.relearn
    if study.together > 1:
        return audit.relearn.relearn_epochs(model, study.train, np.stack(forgets), recipe, targets, list(seeds))
    return [audit.relearn.relearn_epochs(model, study.train, forgets[0], recipe, targets[0], seeds[0])]


# ---- oracles


class Retraining(NamedTuple):
    """One oracle to train and to measure."""

    forgotten: np.ndarray  # indices int64, left out of D
    evaluated: tuple[np.ndarray, ...]  # the sets that its outcome is measured on, indices int64
    seed: int  # of the original model
    number: int  # of the oracle; see `ORACLE_SEEDS`
    original: Job | None  # for the relearn time of `forgotten`; None where only the headline attack is measured


def retrain_together(study: Study, tasks: Sequence[Retraining]) -> list[Artifact]:
    """Train oracles as one; all of them relearn, or none."""
    import torch

    from mulnb.unlearning import ALGORITHMS

    n, where = len(study.train), study.train.device
    forgets, seeds = [task.forgotten for task in tasks], [task.seed for task in tasks]
    kept = [without(n, forgotten) for forgotten in forgets]
    shifted = [task.seed + ORACLE_SEEDS[task.number] for task in tasks]

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
    workers.synchronise()
    seconds = (time.perf_counter() - started) / len(tasks)  # each one's share

    logits, test_logits = study.outputs(model)
    diverged.refuse(logits, places, lambda j: train_alone(study, shifted[j], torch.from_numpy(kept[j])))

    epochs, attacks = [np.nan] * len(tasks), audit.ATTACKS[:1]
    originals = [study.get(task.original) for task in tasks if task.original]
    if originals:
        epochs, attacks = relearn(study, model, originals, forgets, seeds), audit.ATTACKS

    found = []
    for j, task in enumerate(tasks):
        outcomes = measure(study, logits[j], test_logits[j], Asked(task.evaluated, kept[j], task.seed, attacks))
        meta = {"outcomes": outcomes, "seconds": seconds, "relearn_epochs": epochs[j]}
        found.append(Artifact(margins(study, logits[j], test_logits[j]), meta))
    return found
