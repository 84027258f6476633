"""Random labels: train the forget set towards wrong labels and the retain set towards its own (Golatkar et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Batch, Examples, fit, predict


def random_label(
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
    after_step: Callable[[], None] | None = None,
) -> nn.Module:
    """One pass over S ∪ R an epoch; every example of S gets a fresh wrong label each epoch, those of R keep their own."""
    classes = predict(model, data, forget[:1]).shape[1]
    generator = torch.Generator().manual_seed(seed + 1)
    labels = data.labels.clone()
    drawn = -1

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        nonlocal drawn
        if on.epoch != drawn:
            labels[forget] = _wrong_labels(data.labels[forget], classes, generator)
            drawn = on.epoch
        logits = model(on.inputs).float()
        return F.cross_entropy(logits, labels[on.index]), logits

    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    index = torch.cat([forget, retain])
    return fit(model, data, recipe, seed, index=index, objective=objective, after_step=after_step)


def _wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Uniform over the other classes."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes
