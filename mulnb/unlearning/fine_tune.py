"""Fine-tuning: go on training on the retain set and let the rest be forgotten."""

from __future__ import annotations

from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Examples, fit


def fine_tune(
    model: nn.Module, data: Examples, forget: Tensor, retain: Tensor, *, seed, fresh=None, lr=0.01, epochs=10, batch=256
) -> nn.Module:
    """Cross-entropy on the retain set."""
    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain)
