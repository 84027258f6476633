"""What one model does on the forget set, the retain set and unseen images: a row of a report."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mulnb import audit
from mulnb.config import Recipe
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.your_model.adapt import Adapted, first_floating, predicted
from mulnb.your_model.inputs import Images
from mulnb.your_model.verdict import above_chance

RELEARN = Recipe(epochs=50, batch=64, lr=0.01)  # at most so many epochs are tried


@dataclass(frozen=True)
class Setting:
    """What all models of a report are measured on.

    `retain` int64: what is neither in the strata nor already forgotten. `gone`: the classes that the request removes
    altogether; their images in `unseen` and `tested` are counted apart.
    """

    data: Images
    unseen: Images
    tested: Images
    strata: Strata
    retain: np.ndarray
    gone: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """One model. `row`: what a report shows. On the forget set, in its order: `right` bool [n], `p` [n], p of the label, and
    `margin` [n], its log-odds. `unseen_margin` [m]: that of the unseen images which are `alike`. `balanced`: see `verdict.Facts`.
    """

    row: dict[str, float]
    right: np.ndarray
    p: np.ndarray
    margin: np.ndarray | None = None
    unseen_margin: np.ndarray | None = None
    balanced: float = 0.0


def outcome(network: Adapted, setting: Setting) -> Outcome:
    """Accuracies and membership inference of one model, which is not changed."""
    place = first_floating(network)
    data, unseen, tested = (part.on(place.device, place.dtype) for part in (setting.data, setting.unseen, setting.tested))
    # on the CPU from here on: some devices have no float64
    logits, unseen_logits = predicted(network, data).cpu(), predicted(network, unseen).cpu()
    tested_logits = unseen_logits if tested is unseen else predicted(network, tested).cpu()
    labels, unseen_labels, tested_labels = data.labels.cpu(), unseen.labels.cpu(), tested.labels.cpu()

    correct = (logits.argmax(1) == labels).numpy()
    forget = setting.strata.forget
    row: dict[str, float] = {}

    split = sum(len(part) > 0 for part in setting.strata) > 1  # what is not split is no stratum
    for name, part in zip(STRATA, setting.strata, strict=True):
        row[f"acc_{name}"] = float(correct[part].mean()) if split and len(part) else float("nan")

    row["acc_forget"] = float(correct[forget].mean())
    row["acc_retain"] = float(correct[setting.retain].mean())
    row |= _unseen_accuracies(tested_logits, tested_labels, setting.gone)

    seen = audit.attack_features(logits, labels)["confidence"]  # [N, 1]
    strange = audit.attack_features(unseen_logits, unseen_labels)["confidence"]
    in_class = np.isin(unseen_labels.numpy(), setting.gone)
    row |= attack(seen, strange, forget, setting.retain, setting.seed, in_class)
    like = alike(setting)
    row["auc"] = audit.roc.auc(seen[forget, 0], strange[like, 0])
    margin = audit.margins.log_odds(logits[forget].float(), labels[forget])
    unseen_margin = audit.margins.log_odds(unseen_logits[like].float(), unseen_labels[like])

    balanced = above_chance(correct[setting.retain], labels.numpy()[setting.retain])
    return Outcome(row, correct[forget], seen[forget, 0], margin, unseen_margin, balanced)


def number(value: float) -> str:
    """A number of a row as a report shows it; beyond the limit of relearning, that limit."""
    return f"> {RELEARN.epochs}" if math.isinf(value) else f"{value:.3f}"


def alike(setting: Setting) -> np.ndarray:
    """bool over the unseen images: those that the forget set is compared with, of its classes if it is whole classes."""
    in_class = np.isin(setting.unseen.labels.cpu().numpy(), setting.gone)
    return in_class if in_class.any() else np.ones(len(in_class), dtype=bool)


def _unseen_accuracies(logits: Tensor, labels: Tensor, gone: tuple[int, ...]) -> dict[str, float]:
    """Accuracy on unseen images; where whole classes are forgotten, on those of other classes, and on theirs."""
    correct = (logits.argmax(1) == labels).numpy()
    if not gone:
        return {"acc_test": float(correct.mean())}

    inside = np.isin(labels.numpy(), gone)
    rest = float(correct[~inside].mean()) if (~inside).any() else float("nan")
    theirs = float(correct[inside].mean()) if inside.any() else float("nan")

    return {"acc_test": rest, "acc_test_all": float(correct.mean()), "acc_test_class": theirs}


def attack(
    seen: np.ndarray, strange: np.ndarray, forget: np.ndarray, retain: np.ndarray, seed: int, in_class: np.ndarray | None = None
) -> dict[str, float]:
    """Efficacy on the forget set, and on images that certainly were seen or not, none of which the attack was trained on.

    Args:
        seen, strange: features [N, 1] of the training images and of unseen ones.
        forget, retain: int64, places in `seen`.
        seed: which images train the attack, and which are the reference.
        in_class: bool over `strange`, images of the classes that are forgotten as a whole. If there are any, they are the
            reference, and the attack is trained on the others.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(strange))
    if in_class is not None and 0 < in_class.sum() < len(strange):
        trains, reference = order[~in_class[order]], order[in_class[order]]
    else:
        trains, reference = np.array_split(order, 2)

    # as many retained images as unseen ones train the attack; others of both kinds are asked
    mixed = draw.permutation(retain)
    shown, kept = mixed[: len(trains)], mixed[len(trains) : 2 * len(trains)]
    asked = {"mia": seen[forget], "mia_unseen": strange[reference], "mia_retain": seen[kept if len(kept) else shown]}
    found = {}

    for name, features in asked.items():
        found[name] = audit.mia(seen[shown], strange[trains], features)

    return found


def relearn(network: Adapted, data: Images, forget: np.ndarray, accuracy: float, seed: int) -> float:
    """Epochs of training on the forget set alone until its accuracy is back to nine tenths of `accuracy`.

    Infinity if that takes too long, NaN if nothing in the model can be trained or the training diverges.
    """
    place = first_floating(network)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return float("nan")
    return audit.relearn.relearn_epochs(network, data.on(place.device, place.dtype), forget, RELEARN, accuracy, seed)
