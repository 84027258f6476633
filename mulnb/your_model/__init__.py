"""Your own model and images: score, choose, unlearn, evaluate, or all of it in one call.

Names are loaded when first used, so that the command line can list the options of `mulnb forget` without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "Forgotten": "forgetting",
    "Recorder": "recorder",
    "References": "references",
    "Report": "report",
    "Requests": "ledger",
    "Training": "recipe",
    "Tuned": "tuning",
    "Unlearned": "api",
    "evaluate": "report",
    "forget": "forgetting",
    "load_scores": "scores_file",
    "read_folder": "pictures",
    "save_weights": "weights",
    "score": "api",
    "strata": "api",
    "tune": "tuning",
    "unlearn": "api",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name == "examples":  # the name of `opened` before 2026-11
        return importlib.import_module("mulnb.your_model.api").opened
    if name in _PLACES:
        return getattr(importlib.import_module(f"mulnb.your_model.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'mulnb.your_model' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
