"""Open the explorer in JupyterLab: `python -m mulnb.notebooks.lab`, behind `./run_all.sh --lab`.

JupyterLab saves a notebook by itself while it is open. So a copy of notebook 06 is opened, in `artifacts/lab/`, and the one in
git is never modified.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mulnb.core import commands, instructions, paths
from mulnb.core.errors import UserError
from mulnb.notebooks import run

EXPLORER = "06_explore"
ORIGIN = "copied_from"  # in the metadata of a copy: a hash of the notebook that it was made from


def main(argv: Sequence[str] | None = None) -> int:
    """Make the copy, then become JupyterLab; options that are not known here go to `jupyter lab`.

    Args:
        argv: the words of the command line; those of this process if None.

    Returns:
        The exit code of a mistake; otherwise this process becomes JupyterLab and the call does not return.
    """

    instructions.fix()

    def command() -> None:
        options, rest = parser().parse_known_args(argv)
        words = jupyter_command(open_copy(options), rest)
        os.execv(sys.executable, [sys.executable, *words])

    return commands.exit_code(command)


def parser() -> argparse.ArgumentParser:
    """The options of `./run_all.sh --lab` that are not JupyterLab's."""
    found = commands.Parser(prog="./run_all.sh --lab", description=__doc__)
    commands.add_profile(found)
    return found


def open_copy(options: argparse.Namespace) -> Path:
    """Check the profile, and return the copy of notebook 06 that shows it.

    Raises:
        UserError: the profile or an override is not valid, or the copy cannot be written.
    """
    profile, parameters = run.profile_and_parameters(options)
    source = paths.CHECKOUT / "notebooks" / f"{EXPLORER}.ipynb"
    if not source.is_file():
        raise UserError(f"{source} is missing: run from a checkout of the project")
    return copy(source, paths.artifacts() / "lab" / profile.name / source.name, parameters)


def copy(source: Path, target: Path, parameters: dict[str, Any]) -> Path:
    """Copy a notebook without its outputs, with other values in its cell `parameters`.

    A copy that was made before is kept with the user's changes, unless the notebook or the parameters are others: then the old
    copy is renamed, not lost.

    Args:
        source: the notebook; it is only read.
        target: where the copy goes.
        parameters: the values that its cell tagged `parameters` assigns.

    Returns:
        `target`.
    """
    known = run.read(source)
    run.check(known, parameters, as_written=False)

    text = source.read_text(encoding="utf-8")
    origin = hashlib.sha256(json.dumps([text, parameters], sort_keys=True).encode()).hexdigest()[:16]
    if _origin(target) == origin:
        return target
    _set_aside(target)

    tree = json.loads(text)
    tree["metadata"].setdefault("mulnb", {})[ORIGIN] = origin
    for cell in tree["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _with_links_from(target.parent, source.parent, "".join(cell["source"]))
            continue

        cell["outputs"], cell["execution_count"] = [], None
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())

    return paths.write_text(target, json.dumps(tree, indent=1) + "\n")


def _origin(target: Path) -> str | None:
    """What an earlier copy was made from; None if there is none, or if it cannot be read."""
    try:
        return json.loads(target.read_text(encoding="utf-8"))["metadata"]["mulnb"][ORIGIN]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(target: Path) -> None:
    """Rename an earlier copy, which may hold the user's work, to the first free number."""
    if not target.exists():
        return

    aside = target.rename(paths.free(target, "_old", 1))
    print(f"notebook 06 or its parameters changed; your earlier copy is now {aside}", flush=True)


def _with_links_from(new: Path, old: Path, text: str) -> str:
    """Markdown with its relative links written for another folder."""
    return re.sub(r"\]\((?![a-z]+:|#|/)([^)\s]+)", lambda link: f"]({Path(os.path.relpath(old / link[1], new)).as_posix()}", text)


def jupyter_command(notebook: Path, rest: Sequence[str]) -> list[str]:
    """The words after `python` that open `notebook` in JupyterLab.

    Args:
        notebook: a file in the checkout or in `MULNB_HOME`.
        rest: options of the user for `jupyter lab`.
    """
    # JupyterLab shows one folder: the checkout, so that the other notebooks are at hand, where the copy is in it
    folder = paths.CHECKOUT if notebook.is_relative_to(paths.CHECKOUT) else paths.home()
    words = ["-P", "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    words.append(f"--LabApp.default_url=/lab/tree/{quote(notebook.relative_to(folder).as_posix())}")
    if os.geteuid() == 0:
        words.append("--allow-root")  # as in a container, where it would refuse to start
    return [*words, *rest]


if __name__ == "__main__":
    sys.exit(main())
