"""Influence unlearning (IU): one Newton-like step that removes the forget set's influence from the weights.

    θ ← θ + α·H⁻¹·g with g = |S|/N·(∇CE(S) − ∇CE(R)) and H = λ·I + 1/m·Σ gᵢ·gᵢᵀ

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

    The weights w are 1/|R| on R and 0 on S. With N = |S| + |R| the gradient is therefore |S|/N·(∇CE(S) − ∇CE(R)). The gradients
    are those of eval mode, and BatchNorm's running statistics stay. It needs m times the memory of the parameters (11 GB for a
    ResNet-18 at m = 256).

    Args:
        model: the original network, changed in place.
        data: the training examples D.
        forget: S, int64 [n].
        retain: R, int64 [m].
        seed: int ≥ 0, draws the examples of the Hessian.
        fresh: not used.
        alpha: α, length of the step, ≥ 0. 1 is the formula; other values are the authors' correction for all that is not
            quadratic.
        samples: m, the examples of R whose gradients make up H, ≥ 1; all of R if it has fewer.
        damping: λ, > 0. The authors' values of α go with a damping of 1.
        batch: examples at a time, ≥ 1; it changes the speed only.

    Returns:
        `model`.

    Raises:
        UserError: a setting is out of its range.
        Diverged: the new weights or their outputs are not finite.
    """
    if alpha < 0 or damping <= 0 or samples < 1 or batch < 1:
        raise UserError(
            f"influence: alpha = {alpha}, damping = {damping}, samples = {samples}, batch = {batch}: "
            "alpha should be 0 or more, damping positive, samples and batch 1 or more"
        )

    parameters = _trainable(model)
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(seed))[:samples].to(retain.device)
    share = len(forget) / (len(forget) + len(retain))

    with mode(model, training=False):
        target = share * (_gradient(model, data, forget, batch) - _gradient(model, data, retain, batch))  # [P]

        # the gradient of each sampled example by itself
        fisher = torch.stack([_gradient(model, data, example, 1) for example in retain[order].split(1)])  # [m, P]
        step = alpha * solve(fisher, target, damping)  # [P]

        with torch.no_grad():
            changes = step.split([parameter.numel() for parameter in parameters])
            for parameter, change in zip(parameters, changes, strict=True):
                parameter += change.view(parameter.shape)

            # the step may be finite and the outputs not
            finite = torch.isfinite(step).all() and torch.isfinite(model(data.inputs(forget[:batch]))).all()

    if not finite:
        raise Diverged(f"influence: the step of alpha = {alpha} left no finite model: use a smaller alpha or a larger damping")
    return model


def solve(gradients: Tensor, target: Tensor, damping: float) -> Tensor:
    """Compute (λ·I + 1/m·GᵀG)⁻¹·v by Woodbury's identity.

    It is v/λ − Gᵀ(λm·I + GGᵀ)⁻¹Gv/λ: one system of m equations instead of P. WoodFisher's recursion computes the same, one
    example after another, and also keeps m vectors. A recursion that keeps only two vectors, as in public code, inverts another
    matrix. The small system is solved in double precision on the CPU, since some devices (MPS) have no float64.

    Args:
        gradients: G, [m, P].
        target: v, [P].
        damping: λ, > 0.

    Returns:
        [P].
    """
    system = (gradients @ gradients.T).cpu().double()  # [m, m]
    system.diagonal().add_(damping * len(gradients))

    weights = torch.linalg.solve(system, (gradients @ target).cpu().double())  # [m]
    return (target - weights.to(target.dtype).to(target.device) @ gradients) / damping


def _gradient(model: nn.Module, data: Examples, index: Tensor, batch: int) -> Tensor:
    """∇ of the mean cross-entropy over the examples at `index` [n], as one vector [P]."""
    parameters = _trainable(model)
    total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=data.device)
    for piece in index.split(batch):
        loss = F.cross_entropy(model(data.inputs(piece)).float(), data.labels[piece], reduction="sum")
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        total += torch.cat([gradient.flatten() for gradient in gradients])
    return total / len(index)


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training may change."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
