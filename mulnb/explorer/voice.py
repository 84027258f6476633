"""How widgets say what went wrong: an exception in a callback of a widget would be swallowed by Jupyter."""

from __future__ import annotations

import functools
import html
import traceback
from collections.abc import Callable

import ipywidgets as widgets

from mulnb.core.errors import UserError
from mulnb.explorer import svg


class Voice:
    """`message` is for the reader; tracebacks go to `errors`, where tests and the notebook runner look for them."""

    def __init__(self, errors: widgets.Output | None = None) -> None:
        self.message = widgets.HTML()
        self.errors = errors or widgets.Output()

    def say(self, words: str, bad: bool = False) -> None:
        """Show a message of HTML; an empty one shows nothing."""
        self.message.value = svg.page(f'<p class="{"bad" if bad else "note"}" role="status">{words}</p>') if words else ""

    def failed(self, error: BaseException) -> None:
        """A user's mistake becomes a message; any other exception is our fault and shows its traceback."""
        if isinstance(error, UserError):
            self.say(html.escape(str(error)), bad=True)
            return
        text = "".join(traceback.format_exception(error))
        # appended as data: an Output captures what the kernel's main thread prints, and no other thread
        self.errors.outputs += ({"output_type": "stream", "name": "stderr", "text": text},)
        self.say("This is a fault of the explorer; the traceback is below.", bad=True)

    def guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        """`callback`, with its exceptions reported here."""

        @functools.wraps(callback)
        def guarded(*args: object) -> None:
            try:
                callback(*args)
            except Exception as error:
                self.failed(error)

        return guarded
