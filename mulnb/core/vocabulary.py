"""The words of the field: how names are written, in which order they are shown, and which way a score points.

The one place for labels, units and orientation. No torch here: whoever only reads results need not load it.
Texts and tables use `LABELS`; figures write `RUM$^F$` where a table writes RUM^F (`mathtext`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from mulnb.config import Rum

LABELS = {
    # scores
    "memorization": "memorization",
    "confidence": "confidence",
    "max_confidence": "max. confidence",
    "entropy": "entropy",
    "binary_accuracy": "binary accuracy",
    "holdout_retraining": "hold-out retraining",
    "loss_curvature": "loss curvature",
    # strategies
    "vanilla": "vanilla",
    "shuffle": "shuffle",
    "rum_f": "RUM^F",
    # algorithms
    "retrain": "retrain (oracle)",
    "fine_tune": "Fine-tune",
    "l1_sparse": "L1-sparse",
    "neg_grad": "NegGrad",
    "neg_grad_plus": "NegGrad+",
    "scrub": "SCRUB",
    "salun": "SalUn",
    "random_label": "Random label",
    "influence": "Influence",
    "rum": "RUM",  # the full RUM: the strategy that is an algorithm of its own, shown after those that it is made of
    # metrics
    "tow": "ToW",
    "tow_mia": "ToW-MIA",
    "acc_forget": "accuracy on S",
    "acc_retain": "accuracy on R",
    "acc_test": "test accuracy",
    "mia": "MIA efficacy",
    # the rest
    "low": "low",
    "medium": "medium",
    "high": "high",
    "forget": "forget set",
    "retain": "retain set",
    "union": "all sets so far",
    "step": "this step's set",
}
ORDER = {name: place for place, name in enumerate(LABELS)}

#: The scores of the paper's Figure 2.
FIGURE_2_SCORES = ("memorization", "confidence", "binary_accuracy", "holdout_retraining")
METRICS = ("tow", "tow_mia")
STRATA = ("low", "medium", "high")


def label(name: str) -> str:
    """The written form of a name; an unknown one is shown as it is, without its underscores."""
    return LABELS.get(name, name.replace("_", " "))


def mathtext(name: str) -> str:
    """`label(name)` for matplotlib's mathtext."""
    return label(name).replace("RUM^F", "RUM$^F$")


def mix(rum: Rum | None) -> str:
    """A profile's full RUM in words: "RUM (low: nothing, medium: Fine-tune, high: SalUn)"; "" where it is not run."""
    if rum is None:
        return ""
    parts = (f"{name}: {label(one.algorithm or 'nothing')}" for name, one in zip(STRATA, rum.stages, strict=True))
    return f"{label('rum')} ({', '.join(parts)})"


def ordered(found: Iterable[str]) -> list[str]:
    """The distinct names in `found`, in the order of `LABELS`; unknown ones last, by name."""
    return sorted(set(found), key=lambda name: (ORDER.get(name, len(ORDER)), name))


# ---- scores: what they are measured in, and which way they point

UNITS = {
    "memorization": "accuracy lost when left out",
    "confidence": "1 − mean probability of the label",
    "max_confidence": "1 − mean largest probability",
    "entropy": "nats, mean over epochs",
    "binary_accuracy": "share of epochs it was wrong",
    "holdout_retraining": "nats of symmetric KL",
    "loss_curvature": "change of the input gradient, L2",
}


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
