"""Random labels: train the forget set towards wrong labels and the retain set towards its own (Golatkar et al. 2020).

loss = CE(R, y) + CE(S, y′), in mixed batches, with y′ uniform over the classes other than y
"""

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
    """Minimise the cross-entropy on S ∪ R. Each example of S gets a new wrong label in every epoch, those of R keep their own.

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
        after_step: called after every step; see `salun`.

    Returns:
        `model`.
    """
    classes = predict(model, data, forget.flatten()[:1]).shape[-1]  # of the model's output

    # a generator for each network, apart from that of its order of examples
    stacked = forget.dim() == 2
    seeds = seed if stacked else [seed]
    generators = [torch.Generator().manual_seed(of_network + 1) for of_network in seeds]

    # a row of labels for each network, [k, N]
    labels = data.labels.expand(len(seeds), -1).clone()
    members = forget if stacked else forget[None]  # [k, n]
    truth = labels.gather(1, members)  # [k, n]
    drawn = -1  # the epoch that the wrong labels are for

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        nonlocal drawn
        if on.epoch != drawn:
            wrong = []
            for of_network, generator in zip(truth, generators, strict=True):
                wrong.append(_wrong_labels(of_network, classes, generator))
            labels.scatter_(1, members, torch.stack(wrong))
            drawn = on.epoch

        logits = model(on.inputs).float()
        wanted = labels.gather(1, on.index) if stacked else labels[0][on.index]
        return mean_loss(logits, wanted), logits

    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    index = torch.cat([forget, retain], dim=-1)
    return fit(model, data, recipe, seed, index=index, objective=objective, after_step=after_step)


def _wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each of `labels` [n] another class, uniform over the other classes."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes
