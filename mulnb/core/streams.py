"""Standard input, output and error: they may be closed, or unable to show every letter."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def make_usable() -> None:
    """Let printing never fail for a letter, and let no file take the place of a stream that is closed.

    A sign that the output cannot show, in the ASCII of an old terminal or in a file's name that is no text, is printed as
    `\\xd7`.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed, as by `>&-`: the next file that is opened would get its number, and what others print
            os.open(os.devnull, os.O_RDWR)

    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up() -> None:
    """Send to nowhere what a stream cannot take any more: Python would complain about it once more at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):  # not a stream with a number, in a notebook for example
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
