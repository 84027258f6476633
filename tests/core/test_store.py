"""The store and the writers: whole or nothing, checked, and keyed by everything that matters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mulnb import load_profile
from mulnb.core import paths, store
from mulnb.core.errors import Notice, UserError
from mulnb.core.store import Artifact
from mulnb.study import Study, jobs, recipes

PARTS = {"seed": 1, "data": "abc"}


def artifact() -> Artifact:
    arrays = {"x": np.arange(6).reshape(2, 3), "bits": np.array([True, False]), "half": np.ones(3, np.float16)}
    return Artifact(arrays, {"acc": 0.5})


def test_what_is_put_comes_back(home):
    store.put("kind", PARTS, artifact())
    found = store.get("kind", PARTS)
    assert found.meta == {"acc": 0.5}
    for name, array in artifact().arrays.items():
        assert found.arrays[name].dtype == array.dtype and np.array_equal(found.arrays[name], array)
    assert store.get("kind", PARTS | {"seed": 2}) is None and store.get("other", PARTS) is None


def test_computed_once(home):
    calls = []
    for _ in range(3):
        store.get_or_compute("kind", PARTS, lambda: calls.append(1) or artifact())
    assert calls == [1]
    assert store.get("kind", PARTS).meta["wall_s"] >= 0


MAKE = """
import sys, time
from pathlib import Path
from mulnb.core import store

def compute():
    with Path(sys.argv[1]).open("a") as calls:
        calls.write("x")
    time.sleep(1)
    return store.Artifact({}, {"acc": 0.5})

assert store.get_or_compute("kind", {"seed": 1}, compute).meta["acc"] == 0.5
"""


@pytest.mark.slow
def test_two_processes_that_want_the_same_compute_it_once(home, tmp_path):
    calls = tmp_path / "calls"
    both = [subprocess.Popen([sys.executable, "-c", MAKE, str(calls)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert calls.read_text() == "x"


DAMAGE = [
    "flip",
    "truncate",
    "empty",
    "no manifest",
    "no arrays",
    "bad json",
    "list",
    "changed fact",
    "folder",
    "file",
    "other",
    "pipe",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_artifact_is_computed_again(home, damage):
    store.put("kind", PARTS, artifact())
    place = store.folder("kind", PARTS)
    blob = place / "arrays.safetensors"
    content = bytearray(blob.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        blob.write_bytes(content)
    elif damage == "truncate":
        blob.write_bytes(content[:-4])
    elif damage == "bad json":
        (place / "manifest.json").write_text("{")
    elif damage == "empty":
        blob.write_bytes(b"")
    elif damage == "list":
        (place / "manifest.json").write_text("[1]")
    elif damage == "changed fact":
        text = (place / "manifest.json").read_text()
        (place / "manifest.json").write_text(text.replace('"acc": 0.5', '"acc": 0.7'))
    elif damage == "folder":
        blob.unlink()
        blob.mkdir()
    elif damage == "pipe":
        blob.unlink()
        os.mkfifo(blob)
    elif damage == "file":
        shutil.rmtree(place)
        place.write_text("a file where the folder should be")
    elif damage == "other":  # a whole artefact of another recipe
        store.put("kind", PARTS | {"seed": 2}, artifact())
        shutil.rmtree(place)
        store.folder("kind", PARTS | {"seed": 2}).rename(place)
    else:
        (place / ("manifest.json" if damage == "no manifest" else "arrays.safetensors")).unlink()
    with pytest.warns(Notice, match="damaged .* it is moved to .* and computed again"):
        assert store.get("kind", PARTS) is None
    assert store.get_or_compute("kind", PARTS, artifact).meta["acc"] == 0.5
    assert store.get("kind", PARTS) is not None


def test_sealed_parts_of_another_key_are_no_whole_artefact(home):
    store.put("kind", PARTS, artifact())
    manifest, _ = store.read(store.folder("kind", PARTS))
    assert store.whole(manifest) == manifest
    manifest["parts"] = PARTS | {"seed": 2}
    manifest["seal"] = store._seal(manifest)
    with pytest.raises(ValueError, match="the key is not that of the recipe"):
        store.whole(manifest)
    (store.folder("kind", PARTS) / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(Notice, match="the key is not that of the recipe"):
        assert store.get("kind", PARTS) is None


def test_a_path_that_is_too_long_for_the_system_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_HOME", str(tmp_path.joinpath(*["x" * 200] * 25)))
    assert store.get("kind", PARTS) is None
    with pytest.raises(UserError, match="File name too long: choose a shorter one"):
        store.put("kind", PARTS, artifact())


def test_facts_of_every_kind_come_back_under_their_seal(home):
    facts = {"pair": (1, 2), "by number": {10: "a", 9: "b"}, "nan": float("nan"), "tiny": 1e-300, "none": None, "word": "größer"}
    store.put("kind", PARTS | {"array": np.arange(3), "pair": (1, 2.5)}, Artifact({}, facts))
    found = store.get("kind", PARTS | {"array": np.arange(3), "pair": (1, 2.5)})
    assert found is not None and found.meta["pair"] == [1, 2] and found.meta["by number"] == {"10": "a", "9": "b"}


def test_what_lies_in_the_way_of_the_store_is_named_once(home):
    kind = home / "artifacts" / "kind"
    kind.parent.mkdir(parents=True)
    kind.write_text("a file where the folder should be")
    assert store.get("kind", PARTS) is None
    with pytest.raises(UserError, match=f"cannot write .*: remove or rename {kind}$"):
        store.put("kind", PARTS, artifact())


def test_a_name_of_a_temporary_file_may_have_any_number(home):
    home.mkdir()
    for number in ("9" * 30, "²", ""):
        (home / f".partial-{paths._machine()}-{number}-x").touch()
    paths.write_text(home / "table.csv", "whole")
    assert not (home / f".partial-{paths._machine()}-{'9' * 30}-x").exists()


def test_what_a_killed_process_left_is_removed_with_the_next_file(home):
    ours = paths.partial_prefix(home)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    home.mkdir()
    left = home / f"{ours.replace(str(os.getpid()), str(dead.pid))}abc.csv"
    left.write_text("half")
    folder = home / f"{ours.replace(str(os.getpid()), str(dead.pid))}def"
    folder.mkdir()
    living = home / f"{ours}ghi.csv"
    living.write_text("being written")
    paths.write_text(home / "table.csv", "whole")
    assert {path.name for path in home.iterdir()} == {"table.csv", living.name}


def test_the_key_sees_arrays_numbers_and_types():
    keys = [
        store.digest(parts)
        for parts in (
            {"a": np.arange(3)},
            {"a": np.arange(3).astype(np.int32)},
            {"a": np.array([0, 2, 1])},
            {"a": np.arange(3)[None]},
            {"a": [0, 1, 2]},
            {"a": 1},
            {"a": 1.5},
            {"a": "1"},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert store.digest({"a": 1, "b": 2}) == store.digest({"b": 2, "a": 1})


def test_the_code_version_sees_code_and_not_comments(tmp_path, monkeypatch):
    def version(source: str) -> str:
        (tmp_path / "room.py").write_text(textwrap.dedent(source))
        store.code_version.cache_clear()
        return store.code_version("room")

    monkeypatch.setattr(store, "PACKAGE", tmp_path)
    plain = version("def f(x):\n    return x + 1\n")
    assert plain == version('"""A docstring."""\n\n# a comment\ndef f(x):\n    """Another."""\n    return (x + 1)\n')
    assert plain == version("import os\nfrom mulnb.core import paths\n\ndef f(x):\n    import sys\n    return x + 1\n")
    assert plain != version("def f(x):\n    return x + 2\n")
    (tmp_path / "wing").mkdir()
    (tmp_path / "room.py").rename(tmp_path / "wing" / "elsewhere.py")  # results stay valid when a file moves
    assert store.code_version("wing.elsewhere") == store.code_version("wing") == version("def f(x):\n    return x + 2\n")
    monkeypatch.undo()
    store.code_version.cache_clear()


FULL_DISK = """
import resource, signal, sys
import numpy as np
from mulnb.core import paths, store
from mulnb.core.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that may not grow: the same OSError as a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    if sys.argv[1] == "store":
        store.put("kind", {"a": 1}, store.Artifact({"x": np.zeros(100_000)}))
    else:
        paths.write_file(paths.results("p") / "table.csv", lambda to: to.write_text("x" * 100_000))
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("what", ["store", "file"])
def test_a_full_disk_names_the_path_and_leaves_nothing_half_written(home, what):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, what], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stdout and str(home) in done.stdout and "File too large: allow larger files" in done.stdout
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_no_permission_names_the_path(home, monkeypatch):
    home.mkdir()
    (home / "artifacts").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot write .*artifacts/kind"):
        store.put("kind", PARTS, artifact())
    monkeypatch.setenv("MULNB_FIGURES", "/proc/none")
    with pytest.raises(UserError, match=r"cannot write /proc/none/p/table\.csv"):
        paths.write_text(paths.results("p") / "table.csv", "x")


def test_a_store_that_cannot_be_written_is_told_before_anything_is_computed(home):
    profile = load_profile("smoke")
    splits = Study.of(profile).splits
    shutil.rmtree(home / "artifacts")
    (home / "artifacts").write_text("a file where a folder should be")
    study = Study(profile)
    study.splits = splits
    with pytest.raises(UserError, match=r"cannot write .*artifacts: File exists"):
        jobs.compute(study, [recipes.original_job(study, 0)], "originals")


def test_a_failed_writer_keeps_the_old_file(home):
    path = paths.write_text(home / "table.csv", "old")

    def fail(to):
        to.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        paths.write_file(path, fail)
    assert path.read_text() == "old" and list(home.iterdir()) == [path]


def test_paths_do_not_depend_on_the_working_directory(home, monkeypatch, tmp_path):
    before = (paths.artifacts(), paths.figures(), paths.data())
    monkeypatch.chdir(tmp_path)
    assert before == (paths.artifacts(), paths.figures(), paths.data())
    assert all(path.is_absolute() for path in before)
    monkeypatch.delenv("MULNB_HOME")
    assert paths.home() == paths.CHECKOUT


def test_a_run_in_a_checkout_writes_beside_the_committed_results_and_reads_both(home, monkeypatch, tmp_path):
    checkout = tmp_path / "a checkout"
    (checkout / "notebooks").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    committed = checkout / "figures" / "p" / "a.csv"
    committed.parent.mkdir(parents=True)
    committed.write_text("committed")
    monkeypatch.setattr(paths, "CHECKOUT", checkout)
    assert paths.readable() == [home / "figures"]  # whoever names a home gets nothing from elsewhere

    monkeypatch.delenv("MULNB_HOME")
    assert paths.find_result("p", "a.csv") == committed
    own = paths.write_text(paths.results("p") / "a.csv", "own")
    assert own == checkout / "results" / "p" / "a.csv" == paths.find_result("p", "a.csv")
    assert paths.find_result("p", "missing.csv") == own.with_name("missing.csv")

    monkeypatch.setenv("MULNB_PUBLISH", "1")
    assert paths.results("p") / "a.csv" == committed == paths.find_result("p", "a.csv")
