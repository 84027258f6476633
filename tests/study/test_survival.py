"""A study that is killed again and again, run twice at once, or finds damaged files ends with the tables of an undisturbed one.

`MULNB_KILLS=30 pytest tests/study/test_survival.py` kills it at thirty moments instead of ten.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import attempts
import pytest
from attempts import Attempt, Starter, assert_equal, members, stored

from mulnb.core import store

KILLS = int(os.environ.get("MULNB_KILLS", "10"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0 if KILLS > 10 else 1800),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the state of processes in /proc"),
]


@dataclass(frozen=True)
class Kill:
    """Who is killed, with which signal, and during what."""

    who: str  # "main", "group" or "worker"
    how: signal.Signals
    during: str  # "anything"; "result", "table": while such a file is being written
    workers: int = 1


# those without workers come more often: they cost no second import of torch
WAYS = [
    Kill("main", signal.SIGKILL, "anything"),
    Kill("group", signal.SIGTERM, "anything", workers=2),
    Kill("main", signal.SIGKILL, "table"),
    Kill("main", signal.SIGINT, "anything"),
    Kill("worker", signal.SIGKILL, "anything", workers=2),
    Kill("main", signal.SIGKILL, "result"),
    Kill("main", signal.SIGTERM, "table"),
    Kill("group", signal.SIGKILL, "anything", workers=2),
    Kill("group", signal.SIGINT, "result"),
    Kill("main", signal.SIGTERM, "anything"),
]


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    found = Starter()
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(starter, tmp_path_factory) -> Path:
    """A home with the results of a run that nobody disturbed."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    starter.finish(home)
    return home


def test_killed_at_any_moment_it_goes_on_where_it_was(starter, undisturbed, tmp_path):
    home, total = tmp_path / "ein Stör-Ordner 家", len(stored(undisturbed))
    draw = random.Random(KILLS)
    struck: list[str] = []

    attempt = None
    for number, kill in zip(range(KILLS), itertools.cycle(WAYS), strict=False):
        kept = stored(home)
        attempt = attempt or starter.start(home, kill.workers)

        # moments spread over the whole study: a kill comes when so many results are stored, and a little later
        after = int(total * 0.97 * (number + draw.random()) / KILLS) if kill.during != "table" else 0
        attempt = wait_until(attempt, starter, home, functools.partial(has_stored, home, after), 0.1)
        attempt = attempt and wait_until(attempt, starter, home, At(home, kill, count=draw.randrange(1, 6)), 0.001)
        if attempt is None:  # it finished while the test waited for a table
            break

        if kill.during == "anything":
            time.sleep(draw.uniform(0, 0.3))
        attempts.strike(attempt, kill.who, kill.how)
        struck.append(f"{kill.who} {kill.how.name} during {kill.during}, {len(stored(home))} of {total} results stored")
        if kill.who != "worker":  # what the loss of a worker does to its run, the next moment shows
            attempt.wait()
            wait_until_gone(attempt.pid)
            attempt = None

        now = stored(home)
        assert {name: now[name] for name in kept} == kept, struck  # what was stored was not made again

    print(*struck, sep="\n")
    assert len(struck) > KILLS / 2

    kept = stored(home)
    if attempt is not None:
        attempt.wait()
    starter.finish(home)
    now = stored(home)
    assert {name: now[name] for name in kept} == kept
    assert_equal(home, undisturbed)
    left = {path.name for path in attempts.temporary(home).iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor")}, left  # torch's own cache, empty


def wait_until(
    attempt: Attempt, starter: Starter, home: Path, reached: Callable[[Attempt], bool], step_s: float
) -> Attempt | None:
    """Wait for a moment of a run. One that has lost a worker may end before: then it is started again.

    Args:
        attempt: the run.
        starter: starts it again.
        home: its `MULNB_HOME`.
        reached: whether the moment has come.
        step_s: seconds between two looks.

    Returns:
        The run in which the moment has come; None if it finished before.
    """
    while not reached(attempt):
        if attempt.ended():
            code, said = attempt.wait(), attempt.said
            if code == 0:
                return None
            assert code == 2 and "mulnb: a worker process was killed" in said, said
            assert "Traceback" not in said, said
            attempt = starter.start(home)
        time.sleep(step_s)
    return attempt


def has_stored(home: Path, count: int, attempt: Attempt) -> bool:
    """Whether so many results are in the store."""
    return len(stored(home)) >= count


class At:
    """Whether a run is at what it is to be killed during."""

    def __init__(self, home: Path, kill: Kill, count: int) -> None:
        """`count`: of the tables that it writes, the one to be killed during; it begins with those of the finished stages."""
        self._kill, self._seen = kill, set()
        self._count = count if kill.during == "table" else 1
        self._places = home / ("artifacts" if kill.during == "result" else "figures/smoke")

    def __call__(self, attempt: Attempt) -> bool:
        if self._kill.who == "worker":
            return bool(members(attempt.pid, attempts.WORKER))
        if self._kill.during == "anything":
            return True

        own = f"-{attempt.pid}-"
        for place in attempts.names_in(self._places):
            names = attempts.names_in(self._places / place)
            self._seen |= {name for name in names if name.startswith(".partial") and own in name}
        return len(self._seen) >= self._count


def wait_until_gone(group: int) -> None:
    """Wait until no process of the group is left: workers notice within seconds that their parent is gone."""
    deadline = time.monotonic() + 300
    while members(group):
        assert time.monotonic() < deadline, "workers are left behind"
        time.sleep(0.1)


def test_two_at_once_share_the_work_and_end_with_the_same_tables(starter, undisturbed, tmp_path):
    home = tmp_path / "home"
    for run in [starter.start(home, workers=2), starter.start(home, workers=2)]:
        code = run.wait()
        assert code == 0, run.said
    assert_equal(home, undisturbed)


# ---- damage

KINDS = ("floor", "holdout_retraining", "images", "oracle", "original", "pool", "sequential", "unlearned")
DAMAGE = ("flip", "truncate", "empty", "delete", "folder", "another")


def damage(file: Path, how: str, another: Path) -> None:
    """Do something to a stored file; `another` is the file of this name of another result."""
    content = bytearray(file.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    elif how == "truncate":
        file.write_bytes(content[:-5])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "another":
        file.write_bytes(another.read_bytes())
    else:
        file.unlink()
        if how == "folder":
            file.mkdir()


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["manifest.json", "arrays.safetensors"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_any_stored_file_is_noticed_and_moved_aside(undisturbed, home, kind, name, how):
    of_kind = sorted((undisturbed / "artifacts" / kind).iterdir())
    other = next((undisturbed / "artifacts" / ("original" if kind == "pool" else "pool")).iterdir())
    place = home / "artifacts" / kind / of_kind[0].name
    shutil.copytree(of_kind[0], place)
    parts = json.loads((place / "manifest.json").read_text())["parts"]
    whole = store.get(kind, parts)
    assert whole is not None

    damage(place / name, how, other / name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert store.get(kind, parts) is None
    [notice] = said
    aside = home / "artifacts" / "damaged" / f"{kind}-{place.name}"
    assert str(notice.message).startswith(f"{place}: damaged (")
    assert str(notice.message).endswith(f"it is moved to {aside} and computed again")
    assert aside.is_dir() and not place.exists()

    store.put(kind, parts, whole)
    assert store.get(kind, parts).meta == whole.meta


def test_what_is_damaged_is_computed_again_and_told_in_one_line_each(starter, undisturbed, tmp_path):
    assert {path.name for path in (undisturbed / "artifacts").iterdir() if path.is_dir()} == set(KINDS)
    home = tmp_path / "home"
    shutil.copytree(undisturbed, home)
    for kind in KINDS:
        damage(min((home / "artifacts" / kind).iterdir()) / "arrays.safetensors", "flip", home)

    said = starter.finish(home)
    lines = [line for line in said.splitlines() if ": damaged (" in line or "Warning" in line or "warn(" in line]
    assert len(lines) == len(KINDS) and all(line.startswith(f"mulnb: {home}/artifacts/") for line in lines), said
    assert len(list((home / "artifacts" / "damaged").iterdir())) == len(KINDS)
    assert_equal(home, undisturbed)
