"""The pool: M models on random subsets of the training set, the project's most expensive artefact.

It gives the memorization estimates (METHOD §2) and holds what shadow-model attacks need: who was trained on what, who was
classified right, and by which margin.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb import models, training
from mulnb.audit.margins import log_odds
from mulnb.config import Profile, Recipe
from mulnb.fast import graphs as gpu
from mulnb.fast.stacked import Stack
from mulnb.memorization import Pool
from mulnb.training import Batch, Examples

SIDE_BY_SIDE = 4  # networks that train at the same time on a GPU, where they cannot be stacked


def membership(models: range, n: int, share: float, seed: int) -> np.ndarray:
    """Bool [len(models), n]: for model j, a random `share` of n examples drawn without replacement from `(seed, j)` alone."""
    member = np.zeros((len(models), n), dtype=bool)
    for row, model in enumerate(models):
        member[row, np.random.default_rng((seed, model)).permutation(n)[: round(share * n)]] = True
    return member


def train_group(profile: Profile, data: Examples, numbers: range, num_classes: int) -> Pool:
    """Train the pool's models `numbers`: as one stack if the architecture allows it, else one after another.

    Model j is the same either way, and in any group: its initialisation, its subset and its order of examples come from j alone.
    """
    member = membership(numbers, len(data), profile.pool.share, profile.pool.seed)
    subsets = [torch.from_numpy(np.flatnonzero(row)) for row in member]
    seeds = [profile.pool.seed * 1_000_003 + number for number in numbers]
    spec, channels = profile.pool_model, data.images.shape[1]
    networks = [
        models.build(spec.arch, num_classes=num_classes, in_channels=channels, width=spec.width, stem=spec.stem, seed=seed)
        for seed in seeds
    ]
    train = train_stacked if spec.arch in models.STACKABLE else train_in_turn
    logits = train(networks, data, subsets, profile.pool_training, seeds)
    return outcomes(member, logits, data.labels)


def train_in_turn(
    networks: Sequence[nn.Module], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> Tensor:
    """Train network j on `data[subsets[j]]` in the order that `seeds[j]` gives; logits of every example, float32 [k, N, K].

    On a GPU, `SIDE_BY_SIDE` networks take their steps at the same time. The subsets must be of one size.
    """
    together = SIDE_BY_SIDE if data.device.type == "cuda" else 1
    logits = []
    for start in range(0, len(networks), together):
        some = slice(start, start + together)
        trained = [copy.deepcopy(network).to(data.device).train() for network in networks[some]]
        steps = [training.Step(network, data, recipe) for network in trained]
        take = gpu.Replayed(steps, recipe.batch)
        for epoch, rate, pieces, moves in _rounds(subsets[some], recipe, seeds[some], data.device):
            for step in steps:
                step.set_rate(rate)
            take(pieces, moves, epoch)
        logits += [training.predict(network, data) for network in trained]
    return torch.stack(logits)


def _rounds(
    subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int], where: torch.device
) -> Iterator[tuple[int, float, list[Tensor], list[Tensor | None]]]:
    """One step of each of k networks at a time, as `training.fit` would take them: epoch, learning rate, and for each network its
    batch of examples and their augmentation.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for epoch in range(recipe.epochs):
        orders, moves = [], []
        for subset, generator in zip(subsets, generators, strict=True):
            orders.append(subset[torch.randperm(len(subset), generator=generator)].to(where))
            moves.append(training.draw_moves(len(subset), generator).to(where) if recipe.augment else None)
        pieces = list(zip(*(training.batches(order, recipe.batch) for order in orders), strict=True))
        sizes = [len(piece[0]) for piece in pieces]
        moves = list(zip(*([None] * len(sizes) if one is None else one.split(sizes) for one in moves), strict=True))
        for step, (piece, move) in enumerate(zip(pieces, moves, strict=True)):
            yield epoch, training.learning_rate(recipe, epoch + step / len(pieces)), list(piece), list(move)


def train_stacked(
    networks: Sequence[nn.Sequential], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> Tensor:
    """What `train_in_turn` does, to rounding, as one network; the subsets must be of one size."""
    stack = Stack(networks).to(data.device)
    train_stack(stack, data, subsets, recipe, seeds)
    logits = _predict_all(stack, data, len(networks))
    if not torch.isfinite(logits).all():
        raise training.Diverged(f"a model of the pool diverged (lr {recipe.lr}): use a smaller lr")
    return logits


def train_stack(stack: Stack, data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]) -> None:
    """`training.fit` for a stack: each network gets its own batch of its own subset, in its own order."""
    # glibc returns large freed blocks to the system, and a step would have to fault its activations in anew;
    # it keeps them once it has seen a block of this size freed
    torch.empty(31 << 20, dtype=torch.uint8)
    stack.train()
    step = training.Step(stack, data, recipe, sum_of_mean_losses)
    for epoch, rate, pieces, moves in _rounds(subsets, recipe, seeds, data.device):
        step.set_rate(rate)
        step(torch.stack(pieces), torch.stack(moves) if recipe.augment else None, epoch)


def sum_of_mean_losses(stack: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The objective of a stack, for a batch with a row for each network: no network's gradient knows of the others."""
    logits = stack(batch.inputs).float()  # [k, B, K]
    loss = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum")
    return loss / batch.labels.shape[1], logits


@torch.no_grad()
def _predict_all(stack: Stack, data: Examples, k: int, batch: int = 64) -> Tensor:
    """Logits [k, N, K] of all examples by all networks."""
    stack.eval()
    pieces = torch.arange(len(data), device=data.device).split(batch)
    return torch.cat([stack(data.inputs(piece).expand(k, -1, -1, -1, -1)) for piece in pieces], 1).float()


def outcomes(member: np.ndarray, logits: Tensor, labels: Tensor) -> Pool:
    """Correctness and log-odds of the true class (Carlini et al. 2022, eq. 3, from logits) of `logits` [k, N, K]."""
    correct = logits.argmax(2) == labels  # [k, N]
    return Pool(member, correct.cpu().numpy(), log_odds(logits, labels))
