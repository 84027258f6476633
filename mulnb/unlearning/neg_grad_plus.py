"""NegGrad+: descend on the retain set and ascend on the forget set at once (Kurmanji et al. 2023, arXiv 2302.09880).

loss = α·CE(R) − (1 − α)·CE(S)
"""

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
    """Minimise α·CE(R) − (1 − α)·CE(S). An epoch is one pass over R; the batches of S repeat. α = 1 is fine-tuning, bit for bit.

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the orders of R and of S; k of them for a stack.
        fresh: not used.
        alpha: α, the weight of R, 0 … 1.
        lr: learning rate of SGD, > 0.
        epochs: passes over R, ≥ 0.
        batch: examples in a batch, ≥ 2.

    Returns:
        `model`.

    Raises:
        UserError: α is outside 0 … 1.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"neg_grad_plus: alpha = {alpha}: should be between 0 (ascent on S alone) and 1 (fine-tuning)")
    ascent = _cycle(forget, batch, seed)

    def objective(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = alpha * mean_loss(logits, on.labels)  # [] or [k]

        if alpha < 1:  # a term of weight zero is not computed: its forward pass would still move the BatchNorm statistics
            index = next(ascent)  # [B] or [k, B]
            loss = loss - (1 - alpha) * mean_loss(model(data.inputs(index)).float(), data.labels[index])
        return loss, logits

    return fit(model, data, Recipe(lr=lr, epochs=epochs, batch=batch), seed, index=retain, objective=objective)


def _cycle(index: Tensor, batch: int, seed: int | Sequence[int]) -> Iterator[Tensor]:
    """Batches of S (`index` [n], or [k, n] with k seeds) without end, in a new order after each pass.

    They have a generator of their own, so that the order of R is the same as in fine-tuning.
    """
    seeds = [seed] if index.dim() == 1 else seed
    generators = [torch.Generator().manual_seed(of_network + 1) for of_network in seeds]
    n = index.shape[-1]

    while True:
        orders = [torch.randperm(n, generator=generator) for generator in generators]
        order = torch.stack(orders).to(index.device)  # [k, n]
        shuffled = index[order[0]] if index.dim() == 1 else index.gather(1, order)
        yield from batches(shuffled, batch)
