"""What there is to choose from: proxies, data sets, architectures and unlearning algorithms, by name.

A profile names them, so their names must be known without loading torch: they stand here. The module that implements a name
attaches its entry (`mulnb.proxies`, `mulnb.data.sources`, `mulnb.models`, `mulnb.unlearning`). One assignment from outside adds
an entry of your own:

    mulnb.unlearning.ALGORITHMS["mine"] = my_algorithm
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from mulnb.core.errors import UserError, did_you_mean, one_line
from mulnb.core.fingerprint import fingerprint, packed, plain_globals

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """Named things of one kind.

    Args:
        kind: what they are, for messages ("proxy").
        builtin: the names that this package brings; its modules attach the entries.
        reserved: names that mean something else.

    Attributes:
        check_entry: looks at an entry from outside, and raises `UserError` for one that cannot be used. The module that
            implements the package's own sets it.
        as_used: makes of an entry from outside what callers get.
    """

    def __init__(self, kind: str, builtin: Iterable[str], reserved: Iterable[str] = ()) -> None:
        super().__init__()
        self.kind = kind
        self.builtin = tuple(builtin)
        self.reserved = frozenset(reserved)
        self.check_entry: Callable[[str, Entry], None] | None = None
        self.as_used: Callable[[Entry], Entry] | None = None
        self._added_as: dict[str, str] = {}  # the fingerprint of each entry when it was added
        self._told: dict[str, str] = {}  # versions of entries that came from another process

    def attach(self, entries: Mapping[str, Entry]) -> None:
        """Add the package's own entries, for the module that implements them."""
        for name, entry in entries.items():
            super().__setitem__(name, entry)

    def __setitem__(self, name: str, entry: Entry) -> None:
        """Add an entry from outside. Raises `UserError` for a name that is taken, and for an entry that cannot be used."""
        if not isinstance(name, str) or not name.isprintable() or not name.strip() or "/" in name:
            raise UserError(f"{self.kind} {name!r}: give it a name on one line, without '/'")
        if name in self.builtin:
            raise UserError(f"{self.kind} '{name}' is mulnb's own: add yours under another name")
        if name in self.reserved:
            raise UserError(f"{self.kind} '{name}': the name means something else here: choose another")
        if self.check_entry is not None:
            self.check_entry(name, entry)

        self._told.pop(name, None)
        self._added_as[name] = fingerprint(entry)
        super().__setitem__(name, entry)

    def __getitem__(self, name: str) -> Entry:
        entry = super().__getitem__(name)
        return entry if self.as_used is None or name in self.builtin else self.as_used(entry)

    def update(self, *entries: Any, **named: Entry) -> None:
        for name, entry in dict(*entries, **named).items():
            self[name] = entry

    def __ior__(self, entries: Any) -> Registry[Entry]:  # type: ignore[override]
        self.update(entries)
        return self

    def setdefault(self, name: str, entry: Entry) -> Entry:  # type: ignore[override]
        if name not in self:
            self[name] = entry
        return self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, a function that reads a registry reads the one that is there."""
        return _registry, (self.kind,)

    @property
    def known_as(self) -> str:
        """What a fingerprint says of a registry."""
        return self.kind

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
        """A hash of what every entry from outside does, for the keys of results.

        The package's own code is part of every key already (`store.code_version`).
        """
        return {name: self._version(name) for name in self.added}

    def version(self, name: str) -> str | None:
        """The hash of one entry from outside; None for the package's own."""
        return self._version(name) if name in self.added else None

    def _version(self, name: str) -> str:
        if name in self._told:
            return self._told[name]
        return hashlib.sha256(f"{self._added_as.get(name)} {plain_globals(self.get(name))}".encode()).hexdigest()[:16]

    def adopt(self, entries: Mapping[str, Entry], versions: Mapping[str, str]) -> None:
        """Take entries of another process, with the versions that they have there; those that are here already stay."""
        for name, entry in entries.items():
            if self._told.get(name) != versions[name]:
                super().__setitem__(name, entry)
                self._told[name] = versions[name]


PROXIES: Registry[Any] = Registry(
    "proxy",
    [
        # the paper's
        *("confidence", "max_confidence", "entropy", "binary_accuracy", "holdout_retraining", "loss_curvature"),
        # not the paper's, at the same cost
        *("cumulative_loss", "el2n", "aum", "forgetting", "learning_time"),
    ],
    # the exact score, and what is stored beside the signals of a training
    reserved=["memorization", "margin", "margin_test", "correct"],
)
DATASETS: Registry[Any] = Registry("data set", ["digits", "cifar10", "cifar100", "tiny-imagenet", "folder"])
ARCHITECTURES: Registry[Any] = Registry("architecture", ["small_cnn", "resnet18", "resnet50", "vgg16_bn"])
ALGORITHMS: Registry[Any] = Registry(
    "unlearning algorithm",
    ["fine_tune", "influence", "l1_sparse", "neg_grad", "neg_grad_plus", "random_label", "retrain", "salun", "scrub"],
    reserved=["nothing"],  # the floor
)

# Of the package's own, these can be trained as a stack of k small networks (`fast.stacked`).
STACKABLE_ARCHITECTURES = frozenset({"small_cnn"})
STACKABLE_ALGORITHMS = frozenset(ALGORITHMS.builtin) - {"influence"}

REGISTRIES = (PROXIES, DATASETS, ARCHITECTURES, ALGORITHMS)


def _registry(kind: str) -> Registry[Any]:
    """The registry of this process with a kind."""
    return next(registry for registry in REGISTRIES if registry.kind == kind)


class Additions:
    """What was added from outside to each of `REGISTRIES`, to be sent to a worker process; pickled only then."""

    def __init__(self, added: list[dict[str, Any]], versions: list[dict[str, str]]) -> None:
        self.added, self.versions = added, versions

    @cached_property
    def _bytes(self) -> bytes:
        names, every = [], []
        for entries in self.added:
            names += entries
            every += entries.values()

        try:
            return packed(self.added, every)
        except Exception as error:  # it closes over a lock or an open file, for example
            raise UserError(
                f"{', '.join(names)}: cannot be sent to worker processes ({one_line(error)}): "
                "use --backend serial, or MULNB_BACKEND=serial"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        if not any(self.added):
            return Additions, (self.added, self.versions)
        return _unpacked, (self._bytes, self.versions)


def _unpacked(content: bytes, versions: list[dict[str, str]]) -> Additions:
    return Additions(pickle.loads(content), versions)


def additions() -> Additions:
    """What this process has added."""
    return Additions([registry.added for registry in REGISTRIES], [registry.versions for registry in REGISTRIES])


def adopt(found: Additions) -> None:
    """Add to the registries what `additions` found in another process."""
    for registry, entries, versions in zip(REGISTRIES, found.added, found.versions, strict=True):
        registry.adopt(entries, versions)
