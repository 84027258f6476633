"""How much memory a process has taken at its peak.

Measured is resident memory: pages that lie in RAM, those of shared libraries and of mapped files among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what Linux wants to be told: proc(5)


def peak_mb() -> float:
    """The most that this process has taken, in MB: since `forget_peak`, or since its start where that cannot be forgotten."""
    try:
        return _status("VmHWM")
    except (OSError, StopIteration):  # no Linux; there, getrusage would count the process that this one was started from
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def now_mb() -> float:
    """What this process takes now, in MB; `peak_mb` where the system does not say."""
    try:
        return _status("VmRSS")
    except (OSError, StopIteration):
        return peak_mb()


def forget_peak() -> None:
    """Begin a new peak at what the process takes now. Where the system does not offer that (only Linux does), nothing happens."""
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return


def _status(entry: str) -> float:
    """An entry of /proc/self/status in MB."""
    with STATUS.open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith(entry)) * 1024 / 1e6
