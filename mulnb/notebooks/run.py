"""Run the numbered notebooks, one after the other, without a browser: `python -m mulnb.notebooks`, behind `./run_all.sh`.

Everything is checked before the first notebook starts (profile, overrides, parameters, declared outputs). After each notebook,
every file that it declares in its metadata, `"mulnb": {"outputs": [...]}`, must have been written by this run. The notebooks
themselves are only read, except by `--save-notebooks`, which stores the outputs of a run with default parameters in them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mulnb
from mulnb.core import commands, instructions, paths, progress
from mulnb.core.errors import NotebookFailed, UserError

ON_REQUEST = {"06", "07", "09"}  # run only when named with --only: two are interactive, one takes minutes more


@dataclass(frozen=True)
class Notebook:
    """A notebook's file, its default parameters and the files it declares, relative to the folder of results."""

    path: Path
    parameters: dict[str, Any]
    outputs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def main(argv: Sequence[str] | None = None) -> int:
    """Run the notebooks that the options ask for.

    Args:
        argv: the words of the command line; those of this process if None.

    Returns:
        The exit code: 0 fine, 2 a user's mistake, 1 a notebook failed, 130 interrupted.
    """
    instructions.fix()
    return commands.exit_code(lambda: run(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """The options; `run_all.sh` passes on all but `--notebooks`, which is for the tests."""
    found = commands.Parser(prog="python -m mulnb.notebooks", description=__doc__)
    commands.add_profile(found)
    commands.add_workers(found)
    found.add_argument("--only", metavar="02[,03]", help="run these notebooks instead of all but 06, 07 and 09")
    found.add_argument("--publish", action="store_true", help="write to the committed figures/ instead of results/")
    found.add_argument("--save-notebooks", action="store_true", help="store the outputs in the notebooks; implies --publish")
    found.add_argument(
        "--notebooks", type=Path, default=paths.CHECKOUT / "notebooks", metavar="FOLDER", help="where they lie (for tests)"
    )
    return found


def run(options: argparse.Namespace) -> None:
    """Check everything, then run the notebooks.

    Raises:
        UserError: an option is not valid, or a notebook raised one.
        NotebookFailed: a notebook failed in another way, or did not write what it declares.
    """
    profile, parameters = profile_and_parameters(options)

    # Everything is read and checked before the first notebook starts: the last one may run hours later.
    notebooks = []
    for path in select(options.notebooks, options.only):
        notebook = read(path)
        check(notebook, parameters, as_written=options.save_notebooks)
        notebooks.append(notebook)
    commands.use_workers(options.workers, options.backend, options.address)
    if options.publish or options.save_notebooks:
        commands.use_committed()

    with _environment() as state:
        executed = _run_all(notebooks, parameters, profile.name, state)
    if options.save_notebooks:
        _save(notebooks, executed)


def profile_and_parameters(options: argparse.Namespace) -> tuple[mulnb.config.Profile, dict[str, Any]]:
    """What `--profile` and `--set` ask for.

    Returns:
        The profile, and the parameters that make a notebook load it.

    Raises:
        UserError: the profile or an override is not valid.
    """
    overrides = dict(map(mulnb.config.parse_override, options.set))
    profile = mulnb.config.load_profile(options.profile, overrides)

    # A profile's file is named from where the user stands, but the kernel runs in the notebook's folder: make it absolute.
    packaged = options.profile in mulnb.config.known_profiles()
    name = options.profile if packaged else str(paths.real(options.profile))
    return profile, {"profile": name, "overrides": overrides}


def select(folder: Path, only: str | None) -> list[Path]:
    """The notebooks to run, in the order of their numbers.

    Args:
        folder: where the notebooks are.
        only: numbers such as `"02,03"`; None for all but those on request.

    Raises:
        UserError: there are no notebooks, or not one of such a number.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        found[path.name[:2]] = path
    if not found:
        raise UserError(f"no numbered notebooks in {folder}: run from a checkout of the project")
    if only is None:
        return [path for number, path in found.items() if number not in ON_REQUEST]

    numbers = set()
    for part in only.split(","):
        if not part.strip():
            raise UserError(f"--only '{only}': name notebooks by their numbers, for example --only 02,03")
        numbers.add(part.strip().zfill(2))  # "2" means 02

    if unknown := sorted(numbers - set(found)):
        raise UserError(f"--only {only}: there is no notebook {', '.join(unknown)}; there are {', '.join(found)}")
    return [path for number, path in found.items() if number in numbers]


def read(path: Path) -> Notebook:
    """Read which parameters a notebook takes and which files it declares.

    A notebook is JSON: `papermill.inspect_notebook` would need two seconds to be imported before the first mistake is reported,
    and it gives the defaults as source text, which had to be evaluated all the same.

    Raises:
        UserError: the notebook cannot be read, or has not exactly one cell of plain parameters.
        NotebookFailed: it declares no outputs.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
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
    """The values that a cell assigns, by name."""
    values = {}
    try:
        # comments and docstrings are allowed; whatever else a cell does would be lost in another run
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    values[target.id] = ast.literal_eval(node.value)
    except (SyntaxError, ValueError, AttributeError):
        raise UserError(f"{name}: its cell 'parameters' may only assign plain values to names") from None

    return values


def check(notebook: Notebook, parameters: dict[str, Any], as_written: bool) -> None:
    """Reject parameters that the notebook does not have.

    papermill only warns about them and runs with the defaults.

    Args:
        notebook: what `read` found.
        parameters: the values that will be passed.
        as_written: True if they must be the notebook's own, because its outputs will be stored in it.

    Raises:
        UserError: a parameter is unknown, or differs where it must not.
    """
    if unknown := sorted(set(parameters) - set(notebook.parameters)):
        raise UserError(f"{notebook.name} has no parameter {', '.join(unknown)}: it has {', '.join(notebook.parameters)}")
    if as_written and parameters != notebook.parameters:
        raise UserError(f"--save-notebooks: {notebook.name} would show another run than its parameters say; give no other option")


@contextlib.contextmanager
def _environment() -> Iterator[Path]:
    """Set what the kernels find: none of the user's IPython settings or history, and the file for the progress, returned."""
    with paths.scratch() as folder:
        os.environ["MULNB_PROGRESS"] = str(folder / "progress.json")
        os.environ["IPYTHONDIR"] = str(folder / "ipython")
        os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
        yield folder / "progress.json"


def _run_all(notebooks: Sequence[Notebook], parameters: dict[str, Any], profile: str, state: Path) -> list[Any]:
    """Execute the notebooks in order, check after each that it wrote its files, and return them with their outputs."""
    kernel = _kernel()
    started = time.monotonic()
    folder = paths.artifacts() / "executed" / profile
    executed = []

    for number, notebook in enumerate(notebooks, start=1):
        before = _stamps(notebook, profile)

        with progress.shown(f"[{number}/{len(notebooks)}] {notebook.name}", state):
            executed.append(kernel.execute(notebook.path, folder / notebook.path.name, parameters))

            after = _stamps(notebook, profile)
            missing = [name for name in notebook.outputs if after[name] is None or after[name] == before[name]]
            if missing:
                raise NotebookFailed(f"{notebook.name} did not write {', '.join(missing)} to {paths.results(profile)}")

    print(_summary(notebooks, profile, time.monotonic() - started))
    return executed


def _kernel() -> Any:
    """The module that executes a notebook; imported late, because papermill takes two seconds."""
    try:
        from mulnb.notebooks import kernel
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mulnb"):
            raise
        raise UserError(f"running notebooks needs the package {error.name}: install mulnb[notebooks]") from None

    return kernel


def _save(notebooks: Sequence[Notebook], executed: Sequence[Any]) -> None:
    """Store the outputs in the notebooks: all of them, or none if one is not fit to be committed."""
    import nbformat

    kernel = _kernel()
    texts = []
    for notebook, ran in zip(notebooks, executed, strict=True):
        source = nbformat.read(notebook.path, as_version=4)
        texts.append(nbformat.writes(kernel.with_outputs(source, ran, notebook.name)) + "\n")

    for notebook, text in zip(notebooks, texts, strict=True):
        paths.write_text(notebook.path, text)


def _stamps(notebook: Notebook, profile: str) -> dict[str, tuple[int, int] | None]:
    """For each declared file, a value that changes whenever it is written, in place or by renaming; None if it is missing.

    Comparing two stamps needs no clock that agrees with the disk's.
    """
    stamps: dict[str, tuple[int, int] | None] = {}
    for name in notebook.outputs:
        try:
            stat = (paths.results(profile) / name).stat()
            stamps[name] = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            stamps[name] = None

    return stamps


def _summary(notebooks: Sequence[Notebook], profile: str, seconds: float) -> str:
    """Where the executed notebooks, the figures and the tables of a run are."""
    files: set[Path] = set()
    for notebook in notebooks:
        files.update((paths.results(profile) / name).resolve() for name in notebook.outputs)

    where = paths.artifacts() / "executed" / profile
    lines = [f"{progress.counted(len(notebooks), 'notebook')} in {progress.clock(seconds)}, executed: {where}"]
    for folder in sorted({path.parent for path in files if path.suffix in {".png", ".csv"}}):
        suffixes = [path.suffix for path in files if path.parent == folder]
        figures, tables = suffixes.count(".png"), suffixes.count(".csv")
        lines.append(f"{progress.counted(figures, 'figure')} and {progress.counted(tables, 'table')}: {folder}")

    return "\n".join(lines)
