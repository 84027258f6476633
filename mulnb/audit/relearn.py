"""Relearn time: how many epochs on the forget set alone until a model knows it again (METHOD §7b).

A model that has hidden what it knew learns it again sooner than an oracle, which never knew it. Compare with the oracle's number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import, and is only needed where a model is at hand
    from torch import nn

    from mulnb.config import Recipe
    from mulnb.training import Examples

SHARE = 0.9  # of the original's accuracy on S


def relearn_epochs(
    model: nn.Module,
    train: Examples,
    forget: np.ndarray,
    recipe: Recipe,
    original_accuracy: float,
    seed: int,
    share: float = SHARE,
) -> float:
    """Epochs of training on S until its accuracy is back to a share of the original model's.

    Only S is evaluated, after every epoch, in eval mode. The first epoch that reaches the target counts, even if a later one
    would fall below it again.

    Args:
        model: an unlearned model or an oracle; a copy is trained, this one is left as it is.
        train: the training set D.
        forget: positions of S in D.
        recipe: how to train; `recipe.epochs` is the limit. A constant rate is meant: a schedule would depend on the limit.
        original_accuracy: the original model's accuracy on S, in [0, 1].
        seed: of the order of the examples; use the same one for a model and its oracle.
        share: of `original_accuracy`, the target.

    Returns:
        0 if the target is met without training, a whole number of epochs, infinity if the limit is not enough, and NaN if the
        training diverges: that is a matter of the recipe, not of the model.
    """
    import torch

    from mulnb import training

    index = torch.as_tensor(np.asarray(forget), dtype=torch.int64, device=train.device)
    target = share * original_accuracy
    learner = training.clone(model)

    def knows_it() -> bool:
        correct = training.predict(learner, train, index).argmax(1) == train.labels[index]
        return float(correct.cpu().double().mean()) >= target  # on the CPU: some devices have no float64

    if knows_it():
        return 0.0

    reached = math.inf

    def after_epoch(epoch: int, _mean_loss: float) -> bool:
        nonlocal reached
        if knows_it():
            reached = float(epoch + 1)
        return math.isfinite(reached)

    try:
        training.fit(learner, train, recipe, seed, index=index, after_epoch=after_epoch)
    except training.Diverged:
        return math.nan

    return reached
