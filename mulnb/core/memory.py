"""How much memory a process has taken at its peak, whether there is room for what a user asks for, and how to keep what is freed.

Measured is resident memory: pages that lie in RAM, those of shared libraries and of mapped files among them.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

from mulnb.core.errors import UserError

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE = Path("/proc/meminfo")
RESET_PEAK = "5"  # what Linux wants to be told: proc(5)
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's mallopt(3)


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


def check_room(needed: int, what: str) -> None:
    """Refuse what cannot fit into the machine's memory, before minutes are spent on it.

    Args:
        needed: bytes.
        what: what takes them and how to change that, for people: "5 000 images of 4096×4096: set a smaller dataset.size".

    Raises:
        UserError: the machine has less than that available. Where the system does not say how much (only Linux does), never.
    """
    try:
        room = _entry(MACHINE, "MemAvailable") * 1e6
    except (OSError, StopIteration):
        return
    if needed > room:
        raise UserError(f"{needed / 1e9:.1f} GB of memory are needed, {room / 1e9:.1f} GB are available: {what}")


@functools.cache  # once per process
def keep_freed() -> None:
    """Let this process keep the memory that it frees, for its next arrays: only glibc can be told, elsewhere nothing happens.

    A training step frees and asks for the same tens of megabytes again and again. By default they go back to the system each
    time, which clears their pages anew: a sixth of the time of a stack's steps, measured on two cores. The peak stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc
        return
    if not mallopt(MMAP_THRESHOLD, 256 << 20):
        mallopt(MMAP_THRESHOLD, 32 << 20)  # the largest that an older glibc takes
    mallopt(TRIM_THRESHOLD, (2 << 30) - 1)  # both, since either of them ends glibc's own adjusting


def _status(entry: str) -> float:
    """An entry of /proc/self/status in MB."""
    return _entry(STATUS, entry)


def _entry(file: Path, name: str) -> float:
    """An entry of a file of /proc in MB."""
    with file.open() as lines:
        line = next(line for line in lines if line.startswith(name))  # "VmRSS:    2048 kB"
    return int(line.split()[1]) * 1024 / 1e6
