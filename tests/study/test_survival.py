"""A study that is killed, or run twice at once, ends with the tables of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

STAGES = ("memorization", "proxies", "unlearning")
COSTS = ("seconds", "wall", "share_of_exact")  # columns that hold times

# what is killed, and how: the main process alone, or the whole group as a terminal's Ctrl-C or a batch system does it
KILLS = [(os.kill, signal.SIGKILL), (os.killpg, signal.SIGTERM), (os.killpg, signal.SIGINT), (os.killpg, signal.SIGKILL)]

pytestmark = pytest.mark.slow


def begin(home: Path) -> subprocess.Popen:
    """All stages of `smoke`, one after another, in a session of their own."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background shells ignore it
        "from mulnb.__main__ import main\n"
        f"sys.exit(max(main(['run', '--profile', 'smoke', '--stage', stage]) for stage in {STAGES}))"
    )
    environment = os.environ | {"MULNB_HOME": str(home), "MULNB_WORKERS": "2"}
    environment.pop("MULNB_FIGURES", None)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(home: Path) -> None:
    run = begin(home)
    said = run.communicate(timeout=600)[0]
    assert run.returncode == 0, said


def tables(home: Path) -> dict[str, pd.DataFrame]:
    """The published frames by name, without times."""
    found = {}
    for path in sorted(home.glob("figures/smoke/data/*.parquet")):
        frame = pd.read_parquet(path)
        found[path.name] = frame.drop(columns=[name for name in frame if any(cost in name for cost in COSTS)])
    return found


def stored(home: Path) -> dict[str, int]:
    """When each artefact was written, in nanoseconds."""
    found = home.glob("artifacts/*/*/manifest.json")
    return {str(path.relative_to(home)): path.stat().st_mtime_ns for path in found}


def assert_equal(home: Path, undisturbed: Path) -> None:
    expected, found = tables(undisturbed), tables(home)
    assert list(found) == list(expected) and len(expected) >= 5
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True)

    assert set(stored(home)) == set(stored(undisturbed))
    assert not [path for path in home.rglob("*") if ".partial" in path.name]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, float]:
    """A home with the results of a run that nobody disturbed, and how long it took in seconds."""
    home = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    finish(home)
    return home, time.monotonic() - started


def test_killed_at_any_moment_it_goes_on_where_it_was(undisturbed, tmp_path):
    reference, seconds = undisturbed
    draw = random.Random(0)

    for kill, how in KILLS:
        kept = stored(tmp_path)
        run = begin(tmp_path)
        time.sleep(draw.uniform(0.1, 0.6) * seconds)
        kill(run.pid, how)
        run.communicate(timeout=60)
        wait_until_gone(run.pid)

        now = stored(tmp_path)
        assert {name: now[name] for name in kept} == kept  # what was stored was not made again

    kept = stored(tmp_path)
    finish(tmp_path)
    now = stored(tmp_path)
    assert {name: now[name] for name in kept} == kept
    assert_equal(tmp_path, reference)


def wait_until_gone(group: int) -> None:
    """Wait until no process of the group is left: workers notice within seconds that their parent is gone."""
    for _ in range(600):
        if not members(group):
            return
        time.sleep(0.1)
    raise AssertionError("workers are left behind")


def members(group: int) -> list[str]:
    """The processes of a group that still run; a zombie has ended, whoever forgot to ask for its exit code."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(of_group) == group and state not in "ZX":
            found.append(stat.parent.name)
    return found


def test_two_at_once_share_the_work_and_end_with_the_same_tables(undisturbed, tmp_path):
    runs = [begin(tmp_path), begin(tmp_path)]
    for run in runs:
        said = run.communicate(timeout=900)[0]
        assert run.returncode == 0, said
    assert_equal(tmp_path, undisturbed[0])
