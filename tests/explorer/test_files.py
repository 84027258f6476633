"""Forget sets as files: exported and imported by the explorer, refused where they do not fit."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest

import mulnb
from mulnb import forget, study
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.explorer import Explorer
from mulnb.forget import Strata


@pytest.mark.slow
def test_a_set_travels(smoke, tmp_path):
    explorer = Explorer(smoke)
    chosen = explorer.choose("confidence", (10, 12, 14), seed=1)
    explorer.file.save_button.click()
    assert "36 indices written" in explorer.file.voice.message.value
    saved = tmp_path / "smoke" / "figures" / "smoke" / "forget_set.json"
    tree = json.loads(saved.read_text())
    assert {**tree["settings"], "thresholds": None} == {
        **{"profile": "smoke", "score": "confidence", "seed": 1, "sizes": [10, 12, 14], "thresholds": None}
    }
    other = Explorer(smoke, shared=False)
    other.file.load_button.click()
    assert (other.score.value, other.seed.value, [control.value for control in other.sizes.values()], other.equal.value) == (
        "confidence",
        1,
        [10, 12, 14],
        False,
    )
    assert all(np.array_equal(a, b) for a, b in zip(other.strata, chosen, strict=True))
    profile = mulnb.load_profile("smoke", {"forget.file": "figures/smoke/forget_set.json"})
    frame = study.unlearning(profile)
    assert set(frame.score) == {"confidence"} and set(frame.n_forget) == {36} and set(frame.seed) == {0, 1}


def test_a_set_of_somebody_elses_is_shown_as_it_is(smoke, tmp_path):
    data = study.splits(smoke)
    own = Strata(*(np.arange(start, start + 9) for start in (0, 30, 60)))
    forget.save(tmp_path / "mine.json", own, data.fingerprint, len(data.train))
    explorer = Explorer(smoke)
    explorer.load(tmp_path / "mine.json")
    assert all(np.array_equal(a, b) for a, b in zip(explorer.strata, own, strict=True))
    assert "A set of your own" in explorer.summary.value
    explorer.sizes["low"].value = 12
    assert "A set of your own" not in explorer.summary.value and len(explorer.strata.low) == 12


def save(path, low=(0, 1), medium=(2, 3), high=(4, 5), data="abc", n=10):
    return forget.save(path, Strata(*(np.array(part) for part in (low, medium, high))), data, n, {"score": "entropy"})


def test_a_saved_set_is_read_back(tmp_path):
    saved = save(tmp_path / "set.json")
    found = forget.load(tmp_path / "set.json", "abc", 10)
    assert found.hash == saved.hash and found.settings == {"score": "entropy"}
    assert [part.tolist() for part in found.strata] == [[0, 1], [2, 3], [4, 5]]


def test_a_relative_file_is_found_from_the_home(home, tmp_path, monkeypatch):
    save(home / "sets" / "one.json")
    monkeypatch.chdir(tmp_path)
    assert forget.load("sets/one.json").n == 10
    with pytest.raises(UserError, match=r"sets/two\.json does not exist; looked in"):
        forget.load("sets/two.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["low"].append(7), "was changed after it was saved"),
        (lambda tree: tree.update(settings={}), "was changed after it was saved"),
        (lambda tree: tree.pop("high"), "is no forget set"),
        (lambda tree: tree.update(format="other"), "is no forget set"),
        (lambda tree: tree.update(low=["a"]), "is no forget set"),
        (lambda tree: tree.update(low=[[0, 1]]), "is no forget set"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, change, message):
    save(tmp_path / "set.json")
    tree = json.loads((tmp_path / "set.json").read_text())
    change(tree)
    (tmp_path / "set.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=message) as error:
        forget.load(tmp_path / "set.json")
    assert "\n" not in str(error.value)


def test_a_set_that_does_not_fit_is_refused(tmp_path):
    save(tmp_path / "set.json")
    for data, n in (("other", 10), ("abc", 11)):
        with pytest.raises(UserError, match=r"was made for other images or labels \(unnamed, 10 examples\)"):
            forget.load(tmp_path / "set.json", data, n)
    for wrong, message in (
        ({"high": (4, 2)}, "example 2 is in it twice"),
        ({"low": (0, 0)}, "example 0 is in it twice"),
        ({"high": (4, 10)}, "has index 10: the data have 0 … 9"),
        ({"low": (-1, 1)}, "has index -1"),
        ({"low": np.array([], int)}, "has an empty stratum"),
    ):
        with pytest.raises(UserError, match=message):
            save(tmp_path / "other.json", **wrong)
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(UserError, match="is no forget set"):
        forget.load(tmp_path / "text.json")


def test_a_hand_made_file_is_checked_too(tmp_path):
    overlapping = forget.ForgetSet(Strata(*map(np.array, ([0, 1], [1, 2], [3, 4]))), "abc", 10)
    tree = overlapping._contents() | {"hash": overlapping.hash}  # the hash is right, the set is not
    (tmp_path / "set.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match="example 1 is in it twice"):
        forget.load(tmp_path / "set.json")


# --- where an export may go ----------------------------------------------------------------------------------------------


def test_a_file_with_another_set_is_not_overwritten(smoke, tmp_path):
    explorer, target = Explorer(smoke), tmp_path / "my set.json"
    explorer.file.field.value = str(target)
    explorer.file.save_button.click()
    first = target.read_text()
    explorer.file.save_button.click()  # the same set: nothing to ask
    assert "indices written" in explorer.file.voice.message.value

    explorer.choose(sizes=5)
    with pytest.raises(UserError, match=r"exists and holds another set: export to my set-2\.json, or overwrite it"):
        explorer.export(target)
    explorer.file.save_button.click()
    assert target.read_text() == first and explorer.file.field.value == str(tmp_path / "my set-2.json")
    assert explorer.file.overwrite_button.layout.display is None
    explorer.file.save_button.click()  # takes the name that is proposed
    assert target.read_text() == first and len(forget.load(tmp_path / "my set-2.json").strata.forget) == 15
    assert explorer.file.overwrite_button.layout.display == "none"

    explorer.file.field.value = str(target)
    explorer.file.save_button.click()
    explorer.file.overwrite_button.click()
    assert len(forget.load(target).strata.forget) == 15 and explorer.file.field.value == str(target)


def test_no_folder_is_made_for_an_export(smoke, tmp_path):
    explorer = Explorer(smoke)
    new, table = tmp_path / "new" / "set.json", tmp_path / "set.csv"  # a table would be read as a plain list
    for wrong, message in ((new, "does not exist: make it"), (tmp_path, "is a folder"), (table, "call the file set.json")):
        with pytest.raises(UserError, match=message):
            explorer.export(wrong)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_command_shown_runs_as_it_stands(smoke, tmp_path):
    """In a shell of another folder, where no environment is active; with every character that a shell or YAML could misread."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    explorer = Explorer(mulnb.load_profile("smoke", {"unlearning.scores": ["memorization"]}))
    explorer.file.field.value = str(folder / 'my "own" set\'s: #1.json')
    explorer.file.save_button.click()

    shown = re.search("<code>(.*)</code>", explorer.file.voice.message.value)[1]
    source = str(paths.CHECKOUT) + os.pathsep + os.environ.get("PYTHONPATH", "")
    done = subprocess.run(["sh", "-c", html.unescape(shown)], cwd="/", env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(paths.figures() / "smoke-my-own-set-s-1" / "data" / "unlearning.parquet")
    assert set(frame.n_forget) == {36} and "fine_tune" in set(frame.algorithm)
