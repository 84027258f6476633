"""`mulnb.Training`: how your model is trained, which every algorithm then takes: optimizer, schedule, augmentation, precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mulnb import training
from mulnb.core.errors import UserError, one_line, users_code
from mulnb.your_model.adapt import Adapted, described, fp16
from mulnb.your_model.inputs import Images

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * min(done, 1.0))),
    "linear": lambda done: 1 - min(done, 1.0),
}


@dataclass(frozen=True)
class Training:
    """Your own way to train, in place of SGD with momentum 0.9, weight decay 5e-4 and a constant learning rate.

    Attributes:
        optimizer: (parameters or groups, lr) -> optimizer; a class such as `torch.optim.AdamW` will do.
        groups: network -> the optimizer's parameter groups, for example without weight decay on biases. An `lr` in a group
            is kept in proportion when a schedule changes the rate.
        schedule: "constant", "cosine", "linear", or share of the training that is done (0 … 1) -> factor of the rate.
        transform: images [B, C, H, W] in training batches, as they are before `normalize`, -> the same, augmented.
        precision: "fp32", "bf16" or "fp16" for the network's activations in training; the weights stay in their own. In fp16 the
            losses are scaled by torch's `GradScaler`, which leaves out steps whose gradients overflow.
        batch: batch size of every algorithm whose settings do not name one.
    """

    optimizer: Callable[[Any, float], torch.optim.Optimizer] | None = None
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None
    schedule: str | Callable[[float], float] | None = None
    transform: Callable[[Tensor], Tensor] | None = None
    precision: str | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("optimizer", "groups", "transform"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise UserError(f"Training: {name} is a {type(value).__name__}: expected a function")

        if isinstance(self.schedule, str) and self.schedule not in SCHEDULES:
            raise UserError(f"Training: schedule '{self.schedule}' is unknown: known are {', '.join(SCHEDULES)}, or a function")
        if self.precision not in (None, "fp32", "bf16", "fp16"):
            raise UserError(f"Training: precision '{self.precision}' is unknown: known are fp32, bf16, fp16")
        if self.batch is not None and (not isinstance(self.batch, int) or self.batch < 2):
            raise UserError(f"Training: batch = {self.batch!r}: should be a whole number of at least 2")


PLAIN = Training()


def check_training(own: Any) -> None:
    """Raises `UserError` unless this is a recipe or None."""
    if own is not None and not isinstance(own, Training):
        raise UserError(f"training is a {type(own).__name__}: expected mulnb.Training(optimizer=…, schedule=…, …)")


@contextmanager
def trained_by(own: Training | None, data: Images, after_step: Callable[[], None] | None = None) -> Iterator[None]:
    """Every training within is done in the user's way.

    Args:
        own: the user's recipe; None is `PLAIN`.
        data: the images, whose normalisation a transform is put in front of.
        after_step: called after every optimizer step.
    """
    own = own or PLAIN
    half = own.precision == "fp16"
    changes: dict[str, Any] = {"precision": "fp32" if half else own.precision, "after_step": after_step}
    scaler = _scaler(data.device) if half else None
    if own.optimizer is not None or own.groups is not None or half:
        changes["optimizer"] = _optimizer(own, scaler)
    if own.schedule is not None:
        changes["schedule"] = SCHEDULES[own.schedule] if isinstance(own.schedule, str) else _schedule(own.schedule)
    if own.transform is not None:
        changes["transform"] = _transform(own.transform, data)

    with ExitStack() as stack:
        stack.enter_context(training.using(**changes))
        if scaler is not None:
            token = fp16.set(True)
            stack.callback(fp16.reset, token)
            stack.enter_context(_ScaledLosses(scaler))
        yield


def _schedule(own: Callable[[float], float]) -> Callable[[float], float]:
    """The user's schedule, whose mistakes are one line."""

    def factor(done: float) -> float:
        try:
            found = float(own(done))
        except Exception as error:  # the user's own code
            raise UserError(f"Training: the schedule failed: {type(error).__name__}: {one_line(error)}") from error
        if not math.isfinite(found):
            raise UserError(f"Training: the schedule returns {found} for {done:.2f}: expected a factor of the learning rate")
        return found

    return factor


def _scaler(where: torch.device) -> torch.amp.GradScaler:
    if where.type not in ("cuda", "cpu"):
        raise UserError(f"Training: precision 'fp16' needs a CUDA device, and the model is on {where.type}: use bf16 or fp32")
    return torch.amp.GradScaler(where.type)


class _ScaledLosses(TorchFunctionMode):
    """Scales every loss before its backward pass: gradients that are small in float16 would vanish."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        super().__init__()
        self.scaler = scaler

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if function is Tensor.backward:
            args = (self.scaler.scale(args[0]), *args[1:])
        return function(*args, **(kwargs or {}))


class _Guarded:
    """An optimizer of the user's, whose mistakes are one line."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.param_groups, self.zero_grad = optimizer.param_groups, optimizer.zero_grad

    def step(self) -> None:
        with users_code(f"Training: a step of {type(self.optimizer).__name__} failed"):
            self.optimizer.step()


class _Unscaled:
    """An optimizer that takes the scale out of the gradients, and leaves out a step in which they overflowed."""

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.optimizer, self.scaler = optimizer, scaler
        self.param_groups, self.zero_grad = optimizer.param_groups, optimizer.zero_grad

    def step(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()


def batch_of(own: Training | None, usual: int) -> int:
    """The recipe's batch size, or the usual one where it has none."""
    return own.batch if own is not None and own.batch else usual


def with_batch(own: Training | None, algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an algorithm, with the recipe's batch size where they name none."""
    if own is None or own.batch is None or algorithm == "influence":
        return dict(settings)
    return {"batch": own.batch} | dict(settings)


def _optimizer(own: Training, scaler: torch.amp.GradScaler | None) -> Callable[[nn.Module, float], Any]:
    def make(model: nn.Module, lr: float) -> Any:
        network = model.module if isinstance(model, Adapted) else model
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]

        with users_code("Training: the optimizer cannot be built"):
            what = trained if own.groups is None else own.groups(network)
            if own.optimizer is None:
                found = torch.optim.SGD(what, lr=lr, momentum=0.9, weight_decay=5e-4)
            else:
                found = own.optimizer(what, lr)

        if not isinstance(found, torch.optim.Optimizer) or isinstance(found, torch.optim.LBFGS):
            raise UserError(f"Training: optimizer returns a {type(found).__name__}: expected a first-order torch optimizer")
        held = itertools.chain(*(group["params"] for group in found.param_groups))
        if not {*map(id, trained)} & {*map(id, held)}:
            raise UserError(
                "Training: the optimizer has none of the network's parameters: build it from those that it is given, "
                "optimizer=lambda parameters, lr: …"
            )
        if scaler is None:
            return _Guarded(found)
        if any(parameter.dtype != torch.float32 for parameter in trained):
            raise UserError("Training: precision 'fp16' needs weights in float32: give model.float(), or another precision")

        return _Unscaled(found, scaler)

    return make


def _transform(transform: Callable[[Tensor], Tensor], data: Images) -> Callable[[Tensor], Tensor]:
    """The user's augmentation, on images as they are before normalisation."""

    def augment(x: Tensor) -> Tensor:
        if data.affine is not None:
            x = x * data.affine[1] + data.affine[0]

        try:
            found = transform(x)
        except Exception as error:  # the user's own code
            raise UserError(f"Training: the transform failed on images {described(x)}: {one_line(error)}") from error

        if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != len(x):
            returned = described(found) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"Training: the transform turns {described(x)} into {returned}: expected as many images")
        if not found.is_floating_point():
            told = f"Training: the transform turns {described(x)} into {described(found)}"
            raise UserError(f"{told}: expected floating point, on the scale of what it is given")

        found = found.to(x.dtype)
        return found if data.affine is None else (found - data.affine[0]) / data.affine[1]

    return augment
