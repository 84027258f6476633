"""What a user is told: exceptions that end a run with a message instead of a traceback, and notices that do not end it."""

from __future__ import annotations

import contextlib
import difflib
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST = 1500  # characters of a message; a value of the user's in it may have millions


class UserError(Exception):
    """A mistake in what the user gave.

    The message is one line that says what is wrong, where, and what to do. The command line prints it and exits with 2. A line
    break or another sign that cannot be printed, in a file's name for example, is written as `\\n`.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_printable(str(message)))

    def _render_traceback_(self) -> list[str]:
        """Jupyter shows this one line instead of a traceback."""
        return [f"UserError: {self}"]


def _printable(text: str) -> str:
    """A text on one line of sensible length, without signs that would change what a terminal shows."""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    if len(shown) <= LONGEST:
        return shown
    return f"{shown[: LONGEST // 2]} … {shown[-LONGEST // 2 :]}"


class NotebookFailed(Exception):
    """A notebook raised, hid an error in its outputs, or did not write what it declares. The runner exits with 1."""


class Notice(UserWarning):
    """A line that a user should read and that stops nothing; it is printed as one line, without the code that said it."""


def notice(text: str) -> None:
    """Show the user a line on stderr that stops nothing, as a Python warning.

    Worker processes load the same data as the main process and stay silent, so that nobody reads the line twice.
    """
    if multiprocessing.parent_process() is None:
        warnings.warn(text, Notice, stacklevel=2)


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn an error of the user's own code inside a `with` block into one line that begins with `what`; a `UserError` stays.

    `sys.exit` counts as an error, too: a script that reads its own command line may call it.
    """
    try:
        yield
    except UserError:
        raise
    except SystemExit as stop:
        raise UserError(
            f"{what}: it ends the program (sys.exit({stop.code!r})): put that under if __name__ == '__main__'"
        ) from stop
    except Exception as error:  # it may raise anything
        raise UserError(f"{what}: {type(error).__name__}: {one_line(error)}") from error


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """The beginning of a hint, "did you mean 'digits'? ", if one of the names that are known is near; else ""."""
    by_lower_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.strip().lower(), by_lower_case, n=1, cutoff=0.6)
    return f"did you mean '{by_lower_case[near[0]]}'? " if near else ""


_as_python_does = warnings.formatwarning


def _as_a_line(message: Warning | str, category: type[Warning], *where: Any) -> str:
    """How a warning is printed."""
    return f"mulnb: {message}\n" if issubclass(category, Notice) else _as_python_does(message, category, *where)


warnings.formatwarning = _as_a_line
