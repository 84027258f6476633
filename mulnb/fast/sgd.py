"""PyTorch's SGD, without the two seconds that its first step takes on a CPU.

PyTorch wraps an optimizer's methods for `torch.compile`, and the wrappers import `torch._dynamo` in every process that trains,
also where nothing is compiled: 1.3 to 2.2 s of processor time. Here the same methods are called without their wrappers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch.optim import SGD


class LeanSGD(SGD):
    """`torch.optim.SGD`: the same arguments, the same numbers."""

    add_param_group = inspect.unwrap(SGD.add_param_group)
    zero_grad = inspect.unwrap(SGD.zero_grad)
    _bare_step = inspect.unwrap(SGD.step)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the weights by their gradients; see `torch.optim.SGD.step`."""
        return self._bare_step(closure)
