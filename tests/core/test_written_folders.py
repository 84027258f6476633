"""Folders are written whole, and what another program wrote meanwhile stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from mulnb.core import folders, paths, store
from mulnb.core.errors import UserError


def test_a_folder_is_written_whole_and_the_first_writer_wins(home):
    place = home / "artifacts" / "unpacked"
    folders.write_folder(place, lambda to: (to / "a.txt").write_text("first"))
    folders.write_folder(place, lambda to: (to / "a.txt").write_text("second"))  # another process was faster
    assert (place / "a.txt").read_text() == "first" and list(place.parent.iterdir()) == [place]

    def fail(to):
        (to / "b.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*/half: No space left on device"):
        folders.write_folder(place.parent / "half", fail)
    assert list(place.parent.iterdir()) == [place]


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from mulnb.core import folders

rename, calls = os.rename, []
def strike(*words):
    calls.append(words)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*words)

os.rename = strike
folders.write_folder(Path(sys.argv[1]), lambda to: (to / "a.txt").write_text("new"), instead=True)
"""


@pytest.mark.parametrize(("renames", "there"), [(0, True), (1, False)])
def test_a_folder_whose_replacement_was_killed_comes_back(home, renames, there):
    place = home / "artifacts" / "pool" / "ab12"
    folders.write_folder(place, lambda to: (to / "a.txt").write_text("old"))
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN, str(place), str(renames + 1)])
    assert killed.returncode < 0 and place.exists() == there

    store.tidy()
    assert (place / "a.txt").read_text() == "old" and list(place.parent.iterdir()) == [place]


def test_a_folder_is_replaced_or_stays(home, monkeypatch):
    place = home / "site"
    for text in ("old", "new"):
        folders.write_folder(place, lambda to, text=text: (to / "a.txt").write_text(text), instead=True)
    assert (place / "a.txt").read_text() == "new" and list(home.iterdir()) == [place]

    rename, calls = os.rename, []

    def fails_once(*words):
        calls.append(words)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(*words)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(UserError, match="Input/output error"):
        folders.write_folder(place, lambda to: (to / "a.txt").write_text("newer"), instead=True)
    assert (place / "a.txt").read_text() == "new" and list(home.iterdir()) == [place]


def fill(to):
    for name in "ab":
        (to / name).write_text(name)


def test_files_come_into_a_new_folder_all_at_once_and_into_another_one_by_one(home):
    folders.write_files(home / "new", fill)
    (home / "new" / "b").write_text("other")
    (home / "new" / "c").write_text("stays")
    folders.write_files(home / "new", fill)
    assert {path.name: path.read_text() for path in (home / "new").iterdir()} == {"a": "a", "b": "b", "c": "stays"}

    def late(to):
        fill(to)
        (home / "other").mkdir()
        (home / "other" / "mine").write_text("x")

    with pytest.raises(UserError, match=r"another program wrote into .*/other meanwhile: its files stay"):
        folders.write_files(home / "other", late)
    assert [path.name for path in (home / "other").iterdir()] == ["mine"]


def refuse(*_):
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_files_come_into_an_empty_folder_all_at_once(home, monkeypatch):
    (home / "empty").mkdir(parents=True, mode=0o700)
    (home / "link").symlink_to(home / "empty")
    (home / "empty" / f"{paths.partial_prefix(home).replace(str(os.getpid()), '9' * 9)}x").touch()  # of a killed process
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)  # which would move them one by one
        folders.write_new(home / "link", fill)
    assert {path.name for path in (home / "empty").iterdir()} == {"a", "b"} and (home / "link").is_symlink()
    assert (home / "empty").stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="another program wrote into"):
        folders.write_new(home / "empty", fill)


@pytest.mark.parametrize("kind", ["a disk", "another disk", "the current folder"])
def test_files_come_into_a_folder_that_must_stay_one_by_one_and_only_if_it_is_empty(home, monkeypatch, kind):
    place = home / "place"
    place.mkdir(parents=True)
    before = place.stat().st_ino
    if kind == "a disk":
        monkeypatch.setattr(os.path, "ismount", lambda path: path == place)
    elif kind == "another disk":
        monkeypatch.setattr(os, "rename", refuse)
    else:
        monkeypatch.chdir(place)
    folders.write_new(place, fill)
    assert {path.name for path in place.iterdir()} == {"a", "b"} and place.stat().st_ino == before

    (place / "b").unlink()
    with pytest.raises(UserError, match="another program wrote into"):
        folders.write_new(place, fill)
    assert [path.name for path in place.iterdir()] == ["a"]
    assert [path.name for path in home.iterdir()] == ["place"]


MASKED = """
import os, sys
from pathlib import Path
import numpy as np
from mulnb.core import folders, locks, paths, store
os.umask(int(sys.argv[1], 8))
here = Path(sys.argv[2])
def private(to):
    os.close(os.open(to, os.O_CREAT, 0o600))
paths.write_text(here / "text", "x")
folders.write_new(here / "out", lambda to: paths.write_file(to / "for its owner", private))
store.put("kind", {"a": 1}, store.Artifact({"x": np.zeros(2)}))
with locks.held(["a"]):
    pass
"""


@pytest.mark.parametrize(("mask", "file", "folder"), [("077", 0o600, 0o700), ("002", 0o664, 0o775)])
def test_who_may_read_what_is_written_is_the_users_choice(home, tmp_path, mask, file, folder):
    subprocess.run([sys.executable, "-c", MASKED, mask, str(tmp_path / "here")], check=True)
    written = [*(tmp_path / "here").rglob("*"), *(home / "artifacts").rglob("*")]
    assert len(written) == 8
    assert {path.stat().st_mode & 0o777 for path in written if path.is_file()} == {file}
    assert {path.stat().st_mode & 0o777 for path in written if path.is_dir()} == {folder}
