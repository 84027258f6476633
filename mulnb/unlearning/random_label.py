"""Random labels: train the forget set towards wrong labels and the retain set towards its own (Golatkar et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.training import Batch, Examples, fit, mean_loss, predict


def random_label(
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
    after_step: Callable[[], None] | None = None,
) -> nn.Module:
    """One pass over S ∪ R an epoch. Every example of S gets a fresh wrong label each epoch, those of R keep their own."""
    classes = predict(model, data, forget.flatten()[:1]).shape[-1]
    stacked = forget.dim() == 2
    seeds = seed if stacked else [seed]
    generators = [torch.Generator().manual_seed(of_network + 1) for of_network in seeds]

    # a row of labels for each network, [k, N]
    labels = data.labels.expand(len(seeds), -1).clone()
    members = forget if stacked else forget[None]  # [k, n]
    truth = labels.gather(1, members)
    drawn = -1

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        nonlocal drawn
        if on.epoch != drawn:
            labels.scatter_(1, members, torch.stack([*map(_wrong_labels, truth, [classes] * len(seeds), generators)]))
            drawn = on.epoch
        logits = model(on.inputs).float()
        wanted = labels.gather(1, on.index) if stacked else labels[0][on.index]
        return mean_loss(logits, wanted), logits

    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    index = torch.cat([forget, retain], dim=-1)
    return fit(model, data, recipe, seed, index=index, objective=objective, after_step=after_step)


def _wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Uniform over the other classes, [n]."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes
