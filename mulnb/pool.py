"""The pool: M models on random subsets of the training set, the project's most expensive artefact.

It gives the memorization estimates (METHOD §2) and holds what shadow-model attacks need: who was trained on what, who was
classified right, and by which margin.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from mulnb import models, training
from mulnb.audit.margins import log_odds
from mulnb.config import Profile, Recipe
from mulnb.core.registry import STACKABLE_ARCHITECTURES
from mulnb.fast import graphs
from mulnb.fast.stacked import Stack
from mulnb.memorization import Pool, membership
from mulnb.training import Examples

SIDE_BY_SIDE = 4  # networks that train at the same time on a GPU, where they cannot be stacked


def train_group(profile: Profile, data: Examples, test: Examples, numbers: range, num_classes: int) -> Pool:
    """Train the pool's models `numbers`: as one stack if the architecture allows it, else one after another.

    Model j is the same in any group: its initialisation, its subset and its order of examples come from j alone.

    Args:
        data, test: D, which the subsets are drawn from, and T, which no model sees.
        numbers: which models of the pool.
    """
    member = membership(numbers, len(data), profile.pool.share, profile.pool.seed)
    subsets = [torch.from_numpy(np.flatnonzero(row)) for row in member]
    seeds = [profile.pool.seed * 1_000_003 + number for number in numbers]
    spec, channels = profile.pool_model, data.images.shape[1]
    networks = []
    for seed in seeds:
        shape = {"num_classes": num_classes, "in_channels": channels, "width": spec.width, "stem": spec.stem}
        networks.append(models.build(spec.arch, **shape, seed=seed))

    train = train_stacked if spec.arch in STACKABLE_ARCHITECTURES else train_in_turn
    trained = train(networks, data, subsets, profile.pool_training, seeds)
    seen = outcomes(member, predict_each(trained, data), data.labels)
    return replace(seen, margin_test=log_odds(predict_each(trained, test), test.labels))


def train_in_turn(
    networks: Sequence[nn.Module], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> list[nn.Module]:
    """Copies of the networks, network j trained on `data[subsets[j]]` in the order that `seeds[j]` gives.

    On a GPU, `SIDE_BY_SIDE` networks take their steps at the same time. The subsets must be of one size.
    """
    together = SIDE_BY_SIDE if data.device.type == "cuda" else 1
    subsets = [subset.to(data.device) for subset in subsets]
    trained = [copy.deepcopy(network).to(data.device).train() for network in networks]
    for start in range(0, len(networks), together):
        some = slice(start, start + together)
        steps = [training.Step(network, data, recipe) for network in trained[some]]
        take = graphs.Replayed(steps)
        for now in training.rounds(subsets[some], recipe, seeds[some], data):
            for step in steps:
                step.set_rate(now.rate)
            take(now.pieces, now.moves, now.epoch)
    return trained


def train_stacked(
    networks: Sequence[nn.Sequential], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> Stack:
    """What `train_in_turn` does, to rounding, as one network. The subsets must be of one size."""
    # glibc returns large freed blocks to the system, and a step would have to fault its activations in anew;
    # it keeps them once it has seen a block of this size freed
    torch.empty(31 << 20, dtype=torch.uint8)
    stack = Stack(networks).to(data.device)
    return training.fit(stack, data, recipe, seeds, index=torch.stack(list(subsets)))


def predict_each(trained: Stack | Sequence[nn.Module], data: Examples) -> Tensor:
    """Logits float32 [k, N, K] of every example by every model. Raises `Diverged` if one of them is not finite."""
    if isinstance(trained, Stack):
        logits = training.predict(trained, data)
    else:
        logits = torch.stack([training.predict(network, data) for network in trained])
    if not torch.isfinite(logits).all():
        raise training.Diverged("a model of the pool diverged: use a smaller lr")
    return logits


def outcomes(member: np.ndarray, logits: Tensor, labels: Tensor) -> Pool:
    """Correctness and log-odds of the true class (Carlini et al. 2022, eq. 3, from logits) of `logits` [k, N, K]."""
    correct = logits.argmax(2) == labels  # [k, N]
    return Pool(member, correct.cpu().numpy(), log_odds(logits, labels))
