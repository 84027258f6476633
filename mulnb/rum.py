"""RUM, the refined-unlearning meta-algorithm, and its controls (Zhao et al. 2024, arXiv 2406.01257; METHOD §5).

S is unlearned in stages: low, then medium, then high memorization. Each stage runs an unlearning algorithm on the model that the
stage before left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mulnb.config import STRATEGIES
from mulnb.core import workers
from mulnb.core.errors import UserError
from mulnb.fast.stacked import Stack
from mulnb.forget import Strata
from mulnb.training import Diverged, Examples, clone
from mulnb.unlearning import ALGORITHMS, check

Settings = Mapping[str, Any] | Sequence[Mapping[str, Any]]
OWN = frozenset(ALGORITHMS.builtin)  # the package's algorithms
STAGE_SEED = 7919  # added to the seed from stage to stage


@dataclass(frozen=True)
class Unlearned:
    """The result of unlearning."""

    model: nn.Module
    seconds: float  # of the algorithm, without scoring and evaluation
    passes_retain: np.ndarray  # training passes over R = D minus S, [] or [k]
    passes_forget: np.ndarray  # training passes over S, [] or [k]


def stages(strata: Strata, strategy: str, seed: int) -> list[np.ndarray]:
    """What is unlearned, stage by stage (METHOD §5).

    Args:
        strata: S as low, medium and high.
        strategy: `vanilla`: S at once. `rum_f` and `rum`: low, then medium, then high. Three controls: `shuffle` (three random
            parts of S of the same sizes: more stages, no order), `repeat` (S three times over: as many stages, no refinement)
            and `nothing` (no stage at all).
        seed: draws the parts of `shuffle`, ≥ 0.

    Returns:
        Indices of each stage, int64.

    Raises:
        UserError: an unknown strategy.
    """
    if strategy == "nothing":
        return []
    if strategy == "vanilla":
        return [strata.forget]
    if strategy == "repeat":
        return [strata.forget] * 3
    if strategy in {"rum_f", "rum"}:
        return list(strata)
    if strategy == "shuffle":
        mixed = np.random.default_rng(seed).permutation(strata.forget)
        sizes = [len(part) for part in strata]
        return np.split(mixed, np.cumsum(sizes)[:-1])
    raise UserError(f"unknown strategy '{strategy}': known are {', '.join(STRATEGIES)}")


def unlearn(
    model: nn.Module,
    data: Examples,
    strata: Strata | Sequence[Strata],
    *,
    algorithm: str | Sequence[str | None],
    strategy: str,
    settings: Settings | None = None,
    seed: int | Sequence[int],
    fresh: Callable[[Any], nn.Module] | None = None,
    present: np.ndarray | None = None,
    retain_later_strata: bool = True,
) -> Unlearned:
    """Unlearn S = low ∪ medium ∪ high from a copy of `model`; the model given is not changed.

    Args:
        model: a network, or a `Stack` of k networks.
        data: the training examples D.
        strata: what to forget; for a stack k of them, with strata of the same sizes.
        algorithm: a name, or for the strategy `rum` one for each stratum, where None leaves the model as it is.
        strategy: see `stages`.
        settings: keyword arguments of the algorithm, once for all stages or a list with one mapping a stage.
        seed: of the algorithm and of `shuffle`; k seeds for a stack.
        fresh: builds an untrained network, for the algorithm `retrain`.
        present: bool [N] or [k, N], what `model` still contains (all of `data` by default; in sequential unlearning, D minus the
            sets before). The retain set of a stage is what is present minus the stages so far.
        retain_later_strata: False takes all of S out of every retain set.

    Returns:
        The unlearned model, and what it took.

    Raises:
        UserError: an unknown strategy, algorithm or setting, or a list that does not fit the stages.
    """
    stacked = isinstance(model, Stack)
    sets = list(strata) if stacked else [strata]
    seeds = list(seed) if stacked else [seed]

    parts = []  # by network, then by stage
    for own, own_seed in zip(sets, seeds, strict=True):
        parts.append(stages(own, strategy, own_seed))

    # reject what does not fit before anything is trained
    count = len(parts[0])
    names, per_stage = _algorithms(algorithm, strategy, count), _per_stage(settings or {}, count)
    for name, stage_settings in zip(names, per_stage, strict=True):
        if name is not None:
            check(name, stage_settings)

    kept = np.ones((len(sets), len(data)), dtype=bool)  # [k, N], what is still to be retained
    if present is not None:
        kept &= present
    member = np.zeros_like(kept)  # [k, N], whether an example is in S
    for row, own in enumerate(sets):
        member[row, own.forget] = True
    if not retain_later_strata:
        kept &= ~member

    def index(rows: list[np.ndarray]) -> Tensor:
        """Indices of one network [n], or of all networks of a stack [k, n], on the device."""
        return torch.from_numpy(np.stack(rows) if stacked else rows[0]).to(data.device)

    reads = _Reads(data, member, stacked)
    model = clone(model)

    started = time.perf_counter()
    for number, (name, stage_settings) in enumerate(zip(names, per_stage, strict=True)):
        forget = [own[number] for own in parts]
        for row, part in enumerate(forget):
            kept[row, part] = False

        if name is None:  # hardly memorized examples go with the others (METHOD §5, the authors' choice for `low`)
            continue

        retain = [np.flatnonzero(row) for row in kept]
        shifted = [own + STAGE_SEED * number for own in seeds]
        guard = None if name in OWN else _Guard(name, model, data)
        returned = None
        try:
            returned = ALGORITHMS[name](
                model,
                reads,
                index(forget),
                index(retain),
                seed=shifted if stacked else shifted[0],
                fresh=fresh,
                **stage_settings,
            )
        except Diverged as error:
            where = f"{name}, stage {number + 1} of {count} ({len(forget[0])} examples)"
            raise Diverged(f"{where}: {error}") from None
        finally:
            changed = guard.put_back() if guard else None
        if guard is not None:
            guard.check(returned, changed)
        model = returned

    workers.synchronise()  # a GPU may still be at work
    return Unlearned(model, time.perf_counter() - started, *reads.passes())


class _Reads:
    """The examples as an algorithm reads them, with a count of how often training read R and S."""

    def __init__(self, data: Examples, member: np.ndarray, stacked: bool) -> None:
        self._data, self._stacked = data, stacked
        self._member = torch.from_numpy(member).to(data.device)  # bool [k, N], in S
        self._forget = torch.zeros(len(member), dtype=torch.int64, device=data.device)  # [k], examples of S read so far
        self._all = torch.zeros_like(self._forget)  # [k], all examples read so far

    def __getattr__(self, name: str) -> Any:
        """Everything else is as in the examples themselves."""
        return getattr(self._data, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """An algorithm that sets `data.labels` would change what the stages after it read."""
        if not name.startswith("_"):
            raise UserError(f"an algorithm sets data.{name}, which all stages share: keep the change in a name of its own")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self._data)

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        """As `Examples.inputs`. Reads without a gradient, e.g. for a teacher's outputs, are not counted."""
        if torch.is_grad_enabled():
            rows = index if self._stacked else index[None]  # [k, B]
            self._forget += self._member.gather(1, rows).sum(1)
            self._all += rows.shape[1]
        return self._data.inputs(index, moves)

    def passes(self) -> tuple[np.ndarray, np.ndarray]:
        """Passes over R and over S, [] each, or [k] for a stack."""
        members = self._member.sum(1)  # [k], |S|
        retain = (self._all - self._forget) / (len(self._data) - members).clamp(min=1)
        forget = self._forget / members.clamp(min=1)

        retain = retain.cpu().numpy().astype(np.float64)
        forget = forget.cpu().numpy().astype(np.float64)
        return (retain, forget) if self._stacked else (retain[0], forget[0])


class _Guard:
    """Sees that an algorithm from outside gives back such a network as it got, and leaves the examples as they were."""

    def __init__(self, name: str, model: nn.Module, data: Examples) -> None:
        self._name, self._data = name, data
        self._state = _state(model)

        self._kept = {"labels": data.labels.clone()}
        if isinstance(getattr(data, "images", None), Tensor):  # a user's own data set is read item by item
            self._kept["images"] = data.images.clone()

    def put_back(self) -> str | None:
        """Undo what it did to the examples, also where it failed; what that was, if anything."""
        changed = None
        for what, before in self._kept.items():
            now = getattr(self._data, what)
            if not torch.equal(before, now):
                now.copy_(before)
                changed = what
        return changed

    def check(self, model: Any, changed: str | None) -> None:
        """Raises `UserError` if it changed the examples, or returned another network."""
        if changed:
            raise UserError(f"algorithm '{self._name}' changes the {changed} that all runs share: change a copy of them")

        if not isinstance(model, nn.Module):
            raise UserError(f"algorithm '{self._name}' returns a {type(model).__name__}: return the network")
        if _state(model) != self._state:
            raise UserError(f"algorithm '{self._name}' returns another network: expected the one it got, with other weights")


def _state(model: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and kind of every weight of a network."""
    return {name: (value.shape, value.dtype) for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _algorithms(algorithm: str | Sequence[str | None], strategy: str, count: int) -> list[str | None]:
    """One name for each stage."""
    if isinstance(algorithm, str):
        return [algorithm] * count
    if strategy != "rum":
        raise UserError(f"strategy '{strategy}' runs one algorithm: only 'rum' takes one for each stratum")
    if len(algorithm) != count:
        raise UserError(f"{len(algorithm)} algorithms for {count} strata: give one for each, None to do nothing")
    return list(algorithm)


def _per_stage(settings: Settings, count: int) -> list[Mapping[str, Any]]:
    """One set of settings for each stage."""
    if isinstance(settings, Mapping):
        return [settings] * count
    if len(settings) != count:
        raise UserError(f"{len(settings)} sets of settings for {count} stages: give one for all, or one a stage")
    return list(settings)
