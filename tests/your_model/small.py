"""A small model that knows its wrong labels by heart, its images, and the states that nothing may change."""

from __future__ import annotations

import functools
import random

import numpy as np
import torch
from torch import nn

import mulnb
from mulnb.forget import Strata

CLASSES, SIDE = 4, 6
QUICK = {"epochs": 2, "batch": 32, "lr": 0.05}


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images [n, 1, 6, 6] of four classes: a bright quarter in noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    images = rng.integers(0, 120, (n, 1, SIDE, SIDE))
    for place, label in enumerate(labels):
        row, column = 3 * (label // 2), 3 * (label % 2)
        images[place, 0, row : row + 3, column : column + 3] += 120
    return images.astype(np.uint8), labels


IMAGES, TRUE = draw(160, 0)
HOLDOUT, TEST = draw(60, 1), draw(60, 2)
FLIPPED = np.arange(0, 160, 8)  # 20 wrong labels
LABELS = TRUE.copy()
LABELS[FLIPPED] = (TRUE[FLIPPED] + 1) % CLASSES


class Convolutional(nn.Module):
    """With or without dropout and BatchNorm; `view` needs an ordinary memory layout."""

    def __init__(self, dropout: float = 0.0, norm: bool = False, out: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(16 * SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu().view(len(x), -1)))


class Returns(nn.Module):
    """A network whose logits are wrapped into something else."""

    def __init__(self, wrap, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.wrap = inner or Convolutional(), wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


def trained(model: nn.Module, without: np.ndarray | None = None, epochs: int = 60) -> nn.Module:
    kept = np.setdiff1d(np.arange(len(LABELS)), [] if without is None else without)
    x, y = torch.from_numpy(IMAGES[kept]) / 255, torch.from_numpy(LABELS[kept])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(1)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch].to(next(model.parameters()).dtype)), y[batch]).backward()
            optimizer.step()
    return model


@functools.cache
def memorizing() -> nn.Module:
    """A network that knows its wrong labels by heart."""
    torch.manual_seed(0)
    return trained(Convolutional())


@functools.cache
def scores() -> np.ndarray:
    return mulnb.score(memorizing(), IMAGES, LABELS, holdout=HOLDOUT, lr=0.05)


@functools.cache
def forgotten() -> tuple[Strata, np.ndarray]:
    """The wrong labels and as many right ones, split by their scores."""
    indices = np.concatenate([FLIPPED, FLIPPED + 1])
    return mulnb.strata(scores(), forget=indices), indices


def mixed(model: nn.Module) -> nn.Module:
    """Training mode with one part in eval mode, one part frozen."""
    model.train()
    model.head.eval()
    model.conv.requires_grad_(False)
    return model


def state(model: nn.Module) -> list:
    """Everything that a call must leave as it was."""
    weights = [value.clone() for value in model.state_dict().values()]
    facts = [(module.training, type(module)) for module in model.modules()]
    facts += [(value.requires_grad, value.grad is None, value.dtype, value.device) for value in model.parameters()]
    return [weights, facts, torch.get_rng_state(), np.hstack(np.random.get_state()[1:3]), random.getstate()]


def same(before: list, after: list) -> bool:
    tensors = zip([*before[0], before[2]], [*after[0], after[2]], strict=True)
    equal = all(torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b) for a, b in tensors)
    return equal and before[1] == after[1] and np.array_equal(before[3], after[3]) and before[4:] == after[4:]
