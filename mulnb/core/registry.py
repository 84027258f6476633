"""What there is to choose from: proxies, data sets, architectures and unlearning algorithms, by name.

A profile names them, so their names must be known without loading torch: they stand here. The module that implements a name
attaches its entry (`mulnb.proxies`, `mulnb.data.sources`, `mulnb.models`, `mulnb.unlearning`). One assignment from outside adds
an entry of your own:

    mulnb.unlearning.ALGORITHMS["mine"] = my_algorithm
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from typing import Any, TypeVar

from mulnb.core.errors import UserError, did_you_mean

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
        return [*self.builtin, *self.added]

    @property
    def added(self) -> dict[str, Entry]:
        """The entries from outside. A worker process has not run the code that added them, so they are sent to it."""
        return {name: entry for name, entry in self.items() if name not in self.builtin}

    def check(self, name: str, *more: str) -> None:
        """Reject a name that is not known.

        Args:
            name: the name a user gave.
            more: names that are valid besides those of the registry.

        Raises:
            UserError: `name` is unknown; the message names the nearest known name.
        """
        known = [*self.names, *more]
        if name not in known:
            raise UserError(f"unknown {self.kind} '{name}': {did_you_mean(name, known)}known are {', '.join(known)}")

    @property
    def versions(self) -> dict[str, str]:
        """A hash of the source of every entry from outside, for the keys of results.

        The package's own code is part of every key already (`store.code_version`).
        """
        return {name: hashlib.sha256(_source(entry).encode()).hexdigest()[:16] for name, entry in self.added.items()}


def _source(entry: Any) -> str:
    """The source text of a function, or of every function that a record holds; its `repr` where there is no source."""
    functions = [entry]
    if hasattr(entry, "__dataclass_fields__"):  # a `Proxy`, for example
        functions = [value for value in vars(entry).values() if callable(value)]

    try:
        return "\n".join(map(inspect.getsource, functions))
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

# Of the package's own, these can be trained as a stack of k small networks (`fast.stacked`).
STACKABLE_ARCHITECTURES = frozenset({"small_cnn"})
STACKABLE_ALGORITHMS = frozenset(ALGORITHMS.builtin) - {"influence"}

REGISTRIES = (PROXIES, DATASETS, ARCHITECTURES, ALGORITHMS)


def additions() -> list[dict[str, Any]]:
    """What was added from outside to each of `REGISTRIES`, by name, to be sent to a worker process."""
    return [registry.added for registry in REGISTRIES]


def adopt(found: list[dict[str, Any]]) -> None:
    """Add to the registries what `additions` found in another process."""
    for registry, entries in zip(REGISTRIES, found, strict=True):
        registry.update(entries)
