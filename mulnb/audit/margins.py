"""The logit margin: the log-odds of the true class, log(p_y / (1 − p_y)), computed from logits.

It is the one number per model and example that the store keeps: LiRA, RMIA and KLoM read nothing else. From logits, it does not
lose what a probability near 1 loses (Carlini et al. 2022, arXiv 2112.03570, §VI).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

LARGEST = 6e4  # margins are stored in float16, which ends at 65 504


def log_odds(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Margins z_y − log Σ_{j≠y} exp z_j of one model or of k models.

    Args:
        logits: [n, K], or [k, n, K].
        labels: int64 [n], the true classes.

    Returns:
        float16 [n] or [k, n], within ±60 000. Above 0: the true class is more probable than all others together.
    """
    import torch

    truth = labels.expand(logits.shape[:-1])[..., None]  # [..., n, 1]
    true_logit = logits.gather(-1, truth).squeeze(-1)  # [..., n]
    others = logits.scatter(-1, truth, -torch.inf).logsumexp(-1)
    margin = (true_logit - others).clamp(-LARGEST, LARGEST)

    return margin.cpu().numpy().astype(np.float16)


def probability(margin: np.ndarray) -> np.ndarray:
    """The softmax probability of the true class, float64: the sigmoid of the margin, exactly.

    Args:
        margin: of any shape.

    Returns:
        float64 of the same shape, in [0, 1].
    """
    from scipy.special import expit

    return expit(np.asarray(margin, dtype=np.float64))
