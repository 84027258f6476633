"""Run the numbered notebooks, one after the other, without a browser: `python -m mulnb.notebooks`, behind `./run_all.sh`.

A run is checked before it starts (profile, overrides, parameters, declared outputs) and after each notebook: every file that
the notebook declares in its metadata, `"mulnb": {"outputs": [...]}`, must have been written by this run. The sources are read
only, except by `--save-notebooks`, which stores the outputs of a run with default parameters in them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mulnb import config
from mulnb.core import paths, workers
from mulnb.core.errors import NotebookFailed, UserError

LAST = 5  # the notebooks after 05 are for hands on: they run when named


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


def parser() -> argparse.ArgumentParser:
    """The options; `run_all.sh` passes on all but `--notebooks`, which is for the tests."""
    parser = _Parser(prog="python -m mulnb.notebooks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--profile", default="digits", metavar="NAME", help="a profile's name, or the path of a YAML file")
    parser.add_argument("--only", metavar="02[,03]", help="run these notebooks instead of 00 to 05")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="change the profile")
    parser.add_argument("--workers", metavar="N", help="tasks that run at once (default: one per core)")
    parser.add_argument("--save-notebooks", action="store_true", help="then store the outputs in the notebooks themselves")
    parser.add_argument("--notebooks", type=Path, default=paths.CHECKOUT / "notebooks", metavar="FOLDER")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 fine, 2 a user's mistake, 1 a notebook failed, 130 interrupted."""
    try:
        run(parser().parse_args(argv))
        return 0
    except UserError as error:
        return _fail(str(error), 2)
    except NotebookFailed as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is stored, the same command goes on from there", 130)


def _fail(message: str, code: int) -> int:
    print(f"mulnb: {message}", file=sys.stderr)
    return code


def run(options: argparse.Namespace) -> None:
    overrides = dict(config.parse_override(text) for text in options.set)
    profile = config.load_profile(options.profile, overrides)
    parameters = {"profile": _portable(options.profile), "overrides": overrides}
    notebooks = [read(path) for path in select(options.notebooks, options.only)]
    for notebook in notebooks:
        check(notebook, parameters, as_written=options.save_notebooks)
    if options.workers is not None:
        os.environ["MULNB_WORKERS"] = options.workers
        workers.count()  # raises for what is no number, before anything starts
    with _environment() as progress:
        _run_all(notebooks, parameters, profile.name, progress, options.save_notebooks)


def _portable(profile: str) -> str:
    """A profile file is named from where the user stands; the kernel stands in the notebooks' folder."""
    return profile if profile in config.known_profiles() else str(Path(profile).resolve())


def select(folder: Path, only: str | None) -> list[Path]:
    """The notebooks to run, in order of their numbers; `only` is a list such as "02,03". Raises `UserError` for unknown ones."""
    found = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise UserError(f"no numbered notebooks in {folder}: run from a checkout of the project")
    if only is None:
        return [path for number, path in found.items() if int(number) <= LAST]
    asked = {part.strip().zfill(2) for part in only.split(",")}
    if unknown := sorted(asked - set(found)):
        raise UserError(f"--only {only}: there is no notebook {', '.join(unknown)}; there are {', '.join(found)}")
    return [path for number, path in found.items() if number in asked]


def read(path: Path) -> Notebook:
    """Read what a notebook takes and leaves. Raises `UserError` if it cannot be read, `NotebookFailed` if it declares nothing."""
    try:
        tree = json.loads(path.read_text())
        cells = [cell for cell in tree["cells"] if "parameters" in cell["metadata"].get("tags", [])]
        outputs = tuple(tree["metadata"].get("mulnb", {}).get("outputs", ()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a readable notebook: {error}") from None
    if len(cells) != 1:
        raise UserError(f"{path.stem} has {len(cells)} cells tagged 'parameters': it needs exactly one")
    if not outputs:
        raise NotebookFailed(f"{path.stem} declares no outputs: list the files that it writes in its metadata, mulnb.outputs")
    return Notebook(path, _literals(path.stem, "".join(cells[0]["source"])), outputs)


def _literals(name: str, source: str) -> dict[str, Any]:
    try:
        assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
        return {target.id: ast.literal_eval(node.value) for node in assigned for target in node.targets}
    except (SyntaxError, ValueError, AttributeError):
        raise UserError(f"{name}: its cell 'parameters' may only assign plain values to names") from None


def check(notebook: Notebook, parameters: dict[str, Any], as_written: bool) -> None:
    """papermill only warns about a parameter that the notebook does not know, and would run with its default."""
    if unknown := sorted(set(parameters) - set(notebook.parameters)):
        raise UserError(f"{notebook.name} has no parameter {', '.join(unknown)}: it has {', '.join(notebook.parameters)}")
    if as_written and parameters != notebook.parameters:
        raise UserError(f"--save-notebooks: {notebook.name} would show another run than its parameters say; give no other option")


@contextlib.contextmanager
def _environment() -> Iterator[Path]:
    """What kernels find: no settings or history of the user's IPython, and where to tell the state of a long computation."""
    with tempfile.TemporaryDirectory(prefix="mulnb-") as scratch:
        place = Path(scratch)
        os.environ["MULNB_PROGRESS"] = str(place / "progress.json")
        os.environ["IPYTHONDIR"] = str(place / "ipython")
        os.environ["JUPYTER_RUNTIME_DIR"] = str(place / "runtime")
        yield place / "progress.json"


def _run_all(notebooks: Sequence[Notebook], parameters: dict[str, Any], profile: str, progress: Path, save: bool) -> None:
    import nbformat

    from mulnb.notebooks import kernel as headless

    started = time.monotonic()
    folder = paths.artifacts() / "executed" / profile
    done = []
    for number, notebook in enumerate(notebooks, 1):
        before = _stamps(notebook, profile)
        progress.unlink(missing_ok=True)
        with _shown(f"[{number}/{len(notebooks)}] {notebook.name}", progress):
            executed = headless.execute(notebook.path, folder / notebook.path.name, parameters)
            after = _stamps(notebook, profile)
            if missing := [name for name in notebook.outputs if after[name] is None or after[name] == before[name]]:
                raise NotebookFailed(f"{notebook.name} did not write {', '.join(missing)} to {paths.results(profile)}")
        done.append((notebook, executed))
    if save:
        sources = [nbformat.read(notebook.path, as_version=4) for notebook, _ in done]
        clean = [headless.with_outputs(source, ran, notebook.name) for source, (notebook, ran) in zip(sources, done, strict=True)]
        for notebook, tree in zip(notebooks, clean, strict=True):  # all are fit to be committed, or none is touched
            paths.write_text(notebook.path, nbformat.writes(tree) + "\n")
    print(_summary(notebooks, profile, time.monotonic() - started))


def _stamps(notebook: Notebook, profile: str) -> dict[str, tuple[int, int] | None]:
    """By declared file, what changes whenever it is written, in place or by renaming: no clock has to agree with the disk's."""
    stamps: dict[str, tuple[int, int] | None] = {}
    for name in notebook.outputs:
        try:
            stat = (paths.results(profile) / name).stat()
            stamps[name] = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            stamps[name] = None
    return stamps


@contextlib.contextmanager
def _shown(label: str, progress: Path) -> Iterator[None]:
    """Say that `label` runs and how long it took; on a terminal, one line that lives meanwhile."""
    started, stop = time.monotonic(), threading.Event()
    live = sys.stdout.isatty()
    erase = "\r\x1b[K" if live else ""

    def show() -> None:
        while not stop.wait(0.5):
            line = f"{label}  {_clock(time.monotonic() - started)}  {_state(progress)}"
            print(f"{erase}{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)

    print(f"{label} …", end="" if live else "\n", flush=True)
    thread = threading.Thread(target=show, daemon=True)
    if live:
        thread.start()
    verdict = "failed after"
    try:
        yield
        verdict = "done in"
    except KeyboardInterrupt:
        verdict = "interrupted after"
        raise
    finally:
        stop.set()
        if live:
            thread.join()
        print(f"{erase}{label} {verdict} {_clock(time.monotonic() - started)}", flush=True)


def _state(progress: Path) -> str:
    """What `workers.run_all` last told: which computation, how much of it, since when; nothing between two computations."""
    try:
        state = json.loads(progress.read_text())
        label, done, total, started = state["label"], state["done"], state["total"], state["started"]
    except (OSError, ValueError, KeyError):
        return ""
    return "" if done >= total else f"{label} {done}/{total}, {_clock(time.time() - started)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _summary(notebooks: Sequence[Notebook], profile: str, seconds: float) -> str:
    files = {(paths.results(profile) / name).resolve() for notebook in notebooks for name in notebook.outputs}
    lines = [f"{_count(len(notebooks), 'notebook')} in {_clock(seconds)}, executed: {paths.artifacts() / 'executed' / profile}"]
    for folder in sorted({path.parent for path in files if path.suffix in {".png", ".csv"}}):
        figures, tables = (sum(path.parent == folder and path.suffix == suffix for path in files) for suffix in (".png", ".csv"))
        lines.append(f"{_count(figures, 'figure')} and {_count(tables, 'table')}: {folder}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
