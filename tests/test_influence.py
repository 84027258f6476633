"""Influence unlearning against what can be worked out: the inverse, the retrained optimum, and 32 bits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from mulnb import models
from mulnb.training import Examples
from mulnb.unlearning import influence as influence_module  # the module: the package has the functions in `ALGORITHMS`


def theta(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_influence_makes_no_float64_on_a_device_that_may_have_none():
    """On stand-ins for tensors of Apple's GPU, which hold nothing, but remember where they would lie."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            made.extend(part for part in pytree.tree_leaves(found) if isinstance(part, torch.Tensor))
            return found

    made = []
    with FakeTensorMode(), Watch():
        gradients, target = torch.empty(4, 10, device="mps"), torch.empty(10, device="mps")
        step = influence_module.solve(gradients, target, damping=1.0)
    assert step.device.type == "mps" and step.dtype == torch.float32
    wide = {part.device.type for part in made if part.dtype == torch.float64}
    assert wide == {"cpu"}  # it was solved in double precision, elsewhere


@pytest.mark.parametrize(("count", "size"), [(12, 40), (60, 25), (1, 8)])
def test_influence_solve_is_the_explicit_inverse_and_the_woodfisher_recursion(count, size):
    generator = torch.Generator().manual_seed(0)
    gradients, target = torch.randn(count, size, generator=generator), torch.randn(size, generator=generator)
    found = influence_module.solve(gradients, target, damping=0.05)
    exact, vector = gradients.double(), target.double()
    hessian = 0.05 * torch.eye(size, dtype=torch.float64) + exact.T @ exact / count
    assert torch.allclose(found.double(), torch.linalg.inv(hessian) @ vector, rtol=1e-4, atol=1e-4)

    inverse = torch.eye(size, dtype=torch.float64) / 0.05  # Singh & Alistarh 2020, the recursion with the matrix kept
    for gradient in exact:
        along = inverse @ gradient
        inverse -= torch.outer(along, along) / (count + gradient @ along)
    assert torch.allclose(found.double(), inverse @ vector, rtol=1e-4, atol=1e-4)


class Logistic:
    """Labels drawn from a multinomial logistic model, so that the Fisher matrix is the Hessian, and its exact optima."""

    DECAY = 0.02

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(600, 1, 2, 2, generator=generator)
        logits = inputs.flatten(1) @ torch.randn(4, 3, generator=generator)
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        self.data = Examples(inputs, labels)
        order = torch.argsort(labels != 1, stable=True)  # 30 examples of one class: a random set would leave the optimum in place
        self.forget, self.retain = order[:30], order[30:]

    def optimum(self, index: torch.Tensor) -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        nn.init.zeros_(model[1].weight), nn.init.zeros_(model[1].bias)
        newton = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            newton.zero_grad()
            loss = F.cross_entropy(model(self.data.inputs(index)), self.data.labels[index])
            loss = loss + self.DECAY / 2 * sum(parameter.square().sum() for parameter in model.parameters())
            loss.backward()
            return loss

        newton.step(closure)
        return model


def test_influence_steps_towards_the_retrained_optimum():
    convex = Logistic()
    before, retrained = convex.optimum(torch.arange(600)), convex.optimum(convex.retain)
    after = influence_module.influence(
        copy.deepcopy(before), convex.data, convex.forget, convex.retain, seed=0, samples=570, damping=Logistic.DECAY
    )
    way, step = theta(retrained) - theta(before), theta(after) - theta(before)
    assert (theta(after) - theta(retrained)).norm() < 0.4 * way.norm()
    assert F.cosine_similarity(way, step, dim=0) > 0.9

    # the formula: H·step = |S|/N·(∇L_S − ∇L_R)
    def gradient(index: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(before(convex.data.inputs(index)), convex.data.labels[index])
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(before.parameters()))])

    each = torch.stack([gradient(one) for one in convex.retain.split(1)])
    found = Logistic.DECAY * step + each.T @ (each @ step) / 570
    assert torch.allclose(found, 30 / 600 * (gradient(convex.forget) - gradient(convex.retain)), atol=1e-5)


def test_the_step_is_that_of_eval_mode_of_the_drawn_examples_and_of_what_may_change():
    """α·H⁻¹·g of a network with BatchNorm and a frozen layer; H is of m examples of R."""
    generator = torch.Generator().manual_seed(0)
    data = Examples(torch.randn(40, 1, 8, 8, generator=generator), torch.randint(0, 4, (40,), generator=generator))
    before = models.build("small_cnn", num_classes=4, in_channels=1, width=2, seed=0).train()
    frozen = next(before.parameters()).requires_grad_(False)
    forget, retain = torch.arange(8), torch.arange(8, 40)
    after = influence_module.influence(
        copy.deepcopy(before), data, forget, retain, seed=5, alpha=0.3, samples=6, damping=0.5, batch=7
    )
    assert after.training and all(torch.equal(a, b) for a, b in zip(before.buffers(), after.buffers(), strict=True))
    assert torch.equal(next(after.parameters()), frozen)

    before.eval()
    moved = [parameter for parameter in before.parameters() if parameter.requires_grad]

    def gradient(index: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(before(data.inputs(index)), data.labels[index])
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, moved)])

    drawn = retain[torch.randperm(32, generator=torch.Generator().manual_seed(5))[:6]]
    each = torch.stack([gradient(one) for one in drawn.split(1)])
    step = (theta(after) - theta(before))[frozen.numel() :]
    found = 0.5 * step + each.T @ (each @ step) / 6
    assert torch.allclose(found, 0.3 * 8 / 40 * (gradient(forget) - gradient(retain)), atol=1e-6)
