"""Every committed notebook, run for real by papermill on `smoke`: it finishes, hides no error, and writes what it declares.

`smoke` is what the notebooks were not written for: nbval runs them on `digits`, papermill with other parameters. What the tests
of the explorer computed of `smoke` already is in the store; nothing is computed twice in a run of all tests. That holds for the
notebook of an own model, too: it takes nothing but images from its profile, and nbval runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from mulnb.core import paths
from mulnb.notebooks import kernel

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted((paths.CHECKOUT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
OF_A_PROFILE = [path for path in NOTEBOOKS if path.stem != "07_your_model"]


@pytest.fixture(scope="module")
def executed(smoke_home, tmp_path_factory):
    """One run of the notebooks, the interactive ones too, started from a foreign folder with a space in its name."""
    home, elsewhere = tmp_path_factory.mktemp("home of smoke"), tmp_path_factory.mktemp("else where")
    shutil.copytree(smoke_home / "artifacts", home / "artifacts")  # not its figures: this run must write them
    env = os.environ | {"MULNB_HOME": str(home)}
    env.pop("MULNB_FIGURES", None)

    only = ",".join(path.name[:2] for path in OF_A_PROFILE)
    command = [sys.executable, "-m", "mulnb.notebooks", "--profile", "smoke", "--only", only]
    sources = [path.read_bytes() for path in OF_A_PROFILE]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=elsewhere)

    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in OF_A_PROFILE] == sources  # the sources are never rewritten
    assert not list(elsewhere.iterdir())  # nothing lands in the working directory
    return home, done.stdout


def test_all_are_numbered_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(len(NOTEBOOKS))] and len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", OF_A_PROFILE, ids=lambda path: path.stem)
def test_it_ran_on_smoke_without_a_hidden_error(executed, path):
    home, _ = executed
    ran = nbformat.read(home / "artifacts" / "executed" / "smoke" / path.name, as_version=4)
    assert kernel.hidden_errors(ran) == []
    cells = [cell for cell in ran.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert all(cell.execution_count for cell in cells)


@pytest.mark.parametrize("path", OF_A_PROFILE, ids=lambda path: path.stem)
def test_what_it_declares_is_there_and_not_empty(executed, path):
    home, _ = executed
    declared = json.loads(path.read_text())["metadata"]["mulnb"]["outputs"]
    assert declared
    for name in declared:
        assert (home / "figures" / "smoke" / name).resolve().stat().st_size > 100, name


def test_the_run_tells_how_far_it_is_and_where_the_results_are(executed):
    home, printed = executed
    for number, path in enumerate(OF_A_PROFILE, start=1):
        assert f"[{number}/{len(OF_A_PROFILE)}] {path.stem}" in printed
    assert str(home / "figures" / "smoke") in printed
