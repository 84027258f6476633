"""How many examples a network is shown at a time where nothing is trained, so that what it computes fits into memory.

With 32×32 images the batches are as large as they are useful; with 224×224 images and a wide network they would take 12 GB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mulnb import training
from mulnb.proxies import CurvatureTrace, loss_curvature
from mulnb.training import Examples

BUDGET = 2e9  # bytes of activations; the same on every machine, since a batch's size can move the last digit of a result
PREDICT, CURVATURE = 1024, 512  # examples at a time, at most
HELD = 3  # a layer's input and output, and the branch beside them


class Activations(NamedTuple):
    """Bytes that a network computes for one example: in its largest layer, and in all layers together."""

    largest: int
    total: int

    @classmethod
    def of(cls, model: nn.Module, x: Tensor) -> Activations:
        """Show the network one example x [1, C, H, W] and add up what its layers give."""
        sizes: list[int] = []

        def note(layer: nn.Module, given: Any, result: Any) -> None:
            if isinstance(result, Tensor):
                sizes.append(result.numel() * result.element_size())

        layers = [layer for layer in model.modules() if not any(layer.children())]
        hooks = [layer.register_forward_hook(note) for layer in layers]
        try:
            with training.mode(model, training=False), torch.no_grad():
                model(x)
        finally:
            for hook in hooks:
                hook.remove()
        return cls(max(sizes), sum(sizes))

    @property
    def predicted(self) -> int:
        """Examples that are predicted at once."""
        return int(np.clip(BUDGET // (HELD * self.largest), 1, PREDICT))

    @property
    def differentiated(self) -> int:
        """Examples whose loss curvature is measured at once: a gradient needs the activations of all layers."""
        return int(np.clip(BUDGET // self.total, 1, CURVATURE))


class CurvatureInParts(CurvatureTrace):
    """`CurvatureTrace` that measures at most `batch` examples at a time."""

    def __init__(self, model: nn.Module, data: Examples, h: float, batch: int) -> None:
        super().__init__(model, data, h)
        parts = torch.arange(len(data)).split(batch)

        def measure() -> np.ndarray:
            return np.concatenate([loss_curvature(model, data, h, part) for part in parts], axis=-1)

        self._measure = measure
