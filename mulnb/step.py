"""One SGD step: the objective, the optimizer, and what a user's own way to train replaces of them.

For a stack of k networks every tensor has a leading axis k, as `training` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.examples import Examples
from mulnb.fast import graphs
from mulnb.fast.sgd import LeanSGD

# ---- objectives


class Batch(NamedTuple):
    """What a training step sees. For a stack of k networks every tensor has a leading axis k."""

    index: Tensor  # int64 [B], positions in the `Examples`
    inputs: Tensor  # float [B, C, H, W]
    labels: Tensor  # int64 [B]
    epoch: int


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]  # → the loss to minimise, [] or [k], and the logits of the batch


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged over the batch.

    Args:
        logits: float32 [B, K], or [k, B, K] of a stack.
        labels: int64 [B] or [k, B].

    Returns:
        The loss in nats, [] or [k].
    """
    if logits.dim() == 2:
        return F.cross_entropy(logits, labels)

    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")  # [k·B]
    return loss.view(labels.shape).mean(1)


def cross_entropy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The usual objective. The loss is float32, whatever precision the network computes in."""
    logits = model(batch.inputs).float()
    return mean_loss(logits, batch.labels), logits


# ---- a user's own way to train


@dataclass(frozen=True)
class Own:
    """A user's own way to train. Each field that is set replaces what `Step` does otherwise; see `using`."""

    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] | None = None  # (network, lr) → optimizer
    schedule: Callable[[float], float] | None = None  # share of the training that is done, 0 … 1 → factor of the lr
    transform: Callable[[Tensor], Tensor] | None = None  # network inputs [B, C, H, W] of a training batch → augmented ones
    precision: str | None = None  # "fp32" or "bf16"
    after_step: Callable[[], None] | None = None  # called after every step (progress); its exception ends the training


_own: ContextVar[Own] = ContextVar("mulnb_own_training", default=Own())  # noqa: B039 (it is frozen)


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Train in the user's own way inside the `with` block. It holds for every algorithm that trains there.

    Args:
        **changes: fields of `Own`; the others stay as they are.
    """
    token = _own.set(replace(_own.get(), **changes))
    try:
        yield
    finally:
        _own.reset(token)


# ---- steps


def autocast(recipe: Recipe, where: torch.device) -> AbstractContextManager:
    """A context for the forward pass of a step, in the recipe's precision. Objectives convert the logits to float32."""
    if (_own.get().precision or recipe.precision) != "bf16":
        return nullcontext()

    # no cache of cast weights: a forward pass reads each once, and a recorded step must not depend on an earlier one
    return torch.autocast(where.type, torch.bfloat16, cache_enabled=False)


class Step:
    """One SGD step on a batch: forward pass, loss, backward pass, update of the weights.

    Nothing in it waits for the device, so that a GPU is never idle within an epoch and `graphs.Replayed` can record it.

    Args:
        model: a network, or a `Stack` of k.
        data: what the batches are read from.
        recipe: learning rate, momentum, weight decay and precision.
        objective: what to minimise.
    """

    def __init__(self, model: nn.Module, data: Examples, recipe: Recipe, objective: Objective = cross_entropy) -> None:
        self.model = graphs.compiled(model, data.device)
        self.data, self.objective = data, objective
        self.precision = autocast(recipe, data.device)
        self.own, self._lr = _own.get(), recipe.lr

        if self.own.optimizer is None:
            self.optimizer = _sgd(model, recipe, data.device)
        else:
            self.optimizer = self.own.optimizer(model, recipe.lr)
            self._own_rates = [group["lr"] for group in self.optimizer.param_groups]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate. The groups of a user's own optimizer keep their ratios to each other."""
        if self.own.optimizer is not None:
            for group, own_rate in zip(self.optimizer.param_groups, self._own_rates, strict=True):
                group["lr"] = own_rate * rate / self._lr
            return

        group = self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # on the device, where a recorded step reads it
        else:
            group["lr"] = rate

    def __call__(self, index: Tensor, moves: Tensor | None, epoch: int) -> tuple[Batch, Tensor, Tensor]:
        """Take the step.

        Args:
            index: int64 [B] or [k, B], the batch.
            moves: int64 [B, 3] or [k, B, 3], how its images are augmented (see `moved`); None: not at all.
            epoch: the number of the epoch, for the objective and the recorder.

        Returns:
            The batch, its loss ([] or [k]) and its logits before the step.
        """
        inputs = self.data.inputs(index, moves)
        if self.own.transform is not None:
            inputs = self.own.transform(inputs)

        batch = Batch(index, inputs, self.data.labels[index], epoch)
        with self.precision:
            loss, logits = self.objective(self.model, batch)

        self.optimizer.zero_grad()
        loss.sum().backward()  # networks of a stack share no weights, so each gets the gradient of its own loss
        self.optimizer.step()

        if self.own.after_step is not None:
            self.own.after_step()
        return batch, loss.detach(), logits.detach()


def _sgd(model: nn.Module, recipe: Recipe, where: torch.device) -> torch.optim.SGD:
    """The optimizer of a recipe."""
    if where.type == "cuda":
        # a recorded step reads its learning rate from the device
        options: dict[str, Any] = {"lr": torch.tensor(recipe.lr, device=where), "fused": True}
    else:
        # not `fused`: it rounds the last few numbers of a tensor differently, so that a network's weights would depend on
        # which others it is stacked with
        options = {"lr": recipe.lr, "foreach": True}

    return LeanSGD(model.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay, **options)


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The learning rate at a point of the training.

    Args:
        recipe: its `lr`, `schedule` and what the schedule needs.
        epoch: epochs done so far, with fractions.
    """
    schedule = _own.get().schedule
    if schedule is not None:
        return recipe.lr * schedule(epoch / recipe.epochs)

    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    if recipe.schedule == "step":
        passed = sum(epoch >= milestone for milestone in recipe.milestones)
        return recipe.lr * recipe.gamma**passed
    return recipe.lr
