"""NegGrad: gradient ascent on the forget set alone (Graves et al. 2021, Golatkar et al. 2020).

loss = −CE(S)
"""

from __future__ import annotations

from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Batch, Examples, fit, mean_loss


def neg_grad(
    model: nn.Module, data: Examples, forget: Tensor, retain: Tensor, *, seed, fresh=None, lr=1e-4, epochs=5, batch=256
) -> nn.Module:
    """Minimise −CE(S). R is not used: only a small `lr` and few steps protect the rest of the model.

    The network is in train mode, as is usual for this method: BatchNorm's running statistics move a tenth of the way to those of
    S in each step. This is part of the effect on the other examples.

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: not used.
        seed: int ≥ 0, draws the order of S; k of them for a stack.
        fresh: not used.
        lr: learning rate of SGD, > 0.
        epochs: passes over S, ≥ 0.
        batch: examples in a batch, ≥ 2.

    Returns:
        `model`.
    """
    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=forget, objective=_ascent)


def _ascent(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
    """−CE of a batch of S."""
    logits = model(on.inputs).float()
    return -mean_loss(logits, on.labels), logits
