"""The explorer's form controls: drop-downs, rows, and the three sizes that may be kept equal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets
import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA, label
from mulnb.explorer.voice import Voice

FIELD_WIDTHS = {"low": "125px", "medium": "155px", "high": "130px"}


def dropdown(options: list, about: str, width: str) -> widgets.Dropdown:
    """Names are shown in the field's spelling; `value` is the name itself."""
    named = [(label(option) if isinstance(option, str) else str(option), option) for option in options]
    return widgets.Dropdown(options=named, description=about, style={"description_width": "initial"}, layout={"width": width})


def row(*children: widgets.Widget, **layout: str) -> widgets.Box:
    """Widgets side by side, wrapped where the page is narrow."""
    return widgets.Box(children, layout={"flex_flow": "row wrap", "align_items": "center", **layout})


def offered(what: str, value: Any, choices: list) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    # a list or an array is never offered, and `in` would ask it for a truth value
    if not isinstance(value, (str, int, np.integer)) or isinstance(value, bool) or value not in choices:
        raise UserError(f"{what} {value!r} is not offered here: choose one of {', '.join(map(str, choices))}")


class Sizes:
    """A number field for the size of each stratum, and a check box that keeps them equal.

    Args:
        changed: called when the user or `resize` has changed a size.
    """

    def __init__(self, changed: Callable[[], None], voice: Voice) -> None:
        self.changed = changed
        self._quiet = False
        self.equal = widgets.Checkbox(True, description="equal sizes", indent=False, layout={"width": "100px"})
        self.equal.observe(voice.guard(self._on_equal), "value")

        self.fields: dict[str, widgets.BoundedIntText] = {}
        for name in STRATA:
            field = widgets.BoundedIntText(
                min=1,
                description=f"size: {name}",
                style={"description_width": "initial"},
                layout={"width": FIELD_WIDTHS[name]},
            )
            field.observe(voice.guard(functools.partial(self._on_size, name)), "value")
            self.fields[name] = field

    @property
    def values(self) -> list[int]:
        """The sizes of low, medium and high."""
        return [field.value for field in self.fields.values()]

    def begin(self, size: int, limit: int) -> None:
        """The first sizes, and the largest ones that can be chosen."""
        with self._quietly():
            for field in self.fields.values():
                field.max = limit
                field.value = min(size, limit)

    def set(self, sizes: Mapping[str, int], equal: bool | None = None) -> None:
        """Set all sizes, and the check box if `equal` is given."""
        with self._quietly():
            if equal is not None:
                self.equal.value = equal
            for name, field in self.fields.items():
                field.value = sizes[name]
        self.changed()

    def resize(self, name: str, size: int) -> None:
        """Another size of one stratum, or of all where they are kept equal."""
        # with equal sizes, the field that moved takes the others along
        sizes = {}
        for other, field in self.fields.items():
            sizes[other] = size if self.equal.value or other == name else field.value
        self.set(sizes)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Ignore the events of fields that are set from here: they are those of fields set by the user."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _on_size(self, name: str, change: Any) -> None:
        if not self._quiet:
            self.resize(name, change["new"])

    def _on_equal(self, change: Any) -> None:
        if change["new"] and not self._quiet:
            self.set(dict.fromkeys(STRATA, self.fields["low"].value))
