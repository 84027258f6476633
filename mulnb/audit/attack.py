"""The SVC membership inference attack of the paper: does a classifier take the forget set for unseen data? (METHOD §7)

The attack sees one model only. It is trained on examples that the model was trained on (a sample of R) against examples that
it never saw (T), and is then asked about S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mulnb.fast import svc

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

ATTACKS = ("confidence", "correctness", "entropy", "modified_entropy", "probabilities")

# A decision value this near to 0 is 0 but for rounding: the example counts as a member, on every machine.
TIE = 1e-9


def attack_features(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """What each attack looks at.

    Args:
        logits: [n, K], of one model.
        labels: int64 [n], the true classes.

    Returns:
        By the names in `ATTACKS`, float64 [n, d]: d = K for `probabilities`, else 1. Modified entropy is
        −(1 − p_y)·log p_y − Σ_{j≠y} p_j·log(1 − p_j) (Song & Mittal 2021, eq. 8).
    """
    import torch

    log_p = torch.log_softmax(logits.double(), dim=1)  # [n, K]
    p = log_p.exp()
    own = labels[:, None]  # [n, 1]
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


def mia(member: np.ndarray, non_member: np.ndarray, forget: np.ndarray) -> float:
    """MIA efficacy: the share of the forget set that the SVC takes for non-members.

    The classifier is the authors': RBF kernel, C = 3, gamma = 1/d ("auto").

    Args:
        member: features [n, d] (or [n]) of examples that the model was trained on, a sample of R.
        non_member: features of examples that it never saw, T.
        forget: features of S.

    Returns:
        A share in [0, 1]; 1 means that all of S looks unseen.

    Raises:
        ArithmeticError: a feature is not finite.
    """
    seen, unseen, asked = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (member, non_member, forget))
    labels = np.repeat([1.0, -1.0], [len(seen), len(unseen)])

    classifier = svc.fit(np.concatenate([seen, unseen]), labels, c=3.0, gamma=1 / seen.shape[1])

    return float((classifier.decision(asked) < -TIE).mean())
