"""The names of the scores and which way they point. No torch here: whoever only reads results need not load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Proxy:
    """`falls`: the raw signal falls as memorization rises, so it is turned round. `post_hoc`: a finished model is enough."""

    falls: bool
    post_hoc: bool
    about: str


PROXIES: dict[str, Proxy] = {
    "confidence": Proxy(True, False, "mean over epochs of the probability of the true class"),
    "max_confidence": Proxy(True, False, "mean over epochs of the largest probability"),
    "entropy": Proxy(False, False, "mean over epochs of the softmax entropy, in nats"),
    "binary_accuracy": Proxy(True, False, "share of epochs in which the example is classified right"),
    "holdout_retraining": Proxy(False, True, "symmetric KL divergence after fine-tuning on a hold-out set"),
    "loss_curvature": Proxy(False, True, "change of the input gradient along its own sign"),
}


def orient(name: str, raw: np.ndarray) -> np.ndarray:
    """Raw signal → score that rises with memorization. It is its own inverse."""
    return 1 - raw if PROXIES[name].falls else raw


def centre(score: str) -> float | Literal["median"]:
    """Where the medium stratum lies: memorization has a natural middle, a proxy has its median."""
    return 0.5 if score == "memorization" else "median"
