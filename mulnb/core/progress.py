"""Show on a terminal or in a log what runs, which computation it is at, and how much time is left.

`workers.run_all` writes its state to the file named by `MULNB_PROGRESS`; `shown` reads it, from the same process or from the
one that started the kernel. On a terminal one line is kept up to date; in a log every line stays.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TERMINAL_S, LOG_S = 0.5, 60.0  # seconds between two lines
ERASE_LINE = "\r\x1b[K"


@dataclass(frozen=True)
class State:
    """How far one computation is: `done` of `total` tasks, and when it started (seconds since the epoch)."""

    label: str
    done: int
    total: int
    started: float

    def text(self, now: float) -> str:
        """`pool models 12/80, 1:10 left`; the time left is known once a task is done."""
        parts = f"{self.label} {self.done}/{self.total}"
        if self.done == 0:
            return parts

        left = (now - self.started) / self.done * (self.total - self.done)
        return f"{parts}, {clock(left)} left"


def read(path: Path) -> State | None:
    """The state that `workers.run_all` wrote last; None if there is none, or if that computation is over."""
    try:
        state = State(**json.loads(path.read_text(encoding="utf-8")))
        return state if state.done < state.total else None
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def shown(label: str, state: Path) -> Iterator[None]:
    """Say that `label` runs, how far it is while it runs, and how long it took.

    Args:
        label: what runs, such as `[2/6] 01_memorization`.
        state: the file that `MULNB_PROGRESS` names.
    """
    state.unlink(missing_ok=True)
    started, stop = time.monotonic(), threading.Event()
    on_terminal = sys.stdout.isatty()
    show = _keep_a_line if on_terminal else _write_lines

    print(f"{label} …", end="" if on_terminal else "\n", flush=True)
    thread = threading.Thread(target=_while_it_can, args=(show, label, state, started, stop), daemon=True)
    thread.start()

    def end(verdict: str) -> None:
        stop.set()
        thread.join()
        erase = ERASE_LINE if on_terminal else ""
        print(f"{erase}{label} {verdict} {clock(time.monotonic() - started)}", flush=True)

    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):  # what went wrong matters more than a terminal that is gone
            end("interrupted after" if isinstance(error, KeyboardInterrupt) else "failed after")
        raise
    end("done in")


def _while_it_can(show: Callable[..., None], *arguments: object) -> None:
    """Show the progress until nobody reads it any more: whoever runs the work is told by its own next line."""
    with contextlib.suppress(OSError):
        show(*arguments)


def _keep_a_line(label: str, path: Path, started: float, stop: threading.Event) -> None:
    """On a terminal: one line, rewritten twice a second."""
    while not stop.wait(TERMINAL_S):
        state = read(path)
        inner = state.text(time.time()) if state else ""
        line = f"{label}  {clock(time.monotonic() - started)}  {inner}"
        # a line that wraps could not be erased
        print(f"{ERASE_LINE}{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)


def _write_lines(label: str, path: Path, started: float, stop: threading.Event) -> None:
    """In a log: one line when a computation starts, and one a minute while it runs."""
    shown_label, shown_at = None, 0.0

    while not stop.wait(TERMINAL_S):
        state, now = read(path), time.monotonic()
        if state is None:
            continue
        if state.label != shown_label or now - shown_at >= LOG_S:
            print(f"  {clock(now - started)}  {state.text(time.time())}", flush=True)
            shown_label, shown_at = state.label, now


def clock(seconds: float) -> str:
    """`1:05` for 65 seconds, `1:01:05` with an hour more, and `3 days 2:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)

    if days:
        return f"{counted(days, 'day')} {hours}:{minutes:02d}:{rest:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
