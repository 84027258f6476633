"""A model's outcome: its accuracies on S, R and T, and the efficacy of every SVC attack (METHOD §7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mulnb.audit.attack import ATTACKS, attack_features, mia

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from mulnb.training import Examples


def evaluate(
    model: nn.Module, train: Examples, test: Examples, forget: np.ndarray, retain: np.ndarray, seed: int
) -> dict[str, float]:
    """Accuracies on S, R and T and the efficacy of every attack, in eval mode and without augmentation.

    Args:
        model: left as it was, with its mode, BatchNorm statistics and random state.
        train: the training set D.
        test: the test set T.
        forget: positions of S in D.
        retain: positions of R in D.
        seed: draws the |T| retain examples that the attacks see as members: the same for a model and its oracle.

    Returns:
        `acc_forget acc_retain acc_test mia` (the headline attack, on confidence), and `mia_<attack>` for the others.

    Raises:
        Diverged: the model's logits are not finite.
    """
    from mulnb import training

    logits, test_logits = training.predict(model, train), training.predict(model, test)

    return evaluate_outputs(logits, train.labels, test_logits, test.labels, forget, retain, seed)


def evaluate_outputs(
    logits: Tensor,
    labels: Tensor,
    test_logits: Tensor,
    test_labels: Tensor,
    forget: np.ndarray,
    retain: np.ndarray,
    seed: int,
    attacks: Sequence[str] = ATTACKS,
) -> dict[str, float]:
    """`evaluate` for outputs that are there already, such as those that margins are taken from.

    Args:
        logits: [N, K] of the training set D.
        labels: int64 [N].
        test_logits: [m, K] of the test set T.
        test_labels: int64 [m].
        forget, retain, seed: as in `evaluate`.
        attacks: which attacks to run, the headline one (confidence) among them.

    Returns:
        As `evaluate`.
    """
    correct = (logits.argmax(1) == labels).cpu().numpy()
    shown = np.random.default_rng(seed).permutation(retain)[: len(test_labels)]

    seen, unseen = attack_features(logits, labels), attack_features(test_logits, test_labels)
    efficacy = {}
    for name in attacks:
        efficacy[name] = mia(seen[name][shown], unseen[name], seen[name][forget])

    return {
        "acc_forget": float(correct[forget].mean()),
        "acc_retain": float(correct[retain].mean()),
        "acc_test": float((test_logits.argmax(1) == test_labels).double().mean()),
        "mia": efficacy.pop("confidence"),
        **{f"mia_{name}": value for name, value in efficacy.items()},
    }
