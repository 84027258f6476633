"""Run the numbered notebooks, one after the other, without a browser: `python -m mulnb.runner`, behind `./run_all.sh`.

A run is checked before it starts (profile, overrides, parameters, declared outputs) and after each notebook: every file that the
notebook declares in its metadata, `"mulnb": {"outputs": [...]}`, must have been written by this run. The sources are never rewritten.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mulnb import cluster, config, paths
from mulnb.errors import UserError

LAST = 5  # the notebooks after 05 are for hands on: they run when named
FIGURES, TABLES = {".png", ".svg", ".pdf"}, {".csv", ".md"}


@dataclass(frozen=True)
class Notebook:
    """A notebook's file, its default parameters and the files it declares, relative to the folder of results."""

    path: Path
    parameters: dict[str, Any]
    outputs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # one line, like every other mistake of a user
        raise UserError(message)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m mulnb.runner", description=__doc__, allow_abbrev=False)
    parser.add_argument("--profile", default="digits", metavar="NAME", help="a profile's name, or the path of a YAML file")
    parser.add_argument("--only", metavar="02[,03]", help="run these notebooks instead of 00 to 05")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", dest="overrides", help="change the profile")
    parser.add_argument("--workers", metavar="N", help="tasks that run at once (default: one per core)")
    parser.add_argument("--save-notebooks", action="store_true", help="then store the outputs in the notebooks themselves")
    parser.add_argument("--notebooks", type=Path, default=paths.CHECKOUT / "notebooks", metavar="FOLDER")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 fine, 2 a user's mistake, 1 a notebook failed, 130 interrupted."""
    for stop in (signal.SIGTERM, signal.SIGHUP):  # the kernel lives in a session of its own: whoever ends us, we end it
        signal.signal(stop, signal.default_int_handler)
    try:
        run(_parse(argv))
        return 0
    except UserError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is stored, the same command goes on from there", 130)


def _fail(message: str, code: int) -> int:
    print(f"mulnb: {message}", file=sys.stderr)
    return code


def run(options: argparse.Namespace) -> None:
    overrides = dict(config.parse_override(text) for text in options.overrides)
    profile = config.load_profile(options.profile, overrides)
    parameters = {"profile": _portable(options.profile), "overrides": overrides}
    notebooks = [read(path) for path in select(options.notebooks, options.only)]
    for notebook in notebooks:
        check(notebook, parameters, as_written=options.save_notebooks)
    if options.workers is not None:
        os.environ["MULNB_WORKERS"] = options.workers
        cluster.workers()  # raises for what is no number, before anything starts
    with _environment() as progress:
        _run_all(notebooks, parameters, profile.name, progress, options.save_notebooks)
