"""`./run_all.sh --lab` opens a copy of notebook 06: git's is never modified, and nobody's work in a copy is lost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.notebooks import lab

SOURCE = paths.CHECKOUT / "notebooks" / "06_explore.ipynb"


def opened(*words):
    return lab.open_copy(lab.parser().parse_args(words))


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def test_the_copy_shows_the_profile_that_was_asked_for(home):
    before = SOURCE.read_bytes()
    copy = opened("--profile", "cifar10-small", "--set", "seeds=[0]")

    assert copy == home / "artifacts" / "lab" / "cifar10-small" / "06_explore.ipynb"
    assert "profile = 'cifar10-small'\noverrides = {'seeds': [0]}" in sources(copy)
    assert not any(cell.get("outputs") for cell in json.loads(copy.read_text())["cells"])
    assert SOURCE.read_bytes() == before


def test_its_pictures_are_found_from_where_it_lies(tmp_path):
    source, target = tmp_path / "notebooks" / "06_x.ipynb", tmp_path / "artifacts" / "lab" / "06_x.ipynb"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["![a](../figures/a.png) and ![b](https://b.org/b.png)"]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["profile = 'digits'"], "outputs": [1]},
    ]
    source.parent.mkdir()
    source.write_text(json.dumps({"cells": cells, "metadata": {"mulnb": {"outputs": ["a.csv"]}}}))

    lab.copy(source, target, {"profile": "smoke"})
    assert sources(target) == ["![a](../../figures/a.png) and ![b](https://b.org/b.png)", "profile = 'smoke'"]


def test_changes_in_a_copy_are_kept_and_an_old_copy_is_set_aside(capsys):
    copy = opened()
    edited = copy.read_text().replace("The threshold explorer", "My own notes")
    copy.write_text(edited)

    assert opened() == copy and copy.read_text() == edited

    opened("--set", "seeds=[5]")
    assert "My own notes" not in copy.read_text() and "overrides = {'seeds': [5]}" in sources(copy)[1]
    assert copy.with_name("06_explore_old1.ipynb").read_text() == edited
    assert "06_explore_old1.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--profile", "digitz"], ["--set", "pool.modls=3"]])
def test_a_mistake_is_found_before_anything_starts(home, words):
    with pytest.raises(UserError):
        opened(*words)
    assert not home.exists()

    done = subprocess.run([sys.executable, "-m", "mulnb.notebooks.lab", *words], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_other_options_are_jupyters(home):
    options, rest = lab.parser().parse_known_args(["--no-browser", "--profile=smoke", "--ServerApp.port=0"])
    words = lab.jupyter_command(lab.open_copy(options), rest)
    assert words[-2:] == ["--no-browser", "--ServerApp.port=0"]
    assert f"--ServerApp.root_dir={home}" in words
    assert "--LabApp.default_url=/lab/tree/artifacts/lab/smoke/06_explore.ipynb" in words
