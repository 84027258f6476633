"""SalUn: random labels, but only the weights that matter for the forget set may move (Fan et al. 2023, arXiv 2310.12508).

loss = that of `random_label`; θ moves where |∇_θ CE(S)| is among the largest, and stays elsewhere
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mulnb.core.errors import UserError
from mulnb.training import Examples, mean_loss, mode
from mulnb.unlearning.random_label import random_label


def salun(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed,
    fresh=None,
    lr=0.1,
    epochs=10,
    batch=256,
    keep=0.5,
) -> nn.Module:
    """Run `random_label` on the share `keep` of the weights with the largest saliency; the other weights do not change.

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the order of S ∪ R and the wrong labels; k of them for a stack.
        fresh: not used.
        lr: learning rate of SGD, > 0.
        epochs: passes over S ∪ R, ≥ 0.
        batch: examples in a batch, ≥ 2.
        keep: the share of the weights that may move, above 0 and at most 1.

    Returns:
        `model`.

    Raises:
        UserError: `keep` is out of its range.
    """
    if not 0 < keep <= 1:
        raise UserError(f"salun: keep = {keep}: should be above 0 and at most 1, the share of the weights that may move")

    mask = saliency_mask(model, data, forget, keep, batch)
    before = [parameter.detach().clone() for parameter in _trainable(model)]

    def restore() -> None:
        # momentum and weight decay also move weights whose gradient is zero, so the old values are put back after each step
        with torch.no_grad():
            for parameter, chosen, value in zip(_trainable(model), mask, before, strict=True):
                parameter.copy_(torch.where(chosen, parameter, value))

    return random_label(model, data, forget, retain, seed=seed, lr=lr, epochs=epochs, batch=batch, after_step=restore)


def saliency_mask(model: nn.Module, data: Examples, forget: Tensor, keep: float, batch: int = 256) -> list[Tensor]:
    """Which weights matter for the forget set: the share `keep` of all trainable weights with the largest |Σ ∇_θ ℓ(S)|.

    The gradients are those of eval mode, and no weight changes. In a stack, each network's weights are ranked among themselves.

    Args:
        model: a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        keep: the share of the weights that may move, above 0 and at most 1.
        batch: examples at a time; it changes the speed only.

    Returns:
        One bool tensor for each trainable parameter, of its shape.
    """
    parameters = _trainable(model)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    with mode(model, training=False):
        for piece in forget.split(batch, dim=-1):
            mean = mean_loss(model(data.inputs(piece)).float(), data.labels[piece])  # [] or [k]
            loss = mean.sum() * piece.shape[-1]  # summed over examples; networks of a stack share no weights
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:  # None: the parameter takes no part in the output
                    total += gradient

    networks = 1 if forget.dim() == 1 else len(forget)
    rows = [total.abs().reshape(networks, -1) for total in totals]
    saliency = torch.cat(rows, 1)  # [k, P], all parameters side by side

    count = max(1, round(keep * saliency.shape[1]))
    chosen = torch.zeros_like(saliency, dtype=torch.bool)  # [k, P]
    chosen.scatter_(1, saliency.topk(count, dim=1).indices, True)

    # back to one mask for each parameter
    parts = chosen.split([row.shape[1] for row in rows], dim=1)
    return [part.reshape(total.shape) for part, total in zip(parts, totals, strict=True)]


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training may change; frozen ones take no part in the ranking."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
