"""Progress of a long call: what is being done, how much of it, the time left, and a way to stop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mulnb.core.errors import UserError, one_line


class State(NamedTuple):
    """What a progress callback is told. It returns False to stop."""

    doing: str  # "unlearning: neg_grad_plus, rum_f"
    done: int  # steps
    total: int  # steps, as far as known: 0 if unknown
    seconds: float  # since this part began
    seconds_left: float  # NaN while unknown


class Cancelled(UserError):
    """The user stopped a call. Nothing that was given has changed."""


Callback = Callable[[State], bool | None]


class Progress:
    """Counts steps of named parts, tells a callback at most ten times a second, and raises `Cancelled` when it says so.

    Args:
        told: a callback, None for a bar on a terminal or in Jupyter, False for silence.
    """

    def __init__(self, told: Callback | bool | None = None) -> None:
        self._bar = None
        if told is None or told is True:
            shown = sys.stderr.isatty() or "ipykernel" in sys.modules
            told = self._draw if shown and os.environ.get("MULNB_PROGRESS") is None else None
        if told and not callable(told):
            raise UserError(f"progress is a {type(told).__name__}: expected a function, True, or False for silence")

        self._told = told or None
        self.part("", 0)

    def part(self, doing: str, total: int) -> None:
        """Begin a part of `total` steps."""
        self._doing, self._total, self._done = doing, total, 0
        self._started, self._last = time.monotonic(), 0.0
        if doing:
            self._tell(force=True)

    def step(self) -> None:
        """One step is done."""
        self._done += 1
        self._tell()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tell(self, force: bool = False) -> None:
        now = time.monotonic()
        if self._told is None or not (force or now - self._last >= 0.1):
            return

        self._last = now
        seconds = now - self._started
        left = float("nan")
        if self._done and self._total:
            left = seconds / self._done * max(self._total - self._done, 0)
        try:
            answer = self._told(State(self._doing, self._done, self._total, seconds, left))
        except UserError:
            raise
        except Exception as error:  # the user's own code
            what = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"the progress callback failed: {what}; the model and the data given are unchanged") from error

        if isinstance(answer, (bool, np.bool_)) and not answer:
            self.close()
            raise Cancelled(f"cancelled while {self._doing or 'working'}: the model and the data given are unchanged")

    def _draw(self, state: State) -> None:
        # imported here: a call without a bar does not need it
        from tqdm.auto import tqdm

        if self._bar is None or self._bar.desc != f"{state.doing}: ":
            self.close()  # a part has its own bar: `reset` keeps the length of the last one where the next is unknown
            self._bar = tqdm(desc=state.doing, total=state.total or None, leave=False)

        self._bar.update(state.done - self._bar.n)
