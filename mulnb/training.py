"""The one SGD loop and the one way to predict.

Every training in the project (original models, pool models, oracles, each unlearning algorithm) goes through `fit`. They differ
in their objective and, rarely, in what happens after a step.

`fit` also trains k networks as one `fast.stacked.Stack`. Tensors then have a leading axis k: `index` [k, B], inputs
[k, B, C, H, W], logits [k, B, K], a loss [k]; network j gets what it would get alone, from its own seed and its own examples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError, one_line
from mulnb.examples import Examples, device, draw_moves, examples, moved
from mulnb.fast import graphs
from mulnb.fast.stacked import Stack
from mulnb.step import Batch, Objective, Own, Step, autocast, cross_entropy, learning_rate, mean_loss, using

__all__ = [
    "Batch",
    "Diverged",
    "Examples",
    "Objective",
    "Own",
    "Recorder",
    "Round",
    "Step",
    "announce",
    "autocast",
    "batches",
    "clone",
    "cross_entropy",
    "device",
    "draw_moves",
    "examples",
    "fit",
    "frozen",
    "learning_rate",
    "mean_loss",
    "mode",
    "moved",
    "predict",
    "rounds",
    "using",
]


class Diverged(UserError):
    """Training ended with weights or logits that are not finite."""


# ---- what sees a training


class Recorder(Protocol):
    """Something that sees every step of `fit`, such as `recording.SignalRecorder`."""

    def record(self, batch: Batch, logits: Tensor) -> None: ...


# ---- the order of examples


def batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Cut an order of examples into ⌈n/size⌉ batches of nearly equal size (METHOD §6): they differ by one example at most.

    A small last batch, at a learning rate chosen for a full one, can undo what an epoch has learnt: ResNet-18 (width 16) on 5 000
    images in batches of 128, the last of them of 8, ended at training accuracies of .45 and .52 (two seeds), without it at .98
    and .98.

    Args:
        order: int64 [n] or [k, n].
        size: examples in a batch, at most.

    Returns:
        Tensors int64 [B] or [k, B].
    """
    return torch.tensor_split(order, max(1, math.ceil(order.shape[-1] / size)), dim=-1)


class Round(NamedTuple):
    """One training step of each of k networks."""

    epoch: int
    last: bool  # whether it is the last step of its epoch
    rate: float  # the learning rate
    pieces: list[Tensor]  # k batches, int64 [B] each
    moves: list[Tensor | None]  # how the images of each batch are augmented, int64 [B, 3] or None


def rounds(indices: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int], data: Examples) -> Iterator[Round]:
    """The training steps of k networks, side by side.

    What network j sees depends on its own examples and its own seed only, never on the other networks.

    Args:
        indices: k tensors int64 [n], the examples of each network; all of one length.
        recipe: epochs, batch size, learning rate and augmentation.
        seeds: k seeds of the order of examples and of their augmentation.
        data: what will be read; it is told which batches come next.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    for epoch in range(recipe.epochs):
        pieces, moves = [], []  # by network, then by step
        for index, generator in zip(indices, generators, strict=True):
            # each network draws its order first, then its augmentation, from its own generator
            shuffled = index[torch.randperm(len(index), generator=generator).to(index.device)]
            pieces.append(batches(shuffled, recipe.batch))

            if recipe.augment:
                drawn = draw_moves(len(index), generator).to(index.device)  # [n, 3]
                moves.append(drawn.split([len(piece) for piece in pieces[-1]]))
            else:
                moves.append([None] * len(pieces[-1]))

        announce(data, pieces[0])

        count = len(pieces[0])  # steps of an epoch
        for step in range(count):
            rate = learning_rate(recipe, epoch + step / count)
            of_step = [own[step] for own in pieces]
            yield Round(epoch, step == count - 1, rate, of_step, [own[step] for own in moves])


def announce(data: Examples, pieces: Sequence[Tensor]) -> None:
    """Tell data that are read from files which batches come next, so that workers can decode them ahead."""
    ahead = getattr(data, "announce", None)  # `Examples` in memory have none
    if ahead is not None:
        ahead(pieces)


# ---- training


def fit(
    model: nn.Module,
    data: Examples,
    recipe: Recipe,
    seed: int | Sequence[int],
    *,
    index: Tensor | None = None,
    objective: Objective = cross_entropy,
    recorder: Recorder | None = None,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[int, Any], bool] | None = None,
) -> nn.Module:
    """Train `model` in place by SGD and return it in the mode it came in.

    Args:
        model: a network, or a `Stack` of k.
        data: what the batches are read from.
        recipe: epochs, batch size, learning rate and its schedule, momentum, weight decay, augmentation, precision.
        seed: draws the order of the examples and their augmentation, 0 … 2³¹ − 1; k seeds for a stack.
        index: int64 [n] or [k, n], the examples of `data` to train on (default: all).
        objective: what to minimise.
        recorder: sees every batch with its logits before the step.
        after_step: called after every step.
        after_epoch: called with the epoch and its mean loss, a float or, for a stack, a tensor [k]; returns True to stop early.

    Returns:
        `model`.

    Raises:
        Diverged: the loss of an epoch is not finite. Not for a stack: there, a network that diverges ends with logits that are
            not finite, and the others are not affected.
    """
    stacked = isinstance(model, Stack)
    seeds = list(seed) if stacked else [seed]
    if index is None:
        index = torch.arange(len(data), device=data.device)
    indices = list(index.to(data.device).expand(len(seeds), -1))  # k tensors [n]

    step = Step(model, data, recipe, objective)
    take = graphs.Replayed([step], recorded=objective is cross_entropy and not stacked)  # other objectives may hold state

    total, steps = 0.0, 0  # of the epoch so far
    with mode(model, training=True):
        for now in rounds(indices, recipe, seeds, data):
            step.set_rate(now.rate)

            if stacked:
                moves = torch.stack(now.moves) if recipe.augment else None  # [k, B, 3]
                batch, loss, logits = step(torch.stack(now.pieces), moves, now.epoch)
            else:
                [(batch, loss, logits)] = take(now.pieces, now.moves, now.epoch)

            if recorder is not None:
                recorder.record(batch, logits)
            if after_step is not None:
                after_step()

            total, steps = total + loss, steps + 1  # summed on the device: one synchronisation an epoch
            if not now.last:
                continue

            mean = total / steps
            total, steps = 0.0, 0
            if not stacked:
                mean = float(mean)
                if not math.isfinite(mean):
                    raise Diverged(f"training diverged in epoch {now.epoch + 1} (lr {recipe.lr}): use a smaller lr")
            if after_epoch is not None and after_epoch(now.epoch, mean):
                break

    return model


@torch.no_grad()
def predict(model: nn.Module, data: Examples, index: Tensor | None = None, batch: int = 1024) -> Tensor:
    """Logits in eval mode, without augmentation.

    BatchNorm statistics, the model's mode and every random state are left as they were.

    Args:
        model: a network, or a `Stack` of k.
        data: what to predict.
        index: int64 [n], the examples of `data` (default: all).
        batch: examples at a time.

    Returns:
        float32 [n, K]; of a stack of k networks [k, n, K].

    Raises:
        Diverged: a logit is NaN or infinite. Not for a stack: its caller looks at each network's logits.
    """
    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    if isinstance(model, Stack):
        return _predict_stack(model, data, index)

    pieces = index.split(min(batch, getattr(data, "largest_batch", batch)))
    announce(data, pieces)
    with mode(model, training=False):
        logits = torch.cat([model(data.inputs(piece)).float() for piece in pieces])  # [n, K]

    if not torch.isfinite(logits).all():
        raise Diverged("the model's logits are not finite: it diverged; use a smaller lr")
    return logits


def _predict_stack(stack: Stack, data: Examples, index: Tensor, batch: int = 64) -> Tensor:
    """Logits [k, n, K] of the same examples by all networks."""
    logits = []
    with mode(stack, training=False):
        for piece in index.split(batch):
            x = data.inputs(piece)  # [B, C, H, W]
            logits.append(stack(x.expand(stack.size, *x.shape)).float())  # [k, B, K]
    return torch.cat(logits, 1)


# ---- a model as it was


def clone(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with `model`.

    Raises:
        UserError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a part of the user's may refuse in its own way
        reason = one_line(error)
        raise UserError(f"the model cannot be copied, and mulnb changes copies only: {reason}") from None


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Train or eval mode inside the `with` block; afterwards each module gets back the mode it had."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for the weights, inside the `with` block.

    It is for gradients of the inputs: leaving out those of the weights saves a third of the backward pass.
    """
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    try:
        with mode(model, training=False):
            yield
    finally:
        for parameter, was in wanted.items():
            parameter.requires_grad_(was)
