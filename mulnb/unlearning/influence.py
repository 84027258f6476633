"""Influence unlearning (IU): one Newton-like step that takes the forget set's influence off the weights.

Jia et al. 2023 (arXiv 2304.04934), after Koh & Liang 2017; the Hessian is WoodFisher's (Singh & Alistarh 2020, arXiv 2004.14340),
a damped empirical Fisher matrix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.core.errors import UserError
from mulnb.training import Diverged, Examples, mode


def influence(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed: int,
    fresh=None,
    alpha=1.0,
    samples=256,
    damping=1.0,
    batch=256,
) -> nn.Module:
    """θ + α·H⁻¹·∇L(1/N − w), in one step: a first-order estimate of the optimum when the weights of the examples become w.

    w is 1/|R| on R and 0 on S, so with N = |S| + |R| the gradient is |S|/N·(∇L_S − ∇L_R), L_X being the mean cross-entropy over
    X. H = `damping`·I + 1/m·Σ g·gᵀ with g the gradients of m = `samples` examples of R that `seed` draws (all of R if it has no
    more). α = 1 is the formula; other values are the authors' correction for all that is not quadratic, and a damping of 1 is
    what their values of α go with. Gradients are those in eval mode and BatchNorm's running statistics stay. Takes m times the
    memory of the parameters (11 GB for a ResNet-18 at m = 256); `batch` changes only the speed.
    Raises `UserError` for an impossible setting and `Diverged` if the new weights or their outputs are not finite.
    """
    if alpha < 0 or damping <= 0 or samples < 1 or batch < 1:
        raise UserError(
            f"influence: alpha = {alpha}, damping = {damping}, samples = {samples}, batch = {batch}: "
            "alpha should be 0 or more, damping positive, samples and batch 1 or more"
        )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(seed))[:samples].to(retain.device)
    share = len(forget) / (len(forget) + len(retain))
    with mode(model, training=False):
        target = share * (_gradient(model, data, forget, batch) - _gradient(model, data, retain, batch))
        fisher = torch.stack([_gradient(model, data, one, 1) for one in retain[order].split(1)])
        step = alpha * solve(fisher, target, damping)
        with torch.no_grad():
            for parameter, change in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
                parameter += change.view(parameter.shape)
            finite = torch.isfinite(step).all() and torch.isfinite(model(data.inputs(forget[:batch]))).all()
    if not finite:
        raise Diverged(f"influence: the step of alpha = {alpha} left no finite model: use a smaller alpha or a larger damping")
    return model


def solve(gradients: Tensor, target: Tensor, damping: float) -> Tensor:
    """(λ·I + 1/m·GᵀG)⁻¹·v for G = `gradients` [m, P], v = `target` [P] and λ = `damping`, by Woodbury's identity.

    It is v/λ − Gᵀ(λm·I + GGᵀ)⁻¹Gv/λ: one system of m equations instead of P. WoodFisher's recursion computes the same, an
    example at a time, and keeps m vectors, too; a recursion that keeps only two, as in public code, inverts another matrix.
    """
    system = (gradients @ gradients.T).double()  # [m, m]
    system.diagonal().add_(damping * len(gradients))
    weights = torch.linalg.solve(system, (gradients @ target).double())  # [m]
    return (target - weights.to(target.dtype) @ gradients) / damping


def _gradient(model: nn.Module, data: Examples, index: Tensor, batch: int) -> Tensor:
    """∇ of the mean cross-entropy over the examples at `index`, as one vector [P]."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=data.device)
    for piece in index.split(batch):
        loss = F.cross_entropy(model(data.inputs(piece)).float(), data.labels[piece], reduction="sum")
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        total += torch.cat([gradient.flatten() for gradient in gradients])
    return total / len(index)
