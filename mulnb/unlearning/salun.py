"""SalUn (Fan et al. 2023, arXiv 2310.12508): random labels, but only the weights that matter for the forget set may move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.core.errors import UserError
from mulnb.training import Examples, mode
from mulnb.unlearning.random_label import random_label


def salun(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed: int,
    fresh=None,
    lr=0.1,
    epochs=10,
    batch=256,
    keep=0.5,
) -> nn.Module:
    """`random_label` on the share `keep` of the weights with the largest saliency; the others end as they began."""
    if not 0 < keep <= 1:
        raise UserError(f"salun: keep = {keep}: should be a share of the weights, above 0 and at most 1")
    mask = saliency_mask(model, data, forget, keep, batch)
    trained = _trained(model)
    before = [parameter.detach().clone() for parameter in trained]

    def restore() -> None:
        # momentum and weight decay move a weight without a gradient, too: putting it back is the only safe way
        with torch.no_grad():
            for parameter, chosen, value in zip(trained, mask, before, strict=True):
                parameter.copy_(torch.where(chosen, parameter, value))

    return random_label(model, data, forget, retain, seed=seed, lr=lr, epochs=epochs, batch=batch, after_step=restore)


def saliency_mask(model: nn.Module, data: Examples, forget: Tensor, keep: float, batch: int = 256) -> list[Tensor]:
    """One bool tensor per trainable parameter: the share `keep` of all their weights with the largest |Σ ∇ℓ(S)|, in eval mode.

    The weights are not touched. A parameter that the forward pass does not use has no saliency.
    """
    parameters = _trained(model)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    with mode(model, training=False):
        for piece in forget.split(batch):
            loss = F.cross_entropy(model(data.inputs(piece)).float(), data.labels[piece], reduction="sum")
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            for total, gradient in zip(totals, gradients, strict=True):
                total += gradient
    saliency = torch.cat([total.abs().flatten() for total in totals])
    chosen = torch.zeros_like(saliency, dtype=torch.bool)
    chosen[saliency.topk(round(keep * len(saliency))).indices] = True
    return [part.view_as(total) for part, total in zip(chosen.split([t.numel() for t in totals]), totals, strict=True)]


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
