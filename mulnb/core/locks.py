"""Locks between processes, so that two runs on one store never do the same work.

All locks are bytes of one file, `artifacts/.lock`, locked by the operating system: nothing is left behind when a process is
killed, and a dead process never blocks a living one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mulnb.core import paths

try:
    import fcntl
except ImportError:  # Windows: two runs at once may do work twice, their tables are the same
    fcntl = None  # type: ignore[assignment]

_holders: Counter[tuple[int, int, int]] = Counter()  # process, file and byte → the blocks of this process that hold it


@contextlib.contextmanager
def held(names: Iterable[str]) -> Iterator[None]:
    """Hold a lock for every name inside a `with` block. Waits while another process holds one of them.

    Inside the block the process may ask for the same names again: they are free when the outermost block ends. Where locks are
    not possible (a read-only store, a file system without them), the block runs without.

    Args:
        names: for example the keys of the artefacts that are about to be made.
    """
    file = _lock_file(paths.artifacts()) if fcntl else None
    if file is None:
        yield
        return

    taken: list[int] = []
    try:
        for place in sorted({_place(name) for name in names}):  # one order for everybody: nobody waits in a circle
            if _lock(file, place):
                taken.append(place)
        yield
    finally:
        for place in taken:
            _free(file, place)


@contextlib.contextmanager
def held_file(file: int) -> Iterator[None]:
    """Hold an open file for this process alone inside a `with` block. Waits; where locks are not possible, it runs without.

    Args:
        file: its number.
    """
    if fcntl:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file is closed
    yield


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold a folder that exists, as `held_file` does a file."""
    if not fcntl:  # Windows opens no folders
        yield
        return

    file = os.open(folder, os.O_RDONLY)
    try:
        with held_file(file):
            yield
    finally:
        os.close(file)


@functools.cache  # closing any handle of the file would free all locks of this process
def _lock_file(artifacts: Path) -> int | None:
    """The number of the open lock file of a store, or None where it cannot be written."""
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        return os.open(artifacts / ".lock", os.O_RDWR | os.O_CREAT, 0o666)  # but for what the umask forbids
    except OSError:
        return None


def _place(name: str) -> int:
    """The byte of the file that stands for a name. Two names with one byte only wait for each other."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) >> 1


def _lock(file: int, place: int) -> bool:
    """Lock one byte, waiting for it. False where the system refuses: it has no locks, or waiting would never end."""
    holder = (os.getpid(), file, place)  # a process that was forked holds nothing of this one's
    try:
        if not _holders[holder]:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
    except OSError as error:
        if error.errno in (errno.EDEADLK, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            return False
        raise
    _holders[holder] += 1
    return True


def _free(file: int, place: int) -> None:
    """Unlock one byte, unless an outer block of this process holds it, too."""
    holder = (os.getpid(), file, place)
    _holders[holder] -= 1
    if not _holders[holder]:
        del _holders[holder]
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
