"""SalUn (Fan et al. 2023, arXiv 2310.12508): random labels, but only the weights that matter for the forget set may move."""

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
    """`random_label` on the share `keep` of the weights with the largest saliency; the others end as they began."""
    if not 0 < keep <= 1:
        raise UserError(f"salun: keep = {keep}: should be above 0 and at most 1, the share of the weights that may move")
    mask = saliency_mask(model, data, forget, keep, batch)
    before = [parameter.detach().clone() for parameter in _trainable(model)]

    def restore() -> None:
        # momentum and weight decay move a weight without a gradient, too: putting it back is the only safe way
        with torch.no_grad():
            for parameter, chosen, value in zip(_trainable(model), mask, before, strict=True):
                parameter.copy_(torch.where(chosen, parameter, value))

    return random_label(model, data, forget, retain, seed=seed, lr=lr, epochs=epochs, batch=batch, after_step=restore)


def saliency_mask(model: nn.Module, data: Examples, forget: Tensor, keep: float, batch: int = 256) -> list[Tensor]:
    """Which weights matter for the forget set: the share `keep` of all trainable weights with the largest |Σ ∇ℓ(S)|.

    Taken in eval mode, with the weights untouched. Of a stack, each network's weights are ranked among themselves.

    Returns:
        One bool tensor per trainable parameter, of its shape.
    """
    parameters = _trainable(model)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    with mode(model, training=False):
        for piece in forget.split(batch, dim=-1):
            mean = mean_loss(model(data.inputs(piece)).float(), data.labels[piece])  # [] or [k]
            loss = mean.sum() * piece.shape[-1]
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:
                    total += gradient

    networks = 1 if forget.dim() == 1 else len(forget)
    rows = [total.abs().reshape(networks, -1) for total in totals]
    saliency = torch.cat(rows, 1)  # [k, P]
    chosen = torch.zeros_like(saliency, dtype=torch.bool)
    chosen.scatter_(1, saliency.topk(max(1, round(keep * saliency.shape[1])), dim=1).indices, True)

    parts = chosen.split([row.shape[1] for row in rows], dim=1)
    return [part.reshape(total.shape) for part, total in zip(parts, totals, strict=True)]


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    """Frozen parameters do not move, so they are not weighed."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
