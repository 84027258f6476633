"""Relearn time: how many epochs on the forget set alone until a model knows it again (METHOD §7b).

A model that has hidden what it knew learns it again sooner than an oracle, which never knew it. Compare with the oracle's number.
Seen on digits (half of S flipped, lr 0.01, batch 64): oracles need 20, 21 and 14 epochs, fine-tuned models 8, although
their accuracies on S differ by no more than .07 at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from mulnb.config import Recipe
    from mulnb.training import Examples

SHARE = 0.9  # of the original's accuracy on S


def relearn_epochs(
    model: nn.Module,
    train: Examples,
    forget: np.ndarray,
    recipe: Recipe,
    original_accuracy: float | Sequence[float],
    seed: int | Sequence[int],
    share: float = SHARE,
) -> float | list[float]:
    """Epochs of training on S until its accuracy is back to a share of the original model's.

    Only S is evaluated, after every epoch, in eval mode. The first epoch that reaches the target counts, even if a later one
    would fall below it again.

    Args:
        model: an unlearned model or an oracle, or a `Stack` of k of them; a copy is trained, this one is left as it is.
        train: the training set D.
        forget: positions of S in D, [n]; for a stack [k, n].
        recipe: how to train; `recipe.epochs` is the limit. A constant rate is meant: a schedule would depend on the limit.
        original_accuracy: the original model's accuracy on S, in [0, 1]; k of them for a stack.
        seed: of the order of the examples; use the same one for a model and its oracle. k seeds for a stack.
        share: of `original_accuracy`, the target.

    Returns:
        0 if the target is met without training, a whole number of epochs, infinity if the limit is not enough, and NaN if the
        training diverges: that is a matter of the recipe, not of the model. k of them for a stack, where a network that diverges
        counts as not relearned.
    """
    import torch

    from mulnb import training
    from mulnb.fast.stacked import Stack

    stacked = isinstance(model, Stack)
    index = torch.as_tensor(np.asarray(forget), dtype=torch.int64, device=train.device)
    target = share * np.atleast_1d(np.asarray(original_accuracy, dtype=np.float64))  # [k]
    learner = training.clone(model)
    reached = np.full(len(target), np.inf)

    def look(epochs: int) -> bool:
        """Note which networks know S after so many epochs; whether all of them do by now."""
        accuracy = _accuracy(learner, train, index)
        new = (accuracy >= target) & np.isinf(reached)
        reached[new] = epochs
        return not np.isinf(reached).any()

    if not look(0):
        try:
            training.fit(learner, train, recipe, seed, index=index, after_epoch=lambda epoch, loss: look(epoch + 1))
        except training.Diverged:
            reached[np.isinf(reached)] = np.nan
    return reached.tolist() if stacked else float(reached[0])


def _accuracy(model: nn.Module, train: Examples, index: Tensor) -> np.ndarray:
    """The share of S that each network gets right, [1] or [k]. Raises `Diverged` for a single network that did."""
    import torch

    from mulnb import training

    if index.dim() == 1:
        logits = training.predict(model, train, index)
    else:
        with torch.no_grad(), training.mode(model, training=False):
            pieces = [model(train.inputs(piece)).float() for piece in index.split(64, dim=1)]
        logits = torch.cat(pieces, 1)  # [k, n, K]
    correct = logits.argmax(-1) == train.labels[index]
    return np.atleast_1d(correct.cpu().double().mean(-1).numpy())  # on the CPU: some devices have no float64
