"""The pane beside the histogram: tabs with what the strata are, one example enlarged, and the map of all examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np

from mulnb.explorer import images, pictures, selection, svg
from mulnb.explorer import map as maps
from mulnb.explorer.canvas import Canvas
from mulnb.explorer.stock import Stock
from mulnb.explorer.voice import Voice
from mulnb.forget import Strata


class Shown(NamedTuple):
    """What the pane draws: the choice and what is known of it."""

    chosen: Strata
    means: np.ndarray | None  # mean memorization of the strata and its error [3, 2]
    truth: Strata | None  # the strata of exact memorization, of the same sizes
    curves: tuple[np.ndarray, np.ndarray] | None  # of `Ranking.growth`
    seed: int  # of the scores
    selected: np.ndarray | None  # the lasso's examples, bool [N]
    probability: images.Probability


class Aside:
    """The tabs, and the one that is open.

    Args:
        on_act: what a click does, also one into the map.
        redraw: called when the map has its places.
    """

    def __init__(self, stock: Stock, on_act: Callable[..., None], redraw: Callable[[], None], voice: Voice) -> None:
        self.stock, self.redraw, self.voice = stock, redraw, voice
        self.tab = "growth" if stock.memorization is not None else "classes"
        self.enlarged: int | None = None

        self.canvas = Canvas(voice.guard(on_act))
        self.map = maps.ExampleMap(stock, voice.guard(on_act), self._on_placed)
        self.view = widgets.VBox([self.canvas, self.map], layout={"flex": "1 1 34%", "min_width": "280px", "margin": "0"})

    def open(self, tab: str) -> None:
        """Turn to a tab."""
        self.tab = tab
        self.map.show(tab == "map")

    def draw(self, shown: Shown) -> None:
        """Draw the open tab."""
        titles = {"classes": "Classes", "map": "Map", "example": "Example"}
        if shown.means is not None:
            titles = {"growth": "Size", "agreement": "Memorized?", **titles}
        self.canvas.html = svg.page(pictures.tabs(titles, self.tab, self._body(shown)))
        if self.tab == "map":
            self.map.draw(shown.chosen, shown.selected)

    def _body(self, shown: Shown) -> str:
        data, chosen = self.stock, shown.chosen
        if self.tab == "growth":
            return pictures.growth(*shown.curves, chosen, shown.means)
        if self.tab == "agreement":
            return pictures.agreement(selection.overlap(chosen, shown.truth, len(data)), shown.means)
        if self.tab == "classes":
            counts = selection.class_counts(chosen, data.labels, len(data.classes))
            everywhere = np.bincount(data.labels, minlength=len(data.classes))
            return pictures.class_balance(counts, everywhere, data.classes)
        if self.tab == "map":
            return maps.controls(chosen, shown.selected, self.map.meaning)
        return images.enlarged(data, shown.seed, chosen, self.enlarged, shown.probability)

    def _on_placed(self, error: BaseException | None) -> None:
        # this runs in the map's thread
        if error is not None:
            self.voice.failed(error)
            return
        self.voice.guard(self.redraw)()
