"""Start a process as from a terminal, also where the tests run in the background and ignore Ctrl-C or a closed terminal."""

from __future__ import annotations

import signal


def hears_signals() -> None:
    """For `preexec_fn` of subprocess: a child inherits which signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
