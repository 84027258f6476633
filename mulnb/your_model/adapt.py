"""A user's network as the method needs it: a working copy whose forward pass returns logits [B, K].

The model given is never touched. `adapt` unwraps DataParallel, DDP and torch.compile, copies the plain module, and puts it
into `Adapted`, which reads the logits out of whatever the network returns and keeps frozen BatchNorm frozen.
"""

from __future__ import annotations

import copy
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mulnb.core import paths
from mulnb.core.errors import UserError, one_line, users_code
from mulnb.fast.graphs import plain_steps
from mulnb.training import clone, predict
from mulnb.your_model.copies import carry_over, still
from mulnb.your_model.weights import check_kinds, read_weights, renamed, unwrapped

Model = nn.Module | Mapping[str, Tensor] | str | Path  # a module, or its weights together with a factory
Factory = Callable[[], nn.Module]

_ALONE = threading.RLock()  # calls may be nested, but not side by side
NORMS = nn.modules.batchnorm._NormBase  # BatchNorm and InstanceNorm: layers with running statistics
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
fp16: ContextVar[bool] = ContextVar("mulnb_fp16", default=False)  # whether training computes activations in float16
WANTED = "mulnb needs logits [batch, classes]: wrap the model in a small Module whose forward returns just that"


class Adapted(nn.Module):
    """The working copy. `module` is the plain network, with the keys that the user knows; `given()` is what it is a copy of."""

    def __init__(self, module: nn.Module, frozen_norms: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.frozen_norms = frozen_norms  # names of the layers that stay in eval mode
        self.training = module.training
        self.given = weakref.ref(module)  # copies keep it: a weak reference is copied as it is

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapted:
        """A copy, also of a network that holds results of its last forward pass.

        Old weight_norm, spectral_norm, pruning and stored activations are tensors with a history, which torch does not copy. They
        are made anew by each forward pass: their values will do.
        """
        for part in self.module.modules():
            for tensor in _tensors(vars(part)):
                if not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()

        copied = Adapted.__new__(Adapted)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        carry_over(self.module, memo)
        return copied

    def train(self, mode: bool = True) -> Adapted:
        super().train(mode)
        for name in self.frozen_norms:
            self.module.get_submodule(name).eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, K]; a head with one logit gives K = 2."""
        try:
            with self._precision(x):
                output = self._single(x) if self.training and len(x) == 1 else self.module(x)
        except UserError:
            raise
        except Exception as error:  # the user's own code: it may raise anything
            raise UserError(f"the model failed on images that are {described(x)}: {one_line(error)}") from error
        return logits_of(output, len(x))

    def _precision(self, x: Tensor) -> AbstractContextManager:
        if not (fp16.get() and self.training):
            return nullcontext()
        return torch.autocast(x.device.type, torch.float16, cache_enabled=False)

    def _single(self, x: Tensor) -> Any:
        """One image has no batch statistics: BatchNorm uses its running ones."""
        norms = [layer for layer in self.module.modules() if isinstance(layer, NORMS) and layer.training]
        for layer in norms:
            layer.eval()
        try:
            return self.module(x)
        finally:
            for layer in norms:
                layer.train()


def _tensors(held: Any, depth: int = 3) -> Iterator[Tensor]:
    """The tensors in a mapping, list or tuple, and in those within it."""
    for value in held.values() if isinstance(held, Mapping) else held:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (Mapping, list, tuple)) and depth > 0:
            yield from _tensors(value, depth - 1)


def logits_of(output: Any, n: int) -> Tensor:
    """Logits [n, K] from what a network returned for n images.

    Args:
        output: a tensor, a mapping or object with `logits`, or a tuple or list whose first matrix is the main output
            (auxiliary heads follow it in torchvision's networks). [n, 1] and [n] are one logit for the second of two classes;
            [n, K, 1, 1], of a fully convolutional network, is [n, K].
        n: the number of images.

    Raises:
        UserError: there are no logits in it.
    """
    found = _main(output)
    if not isinstance(found, Tensor):
        raise UserError(f"the model returns {_kind(output)}: {WANTED}")
    if found.layout != torch.strided or found.is_meta:
        raise UserError(f"the model returns a {'meta' if found.is_meta else 'sparse'} tensor: {WANTED}")
    if found.ndim > 2 and found.shape[:2].numel() == found.numel():
        found = found.flatten(1)
    if found.is_floating_point() and found.shape in ((n,), (n, 1)):
        # softmax over (0, z) is (1 - sigmoid(z), sigmoid(z)): cross-entropy on it is binary cross-entropy on z
        z = found.reshape(n, 1)
        found = torch.cat([torch.zeros_like(z), z], dim=1)  # [n, 2]
    if found.ndim != 2 or len(found) != n or found.shape[1] < 2 or not found.is_floating_point():
        raise UserError(f"the model returns {described(found)} for {n} images: {WANTED}")

    return found


def _main(output: Any) -> Any:
    """The part of an output that should be the logits."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        if "logits" in output:
            return output["logits"]
        values = list(output.values())
    elif hasattr(output, "logits"):
        return output.logits
    elif isinstance(output, (tuple, list)):
        values = list(output)
    else:
        return None

    found = matrices(values)
    if isinstance(output, Mapping) and len(found) != 1:
        return None  # which of them is meant cannot be told
    if any(value.shape[1] < found[0].shape[1] for value in found):
        return None  # features come with more columns than there are classes: the first may be those

    return found[0] if found else None


def matrices(values: Iterable[Any]) -> list[Tensor]:
    """What may be logits among the parts of an output: floating-point tensors [B, K]."""
    return [value for value in values if isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()]


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict with {', '.join(map(str, output))}"
    size = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
    return f"a {type(output).__name__}{size}"


# --- from what the user has to a working copy ----------------------------------------------------------------------------


def plain(model: Any, factory: Factory | None = None) -> nn.Module:
    """The plain module behind wrappers, not copied; or a copy of what `factory` builds, filled with the weights given.

    Args:
        model: a module, a state dict, or the path of a checkpoint (.safetensors, .pt, .pth).
        factory: a function without arguments that builds the untrained network; only weights need it.

    Raises:
        UserError: the model cannot be worked with, or the weights do not fit the factory's network.
    """
    if isinstance(model, (Mapping, str, Path)):
        model = _from_weights(model, factory)
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}: expected a torch.nn.Module, or a state dict with factory=")

    while True:
        if isinstance(model, WRAPPERS):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # what torch.compile returns
            model = inner
        else:
            break

    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part '{name}'" if name else "the model"
            raise UserError(f"{where} is a TorchScript module, which cannot be copied for training: give the Python module")
        if {kind.__name__ for kind in type(part).__mro__} & {"FullyShardedDataParallel", "FSDPModule"}:
            raise UserError("the model is sharded over processes (FSDP): gather its state dict and give it with factory=")

    return model


def adapt(model: Model, factory: Factory | None = None) -> Adapted:
    """A working copy of `model`, on its device, in its precision and in its modes.

    Args:
        model, factory: see `plain`.

    Returns:
        The copy. Its `frozen_norms` are the BatchNorm layers that stay in eval mode: those whose parameters are all frozen,
        and those that are in eval mode while the model is in train mode.

    Raises:
        UserError: the model cannot be copied, has no parameters, or lies on several devices.
    """
    given = plain(model, factory)
    if any(is_lazy(value) for value in [*given.parameters(), *given.buffers()]):
        raise UserError("the model has uninitialised (lazy) parameters or buffers: run one batch through it first")

    places = {parameter.device for parameter in given.parameters()}
    if len(places) != 1:
        raise UserError("the model's parameters must lie on one device, and it must have some")
    if next(iter(places)).type == "meta":
        raise UserError("the model lies on the meta device, without weights: load them first")

    names = []

    for name, layer in given.named_modules():
        if isinstance(layer, NORMS) and layer.track_running_stats and _frozen(layer, given):
            names.append(name)

    copied = clone(Adapted(given, tuple(names)))
    for parameter in copied.parameters():
        parameter.grad = None

    return copied


def _frozen(layer: nn.Module, model: nn.Module) -> bool:
    parameters = list(layer.parameters())
    without_gradient = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
    return without_gradient or (model.training and not layer.training)


def untrained(fresh: Factory, like: nn.Module) -> Callable[[int], Adapted]:
    """seed -> an untrained network from the user's `fresh`, on the device and in the precision of `like`.

    Raises (when called):
        UserError: `fresh` returns no module, or the trained model itself.
    """
    parameter = first_floating(like)
    trained = {value.data_ptr() for value in like.parameters()}

    def make(seed: int) -> Adapted:
        torch.manual_seed(seed)
        built = plain(built_by(fresh, "fresh"))
        if any(value.data_ptr() in trained for value in built.parameters()):
            raise UserError("fresh returns the trained model itself: it must build a new, untrained network")

        if same_weights(built, like):
            raise UserError("fresh returns the trained weights: it must build a new, untrained network")

        return adapt(_copied(built).to(parameter.device, parameter.dtype))  # it may be a network that lives elsewhere

    return make


def first_floating(network: nn.Module) -> nn.Parameter:
    """The first floating-point parameter, whose device and precision are those of the images; others may be integers.

    Raises:
        UserError: there is none.
    """
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter
    raise UserError("the model has no floating-point parameter (is it quantised?): give the model before that")


def predicted(network: Adapted, data: Any, index: Tensor | None = None) -> Tensor:
    """`training.predict` by a network that is left as it was, also where its buffers move in eval mode."""
    with still(network):
        return predict(network, data, index)


def _copied(module: nn.Module) -> nn.Module:
    return clone(Adapted(module, ())).module


def built_by(factory: Factory, name: str) -> nn.Module:
    """The network that a function of the user's builds. Raises `UserError` if it fails, or returns something else."""
    what = f"{name} must be a function without arguments that builds an untrained network"
    if not callable(factory):
        raise UserError(f"{what}, and it is a {type(factory).__name__}")

    with users_code(f"{what}, and it failed"):
        found = factory()

    if not isinstance(found, nn.Module):
        raise UserError(f"{what}, and it returned a {type(found).__name__}")

    return found


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether all parameters of two networks are equal, on whatever devices they lie."""
    pairs = list(zip(one.parameters(), other.parameters(), strict=False))
    return len(pairs) > 0 and all(a.shape == b.shape and torch.equal(a.cpu(), b.cpu()) for a, b in pairs)


def _from_weights(weights: Mapping[str, Tensor] | str | Path, factory: Factory | None) -> nn.Module:
    """The factory's network with these weights."""
    source = "the state dict" if isinstance(weights, Mapping) else str(weights)
    if factory is None:
        raise UserError(f"{source} holds weights only: give factory=, a function that builds the network")
    if not isinstance(weights, Mapping):
        weights = read_weights(paths.given(weights, "the model"))

    with protected(torch.device("cpu"), 0):  # its weights are drawn, and then replaced
        model = _copied(plain(built_by(factory, "factory")))  # it may return a network that lives elsewhere
    own = model.state_dict()
    given = renamed(unwrapped(weights), known=own.keys())
    check_kinds(given, own, source)

    try:
        found = model.load_state_dict(given, strict=False)
    except Exception as error:  # the network may have a load_state_dict of its own
        reason = one_line(error)
        raise UserError(f"{source} does not fit the factory's network: {reason[:200]}") from None

    # tied weights are saved once: the others have the values of the one that was loaded
    loaded = {id(value) for key, value in model.state_dict(keep_vars=True).items() if key in given}
    missing = [key for key in found.missing_keys if id(model.state_dict(keep_vars=True)[key]) not in loaded]

    for keys, words in ((missing, "are missing"), (found.unexpected_keys, "are not in the network")):
        if keys:
            raise UserError(f"{source} does not fit the factory's network: {len(keys)} weights {words}, the first is '{keys[0]}'")

    return model


@contextmanager
def protected(where: torch.device, seed: int) -> Iterator[None]:
    """Work with every random generator seeded, with gradients on, and put all generators back afterwards.

    Steps are plain ones (no CUDA graphs): anybody's forward pass may do what cannot be recorded. New tensors lie on the CPU
    unless something else is said, also where the user has set another default. Generators belong to the process: calls in
    several threads wait for each other.
    """
    with ExitStack() as stack:
        stack.enter_context(_ALONE)
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        if where.type == "mps":
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())

        devices = [where] if where.type == "cuda" else []
        usual = torch.get_default_device().type == "cpu"  # the other way, every call of torch takes longer
        with (
            nullcontext() if usual else torch.device("cpu"),
            plain_steps(),
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(where.type, enabled=False),  # the precision is the model's, or that of Training(precision=…)
        ):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield


def described(value: Tensor) -> str:
    """Type and shape in words: "float32 [2, 3, 16, 16]"."""
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
