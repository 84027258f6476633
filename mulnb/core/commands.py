"""What the command lines share: options with one meaning everywhere, and how mistakes are reported.

`mulnb …` and `python -m mulnb.notebooks` (behind `./run_all.sh`) both use it. A mistake is one line on stderr, and the exit code
says of which kind it is: 0 fine, 2 a mistake of the user, 130 interrupted (143 by SIGTERM, 129 by SIGHUP), 1 anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mulnb.core import on_ray, paths, stopping, streams, workers
from mulnb.core.errors import NotebookFailed, UserError
from mulnb.core.lacks import lack

FINE, FAILED, MISTAKE = 0, 1, 2
INTERRUPTION = "interrupted; finished work is kept, and the same command continues from there"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like every other mistake; options cannot be abbreviated."""

    def __init__(self, **settings) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` lists what is valid")


class Command(Parser):
    """The parser of one command of several. It rejects words itself, so that the message names the command's own help."""

    def parse_known_args(self, args=None, namespace=None) -> tuple[argparse.Namespace, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_profile(parser: argparse.ArgumentParser, by_place: bool = False) -> None:
    """Let `parser` take a profile, by default `digits`, and overrides of its values.

    Args:
        parser: the parser, or the sub-parser of one command.
        by_place: whether the word `--profile` may be left out.
    """
    ways = parser.add_mutually_exclusive_group()
    text = "a profile's name, or the path of a YAML file (default: digits)"
    ways.add_argument("--profile", default="digits", metavar="NAME|FILE", help=text)
    if by_place:
        ways.add_argument("profile", nargs="?", default=argparse.SUPPRESS, metavar="NAME|FILE", help="instead of --profile")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="change one value; repeatable")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Let `parser` take the number of tasks that run at once, and where."""
    parser.add_argument("--workers", metavar="N", help="tasks that run at once (default: one per core; one on a GPU)")
    parser.add_argument("--backend", choices=workers.BACKENDS, help="where tasks run (default: processes)")
    parser.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster to run on, instead of one of this machine's cores")


def folder(text: str) -> Path:
    """The `type` of an option that names a folder.

    Raises:
        argparse.ArgumentTypeError: no name, one that no file system takes, or a file of that name.
    """
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder")

    place = paths.expanded(text)
    if os.path.lexists(place) and not place.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder: name another one")
    return place


def use_workers(count: str | None, backend: str | None = None, address: str | None = None) -> None:
    """Set the workers of this process and of the kernels that it starts.

    Args:
        count: tasks that run at once, as the user typed it; None leaves `MULNB_WORKERS` as it is.
        backend: one of `workers.BACKENDS`; None leaves `MULNB_BACKEND` as it is.
        address: of a Ray cluster; None leaves `RAY_ADDRESS` as it is.

    Raises:
        UserError: the number, the backend or the address, given here or in the environment, is not valid.
    """
    if count == "":  # in the environment, an empty word means the default; here it is a shell's empty variable
        raise UserError("--workers '': should be a whole number of at least 1")
    if address is not None and not address.strip():
        raise UserError("--address '': expected HOST:PORT of a Ray cluster's head, or leave the option out")
    if address is not None:
        if backend not in (None, "ray"):
            raise UserError(f"--address {address} is for --backend ray, not {backend}: leave one of them out")
        os.environ["RAY_ADDRESS"], backend = address, "ray"
    if count is not None:
        os.environ["MULNB_WORKERS"] = count
    if backend is not None:
        os.environ["MULNB_BACKEND"] = backend

    # Reject an invalid value before computing.
    workers.count(on_gpu=False)
    if workers.backend() == "ray":
        on_ray.check()


def use_committed() -> None:
    """Let this process, and the kernels that it starts, write results to the committed `figures/` of the checkout."""
    os.environ["MULNB_PUBLISH"] = "1"


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command and report how it ended.

    Args:
        command: what to do; it raises `UserError` for a user's mistake, and may return an exit code of its own.

    Returns:
        The exit code of the process. An unexpected exception is not caught: its traceback helps to repair the program.
    """
    streams.make_usable()
    try:
        with stopping.signals_raise():
            code = command()
            sys.stdout.flush()  # a reader that closed the pipe is noticed here, not at Python's exit
    except UserError as error:
        return _report(str(error), MISTAKE)
    except NotebookFailed as error:
        return _report(str(error), FAILED)
    except KeyboardInterrupt as stop:
        return interrupted(stop, INTERRUPTION)
    except BrokenPipeError:  # the reader (e.g. `head`) closed the pipe, and needs no more of it
        streams.give_up()
        return FAILED

    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        if (said := lack(error)) is None:
            raise
        streams.give_up()  # it may be stdout itself that cannot be written
        return _report(said, MISTAKE if isinstance(error, OSError) else FAILED)

    return FINE if code is None else code


def interrupted(stop: KeyboardInterrupt, message: str) -> int:
    """Say that a command was interrupted.

    Args:
        stop: what interrupted it, most often a `stopping.Stopped`.
        message: what stays of its work.

    Returns:
        The exit code that a shell gives to a program ended by that signal.
    """
    return _report(message, 128 + getattr(stop, "number", signal.SIGINT))


def _report(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"mulnb: {message}", file=sys.stderr, flush=True)
    return code
