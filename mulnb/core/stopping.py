"""The signals that ask a process to end: Ctrl-C, SIGTERM of a batch system, SIGHUP of a terminal that is closed.

Each of them becomes an exception. So workers and kernels are ended and temporary files are removed before the process ends, and
its exit code is the one that a shell gives to a program ended by that signal: 130, 143, 129.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
PATIENCE_S = 5.0  # so long a second signal is ignored: it must not cut short what tidies up after the first


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Let the signals raise `Stopped` inside a `with` block, also where a library makes another error of it.

    A signal that is ignored, as SIGHUP is under nohup and SIGINT in a background job, stays ignored. After `Stopped`, the
    signals keep their meaning: the process is about to end, and a second Ctrl-C must not interrupt that.

    Raises:
        Stopped: a signal has come.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return

    came: list[tuple[int, float]] = []  # signals, and when

    def stop(number: int, frame: FrameType | None) -> None:
        if came and time.monotonic() - came[-1][1] < PATIENCE_S:
            return
        came.append((number, time.monotonic()))
        raise Stopped(number)

    before = {}
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, stop)

    try:
        yield
    except Exception as error:  # what a library made of an interrupt, or a lost worker of the same signal
        if not came:
            raise
        raise Stopped(came[0][0]) from error
    finally:
        if not came:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def beforehand(tidy: Callable[[], None]) -> Iterator[None]:
    """Call `tidy` inside a `with` block as soon as a signal comes, before the signal raises.

    Args:
        tidy: what cannot wait, such as killing workers whose results would be waited for.

    Raises:
        KeyboardInterrupt: a signal has come, also where a library makes another error of what `tidy` did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if callable(handler)}  # others end nothing, or all at once

    def tidy_first(number: int, frame: FrameType | None) -> None:
        came.append(number)
        tidy()
        before[number](number, frame)

    for number in before:
        signal.signal(number, tidy_first)
    try:
        yield
    except Exception as error:
        if not came:
            raise
        raise Stopped(came[0]) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
