"""How well was it forgotten: accuracies, the SVC membership inference attack, ToW and ToW-MIA (METHOD §7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported where it is needed: ToW of stored outcomes is arithmetic
    from torch import Tensor, nn

    from mulnb.training import Examples

ATTACKS = ("confidence", "correctness", "entropy", "modified_entropy", "probabilities")


def attack_features(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """What the attacks look at, each float64 [n, d]: d = 1, or the number of classes for the whole probability vector.

    Modified entropy is −(1 − p_y)·log p_y − Σ_{j≠y} p_j·log(1 − p_j) (Song & Mittal 2021, eq. 8).
    """
    import torch

    log_p = torch.log_softmax(logits.double(), dim=1)
    p = log_p.exp()
    own = labels[:, None]
    p_y = p.gather(1, own)
    # log(1 − p_j) through log1p; where p_j rounds to 1 it is bounded instead of −∞
    log_rest = torch.log1p(-p.clamp(max=1 - 1e-12)).scatter(1, own, 0.0)  # the true class is not in the second sum
    modified = -(1 - p_y) * log_p.gather(1, own) - (p * log_rest).sum(1, keepdim=True)
    features = {
        "confidence": p_y,
        "correctness": (logits.argmax(1, keepdim=True) == own).double(),
        "entropy": -(p * log_p).sum(1, keepdim=True),
        "modified_entropy": modified,
        "probabilities": p,
    }
    return {name: value.cpu().numpy() for name, value in features.items()}


TIE = 1e-9  # a decision value that is 0 but for rounding: the example is taken for a member, on any machine


def mia(member: np.ndarray, non_member: np.ndarray, forget: np.ndarray) -> float:
    """MIA efficacy: the share of the forget set that an SVC takes for non-members; 1 means perfectly forgotten.

    Features [n, d] (or [n]) of seen examples (a sample of R), of unseen ones (T) and of S. RBF kernel, C = 3, gamma 1/d
    ("auto"), as the authors.
    """
    import torch

    from mulnb.fast import svc

    seen, unseen, asked = (torch.as_tensor(x, dtype=torch.float64).reshape(len(x), -1) for x in (member, non_member, forget))
    labels = torch.cat([seen.new_ones(len(seen)), seen.new_full((len(unseen),), -1.0)])
    attack = svc.fit(torch.cat([seen, unseen]), labels, c=3.0, gamma=1 / seen.shape[1])
    return float((attack.decision(asked) < -TIE).double().mean())


def evaluate(
    model: nn.Module, train: Examples, test: Examples, forget: np.ndarray, retain: np.ndarray, seed: int
) -> dict[str, float]:
    """Accuracies on S, R and T and the efficacy of every attack, in eval mode.

    Keys: `acc_forget acc_retain acc_test mia` (mia: the headline attack, on confidence) and `mia_<attack>` for the others.
    The members shown to an attack are |T| retain examples drawn by `seed`: the same for an unlearned model and its oracle.
    """
    from mulnb import training

    logits, test_logits = training.predict(model, train), training.predict(model, test)
    correct = (logits.argmax(1) == train.labels).cpu().numpy()
    shown = np.random.default_rng(seed).permutation(retain)[: len(test)]
    seen, unseen = attack_features(logits, train.labels), attack_features(test_logits, test.labels)
    efficacy = {name: mia(seen[name][shown], unseen[name], seen[name][forget]) for name in ATTACKS}
    return {
        "acc_forget": float(correct[forget].mean()),
        "acc_retain": float(correct[retain].mean()),
        "acc_test": float((test_logits.argmax(1) == test.labels).double().mean()),
        "mia": efficacy.pop("confidence"),
        **{f"mia_{name}": value for name, value in efficacy.items()},
    }


def tow(unlearned: Mapping[str, float], oracle: Mapping[str, float], first: str = "acc_forget") -> float:
    """Tug-of-war: Π (1 − |difference to the oracle|) over S, R and T; 1 is a model that cannot be told from the oracle.

    Both arguments have the keys `acc_forget acc_retain acc_test`, as `evaluate` returns them.
    """
    product = 1.0
    for key in (first, "acc_retain", "acc_test"):
        product *= 1 - abs(unlearned[key] - oracle[key])
    return product


def tow_mia(unlearned: Mapping[str, float], oracle: Mapping[str, float]) -> float:
    """ToW with MIA efficacy on S in place of the accuracy on S."""
    return tow(unlearned, oracle, first="mia")
