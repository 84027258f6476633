"""A study that is killed again and again, or run twice at once, ends with the tables of an undisturbed one.

`MULNB_KILLS=30 pytest tests/study/test_survival.py` kills it at thirty moments instead of ten.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import attempts
import pytest
from attempts import Attempt, Starter, assert_equal, members, stored

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
        after = int(total * 0.97 * (number + draw.random()) / KILLS)
        attempt = wait_until(attempt, starter, home, functools.partial(has_stored, home, after), 0.1)
        attempt = attempt and wait_until(attempt, starter, home, functools.partial(is_at, home, kill), 0.001)
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
    assert list(attempts.temporary(home).iterdir()) == []


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
    return sum(1 for _ in home.glob("artifacts/*/*/manifest.json")) >= count


def is_at(home: Path, kill: Kill, attempt: Attempt) -> bool:
    """Whether a run is at what it is to be killed during."""
    if kill.who == "worker":
        return bool(members(attempt.pid, attempts.WORKER))
    if kill.during == "anything":
        return True

    places = home.glob("artifacts/*/") if kill.during == "result" else [home / "figures" / "smoke" / "data"]
    own = f"-{attempt.pid}-"
    return any(name.startswith(".partial") and own in name for place in places if place.is_dir() for name in os.listdir(place))


def wait_until_gone(group: int) -> None:
    """Wait until no process of the group is left: workers notice within seconds that their parent is gone."""
    deadline = time.monotonic() + 60
    while members(group):
        assert time.monotonic() < deadline, "workers are left behind"
        time.sleep(0.1)


def test_two_at_once_share_the_work_and_end_with_the_same_tables(starter, undisturbed, tmp_path):
    home = tmp_path / "home"
    for run in [starter.start(home, workers=2), starter.start(home, workers=2)]:
        code = run.wait()
        assert code == 0, run.said
    assert_equal(home, undisturbed)
