"""Six cheap stand-ins for memorization (METHOD §3), all oriented so that HIGHER = MORE MEMORIZED.

Four are read off training itself (`training.SignalRecorder` keeps the raw sums); hold-out retraining and loss curvature need
a model only, so they also work on somebody else's checkpoint.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb import training
from mulnb.config import HoldoutRetraining, Recipe
from mulnb.core.vocabulary import PROXIES, orient
from mulnb.training import Examples

__all__ = ["PROXIES", "CurvatureTrace", "orient", *PROXIES]


def confidence(signals: dict[str, np.ndarray]) -> np.ndarray:
    """1 − mean true-class probability, [N], from `SignalRecorder.means()`."""
    return orient("confidence", signals["confidence"])


def max_confidence(signals: dict[str, np.ndarray]) -> np.ndarray:
    """1 − mean largest probability, [N], from `SignalRecorder.means()`."""
    return orient("max_confidence", signals["max_confidence"])


def entropy(signals: dict[str, np.ndarray]) -> np.ndarray:
    """Mean softmax entropy in nats, [N], from `SignalRecorder.means()`."""
    return orient("entropy", signals["entropy"])


def binary_accuracy(signals: dict[str, np.ndarray]) -> np.ndarray:
    """1 − share of epochs classified right, [N], from `SignalRecorder.means()`."""
    return orient("binary_accuracy", signals["binary_accuracy"])


def holdout_retraining(
    model: nn.Module, data: Examples, holdout: Examples, settings: HoldoutRetraining, seed: int, index: Tensor | None = None
) -> np.ndarray:
    """½·[KL(p‖q) + KL(q‖p)] of `data[index]`, [n], between `model` and a copy of it fine-tuned on `holdout`; in float32.

    Fine-tuning stops early after `settings.patience` epochs without a lower training loss. `model` itself is not changed.
    """
    tuned = copy.deepcopy(model)
    best, waited = float("inf"), 0

    def patience_is_over(epoch: int, loss: float) -> bool:
        nonlocal best, waited
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        return waited >= settings.patience

    recipe = Recipe(epochs=settings.epochs, batch=settings.batch, lr=settings.lr)
    training.fit(tuned, holdout, recipe, seed, after_epoch=patience_is_over)
    log_p = F.log_softmax(training.predict(model, data, index), dim=1)
    log_q = F.log_softmax(training.predict(tuned, data, index), dim=1)
    # ½·Σ(p − q)(log p − log q) is the same sum; the authors clamp probabilities at 1e-10, which bounds the logarithms
    log_p, log_q = log_p.clamp(min=np.log(1e-10)), log_q.clamp(min=np.log(1e-10))
    return (0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)).cpu().numpy()


def loss_curvature(
    model: nn.Module, data: Examples, h: float = 0.01, index: Tensor | None = None, batch: int = 512
) -> np.ndarray:
    """‖∇ₓℓ(x + z) − ∇ₓℓ(x)‖₂ of `data[index]`, [n], with z = h·sign(g)/‖sign(g)‖₂ and g = ∇ₓℓ(x), in eval mode.

    x is the network's (normalised) input. Two gradients an example, both of the batch's summed loss: examples do not
    interact in eval mode, so that is each example's own gradient.
    """
    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    with training.frozen(model):
        pieces = [_curvature(model, data.inputs(piece), data.labels[piece], h) for piece in index.split(batch)]
    return torch.cat(pieces).cpu().numpy()


def _curvature(model: nn.Module, x: Tensor, labels: Tensor, h: float) -> Tensor:
    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        loss = F.cross_entropy(model(at).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, at)[0]

    g = gradient(x)
    sign = g.sign()
    norm = sign.flatten(1).norm(dim=1).clamp(min=1).view(-1, 1, 1, 1)  # a zero gradient has no direction: z = 0
    return (gradient(x + h * sign / norm) - g).flatten(1).norm(dim=1)


class CurvatureTrace:
    """Mean loss curvature over the epochs of a training: pass `after_epoch` to `training.fit`, read `mean()` and `seconds`."""

    def __init__(self, model: nn.Module, data: Examples, h: float) -> None:
        self._measure: Callable[[], np.ndarray] = lambda: loss_curvature(model, data, h)
        self._total: np.ndarray | float = 0.0
        self._epochs = 0
        self.seconds = 0.0

    def after_epoch(self, epoch: int, loss: float) -> bool:
        started = time.perf_counter()
        self._total = self._total + self._measure()
        self._epochs += 1
        self.seconds += time.perf_counter() - started
        return False

    def mean(self) -> np.ndarray:
        return np.asarray(self._total) / self._epochs
