"""Tries networks and proxies from outside on made-up examples, before anything is trained with them."""

from __future__ import annotations

import copy

import numpy as np

from mulnb.config import Model
from mulnb.core.errors import UserError, users_code
from mulnb.core.registry import ARCHITECTURES, PROXIES
from mulnb.proxies import Proxy
from mulnb.study.networks import Networks


def check(study: Networks) -> None:
    """Raises `UserError` unless what was added from outside does what a study asks of it."""
    for spec in (study.profile.model, study.profile.pool_model):
        if spec.arch in ARCHITECTURES.added:
            _check_network(study, spec)
    for name, proxy in PROXIES.added.items():
        _check_proxy(name, proxy, len(study.splits.train.classes))


def _check_network(study: Networks, spec: Model) -> None:
    """Build a network twice, and show it two images."""
    import torch

    train, what = study.splits.train, f"architecture '{spec.arch}'"
    size, classes = train.images.shape[1:], len(train.classes)
    with users_code(f"{what} fails as architecture(num_classes, in_channels, width, stem)"), torch.random.fork_rng():
        model, other = (ARCHITECTURES[spec.arch](classes, size[0], spec.width, spec.stem) for _ in range(2))

    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise UserError(f"{what} gives a {type(model).__name__}: expected a torch.nn.Module that is not scripted")
    weights = list(model.parameters())
    odd = any(weight.dtype != torch.float32 or torch.nn.parameter.is_lazy(weight) for weight in weights)
    if odd or not any(weight.requires_grad for weight in weights):
        raise UserError(f"{what} needs weights that can be trained, all of them float32, and no lazy layers")
    if {*map(id, weights)} & {*map(id, other.parameters())}:
        raise UserError(f"{what} gives the same weights at every call: make a new network each time")

    images = torch.linspace(-1, 1, 2 * int(np.prod(size))).reshape(2, *size)
    for training in (True, False):
        given = images.clone()
        with users_code(f"{what} fails on images {list(given.shape)}"), torch.random.fork_rng(), torch.no_grad():
            logits = copy.deepcopy(model).train(training)(given)
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        if found != [2, classes]:
            raise UserError(f"{what} gives {found} for two images with training={training}: expected logits {[2, classes]}")
        if not torch.equal(images, given):
            raise UserError(f"{what} changes the images that it is given: compute on a copy")


def _check_proxy(name: str, proxy: Proxy, classes: int) -> None:
    """See that a proxy leaves what it reads as it was: the proxies after it read the same."""
    import torch

    from mulnb.recording import Outputs

    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(64, classes)).astype(np.float32))
    log_p = logits.log_softmax(1)
    outputs, correct = Outputs(torch.arange(64) % classes, logits, log_p, log_p.exp()), rng.random((5, 64)) < 0.5

    before = copy.deepcopy((outputs, correct))
    with users_code(f"proxy '{name}' fails on made-up examples"):
        (proxy.signal or proxy.history)(outputs if proxy.signal else correct)
    same = all(torch.equal(value, getattr(outputs, part)) for part, value in vars(before[0]).items())
    if not same or not np.array_equal(before[1], correct):
        raise UserError(f"proxy '{name}' changes what it is given, which other proxies read: compute on a copy")
