"""mulnb: reproducible, fast, memorization-aware machine unlearning.

Names are loaded when first used: a notebook that finds all its results in the store never waits for torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_profile": "config",
    "Profile": "config",
    "load_data": "data",
    "UserError": "errors",
    "score": "own",
    "strata": "own",
    "unlearn": "own",
    "evaluate": "report",
}
_ROOMS = [
    "audit",
    "claims",
    "cluster",
    "config",
    "data",
    "errors",
    "explorer",
    "figures",
    "forget",
    "memorization",
    "models",
    "own",
    "paths",
    "pool",
    "proxies",
    "report",
    "rum",
    "selection",
    "stats",
    "store",
    "study",
    "tables",
    "training",
    "unlearning",
]

__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"mulnb.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"mulnb.{name}")
    raise AttributeError(f"module 'mulnb' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
