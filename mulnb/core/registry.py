"""What there is to choose from: proxies, data sets, architectures and unlearning algorithms, by name.

A profile names them, so their names must be known without loading torch: they stand here. What a name means is attached by the
module that owns it (`mulnb.proxies`, `mulnb.data.sources`, `mulnb.models`, `mulnb.unlearning`). One assignment from outside adds
one of your own:

    mulnb.unlearning.ALGORITHMS["mine"] = my_algorithm
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Iterable
from typing import Any, TypeVar

from mulnb.core.errors import UserError

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """Named things of one kind.

    Args:
        kind: what they are, for messages ("proxy").
        builtin: the names that this package brings; its modules attach the entries.
    """

    def __init__(self, kind: str, builtin: Iterable[str]) -> None:
        super().__init__()
        self.kind = kind
        self.builtin = tuple(builtin)

    @property
    def names(self) -> list[str]:
        """Every name that may be used: those of the package first, then those that were added."""
        return [*self.builtin, *(name for name in self if name not in self.builtin)]

    @property
    def added(self) -> dict[str, Entry]:
        """The entries from outside. Worker processes do not import what made them, so they are sent along."""
        return {name: entry for name, entry in self.items() if name not in self.builtin}

    def check(self, name: str) -> None:
        """Raises `UserError` with the nearest name unless `name` is known."""
        if name in self.names:
            return
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"unknown {self.kind} '{name}': {hint}known are {', '.join(self.names)}")

    def version(self, name: str) -> str | None:
        """A hash of the source of an entry from outside, for keys of results; None for an entry of the package.

        The package's own code is part of every key already (`store.code_version`).
        """
        if name not in self.added:
            return None
        return hashlib.sha256(_source(self[name]).encode()).hexdigest()[:16]


def _source(entry: Any) -> str:
    """The source text of a function, or of every function that a record holds; its `repr` where there is no source."""
    functions = (
        [value for value in vars(entry).values() if callable(value)] if hasattr(entry, "__dataclass_fields__") else [entry]
    )
    try:
        return "\n".join(inspect.getsource(function) for function in functions)
    except (OSError, TypeError):
        return repr(entry)


PROXIES: Registry[Any] = Registry(
    "proxy",
    [
        # the paper's
        *("confidence", "max_confidence", "entropy", "binary_accuracy", "holdout_retraining", "loss_curvature"),
        # not the paper's, at the same cost
        *("cumulative_loss", "el2n", "aum", "forgetting", "learning_time"),
    ],
)
DATASETS: Registry[Any] = Registry("data set", ["digits", "cifar10", "cifar100", "tiny-imagenet", "folder"])
ARCHITECTURES: Registry[Any] = Registry("architecture", ["small_cnn", "resnet18", "resnet50", "vgg16_bn"])
ALGORITHMS: Registry[Any] = Registry(
    "unlearning algorithm",
    ["fine_tune", "influence", "l1_sparse", "neg_grad", "neg_grad_plus", "random_label", "retrain", "salun", "scrub"],
)
# Of the package's, these can be trained as a stack of k small networks (`fast.stacked`).
STACKABLE_ARCHITECTURES = frozenset({"small_cnn"})
STACKABLE_ALGORITHMS = frozenset(ALGORITHMS.builtin) - {"influence"}
REGISTRIES = (PROXIES, DATASETS, ARCHITECTURES, ALGORITHMS)


def additions() -> list[dict[str, Any]]:
    """What was added to each registry, in the order of `REGISTRIES`: plain data for a worker process."""
    return [registry.added for registry in REGISTRIES]


def adopt(found: list[dict[str, Any]]) -> None:
    """Add what another process had added."""
    for registry, entries in zip(REGISTRIES, found, strict=True):
        registry.update(entries)
