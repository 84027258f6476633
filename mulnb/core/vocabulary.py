"""How names are written for a reader, and in which order they are shown.

The one place for labels. Texts and tables write RUM^F, figures write `RUM$^F$` (`mathtext`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mulnb.core.registry import PROXIES

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
    "cumulative_loss": "cumulative loss",
    "el2n": "EL2N",
    "aum": "AUM",
    "forgetting": "forgetting events",
    "learning_time": "learning time",
    # strategies
    "nothing": "nothing",
    "vanilla": "vanilla",
    "repeat": "repeat",
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
    "rum": "RUM",  # full RUM is strategy and algorithm at once; list it last
    # metrics
    "tow": "ToW",
    "tow_mia": "ToW-MIA",
    "acc_forget": "accuracy on S",
    "acc_retain": "accuracy on R",
    "acc_test": "test accuracy",
    "mia": "MIA efficacy",
    # common mistakes
    "smallest_gradients": "mask of the smallest gradients",
    "labels_kept": "random labels not drawn",
    "medium_by_mid_range": "medium by mid-range, in one script",
    "ties_as_listed": "ties broken by order",
    "mixed_up_indices": "modified entropy, indices mixed up",
    "original_reloaded": "every stage reloads the original",
    "augmented_evaluation": "evaluated with augmentation",
    "training_mode": "evaluated in training mode",
    "one_seed": "one seed reported",
    "one_stage_epochs": "vanilla gets the epochs of one stage",
    "small_last_batch": "small last batch",
    "unconverged_oracle": "oracle not converged",
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

#: The two ends of the scale: the original model as it is, and a second oracle. Names in the column `algorithm`; in frames of
#: sequential unlearning, in `strategy`.
FLOOR, CEILING = "nothing", "retrain"


def label(name: str) -> str:
    """The written form of a name, e.g. "EL2N" for "el2n".

    Args:
        name: a score, strategy, algorithm, metric or group; an unknown name is written without its underscores.
    """
    if name in LABELS:
        return LABELS[name]

    # a proxy from outside brings its own label
    added = PROXIES.get(name)
    return getattr(added, "label", "") or name.replace("_", " ")


def mathtext(name: str) -> str:
    """`label(name)` for matplotlib's mathtext."""
    return label(name).replace("RUM^F", "RUM$^F$")


def mix(rum: Rum | None) -> str:
    """The full RUM of a profile in words.

    Args:
        rum: the algorithm of each stratum; None where the full RUM is not run.

    Returns:
        For example "RUM (low: nothing, medium: Fine-tune, high: SalUn)"; "" for None.
    """
    if rum is None:
        return ""

    parts = []
    for stratum, stage in zip(STRATA, rum.stages, strict=True):
        parts.append(f"{stratum}: {label(stage.algorithm or 'nothing')}")
    return f"{label('rum')} ({', '.join(parts)})"


def ordered(found: Iterable[str]) -> list[str]:
    """The distinct names in `found`, in the order of `LABELS`; unknown ones last, in alphabetical order."""

    def place(name: str) -> tuple[int, str]:
        return ORDER.get(name, len(ORDER)), name

    return sorted(set(found), key=place)
