"""Recognises that this machine lacks something (memory, disk, open files), whichever library says so, and says what to do."""

from __future__ import annotations

import errno
import os

SIGNS_OF_MEMORY = (
    "MemoryError",
    "failed to map segment",
    "Cannot allocate memory",
    "out of memory",
    "DefaultCPUAllocator",
    "bad_alloc",
    "can't start new thread",  # the stack of a thread is memory, too
)
MEMORY = "not enough memory: use fewer workers (--workers), smaller images or a smaller profile"
GO_ON = "then run the same command again, what is finished is kept"

# what the system says without naming a file
ADVICE = {
    errno.ENOSPC: f"free some space, {GO_ON}",
    errno.EDQUOT: f"free some space, {GO_ON}",
    errno.EROFS: f"make it writable, {GO_ON}",
    errno.EIO: "the disk or the terminal is gone: run the same command again, what is finished is kept",
    errno.EFBIG: f"allow larger files (ulimit -f unlimited), {GO_ON}",
    errno.EMFILE: f"allow more open files (ulimit -n 1024), {GO_ON}",
    errno.ENFILE: f"end other programs, {GO_ON}",
    errno.ENOENT: "set TMPDIR to a folder that can be written to",  # Python found no folder for temporary files
}


def of_memory(text: str) -> bool:
    """Whether an error's text means too little memory; libraries have many words for it."""
    return any(sign in text for sign in SIGNS_OF_MEMORY)


def lack(error: BaseException) -> str | None:
    """What an error says about this machine, in one line with what to do; None if it is about something else.

    Args:
        error: any exception.
    """
    if isinstance(error, MemoryError) or of_memory(f"{type(error).__name__}: {error}"):
        return MEMORY
    if not isinstance(error, OSError):
        return None

    reason = error.strerror or str(error)
    if error.filename is not None:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return f"{reason}: {ADVICE[error.errno]}"
        return f"{error.filename}: {reason}: choose another place, or make this one usable"
    if error.errno == errno.ENOENT and not _has_folder():
        return "the folder that this was started in does not exist any more: change to another one"
    return f"{reason}: {ADVICE[error.errno]}" if error.errno in ADVICE else None


def _has_folder() -> bool:
    """Whether the current folder exists."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False
