"""Damaged results are kept aside for whoever wants to look, within bounds."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mulnb.core import damaged, store
from mulnb.core.errors import Notice


def test_a_damaged_result_lies_aside_as_it_was(home):
    place = home / "artifacts" / "pool" / "abc"
    for content in ("first", "second"):
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(content)
        assert damaged.set_aside(place).startswith(f"moved to {damaged.folder() / 'pool-abc'}")
        assert not place.exists()
    assert (damaged.folder() / "pool-abc" / "manifest.json").read_text() == "first"
    assert (damaged.folder() / "pool-abc-2" / "manifest.json").read_text() == "second"


def test_a_file_or_a_link_to_nowhere_in_its_place_goes_there_too(home):
    kind = home / "artifacts" / "pool"
    kind.mkdir(parents=True)
    (kind / "file").write_text("x")
    (kind / "link").symlink_to(home / "nowhere")
    for name in ("file", "link"):
        assert damaged.set_aside(kind / name) == f"moved to {damaged.folder() / f'pool-{name}'}"
    assert list(kind.iterdir()) == []
    assert damaged.set_aside(kind / "file") == "removed"  # another process was faster


def test_the_newest_ten_are_kept_and_one_gigabyte_in_all(home, monkeypatch):
    kind = home / "artifacts" / "pool"
    kind.mkdir(parents=True)
    for number in range(13):
        (kind / str(number)).write_bytes(bytes(100))
        damaged.set_aside(kind / str(number))
        os.utime(damaged.folder() / f"pool-{number}", (number, number))
    assert {path.name for path in damaged.folder().iterdir()} == {f"pool-{number}" for number in range(3, 13)}

    monkeypatch.setattr(damaged, "MOST_BYTES", 450)
    (kind / "last").write_bytes(bytes(200))
    damaged.set_aside(kind / "last")
    assert {path.name for path in damaged.folder().iterdir()} == {"pool-last", "pool-12", "pool-11"}
    (kind / "large").write_bytes(bytes(500))
    assert damaged.set_aside(kind / "large") == "removed"


SAY = """
from pathlib import Path
from mulnb.core import store
from mulnb.core.errors import notice
notice("a notice of any kind")
store.put("kind", {"a": 1}, store.Artifact({}, {"b": 2}))
(store.folder("kind", {"a": 1}) / "manifest.json").write_text("{")
assert store.get("kind", {"a": 1}) is None
"""


def test_a_notice_is_one_line_on_stderr(home):
    said = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stderr.splitlines()
    assert len(said) == 2 and said[0] == "mulnb: a notice of any kind"
    assert said[1].startswith(f"mulnb: {home}/artifacts/kind/") and said[1].endswith("and computed again")


def test_another_process_may_remove_what_is_kept_at_the_same_time(home, monkeypatch):
    kind = home / "artifacts" / "pool"
    for name in ("first", "second"):
        (kind / name).mkdir(parents=True)
        (kind / name / "file").write_text("x")
        damaged.set_aside(kind / name)
    gone = {damaged.folder() / "pool-first", damaged.folder() / "pool-second" / "file"}
    lstat = Path.lstat

    def meanwhile(path):
        if path in gone:
            raise FileNotFoundError(path)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", meanwhile)
    (kind / "third").write_text("x")
    assert damaged.set_aside(kind / "third").startswith("moved to")


def spoilt() -> Path:
    store.put("kind", {"a": 1}, store.Artifact({}, {"b": 2}))
    place = store.folder("kind", {"a": 1})
    (place / "manifest.json").write_text("{")
    return place


def test_a_good_result_that_came_in_the_place_of_a_damaged_one_stays(home, monkeypatch):
    place = spoilt()

    @contextlib.contextmanager
    def waited(names):
        assert names == [f"kind/{place.name}"]
        shutil.rmtree(place)
        store.put("kind", {"a": 1}, store.Artifact({}, {"b": 2}))  # another run was faster
        yield

    with monkeypatch.context() as patched:
        patched.setattr(store.locks, "held", waited)
        assert store.get("kind", {"a": 1}).meta == {"b": 2}
    assert place.exists() and not damaged.folder().exists()


def test_a_damaged_result_that_cannot_be_moved_is_told_once(home, monkeypatch):
    spoilt()
    monkeypatch.setattr(damaged, "set_aside", lambda place: damaged.LEFT)
    with pytest.warns(Notice) as told:
        for _ in range(3):
            assert store.get("kind", {"a": 1}) is None
    assert [str(notice.message).endswith("it is left there and computed again") for notice in told] == [True]
