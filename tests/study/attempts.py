"""Runs of `smoke` that a test may kill.

They are forked from one process that has imported everything: a start costs no import of torch, so that a slow machine can
afford many of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

STAGES = ("memorization", "proxies", "unlearning", "sequential")
SHORTER = ("sequential.steps=2",)  # a chain of two steps has all that one of five has
OPTIONS = ("--profile", "smoke", *(word for change in SHORTER for word in ("--set", change)))
WORKER = "LokyProcess"  # in the command line of a worker process
COSTS = ("seconds", "wall", "share_of_exact")  # columns that hold times

# Reads orders, a line of JSON each, and answers each with a number: "start" with the new run's, "wait" with its exit code.
TEMPLATE = """
import json, os, signal, sys, tempfile
import joblib, pyarrow.parquet, safetensors.numpy, scipy.stats, sklearn.datasets, torch
import mulnb.audit, mulnb.pool, mulnb.proxies, mulnb.results.publish, mulnb.rum, mulnb.study.batches
from mulnb.__main__ import main

def run(said, environment, commands):
    os.setsid()  # a group of its own, which can be killed as one
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in what runs in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.update(environment)
    tempfile.tempdir = None  # torch has asked for it already
    for command in commands:
        if code := main(command):
            sys.exit(code)
    sys.exit(0)

for line in sys.stdin:
    order, what = json.loads(line)
    if order == "start":
        answer = os.fork()
        if answer == 0:
            run(*what)
    else:
        answer = os.waitstatus_to_exitcode(os.waitpid(what, 0)[1])
    print(answer, flush=True)
"""


class Attempt:
    """A run of all stages that has been started."""

    def __init__(self, starter: Starter, pid: int, said: Path) -> None:
        self._starter, self.pid, self._said = starter, pid, said
        self._code: int | None = None

    def ended(self) -> bool:
        """Whether it has ended, however it did."""
        return self._code is not None or not is_running(self.pid)

    def wait(self) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        if self._code is None:
            self._code = self._starter.ask("wait", self.pid)
        return self._code

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._said.read_text()


class Starter:
    """Starts runs that have nothing left to import."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MULNB_")}
        command = [sys.executable, "-P", "-c", TEMPLATE]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started: list[Attempt] = []

    def ask(self, order: str, what: object) -> int:
        print(json.dumps([order, what]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def start(self, home: Path, workers: int = 1, stages: Sequence[str] = STAGES) -> Attempt:
        """Begin all stages of `smoke` in a session of their own.

        Args:
            home: the `MULNB_HOME`; what the run prints and its temporary files are beside it.
            workers: processes; 1 for none but the run's own.
            stages: one after the other.
        """
        said = home.with_name(f"{home.name} said {len(self._started) + 1}")
        scratch = temporary(home)
        scratch.mkdir(exist_ok=True)

        environment = {"MULNB_HOME": str(home), "MULNB_WORKERS": str(workers), "TMPDIR": str(scratch)}
        commands = [["run", *OPTIONS, "--stage", stage] for stage in stages]
        self._started.append(Attempt(self, self.ask("start", [str(said), environment, commands]), said))
        return self._started[-1]

    def finish(self, home: Path, workers: int = 1) -> str:
        """Run all stages undisturbed; returns what was said."""
        attempt = self.start(home, workers)
        code = attempt.wait()
        assert code == 0, attempt.said
        return attempt.said

    def close(self) -> None:
        """End, also those runs that a failed test has left."""
        for attempt in self._started:
            if not attempt.ended():
                os.killpg(attempt.pid, signal.SIGKILL)
        self._process.communicate()


def temporary(home: Path) -> Path:
    """The folder for temporary files of the runs with this home."""
    return home.with_name(f"{home.name} temporary")


# ---- processes


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie has ended, whoever has not asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def members(group: int, named: str = "") -> list[int]:
    """The processes of a group that still run, and have `named` in their command line."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX" and named in stat.with_name("cmdline").read_text():
                found.append(int(stat.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def strike(attempt: Attempt, who: str, how: signal.Signals) -> None:
    """Kill the main process, its whole group, or one of its workers, if it has any."""
    if who == "main":
        os.kill(attempt.pid, how)
    elif who == "group":  # as a terminal's Ctrl-C or a batch system does it
        os.killpg(attempt.pid, how)
    else:
        for worker in members(attempt.pid, WORKER)[:1]:
            os.kill(worker, how)


# ---- what runs leave behind


def tables(home: Path) -> dict[str, pd.DataFrame]:
    """The published frames by name, without times."""
    found = {}
    for path in sorted(home.glob("figures/smoke/data/*.parquet")):
        frame = pd.read_parquet(path)
        found[path.name] = frame.drop(columns=[name for name in frame if any(cost in name for cost in COSTS)])
    return found


def stored(home: Path) -> dict[str, int]:
    """When each artefact was written, in nanoseconds."""
    found = {}
    for kind in set(names_in(home / "artifacts")) - {"damaged"}:
        for name in names_in(home / "artifacts" / kind):
            manifest = home / "artifacts" / kind / name / "manifest.json"
            if not name.startswith(".partial") and manifest.exists():  # a half-written one is renamed when it is whole
                found[str(manifest.relative_to(home))] = manifest.stat().st_mtime_ns
    return found


def names_in(folder: Path) -> list[str]:
    """What a folder holds; nothing if it is no folder, or has been renamed since its name was read."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def assert_equal(home: Path, undisturbed: Path) -> None:
    """The same tables, the same artefacts, and nothing half written."""
    expected, found = tables(undisturbed), tables(home)
    assert list(found) == list(expected) and len(expected) >= 5
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True)

    assert set(stored(home)) == set(stored(undisturbed))
    assert not [path for path in home.rglob("*") if ".partial" in path.name]
