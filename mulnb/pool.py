"""The pool: M models on random subsets of the training set, the project's most expensive artefact.

It gives the memorization estimates (METHOD §2) and holds what shadow-model attacks need: who was trained on what, who was classified
right, and by which margin.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb import models, training
from mulnb.config import Profile, Recipe
from mulnb.memorization import Pool
from mulnb.training import Examples


def membership(models: range, n: int, share: float, seed: int) -> np.ndarray:
    """Bool [len(models), n]: for model j, a random `share` of n examples drawn without replacement from `(seed, j)` alone."""
    member = np.zeros((len(models), n), dtype=bool)
    for row, model in enumerate(models):
        member[row, np.random.default_rng((seed, model)).permutation(n)[: round(share * n)]] = True
    return member


def train_group(profile: Profile, data: Examples, numbers: range, num_classes: int) -> Pool:
    """Train the pool's models `numbers`: together if the architecture can be stacked, else one after another."""
    member = membership(numbers, len(data), profile.pool.share, profile.pool.seed)
    seed = profile.pool.seed * 1_000_003 + numbers.start
    together = profile.model.arch in models.STACKABLE
    logits: list[Tensor] = []
    for start in range(0, len(numbers), step := len(numbers) if together else 1):
        model = models.build(
            profile.model.arch,
            num_classes=num_classes,
            in_channels=data.images.shape[1],
            width=profile.model.width,
            stem=profile.model.stem,
            seed=seed + start,
            copies=step,
        )
        model = model.to(data.device)
        rows = torch.from_numpy(member[start : start + step])
        logits.append(train_subsets(model, data, rows, profile.pool_training, seed + start))
    return outcomes(member, torch.cat(logits), data.labels)


def train_subsets(model: nn.Module, data: Examples, member: Tensor, recipe: Recipe, seed: int) -> Tensor:
    """Train the copies of a stacked `model`, copy j on the examples of row j of `member` [k, N], all rows of one size.

    Returns the logits of every example, float32 [k, N, K]. One step feeds each copy its own batch, stacked along the channels:
    the gradient of the summed loss is each copy's own gradient, so this is k independent trainings.
    """
    k, n = len(member), int(member[0].sum())
    subsets = member.nonzero()[:, 1].view(k, n)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.stack([subset[torch.randperm(n, generator=generator)] for subset in subsets]).to(data.device)
        pieces = list(training.batches(order.T, recipe.batch))  # each [B, k]
        for step, piece in enumerate(pieces):
            optimizer.param_groups[0]["lr"] = training.learning_rate(recipe, epoch + step / len(pieces))
            logits = model(_stack(data.inputs(piece.flatten()), len(piece), k)).float().view(len(piece) * k, -1)
            loss = F.cross_entropy(logits, data.labels[piece.flatten()], reduction="sum") / len(piece)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return _predict_all(model, data, k)


@torch.no_grad()
def _predict_all(model: nn.Module, data: Examples, k: int, batch: int = 512) -> Tensor:
    model.eval()
    pieces = torch.arange(len(data), device=data.device).split(batch)
    logits = [model(data.inputs(piece).repeat(1, k, 1, 1)).float().view(len(piece), k, -1) for piece in pieces]
    return torch.cat(logits).transpose(0, 1)  # [k, N, K]


def _stack(x: Tensor, batch: int, k: int) -> Tensor:
    """[B·k, C, H, W], example-major → [B, k·C, H, W], channels_last."""
    return x.reshape(batch, k * x.shape[1], *x.shape[2:]).contiguous(memory_format=torch.channels_last)


def outcomes(member: np.ndarray, logits: Tensor, labels: Tensor) -> Pool:
    """Correctness and log-odds of the true class (Carlini et al. 2022, eq. 3, from logits) of `logits` [k, N, K]."""
    truth = labels.expand(len(logits), -1)[..., None]  # [k, N, 1]
    true_logit = logits.gather(2, truth)
    others = logits.scatter(2, truth, -torch.inf).logsumexp(2)
    margin = (true_logit.squeeze(2) - others).clamp(-6e4, 6e4)  # the range of float16
    correct = logits.argmax(2) == labels
    return Pool(member, correct.cpu().numpy(), margin.cpu().numpy().astype(np.float16))
