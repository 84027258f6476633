"""ℓ1-sparse unlearning: fine-tuning with a penalty that drives weights to zero (Jia et al. 2023, arXiv 2304.04934).

loss = CE(R) + γ·(1 − e/E)·‖θ‖₁ in epoch e = 0 … E − 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, Examples, fit, mean_loss


def l1_sparse(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed,
    fresh=None,
    gamma=5e-4,
    lr=0.01,
    epochs=10,
    batch=256,
) -> nn.Module:
    """Minimise CE(R) + γ·(1 − e/E)·‖θ‖₁: the penalty falls linearly. γ = 0 is fine-tuning, bit for bit.

    θ are all the parameters, including BatchNorm's and the biases, as in the paper's ‖θ‖₁. The code of RUM's authors gives no γ;
    5e-4 is the upper end of the usual range (1e-5 … 5e-4).

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the order of R; k of them for a stack.
        fresh: not used.
        gamma: γ, ≥ 0.
        lr: learning rate of SGD, > 0.
        epochs: E, passes over R, ≥ 0.
        batch: examples in a batch, ≥ 2.

    Returns:
        `model`.

    Raises:
        UserError: γ is negative.
    """
    if gamma < 0:
        raise UserError(f"l1_sparse: gamma = {gamma}: should be 0 (fine-tuning) or more, 1e-5 to 5e-4 are usual")

    parameters = list(model.parameters())

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = mean_loss(logits, on.labels)  # [] or [k]

        weight = gamma * (1 - on.epoch / epochs)
        if weight:
            loss = loss + weight * _l1(parameters, stacked=loss.dim() == 1)
        return loss, logits

    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain, objective=objective)


def _l1(parameters: list[nn.Parameter], stacked: bool) -> Tensor:
    """‖θ‖₁, []; of each network of a stack, [k]."""
    if stacked:
        return torch.stack([parameter.abs().flatten(1).sum(1) for parameter in parameters]).sum(0)
    return torch.stack(torch._foreach_norm(parameters, 1)).sum()  # all tensors in one call instead of two small operations each
