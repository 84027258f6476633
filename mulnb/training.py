"""The one SGD loop and the one way to predict.

Every training in the project (original models, pool models, oracles, each unlearning algorithm) goes through `fit`: what
differs is the objective and, rarely, what happens after a step.

`fit` also trains k networks as one `fast.stacked.Stack`. Tensors then have a leading axis k: `index` [k, B], inputs
[k, B, C, H, W], logits [k, B, K], a loss [k]; network j gets what it would get alone, from its own seed and its own examples.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.data import ImageSet, Splits
from mulnb.fast import graphs
from mulnb.fast.stacked import Stack


class Diverged(UserError):
    """Training ended with weights or logits that are not finite."""


# ---- examples on a device


class Examples:
    """Images and labels that live on one device and are read by index.

    Args:
        images: [N, C, H, W] uint8, or floating point that is used as it is.
        labels: int64 [N].
        mean, std: [C]; uint8 images are scaled to [0, 1] and normalised by them when they are read.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        self.images, self.labels = images, labels
        self.device = images.device
        self._scale = self._shift = None
        if mean is not None and std is not None:
            self._scale = (1 / (255 * std)).view(-1, 1, 1).to(self.device)
            self._shift = (-mean / std).view(-1, 1, 1).to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        """Network inputs of some examples, channels_last.

        Args:
            index: int64 [B], or [k, B] for a stack of k networks.
            moves: [B, 3] or [k, B, 3], how each image is shifted and mirrored; see `moved`.

        Returns:
            Float [B, C, H, W], or [k, B, C, H, W].
        """
        x = self.images[index.flatten()]
        if moves is not None:
            x = moved(x, moves.flatten(0, -2))
        if self._scale is not None:
            x = torch.addcmul(self._shift, x.float(), self._scale)
        x = x.contiguous(memory_format=torch.channels_last)
        return x if index.dim() == 1 else x.unflatten(0, index.shape)


def device() -> torch.device:
    """`MULNB_DEVICE`, or the GPU if there is one."""
    return torch.device(os.environ.get("MULNB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def examples(images: ImageSet, splits: Splits) -> Examples:
    """A part of `splits` on the device, normalised by the training set's statistics."""
    to = device()
    mean, std = torch.from_numpy(splits.mean), torch.from_numpy(splits.std)
    return Examples(torch.from_numpy(images.images).to(to), torch.from_numpy(images.labels).to(to), mean, std)


# ---- augmentation


def draw_moves(n: int, generator: torch.Generator) -> Tensor:
    """The usual augmentation, drawn: int64 [n, 3], a shift of −4 … 4 rows and columns, and 1 for a mirrored image."""
    shifts = torch.randint(-4, 5, (n, 2), generator=generator)
    mirrored = torch.randint(0, 2, (n, 1), generator=generator)
    return torch.cat([shifts, mirrored], 1)


def moved(x: Tensor, moves: Tensor) -> Tensor:
    """Images x [B, C, H, W], shifted (what comes in is black) and mirrored as `moves` [B, 3] says, by one indexed read."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) + moves[:, :1] + 4  # [B, H], positions in the padded image
    columns = torch.arange(width, device=x.device) + moves[:, 1:2] + 4
    columns = torch.where(moves[:, 2:] == 1, columns.flip(1), columns)  # [B, W]
    which = torch.arange(len(x), device=x.device)[:, None, None]

    padded = F.pad(x, (4, 4, 4, 4))
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # from [B, H, W, C]: channels_last


# ---- objectives


class Batch(NamedTuple):
    """What a step sees; with a leading axis k for a stack of k networks."""

    index: Tensor  # int64 [B], positions in the Examples
    inputs: Tensor  # float [B, C, H, W]
    labels: Tensor  # int64 [B]
    epoch: int


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]  # the loss to descend ([] or [k]), and the logits of the batch


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged over the batch: [] for logits [B, K], [k] for a stack's logits [k, B, K]."""
    if logits.dim() == 2:
        return F.cross_entropy(logits, labels)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")  # [k·B]
    return loss.view(labels.shape).mean(1)


def cross_entropy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The usual objective; losses are float32 whatever the network computes in."""
    logits = model(batch.inputs).float()
    return mean_loss(logits, batch.labels), logits


class Recorder(Protocol):
    """What `fit` shows every step to; `proxies.SignalRecorder` is one."""

    def record(self, batch: Batch, logits: Tensor) -> None: ...


# ---- somebody else's way to train


@dataclass(frozen=True)
class Own:
    """A user's own way to train, which replaces that of `Step` wherever it is set; see `using`."""

    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] | None = None  # (network, lr) → optimizer
    schedule: Callable[[float], float] | None = None  # share of the training that is done, 0 … 1 → factor of the lr
    transform: Callable[[Tensor], Tensor] | None = None  # network inputs [B, C, H, W] of a training batch → augmented ones
    precision: str | None = None  # "fp32" or "bf16"
    after_step: Callable[[], None] | None = None  # called after every step: progress; an exception in it ends the training


_own: ContextVar[Own] = ContextVar("mulnb_own_training", default=Own())  # noqa: B039 (it is frozen)


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Train in the user's own way within: every algorithm takes it, without an argument of its own.

    Args:
        **changes: fields of `Own`; those not named stay as they are.
    """
    token = _own.set(replace(_own.get(), **changes))
    try:
        yield
    finally:
        _own.reset(token)


# ---- steps


def autocast(recipe: Recipe, where: torch.device) -> AbstractContextManager:
    """The precision that a step's forward pass runs in; objectives make the logits float32 before they use them."""
    if (_own.get().precision or recipe.precision) != "bf16":
        return nullcontext()
    # no cache of cast weights: a forward pass reads each once, and a recorded step must not depend on an earlier one
    return torch.autocast(where.type, torch.bfloat16, cache_enabled=False)


class Step:
    """An SGD step on a batch: the network's loss and outputs, and its weights moved.

    Nothing in it waits for the device, so that a GPU is never idle within an epoch and `graphs.Replayed` can record it.
    """

    def __init__(self, model: nn.Module, data: Examples, recipe: Recipe, objective: Objective = cross_entropy) -> None:
        self.model, self.data, self.objective = graphs.compiled(model, data.device), data, objective
        self.precision = autocast(recipe, data.device)
        self.own, self._lr = _own.get(), recipe.lr
        if self.own.optimizer is None:
            self.optimizer = _sgd(model, recipe, data.device)
        else:
            self.optimizer = self.own.optimizer(model, recipe.lr)
            self._own_rates = [group["lr"] for group in self.optimizer.param_groups]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; each group of a user's own optimizer keeps its share of it."""
        if self.own.optimizer is not None:
            for group, own_rate in zip(self.optimizer.param_groups, self._own_rates, strict=True):
                group["lr"] = own_rate * rate / self._lr
            return
        group = self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def __call__(self, index: Tensor, moves: Tensor | None, epoch: int) -> tuple[Batch, Tensor, Tensor]:
        """Take the step.

        Args:
            index: int64 [B] or [k, B], the batch.
            moves: how its images are augmented, see `moved`.

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
        loss.sum().backward()  # the sum over a stack: no network's gradient knows of the others
        self.optimizer.step()
        if self.own.after_step is not None:
            self.own.after_step()
        return batch, loss.detach(), logits.detach()


def _sgd(model: nn.Module, recipe: Recipe, where: torch.device) -> torch.optim.SGD:
    if where.type == "cuda":
        # a recorded step reads its learning rate from the device
        options: dict[str, Any] = {"lr": torch.tensor(recipe.lr, device=where), "fused": True}
    else:
        # not `fused`: it rounds the last few numbers of a tensor in another way, so that a network's weights would depend on
        # which others it is stacked with
        options = {"lr": recipe.lr, "foreach": True}
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay, **options)


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The rate at a (fractional) epoch."""
    if (schedule := _own.get().schedule) is not None:
        return recipe.lr * schedule(epoch / recipe.epochs)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr


# ---- the order of examples


def batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """`order` [n] or [k, n] in ⌈n/size⌉ batches of nearly equal size (METHOD §6): they differ by one example at most.

    A small last batch, at a rate made for a whole one, undoes what an epoch has learnt: ResNet-18 (width 16) on 5 000 images in
    batches of 128, the last of them of 8, ended at training accuracies of .45 and .52 (two seeds), without it at .98 and .98.
    """
    return torch.tensor_split(order, max(1, math.ceil(order.shape[-1] / size)), dim=-1)


class Round(NamedTuple):
    """One step of each of k networks: their batches int64 [B] each, and how the images are augmented ([B, 3] each or None)."""

    epoch: int
    last: bool  # of its epoch
    rate: float
    pieces: list[Tensor]
    moves: list[Tensor | None]


def rounds(indices: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int], data: Examples) -> Iterator[Round]:
    """The steps of k networks, in step with each other. Network j alone decides what network j sees: its examples and its seed.

    Args:
        indices: k tensors int64 [n], the examples of each network; all of one length.
        seeds: k seeds of the order of examples and of their augmentation.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for epoch in range(recipe.epochs):
        pieces, moves = [], []  # by network, then by step
        for index, generator in zip(indices, generators, strict=True):
            shuffled = index[torch.randperm(len(index), generator=generator).to(index.device)]
            pieces.append(batches(shuffled, recipe.batch))
            drawn = draw_moves(len(index), generator).to(index.device) if recipe.augment else None
            sizes = [len(piece) for piece in pieces[-1]]
            moves.append([None] * len(sizes) if drawn is None else drawn.split(sizes))

        announce(data, pieces[0])
        count = len(pieces[0])
        for step in range(count):
            rate = learning_rate(recipe, epoch + step / count)
            yield Round(epoch, step == count - 1, rate, [own[step] for own in pieces], [own[step] for own in moves])


def announce(data: Examples, pieces: Sequence[Tensor]) -> None:
    """Tell data that are read from files which batches come next, so that workers can decode them ahead."""
    if (ahead := getattr(data, "announce", None)) is not None:
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
        seed: fixes the order of the examples, and how they are augmented; k seeds for a stack.
        index: int64 [n] or [k, n], the examples of `data` to train on (default: all).
        objective: what to descend.
        recorder: sees every batch with its logits before the step.
        after_epoch: called as `(epoch, mean loss)`, a float or, for a stack, a tensor [k]; returns True to stop early.

    Raises:
        Diverged: the loss of an epoch is not finite. Not for a stack: there, a network that diverges ends with logits that are
            not finite, and the others are not touched by it.
    """
    stacked = isinstance(model, Stack)
    seeds = list(seed) if stacked else [seed]
    if index is None:
        index = torch.arange(len(data), device=data.device)
    indices = list(index.to(data.device).expand(len(seeds), -1))  # k tensors [n]

    step = Step(model, data, recipe, objective)
    take = graphs.Replayed([step], recorded=objective is cross_entropy and not stacked)  # other objectives may hold state
    total, steps = 0.0, 0
    with mode(model, training=True):
        for now in rounds(indices, recipe, seeds, data):
            step.set_rate(now.rate)
            if stacked:
                moves = torch.stack(now.moves) if recipe.augment else None
                batch, loss, logits = step(torch.stack(now.pieces), moves, now.epoch)
            else:
                [(batch, loss, logits)] = take(now.pieces, now.moves, now.epoch)
            if recorder is not None:
                recorder.record(batch, logits)
            if after_step is not None:
                after_step()

            total, steps = total + loss, steps + 1  # summed on the device: one synchronisation an epoch
            if now.last:
                mean = total / steps
                if not stacked:
                    mean = float(mean)
                    if not math.isfinite(mean):
                        raise Diverged(f"training diverged in epoch {now.epoch + 1} (lr {recipe.lr}): use a smaller lr")
                if after_epoch is not None and after_epoch(now.epoch, mean):
                    break
                total, steps = 0.0, 0
    return model


@torch.no_grad()
def predict(model: nn.Module, data: Examples, index: Tensor | None = None, batch: int = 1024) -> Tensor:
    """Logits in eval mode, without augmentation.

    BatchNorm statistics, the model's mode and every random state are left as they were.

    Args:
        index: int64 [n], the examples of `data` (default: all).
        batch: examples at a time.

    Returns:
        float32 [n, K]; of a stack of k networks [k, n, K].

    Raises:
        Diverged: NaN or infinity. Not for a stack: its caller looks at each network's logits.
    """
    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    if isinstance(model, Stack):
        return _predict_stack(model, data, index)

    pieces = index.split(min(batch, getattr(data, "largest_batch", batch)))
    announce(data, pieces)
    with mode(model, training=False):
        logits = torch.cat([model(data.inputs(piece)).float() for piece in pieces])
    if not torch.isfinite(logits).all():
        raise Diverged("the model's logits are not finite: it diverged; use a smaller lr")
    return logits


def _predict_stack(stack: Stack, data: Examples, index: Tensor, batch: int = 64) -> Tensor:
    """Logits [k, n, K] of the same examples by all networks."""
    logits = []
    with mode(stack, training=False):
        for piece in index.split(batch):
            x = data.inputs(piece)  # [B, C, H, W]
            logits.append(stack(x.expand(stack.size, *x.shape)).float())
    return torch.cat(logits, 1)


# ---- a model as it was


def clone(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with `model`. Raises `UserError` for one that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the model cannot be copied, and mulnb changes copies only: {str(error).splitlines()[0]}") from None


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Train or eval mode for a while; each module then gets back the mode it had."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode, and no gradients for the weights: only the input's are wanted, which saves a third of the backward pass."""
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    try:
        with mode(model, training=False):
            yield
    finally:
        for parameter, was in wanted.items():
            parameter.requires_grad_(was)
