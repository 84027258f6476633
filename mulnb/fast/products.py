"""Products of k matrices with k others, with the same bits on every x86 processor with AVX2.

torch's own product is MKL's, which chooses its kernels, and so the order of its sums, by the processor and its maker. NumPy's
OpenBLAS takes the kernels that it is told to take (`core.instructions`), and the result of a product does not depend on where its
operands lie in memory. On a GPU the product is torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of float32 a [k, m, n] and b [k, n, p], in any memory layout, [k, m, p]; autograd does not see it."""
    if a.device.type != "cpu":
        return torch.bmm(a, b)

    out = torch.empty(a.shape[0], a.shape[1], b.shape[2])
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges is named where losses are looked at, not here
        np.matmul(a.detach().numpy(), b.detach().numpy(), out=out.numpy())

    return out


class Product(torch.autograd.Function):
    """`product`, with gradients: `Product.apply(a, b)`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return product(a, b)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        da = product(dy, b.mT) if ctx.needs_input_grad[0] else None
        db = product(a.mT, dy) if ctx.needs_input_grad[1] else None
        return da, db
