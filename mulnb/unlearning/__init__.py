"""Unlearning algorithms (METHOD §6): one file each, one signature, one registry.

    algorithm(model, data, forget, retain, *, seed, fresh, **settings) -> model

An algorithm changes `model` in place (callers pass a copy) and returns it. `data` are the training `Examples`; `forget` and
`retain` are int64 index tensors into them; `fresh(seed)` builds an untrained network of the same architecture. The settings are
keyword arguments whose defaults are the authors'.

Those in `core.registry.STACKABLE_ALGORITHMS` also take a `Stack` of k networks: then `forget` and `retain` are [k, n] and `seed`
is a list of k seeds.

A new algorithm is a new file of this folder with a function of the file's name (and that name in `core.registry`), or, from
outside, an entry added to `ALGORITHMS`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mulnb.core.errors import UserError
from mulnb.core.registry import ALGORITHMS

Algorithm = Callable[..., nn.Module]

for _name in ALGORITHMS.builtin:  # one file each, with a function of the file's name
    ALGORITHMS.setdefault(_name, getattr(importlib.import_module(f"{__name__}.{_name}"), _name))


def check(name: str, settings: Mapping[str, Any]) -> None:
    """Raises `UserError` unless `name` is an algorithm and every setting is one of its keyword arguments."""
    ALGORITHMS.check(name)
    parameters = inspect.signature(ALGORITHMS[name]).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return

    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    known = [keyword for keyword in keywords if keyword not in {"seed", "fresh"}]
    for key in settings:
        if key not in known:
            raise UserError(f"algorithm '{name}' has no setting '{key}': it has {', '.join(known)}")
