"""RUM, the refined-unlearning meta-algorithm, and its controls (Zhao et al. 2024, arXiv 2406.01257; METHOD §5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mulnb.config import STRATEGIES
from mulnb.core import workers
from mulnb.core.errors import UserError
from mulnb.forget import Strata
from mulnb.training import Diverged, Examples, clone
from mulnb.unlearning import ALGORITHMS, check

Settings = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Unlearned:
    model: nn.Module
    seconds: float  # of the algorithm alone: scoring and evaluation are not in it


def stages(strata: Strata, strategy: str, seed: int) -> list[np.ndarray]:
    """What is unlearned, stage by stage.

    `vanilla`: S at once. `rum_f` and `rum`: low, then medium, then high. `shuffle`: three random parts of S of the same sizes,
    the control for having more stages.
    """
    if strategy == "vanilla":
        return [strata.forget]
    if strategy in {"rum_f", "rum"}:
        return list(strata)
    if strategy == "shuffle":
        mixed = np.random.default_rng(seed).permutation(strata.forget)
        return np.split(mixed, np.cumsum([len(part) for part in strata])[:-1])
    raise UserError(f"unknown strategy '{strategy}': known are {', '.join(STRATEGIES)}")


def unlearn(
    model: nn.Module,
    data: Examples,
    strata: Strata,
    *,
    algorithm: str | Sequence[str | None],
    strategy: str,
    settings: Settings | None = None,
    seed: int,
    fresh: Callable[[int], nn.Module] | None = None,
    present: np.ndarray | None = None,
    retain_later_strata: bool = True,
) -> Unlearned:
    """Unlearn S = low ∪ medium ∪ high from a copy of `model`; the model given is not changed.

    `algorithm`: a name, or for the strategy `rum` one for each stratum, where None leaves the model as it is. `settings`: its
    keyword arguments, once for all stages or a list with one mapping a stage. `present` bool [N]: what `model` still contains
    (all of `data` by default; in sequential unlearning, D minus the sets before). The retain set of a stage is what is present
    minus the stages so far; without `retain_later_strata` it is minus all of S.
    Raises `UserError` for an unknown strategy, algorithm or setting, or a list that does not fit the stages.
    """
    parts = stages(strata, strategy, seed)
    names, per_stage = _algorithms(algorithm, strategy, len(parts)), _per_stage(settings or {}, len(parts))
    for name, one in zip(names, per_stage, strict=True):
        if name is not None:
            check(name, one)
    kept = np.ones(len(data), dtype=bool) if present is None else present.copy()
    if not retain_later_strata:
        kept[strata.forget] = False
    model = clone(model)
    started = time.perf_counter()
    for number, (part, name, one) in enumerate(zip(parts, names, per_stage, strict=True)):
        kept[part] = False
        if name is None:  # what was hardly memorized is forgotten with the rest (METHOD §5, the authors' choice for `low`)
            continue
        forget, retain = (torch.from_numpy(index).to(data.device) for index in (part, np.flatnonzero(kept)))
        try:
            model = ALGORITHMS[name](model, data, forget, retain, seed=seed + 7919 * number, fresh=fresh, **one)
        except Diverged as error:
            where = f"{name}, stage {number + 1} of {len(parts)} ({len(part)} examples)"
            raise Diverged(f"{where}: {error}") from None
    workers.synchronise()
    return Unlearned(model, time.perf_counter() - started)


def _algorithms(algorithm: str | Sequence[str | None], strategy: str, count: int) -> list[str | None]:
    if isinstance(algorithm, str):
        return [algorithm] * count
    if strategy != "rum":
        raise UserError(f"strategy '{strategy}' runs one algorithm: only 'rum' takes one for each stratum")
    if len(algorithm) != count:
        raise UserError(f"{len(algorithm)} algorithms for {count} strata: give one for each, None to do nothing")
    return list(algorithm)


def _per_stage(settings: Settings, count: int) -> list[Mapping[str, Any]]:
    if isinstance(settings, Mapping):
        return [settings] * count
    if len(settings) != count:
        raise UserError(f"{len(settings)} sets of settings for {count} stages: give one for all, or one a stage")
    return list(settings)
