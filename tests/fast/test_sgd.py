"""The optimizer without PyTorch's wrappers: the same numbers, and nothing of torch.compile is imported."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mulnb.fast.sgd import LeanSGD

OPTIONS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "foreach": True}


def trained(optimizer, options, steps=20):
    """The weights of a small network after some steps, the learning rate halved half-way."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    taken = optimizer(model.parameters(), **options)
    for number in range(steps):
        if number == steps // 2:
            taken.param_groups[0]["lr"] /= 2
        loss = model(torch.randn(8, 12)).square().mean()
        taken.zero_grad()
        loss.backward()
        taken.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0}, {"weight_decay": 0.0}, {"foreach": False}, {"nesterov": True}])
def test_the_numbers_are_those_of_torch(changes):
    here, there = (trained(optimizer, OPTIONS | changes) for optimizer in (LeanSGD, torch.optim.SGD))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(here, there, strict=True))
    assert not all(torch.equal(ours, theirs) for ours, theirs in zip(here, trained(LeanSGD, OPTIONS, steps=19), strict=True))


def test_hooks_on_steps_are_called():
    parameter = nn.Parameter(torch.ones(2))
    optimizer, seen = LeanSGD([parameter], lr=1.0), []
    optimizer.register_step_post_hook(lambda *_: seen.append(parameter.tolist()))
    parameter.sum().backward()
    optimizer.step()
    assert seen == [[0.0, 0.0]]


@pytest.mark.slow
def test_a_training_imports_nothing_of_the_compiler():
    code = """
import sys, torch
from mulnb import models
from mulnb.config import Recipe
from mulnb.examples import Examples
from mulnb.fast.stacked import Stack
from mulnb.training import fit, predict

data = Examples(torch.rand(32, 1, 8, 8), torch.arange(32) % 4)
recipe = Recipe(epochs=1, batch=16, lr=0.1)
net = lambda seed: models.build("small_cnn", num_classes=4, in_channels=1, seed=seed)
fit(net(0), data, recipe, seed=0)
fit(Stack([net(0), net(1)]), data, recipe, seed=[0, 1])
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120)
