"""Retraining from scratch without the forget set: exact unlearning, and the oracle that other algorithms are compared with.

loss = CE(R), from an untrained network
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Examples, fit


def retrain(
    model: nn.Module | None,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed,
    fresh: Callable[[Any], nn.Module] | None = None,
    **recipe,
) -> nn.Module:
    """Train a new network on R by the original model's recipe.

    Args:
        model: not used.
        data: the training examples D.
        forget: not used.
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the initial weights and the order of R; k of them for a stack.
        fresh: builds an untrained network from a seed; for a list of k seeds, a `Stack` of k networks.
        **recipe: fields of `config.Recipe`.

    Returns:
        The trained network.

    Raises:
        UserError: there is no `fresh`.
    """
    if fresh is None:
        raise UserError("retrain needs `fresh`, a function seed → untrained network of the same architecture")
    return fit(fresh(seed).to(data.device), data, Recipe(**recipe), seed, index=retain)
