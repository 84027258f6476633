"""The pool: M models on random subsets of the training set, the project's most expensive artefact.

It gives the memorization estimates (METHOD §2) and holds what shadow-model attacks need: who was trained on what, who was
classified right, and by which margin.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb import models, training
from mulnb.config import Profile, Recipe
from mulnb.memorization import Pool
from mulnb.stacked import Stack
from mulnb.training import Examples


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
    networks = [
        models.build(
            profile.model.arch,
            num_classes=num_classes,
            in_channels=data.images.shape[1],
            width=profile.model.width,
            stem=profile.model.stem,
            seed=seed,
        )
        for seed in seeds
    ]
    train = train_stacked if profile.model.arch in models.STACKABLE else train_in_turn
    logits = train(networks, data, subsets, profile.pool_training, seeds)
    return outcomes(member, logits, data.labels)


def train_in_turn(
    networks: Sequence[nn.Module], data: Examples, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> Tensor:
    """Train network j on `data[subsets[j]]` in the order that `seeds[j]` gives; logits of every example, float32 [k, N, K]."""
    logits = []
    for network, subset, seed in zip(networks, subsets, seeds, strict=True):
        trained = training.fit(copy.deepcopy(network).to(data.device), data, recipe, seed, index=subset)
        logits.append(training.predict(trained, data))
    return torch.stack(logits)


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
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    optimizer = torch.optim.SGD(
        stack.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    # glibc returns large freed blocks to the system, and a step would have to fault its activations in anew;
    # it keeps them once it has seen a block of this size freed
    torch.empty(31 << 20, dtype=torch.uint8)
    precision = training.autocast(recipe, data.device)
    stack.train()
    for epoch in range(recipe.epochs):
        orders = [s[torch.randperm(len(s), generator=g)] for s, g in zip(subsets, generators, strict=True)]
        pieces = list(training.batches(torch.stack(orders, 1).to(data.device), recipe.batch))  # each [B, k]
        for step, piece in enumerate(pieces):
            optimizer.param_groups[0]["lr"] = training.learning_rate(recipe, epoch + step / len(pieces))
            index = piece.T.flatten()  # [k·B]
            with precision:
                logits = stack(data.inputs(index).unflatten(0, piece.T.shape)).flatten(0, 1).float()
            # the sum of the networks' mean losses: no network's gradient knows of the others
            loss = F.cross_entropy(logits, data.labels[index], reduction="sum") / len(piece)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def _predict_all(stack: Stack, data: Examples, k: int, batch: int = 64) -> Tensor:
    """Logits [k, N, K] of all examples by all networks."""
    stack.eval()
    pieces = torch.arange(len(data), device=data.device).split(batch)
    return torch.cat([stack(data.inputs(piece).expand(k, -1, -1, -1, -1)) for piece in pieces], 1).float()


def outcomes(member: np.ndarray, logits: Tensor, labels: Tensor) -> Pool:
    """Correctness and log-odds of the true class (Carlini et al. 2022, eq. 3, from logits) of `logits` [k, N, K]."""
    truth = labels.expand(len(logits), -1)[..., None]  # [k, N, 1]
    true_logit = logits.gather(2, truth)
    others = logits.scatter(2, truth, -torch.inf).logsumexp(2)
    margin = (true_logit.squeeze(2) - others).clamp(-6e4, 6e4)  # the range of float16
    correct = logits.argmax(2) == labels
    return Pool(member, correct.cpu().numpy(), margin.cpu().numpy().astype(np.float16))
