"""The one SGD loop and the one way to predict.

Every training in the project (original models, pool models, oracles, each unlearning algorithm) goes through `fit`: what
differs is the objective and, rarely, what happens after a step.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.data import ImageSet, Splits
from mulnb.fast import graphs as gpu


class Diverged(UserError):
    """Training ended with weights or logits that are not finite."""


class Examples:
    """Images and labels that live on one device and are read by index.

    `images` [N, C, H, W] uint8, or floating point that is used as it is; `labels` int64 [N]. uint8 images are scaled to [0,
    1] and normalised by the channels' `mean` and `std` [C] when they are read.
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
        """Network inputs of the examples at `index` [B]: float [B, C, H, W], channels_last. `moves`: see `moved`.

        Of an `index` [k, B], for a stack of k networks, [k, B, C, H, W].
        """
        x = self.images[index.flatten()]
        if moves is not None:
            x = moved(x, moves.flatten(0, -2))
        if self._scale is not None:
            x = torch.addcmul(self._shift, x.float(), self._scale)
        x = x.contiguous(memory_format=torch.channels_last)
        return x if index.dim() == 1 else x.unflatten(0, index.shape)


def draw_moves(n: int, generator: torch.Generator) -> Tensor:
    """The usual augmentation, drawn: int64 [n, 3], a shift of −4 … 4 rows and columns, and 1 for a mirrored image."""
    shifts = torch.randint(-4, 5, (n, 2), generator=generator)
    return torch.cat([shifts, torch.randint(0, 2, (n, 1), generator=generator)], 1)


def moved(x: Tensor, moves: Tensor) -> Tensor:
    """Images x [B, C, H, W], shifted (what comes in is black) and mirrored as `moves` [B, 3] says, by one indexed read."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) + moves[:, :1] + 4  # [B, H], positions in the padded image
    columns = torch.arange(width, device=x.device) + moves[:, 1:2] + 4
    columns = torch.where(moves[:, 2:] == 1, columns.flip(1), columns)  # [B, W]
    which = torch.arange(len(x), device=x.device)[:, None, None]
    padded = F.pad(x, (4, 4, 4, 4))
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # from [B, H, W, C]: channels_last


def device() -> torch.device:
    """`MULNB_DEVICE`, or the GPU if there is one."""
    return torch.device(os.environ.get("MULNB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def examples(images: ImageSet, splits: Splits) -> Examples:
    """A part of `splits` on the device, normalised by the training set's statistics."""
    to = device()
    mean, std = torch.from_numpy(splits.mean), torch.from_numpy(splits.std)
    return Examples(torch.from_numpy(images.images).to(to), torch.from_numpy(images.labels).to(to), mean, std)


class Batch(NamedTuple):
    index: Tensor  # int64 [B], positions in the Examples
    inputs: Tensor  # float [B, C, H, W]
    labels: Tensor  # int64 [B]
    epoch: int


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]  # the loss to descend, and the logits of the batch


class Recorder(Protocol):
    """What `fit` shows every step to; `proxies.SignalRecorder` is one."""

    def record(self, batch: Batch, logits: Tensor) -> None: ...


def cross_entropy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    logits = model(batch.inputs).float()
    return F.cross_entropy(logits, batch.labels), logits


@dataclass(frozen=True)
class Own:
    """A user's own way to train, which replaces that of `Step` wherever it is set; see `using`."""

    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] | None = None  # (network, lr) -> optimizer
    schedule: Callable[[float], float] | None = None  # share of the training that is done, 0 ... 1 -> factor of the lr
    transform: Callable[[Tensor], Tensor] | None = None  # network inputs of a training batch [B, C, H, W] -> the same, augmented
    precision: str | None = None  # "fp32" or "bf16"
    after_step: Callable[[], None] | None = None  # called after every step: progress; an exception in it ends the training


_own: ContextVar[Own] = ContextVar("mulnb_own_training", default=Own())  # noqa: B039 - it is frozen


@contextmanager
def using(**changes) -> Iterator[None]:
    """Train in the user's own way within: every algorithm takes it, without an argument of its own.

    Args:
        **changes: fields of `Own`; those not named stay as they are.
    """
    token = _own.set(replace(_own.get(), **changes))
    try:
        yield
    finally:
        _own.reset(token)


def autocast(recipe: Recipe, where: torch.device) -> AbstractContextManager:
    """The precision that a step's forward pass runs in; objectives make the logits float32 before they use them."""
    precision = _own.get().precision or recipe.precision
    # no cache of cast weights: a forward pass reads each once, and a recorded step must not depend on an earlier one
    return torch.autocast(where.type, torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()


class Step:
    """An SGD step on a batch: the network's loss and outputs, and its weights moved.

    Nothing in it waits for the device, so that a GPU is never idle within an epoch and `gpu.Replayed` can record it.
    """

    def __init__(self, model: nn.Module, data: Examples, recipe: Recipe, objective: Objective = cross_entropy) -> None:
        self.model, self.data, self.objective = gpu.compiled(model, data.device), data, objective
        self.precision = autocast(recipe, data.device)
        self.own, self.lr = _own.get(), recipe.lr
        if self.own.optimizer is not None:
            self.optimizer = self.own.optimizer(model, recipe.lr)
            self.rates = [group["lr"] for group in self.optimizer.param_groups]
            return
        # a recorded step reads its learning rate from the device
        lr = torch.tensor(recipe.lr, device=data.device) if data.device.type == "cuda" else recipe.lr
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
        )

    def set_rate(self, rate: float) -> None:
        if self.own.optimizer is not None:  # each of its groups keeps its own share of the rate
            for group, own in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = own * rate / self.lr
            return
        group = self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def __call__(self, index: Tensor, moves: Tensor | None, epoch: int) -> tuple[Batch, Tensor, Tensor]:
        """The batch, its loss and its logits before the step; `moves`: see `moved`."""
        inputs = self.data.inputs(index, moves)
        if self.own.transform is not None:
            inputs = self.own.transform(inputs)
        batch = Batch(index, inputs, self.data.labels[index], epoch)
        with self.precision:
            loss, logits = self.objective(self.model, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.own.after_step is not None:
            self.own.after_step()
        return batch, loss.detach(), logits.detach()


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The rate at a (fractional) epoch."""
    if (schedule := _own.get().schedule) is not None:
        return recipe.lr * schedule(epoch / recipe.epochs)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr


SMALLEST = 1 / 8  # of a batch


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """`order` in pieces of `size`; what is left over is a piece of its own, or joins the piece before it if it is too small.

    BatchNorm cannot train on one example, and a step on a handful, at a rate made for a whole batch, undoes what an epoch has
    learnt: ResNet-18 (width 16) on 5 000 images in batches of 128 ended at training accuracies of .45 and .52 (two seeds), with
    the last eight examples joined to the batch before them at .98 and .98.
    """
    pieces = list(order.split(size))
    if len(pieces) > 1 and len(pieces[-1]) < max(2, SMALLEST * size):
        pieces[-2:] = [torch.cat(pieces[-2:])]
    return iter(pieces)


def fit(
    model: nn.Module,
    data: Examples,
    recipe: Recipe,
    seed: int,
    *,
    index: Tensor | None = None,
    objective: Objective = cross_entropy,
    recorder: Recorder | None = None,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[int, float], bool] | None = None,
) -> nn.Module:
    """Train `model` in place by SGD on `data[index]` (all of it by default) and return it in the mode it came in.

    `seed` fixes the order of the examples, and how they are augmented if the recipe says so. `after_epoch(epoch, mean loss)`
    returns True to stop early.
    Raises `Diverged` if the loss of an epoch is not finite.
    """
    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    generator = torch.Generator().manual_seed(seed)
    step = Step(model, data, recipe, objective)
    take = gpu.Replayed([step], recipe.batch if objective is cross_entropy else 0)  # other objectives may hold state
    with mode(model, training=True):
        for epoch in range(recipe.epochs):
            order = index[torch.randperm(len(index), generator=generator).to(index.device)]
            pieces = list(batches(order, recipe.batch))
            announce(data, pieces)
            moves = draw_moves(len(order), generator).to(index.device).split([len(p) for p in pieces]) if recipe.augment else None
            total = torch.zeros((), device=data.device)  # summed on the device: one synchronisation an epoch
            for number, piece in enumerate(pieces):
                step.set_rate(learning_rate(recipe, epoch + number / len(pieces)))
                [(batch, loss, logits)] = take([piece], [moves and moves[number]], epoch)
                if recorder is not None:
                    recorder.record(batch, logits)
                if after_step is not None:
                    after_step()
                total += loss
            mean_loss = float(total) / max(len(pieces), 1)
            if not math.isfinite(mean_loss):
                raise Diverged(f"training diverged in epoch {epoch + 1} (lr {recipe.lr}): use a smaller lr")
            if after_epoch is not None and after_epoch(epoch, mean_loss):
                break
    return model


def announce(data: Examples, pieces: Sequence[Tensor]) -> None:
    """Tell data that are read from files which batches come next, so that workers can decode them ahead."""
    if (ahead := getattr(data, "announce", None)) is not None:
        ahead(pieces)


@torch.no_grad()
def predict(model: nn.Module, data: Examples, index: Tensor | None = None, batch: int = 1024) -> Tensor:
    """Logits float32 [n, K] of `data[index]` in eval mode, without augmentation.

    BatchNorm statistics, the model's mode and every random state are left as they were. Raises `Diverged` on NaN or infinity.
    """
    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    pieces = index.split(min(batch, getattr(data, "largest_batch", batch)))
    announce(data, pieces)
    with mode(model, training=False):
        logits = torch.cat([model(data.inputs(piece)).float() for piece in pieces])
    if not torch.isfinite(logits).all():
        raise Diverged("the model's logits are not finite: it diverged; use a smaller lr")
    return logits


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
