"""NegGrad+ (Kurmanji et al. 2023, arXiv 2302.09880): descend on the retain set while ascending on the forget set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, Examples, batches, fit, mean_loss


def neg_grad_plus(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed,
    fresh=None,
    alpha=0.97,
    lr=0.01,
    epochs=5,
    batch=256,
) -> nn.Module:
    """α·CE(R) − (1 − α)·CE(S). An epoch is one pass over R; the batches of S cycle. α = 1 is fine-tuning, bit for bit."""
    if not 0 <= alpha <= 1:
        raise UserError(f"neg_grad_plus: alpha = {alpha}: should be between 0 (ascent on S alone) and 1 (fine-tuning)")
    ascent = _cycle(forget, batch, seed)

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = alpha * mean_loss(logits, on.labels)
        if alpha < 1:  # a term of weight zero is not computed: its forward pass would still move the BatchNorm statistics
            index = next(ascent)
            loss = loss - (1 - alpha) * mean_loss(model(data.inputs(index)).float(), data.labels[index])
        return loss, logits

    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain, objective=objective)


def _cycle(index: Tensor, batch: int, seed: int | Sequence[int]) -> Iterator[Tensor]:
    """Batches of the forget set without end, in a new order each time round.

    They have a generator of their own, so that R's order is that of fine-tuning. `index` [n], or [k, n] with k seeds.
    """
    seeds = [seed] if index.dim() == 1 else seed
    generators = [torch.Generator().manual_seed(of_network + 1) for of_network in seeds]
    n = index.shape[-1]
    while True:
        orders = [torch.randperm(n, generator=generator) for generator in generators]
        order = torch.stack(orders).to(index.device)  # [k, n]
        shuffled = index[order[0]] if index.dim() == 1 else index.gather(1, order)
        yield from batches(shuffled, batch)
