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
    """Train some models of the pool: as one stack if the architecture allows it, else one after another.

    Model j is the same in any group: its initialisation, its subset and its order of examples depend on j only.

    Args:
        profile: its `pool`, `pool_model` and `pool_training`.
        data: D, which the subsets are drawn from.
        test: T, which no model is trained on.
        numbers: which models of the pool.
        num_classes: outputs of a network.

    Returns:
        What these models left behind, a row for each of `numbers`.

    Raises:
        Diverged: the logits of a model are not finite.
    """
    member = membership(numbers, len(data), profile.pool.share, profile.pool.seed)  # [k, N]
    spec, channels = profile.pool_model, data.images.shape[1]
    shape = {"num_classes": num_classes, "in_channels": channels, "width": spec.width, "stem": spec.stem}

    seeds, subsets, networks = [], [], []
    for number, row in zip(numbers, member, strict=True):
        seed = profile.pool.seed * 1_000_003 + number  # pools with different seeds share no network
        seeds.append(seed)
        subsets.append(torch.from_numpy(np.flatnonzero(row)))
        networks.append(models.build(spec.arch, **shape, seed=seed))

    train = train_stacked if spec.arch in STACKABLE_ARCHITECTURES else train_in_turn
    trained = train(networks, data, subsets, profile.pool_training, seeds)

    seen = outcomes(member, predict_each(trained, data), data.labels)
    return replace(seen, margin_test=log_odds(predict_each(trained, test), test.labels))


def train_in_turn(
    networks: Sequence[nn.Module], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> list[nn.Module]:
    """Train copies of the networks one after another; on a GPU, `SIDE_BY_SIDE` of them take their steps at the same time.

    Args:
        networks: k untrained networks.
        data: D.
        subsets: k tensors int64 [n], what each network is trained on; all of one size.
        recipe: how.
        seeds: k seeds of the order of examples.

    Returns:
        k trained networks.
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
    """Train the networks as one. The numbers are those of `train_in_turn` up to rounding; so are the arguments.

    Returns:
        The k trained networks as a `Stack`.
    """
    # glibc gives large freed blocks back to the system, and every step would have to fetch its memory again;
    # once a block of this size has been freed, glibc keeps such blocks
    torch.empty(31 << 20, dtype=torch.uint8)
    stack = Stack(networks).to(data.device)
    return training.fit(stack, data, recipe, seeds, index=torch.stack(list(subsets)))


def predict_each(trained: Stack | Sequence[nn.Module], data: Examples) -> Tensor:
    """Predict every example by every model.

    Args:
        trained: a `Stack` of k networks, or k networks.
        data: N examples.

    Returns:
        Logits float32 [k, N, K].

    Raises:
        Diverged: a logit is not finite.
    """
    if isinstance(trained, Stack):
        logits = training.predict(trained, data)
    else:
        logits = torch.stack([training.predict(network, data) for network in trained])

    if not torch.isfinite(logits).all():
        raise training.Diverged("a model of the pool diverged: use a smaller lr")
    return logits


def outcomes(member: np.ndarray, logits: Tensor, labels: Tensor) -> Pool:
    """What is kept of some models: correctness and log-odds of the true class (Carlini et al. 2022, eq. 3, from logits).

    Args:
        member: bool [k, N], which examples each model was trained on.
        logits: float32 [k, N, K].
        labels: int64 [N].
    """
    correct = logits.argmax(2) == labels  # [k, N]
    return Pool(member, correct.cpu().numpy(), log_odds(logits, labels))
