"""A picture that can be clicked, dragged and used with the keyboard: HTML from Python, and the reader's actions back to Python.

ipywidgets shows HTML but does not report clicks inside it. `canvas.js` does: it sends the attribute `data-act` of the element
that was clicked, such as "image:12", and for a handle (`role="slider"`) where it was dragged to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

HERE = Path(__file__).parent


class Canvas(anywidget.AnyWidget):
    """Shows `html`; calls `on_act(name, arguments, message)` when the reader acts on it."""

    _esm = HERE / "canvas.js"
    _css = HERE / "style.css"
    html = traitlets.Unicode().tag(sync=True)

    def __init__(self, on_act: Callable[[str, list[str], dict[str, Any]], None] | None = None, basis: str = "100%") -> None:
        super().__init__(layout={"flex": f"1 1 {basis}", "min_width": "280px", "margin": "0"})
        self.on_act = on_act

        self.on_msg(lambda _widget, message, _buffers: self.act(**message))

    def act(self, act: str, **message: Any) -> None:
        """What a click on the element with this `data-act` does; a test calls it, too."""
        name, *arguments = act.split(":")
        try:
            if self.on_act is not None:
                self.on_act(name, arguments, message)
        finally:
            self.send({"done": True})  # the browser holds the next move of a drag back until this one is drawn
