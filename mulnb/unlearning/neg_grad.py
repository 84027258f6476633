"""NegGrad, gradient ascent on the forget set alone (Graves et al. 2021, Golatkar et al. 2020): the bluntest way to forget."""

from __future__ import annotations

from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Batch, Examples, fit, mean_loss


def neg_grad(
    model: nn.Module, data: Examples, forget: Tensor, retain: Tensor, *, seed, fresh=None, lr=1e-4, epochs=5, batch=256
) -> nn.Module:
    """−CE on the forget set. The retain set is not used: only a small `lr` and few steps protect the rest of the model.

    The network is in train mode, as is usual for this method. BatchNorm's running statistics drift towards those of S, a tenth of
    the way each step, and part of what the method does to the other examples is that.
    """
    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=forget, objective=_ascent)


def _ascent(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
    logits = model(on.inputs).float()
    return -mean_loss(logits, on.labels), logits
