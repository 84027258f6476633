"""NegGrad+ (Kurmanji et al. 2023, arXiv 2302.09880): descend on the retain set while ascending on the forget set."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, Examples, batches, fit


def neg_grad_plus(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed: int,
    fresh=None,
    alpha=0.97,
    lr=0.01,
    epochs=5,
    batch=256,
) -> nn.Module:
    """α·CE(R) − (1 − α)·CE(S); an epoch is one pass over R, the batches of S cycle. α = 1 is fine-tuning, bit for bit."""
    if not 0 <= alpha <= 1:
        raise UserError(f"neg_grad_plus: alpha = {alpha}: should be between 0 (ascent on S alone) and 1 (fine-tuning)")
    ascent = _cycle(forget, batch, seed)

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = alpha * F.cross_entropy(logits, on.labels)
        if alpha < 1:  # a term of weight zero is not computed: its forward pass would still move the BatchNorm statistics
            index = next(ascent)
            loss = loss - (1 - alpha) * F.cross_entropy(model(data.inputs(index)).float(), data.labels[index])
        return loss, logits

    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain, objective=objective)


def _cycle(index: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of the forget set without end, in a new order each time round; a generator of its own leaves R's order alone."""
    generator = torch.Generator().manual_seed(seed + 1)
    while True:
        yield from batches(index[torch.randperm(len(index), generator=generator).to(index.device)], batch)
