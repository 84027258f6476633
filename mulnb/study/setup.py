"""What all experiments of a profile share: its data on the device, an untrained network, the common part of every key."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb.config import Profile
from mulnb.core import store
from mulnb.data import Splits, load_data
from mulnb.study.jobs import once

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn

    from mulnb.training import Examples


@dataclass(frozen=True)
class Bench:
    """A profile's data on the device, and how to make an untrained network for them."""

    splits: Splits
    train: Examples
    holdout: Examples
    test: Examples
    fresh: Callable[[int], nn.Module]


@once
def splits(profile: Profile) -> Splits:
    """The profile's data, loaded once a process."""
    return load_data(profile)


@once
def bench(profile: Profile) -> Bench:
    """The profile's data on the device, once a process."""
    from mulnb import models, training

    data = splits(profile)
    spec = {"num_classes": len(data.train.classes), "in_channels": data.train.images.shape[1]}

    def fresh(seed: int) -> nn.Module:
        return models.build(profile.model.arch, width=profile.model.width, stem=profile.model.stem, seed=seed, **spec)

    return Bench(data, *(training.examples(part, data) for part in (data.train, data.holdout, data.test)), fresh)


def key_parts(profile: Profile, *modules: str) -> dict[str, Any]:
    """The part of a key that says which data, which network, and which code."""
    data = splits(profile)
    return {
        "data": [data.fingerprint, data.mean, data.std],
        "model": profile.model,
        "code": store.code_version("fast.graphs", "models", "training", *modules),
    }


ALGORITHM_FILES = Path(__file__).parents[1] / "unlearning"


def algorithm_version(name: str) -> str:
    """A hash of what an unlearning algorithm does: results are keyed by it, and only an edited algorithm runs again."""
    if (ALGORITHM_FILES / f"{name}.py").is_file():  # told from its file: torch takes seconds to import
        return store.code_version(*sorted(f"unlearning.{file}" for file in _with_imports(name)))
    from mulnb import unlearning

    unlearning.check(name, {})
    try:
        return store.digest(inspect.getsource(unlearning.ALGORITHMS[name]))
    except (OSError, TypeError):  # a callable without a source file
        return store.digest(repr(unlearning.ALGORITHMS[name]))


def _with_imports(name: str) -> set[str]:
    """An algorithm's file and those of the same folder that it builds on."""
    found = {name}
    for node in ast.walk(ast.parse((ALGORITHM_FILES / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mulnb.unlearning."):
            found |= _with_imports(node.module.rsplit(".", 1)[1])
    return found


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {f"weights/{name}": value.cpu().numpy() for name, value in model.state_dict().items()}


def restore(profile: Profile, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    import torch

    here = bench(profile)
    model = here.fresh(0).to(here.train.device)
    prefix = "weights/"
    model.load_state_dict(
        {key[len(prefix) :]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith(prefix)}
    )
    return model
