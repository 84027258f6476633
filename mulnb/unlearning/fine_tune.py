"""Fine-tuning: continue training on the retain set, so that the rest is forgotten gradually.

loss = CE(R)
"""

from __future__ import annotations

from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Examples, fit


def fine_tune(
    model: nn.Module, data: Examples, forget: Tensor, retain: Tensor, *, seed, fresh=None, lr=0.01, epochs=10, batch=256
) -> nn.Module:
    """Minimise CE(R).

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the order of R; k of them for a stack.
        fresh: not used.
        lr: learning rate of SGD, > 0.
        epochs: passes over R, ≥ 0.
        batch: examples in a batch, ≥ 2.

    Returns:
        `model`.
    """
    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain)
