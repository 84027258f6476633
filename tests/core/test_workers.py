"""Workers: the same results in the same order wherever tasks run, and a progress that others can read."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import hears_signals

from mulnb.core import workers
from mulnb.core.errors import Notice, UserError

TASKS = list(range(2, 12))
EXPECTED = [math.factorial(n) for n in TASKS]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_results_come_in_the_order_of_the_tasks(monkeypatch, backend):
    monkeypatch.setenv("MULNB_WORKERS", "2")
    monkeypatch.setenv("MULNB_BACKEND", backend)
    assert workers.run_all(math.factorial, TASKS, "factorials") == EXPECTED
    assert workers.run_all(math.factorial, [], "nothing") == []


def place_and_process(_: int) -> tuple[str | None, str | None, int]:
    time.sleep(0.2)  # so that each worker gets one
    return os.environ.get("MULNB_HOME"), os.environ.get("MULNB_COMPILE"), os.getpid()


@pytest.mark.slow
def test_workers_that_are_there_already_take_the_callers_variables(monkeypatch):
    """Else they would store results of the second study in the home of the first, and it would compute them again."""
    monkeypatch.setenv("MULNB_WORKERS", "2")
    monkeypatch.setenv("MULNB_BACKEND", "processes")
    workers_of = []
    for home, compiles in (("first", "0"), ("second", None)):
        monkeypatch.setenv("MULNB_HOME", home)
        monkeypatch.setenv("MULNB_COMPILE", "0") if compiles else monkeypatch.delenv("MULNB_COMPILE")
        found = workers.run_all(place_and_process, range(4), "variables")
        assert {place[:2] for place in found} == {(home, compiles)}
        workers_of.append({process for *_, process in found})
    assert workers_of[0] & workers_of[1] and os.getpid() not in workers_of[1]


def test_an_unknown_backend_names_the_known(monkeypatch):
    monkeypatch.setenv("MULNB_BACKEND", "slurm")
    with pytest.raises(UserError, match="serial, processes, ray"):
        workers.backend()


def test_a_gpu_takes_one_task_at_a_time_and_the_cores_the_work_that_it_has_no_part_in(monkeypatch):
    monkeypatch.delenv("MULNB_WORKERS")
    cores = workers.count(on_gpu=False)
    assert cores == len(os.sched_getaffinity(0))
    monkeypatch.setattr(workers, "_there_is_a_gpu", lambda: True)
    assert (workers.count(), workers.count(on_gpu=False)) == (1, cores)
    monkeypatch.setenv("MULNB_WORKERS", "3")
    monkeypatch.setattr(workers, "cores", lambda: 8)
    assert workers.count() == workers.count(on_gpu=False) == 3


def test_no_more_tasks_run_at_once_than_there_are_cores_and_the_user_is_told_once(monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "64")
    monkeypatch.setattr(workers, "cores", lambda: 5)  # of no machine, so that no other test has been told of it
    with pytest.warns(Notice, match="workers = 64: this process may use 5 cores, so 5 tasks run at once") as told:
        assert workers.count() == workers.count() == 5
    assert len(told) == 1


def test_a_task_runs_with_one_thread_and_the_callers_number_comes_back():
    import torch

    torch.set_num_threads(2)
    try:
        assert workers.run_all(lambda _: torch.get_num_threads(), [0], "threads") == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_runner_can_read_how_far_a_map_is(monkeypatch, tmp_path):
    target = tmp_path / "progress.json"
    monkeypatch.setenv("MULNB_PROGRESS", str(target))
    seen = []
    workers.run_all(lambda n: seen.append(json.loads(target.read_text())["done"] if target.exists() else 0), TASKS, "factorials")
    assert seen == list(range(len(TASKS)))
    state = json.loads(target.read_text())
    assert (state["label"], state["done"], state["total"]) == ("factorials", len(TASKS), len(TASKS))


def test_progress_that_cannot_be_written_never_stops_the_work(monkeypatch):
    monkeypatch.setenv("MULNB_PROGRESS", "/proc/none/progress.json")
    assert workers.run_all(math.factorial, TASKS, "factorials") == EXPECTED


LONG = """
import os, time
from pathlib import Path
from mulnb.core import workers

def task(place):
    (Path(place) / str(os.getpid())).touch()
    time.sleep(600)

workers.run_all(task, [PLACE, PLACE], "long tasks")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the state of processes in /proc")
def test_workers_end_when_their_process_was_killed(tmp_path):
    environment = os.environ | {"MULNB_WORKERS": "2", "MULNB_BACKEND": "processes"}
    process = subprocess.Popen([sys.executable, "-c", LONG.replace("PLACE", repr(str(tmp_path)))], env=environment)

    def wait(reached) -> None:
        deadline = time.monotonic() + 300  # a busy machine takes a minute to start two workers
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    wait(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait(lambda: not any(running(worker) for worker in workers))


LAST = LONG.strip().splitlines()[-1]
ENDED = LONG.replace(LAST, f"from mulnb.core import commands\nraise SystemExit(commands.exit_code(lambda: {LAST}))")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="looks into the shared memory of Linux")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_when_all_are_killed_at_once_nothing_stays_in_memory_and_nothing_is_said(tmp_path, how):
    process = started(LONG, tmp_path)
    os.killpg(process.pid, how)
    assert process.communicate()[1] == ""
    assert_nothing_is_left(process)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="looks into the shared memory of Linux")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_says_one_line_and_ends_as_shells_expect(tmp_path, how):
    process = started(ENDED, tmp_path)
    os.killpg(process.pid, how)  # as a terminal, a batch system, a terminal that is closed
    assert process.communicate()[1].startswith("mulnb: interrupted; ")
    assert process.returncode == 128 + how
    assert_nothing_is_left(process)


def started(code, place):
    """A process with two workers that have begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("PLACE", repr(str(place)))],
        env=os.environ | {"MULNB_WORKERS": "2", "MULNB_BACKEND": "processes"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_signals,
    )
    while len(list(place.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    return process


def assert_nothing_is_left(process):
    """No array and no semaphore of a process that is gone; some seconds on a busy machine."""
    deadline = time.monotonic() + 60
    while left := [*Path("/dev/shm").glob(f"joblib*_{process.pid}_*"), *Path("/dev/shm").glob(f"sem.loky-{process.pid}-*")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.slow
def test_without_semaphores_one_task_runs_at_a_time_and_the_user_is_told():
    """As in a container without /dev/shm, or with one that cannot be written."""
    own = ["unshare", "--mount", "--map-root-user"]  # mounts that nobody else sees
    mounted = "mount -t tmpfs -o ro none /dev/shm"
    if sys.platform != "linux" or subprocess.run([*own, "sh", "-c", mounted], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")

    code = "import math; from mulnb.core import workers; print(workers.run_all(math.factorial, [2, 3], 'x', on_gpu=False))"
    command = [*own, "sh", "-c", f'{mounted} && exec "$@"', "sh", sys.executable, "-c", code]
    environment = os.environ | {"MULNB_WORKERS": "2", "MULNB_BACKEND": "processes"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "[2, 6]\n"
    assert done.stderr.startswith("mulnb: worker processes cannot be used here") and "one task runs at a time" in done.stderr


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "rc", "said"),
    [
        ("JOBLIB_MULTIPROCESSING", "0", 0, "JOBLIB_MULTIPROCESSING = 0: no worker processes, one task runs at a time"),
        ("LOKY_MAX_CPU_COUNT", "auto", 2, "correct or unset LOKY_MAX_CPU_COUNT = 'auto'"),
        ("LOKY_MAX_CPU_COUNT", "1", 0, ""),
    ],
)
def test_variables_of_joblib_are_heeded_or_refused_in_one_line(variable, value, rc, said):
    code = """
import os, sys
from mulnb.core import commands, workers
sys.exit(commands.exit_code(lambda: print(workers.run_all(os.path.basename, ["a/1", "b/2"], "names", on_gpu=False))))
"""
    env = os.environ | {variable: value, "MULNB_WORKERS": "2", "MULNB_BACKEND": "processes", "MULNB_PROGRESS": ""}
    ran = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == rc and (ran.stdout == "['1', '2']\n") == (rc == 0)
    assert said in ran.stderr and len(ran.stderr.splitlines()) == bool(said)


@pytest.mark.slow
def test_a_killed_worker_is_one_line(monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "2")
    monkeypatch.setenv("MULNB_BACKEND", "processes")
    with pytest.raises(UserError, match=r"a worker process was killed .* run the same command again"):
        workers.run_all(die, [0, 1, 2, 3], "dying")
    assert workers.run_all(abs, [-1, -2], "again") == [1, 2]  # new workers take the place of the old ones
