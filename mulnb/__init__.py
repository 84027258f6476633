"""mulnb: reproducible, fast, memorization-aware machine unlearning.

Names are loaded when first used: a notebook that finds all its results in the store never waits for torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = {
    "load_profile": "config",
    "Profile": "config",
    "load_data": "data",
    "UserError": "core.errors",
    "score": "your_model.api",
    "strata": "your_model.api",
    "unlearn": "your_model.api",
    "evaluate": "your_model.report",
    "tune": "your_model.tuning",
    "Training": "your_model.recipe",
    "Recorder": "your_model.recorder",
    "Requests": "your_model.ledger",
    "References": "your_model.references",
    "load_scores": "your_model.scores_file",
    "save_weights": "your_model.weights",
    "explore": "explorer",
}
_MODULES = {
    # the method
    "config": "config",
    "models": "models",
    "training": "training",
    "pool": "pool",
    "memorization": "memorization",
    "proxies": "proxies",
    "forget": "forget",
    "unlearning": "unlearning",
    "rum": "rum",
    "audit": "audit",
    # the subpackages
    "data": "data",
    "study": "study",
    "figures": "figures",
    "explorer": "explorer",
    "own": "your_model",  # its name before 2026-11
    "paths": "core.paths",
    "store": "core.store",
    "stats": "core.stats",
    "publish": "results.publish",
    "pages": "results.pages",
    "tables": "results.tables",
    "claims": "results.claims",
    "plotting": "figures.plotting",
}

__all__ = [*_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"mulnb.{_FUNCTIONS[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"mulnb.{_MODULES[name]}")
    raise AttributeError(f"module 'mulnb' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Forget(ModuleType):
    """The module `mulnb.forget`, which is also the call `mulnb.forget(model, data, request, holdout=…)`."""

    def __reduce__(self) -> tuple:
        """A module travels to a worker process by its name."""
        return importlib.import_module, (self.__name__,)

    def __call__(self, model: Any, data: Any, request: Any, **options: Any) -> Any:
        """Forget a request, and say whether it is forgotten: see `mulnb.your_model.forget`."""
        from mulnb.your_model.forgetting import forget

        return forget(model, data, request, **options)


class _Face(ModuleType):
    """This package. Python sets a module on its package when it is imported, whoever imports it: `forget` gets its call there."""

    def __reduce__(self) -> tuple:
        """A module travels to a worker process by its name."""
        return importlib.import_module, (self.__name__,)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "forget" and type(value) is ModuleType:
            value.__class__ = _Forget
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
