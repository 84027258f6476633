"""Unlearning algorithms (METHOD §6): one file each, one signature, one registry.

    algorithm(model, data, forget, retain, *, seed, fresh, **settings) -> model

    model: nn.Module      the original model; it is changed in place (callers pass a copy) and returned
    data: Examples        the training set D
    forget: int64 [n]     indices of S
    retain: int64 [m]     indices of R, what the model may still use
    seed: int ≥ 0         draws whatever is random
    fresh: seed → network builds an untrained network of the same architecture; only `retrain` needs it
    settings              keyword arguments; the defaults are the authors' values

In the formulas, CE(X) is the mean cross-entropy over X, in nats, and θ are the weights.

The algorithms in `core.registry.STACKABLE_ALGORITHMS` also take a `Stack` of k networks. Then `forget` and `retain` are [k, n]
and `seed` is a list of k seeds.

To add an algorithm, add a file to this folder with a function of the file's name, and the name to `core.registry`; or, from
outside the package, add an entry to `ALGORITHMS`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mulnb.core.errors import UserError
from mulnb.core.registry import ALGORITHMS

Algorithm = Callable[..., nn.Module]

# one file each, with a function of the file's name
ALGORITHMS.attach({name: getattr(importlib.import_module(f"{__name__}.{name}"), name) for name in ALGORITHMS.builtin})


def _check_entry(name: str, algorithm: Algorithm) -> None:
    """Raises `UserError` for an algorithm from outside that cannot be called as those of the package."""
    if not callable(algorithm):
        raise UserError(f"algorithm '{name}' is a {type(algorithm).__name__}: expected a function")
    try:
        parameters = inspect.signature(algorithm, follow_wrapped=False)
    except (TypeError, ValueError):  # written in C
        return
    others = {}  # settings without a default
    for place, parameter in enumerate(parameters.parameters.values()):
        by_name = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if by_name and place >= 4 and parameter.default is parameter.empty:
            others[parameter.name] = None
    try:
        parameters.bind(None, None, None, None, **others | {"seed": 0, "fresh": None})
    except TypeError as error:
        raise UserError(
            f"algorithm '{name}' cannot be called as algorithm(model, data, forget, retain, *, seed, fresh, **settings): {error}"
        ) from None


def _on_copies(algorithm: Algorithm) -> Algorithm:
    """An algorithm that gets indices of its own: those given are read by other runs, too."""

    @functools.wraps(algorithm, updated=())
    def run(model: nn.Module, data: Any, forget: Tensor, retain: Tensor, **settings: Any) -> nn.Module:
        return algorithm(model, data, forget.clone(), retain.clone(), **settings)

    return run


ALGORITHMS.check_entry = _check_entry
ALGORITHMS.as_used = _on_copies


def check(name: str, settings: Mapping[str, Any]) -> None:
    """Check the name and the settings of an algorithm before anything is trained.

    Args:
        name: an algorithm of `ALGORITHMS`.
        settings: keyword arguments for it.

    Raises:
        UserError: the algorithm or one of its settings is unknown, or one without a default is missing.
    """
    ALGORITHMS.check(name)

    known, takes_any = [], False  # any setting, as `retrain` does
    for place, parameter in enumerate(inspect.signature(ALGORITHMS[name]).parameters.values()):
        takes_any |= parameter.kind is parameter.VAR_KEYWORD
        by_name = parameter.kind is parameter.KEYWORD_ONLY or (place >= 4 and parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
        if by_name and parameter.name not in {"seed", "fresh"}:
            known.append(parameter.name)
            if parameter.default is parameter.empty and parameter.name not in settings:
                raise UserError(f"algorithm '{name}' needs the setting '{parameter.name}', which has no default")
    if takes_any:
        return

    for key in settings:
        if key not in known:
            raise UserError(f"algorithm '{name}' has no setting '{key}': it has {', '.join(known) or 'none'}")
