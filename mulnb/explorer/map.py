"""The map of all examples: alike images near each other, the strata in their colours, and a lasso that selects examples."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from mulnb.core.vocabulary import STRATA
from mulnb.explorer import places
from mulnb.explorer.stock import Stock
from mulnb.forget import Strata

HERE = Path(__file__).parent
SELECTED = 4  # added to the group of an example that is selected; `map.js` knows it, too
ABOUT = (
    "Map of {count} examples. Draw a lasso around some with the pointer; or move the brush with the arrow keys, "
    "change its size with plus and minus, select what lies in it with Enter, and end with Escape."
)


class ExampleMap(anywidget.AnyWidget):
    """Draws every example as a point; calls `on_act(name, arguments, message)` when the reader selects some.

    The places are computed in a thread when the map is first shown.

    Args:
        on_act: gets "lasso" with the message's `path`, "image" with an example, or "all".
        on_placed: called in that thread with an exception, or with None when the places are there.
    """

    _esm = HERE / "map.js"
    _css = HERE / "style.css"
    points = traitlets.Bytes().tag(sync=True)  # uint16 [N, 2]
    groups = traitlets.Bytes().tag(sync=True)  # uint8 [N]: 0 retained, 1 … 3 the stratum; SELECTED is added
    about = traitlets.Unicode().tag(sync=True)  # what a screen reader says

    def __init__(
        self,
        stock: Stock,
        on_act: Callable[[str, list[str], dict[str, Any]], None],
        on_placed: Callable[[BaseException | None], None],
    ) -> None:
        super().__init__(layout={"display": "none", "margin": "0"})
        self.places: np.ndarray | None = None  # [N, 2]
        self.meaning = "The map is being made …"
        self._stock, self._on_act, self._on_placed = stock, on_act, on_placed
        self.thread: threading.Thread | None = None
        self.about = ABOUT.format(count=len(stock))
        self.on_msg(lambda _widget, message, _buffers: self.act(**message))

    def act(self, act: str, **message: Any) -> None:
        """What the reader did; a test calls it, too."""
        name, *arguments = act.split(":")
        self._on_act(name, arguments, message)

    def show(self, visible: bool) -> None:
        """Show or hide the map; the first time, begin to compute the places."""
        self.layout.display = "" if visible else "none"
        if visible and self.thread is None:
            self.thread = threading.Thread(target=self._place, name="mulnb-map", daemon=True)
            self.thread.start()

    def draw(self, chosen: Strata, selected: np.ndarray | None) -> None:
        """Colour the points of the strata, and mark those of the mask `selected` [N]."""
        groups = np.zeros(len(self._stock), np.uint8)
        for number, part in enumerate(chosen, 1):
            groups[part] = number
        if selected is not None:
            groups[selected] += SELECTED
        self.groups = groups.tobytes()

    def inside(self, path: list[list[float]]) -> np.ndarray:
        """The examples within a lasso, bool [N]; none as long as there are no places."""
        if self.places is None or len(path) < 3:
            return np.zeros(len(self._stock), dtype=bool)
        return places.inside(self.places, path)

    def _place(self) -> None:
        try:
            given = self._stock.places
            found = places.of_images(self._stock.images) if given is None else (places.unit(given), places.OWN)
            self.places, self.meaning = found
            self.points = (self.places * 65535).astype(np.uint16).tobytes()
        except Exception as error:
            self._on_placed(error)
        else:
            self._on_placed(None)


def counts(chosen: Strata, selected: np.ndarray) -> list[int]:
    """How many of the selected examples lie in low, medium, high and in no stratum."""
    found = [int(selected[part].sum()) for part in chosen]
    return [*found, int(selected.sum()) - sum(found)]


def controls(chosen: Strata, selected: np.ndarray | None, meaning: str) -> str:
    """The lines above the map: what its places mean, or what is selected and what can be done with it."""
    key = "".join(f'<span class="dot" style="background:var(--{name})"></span>{name} ' for name in STRATA)
    if selected is None or not selected.any():
        none = " Nothing lay in the lasso." if selected is not None else ""
        return f'<p class="note">{key}<span class="dot" style="background:var(--bar)"></span>retained. {meaning}{none}</p>'

    low, medium, high, retained = counts(chosen, selected)
    buttons = [f'<button data-act="moveall:{name}" aria-label="add to {name}">{name}</button>' for name in STRATA]
    if low + medium + high:
        buttons.append('or <button data-act="moveall:">drop from the set</button>')
    what = f"<b>{int(selected.sum())} selected</b>: {low} low, {medium} medium, {high} high, {retained} retained."
    return f'<p class="note" role="status">{what}<br>Add to {" ".join(buttons)}</p>'
