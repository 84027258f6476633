"""The oracle: train from scratch without the forget set. Exact, and the reference of every other algorithm."""

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
    """A new network trained on R with the original model's own recipe (fields of `config.Recipe`); `model` is not looked at.

    For a list of k seeds, `fresh(seeds)` must build a `Stack` of k networks.
    """
    if fresh is None:
        raise UserError("retrain needs `fresh`, a function seed → untrained network of the same architecture")
    return fit(fresh(seed).to(data.device), data, Recipe(**recipe), seed, index=retain)
