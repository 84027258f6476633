"""Ray: tasks on a cluster of this machine's cores, what they share, and how it ends.

Ray is the optional extra [cluster]; the tests that need it are skipped where it is missing (CONTRIBUTING says how to run them).
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ray_nodes import Nodes

from mulnb.core import commands, on_ray
from mulnb.core.errors import UserError
from mulnb.core.on_ray import Terms

NODES = [(8, 0), (4, 2), (2, 1)]  # cores and GPUs


# ---- without Ray


@pytest.mark.parametrize(
    ("terms", "places"),
    [
        (Terms(), 2 + 1),  # a GPU each, since there are some
        (Terms(gpus=0), 8 + 4 + 2),
        (Terms(cpus=4, gpus=0), 2 + 1),
        (Terms(gpus=0.5), 4 + 2),
        (Terms(cpus=16, gpus=0), 0),
    ],
)
def test_how_many_tasks_run_at_once(terms, places):
    assert terms.places(NODES) == places
    assert Terms().places([(2, 0), (4, 0)]) == 6  # no GPU anywhere: none is asked for


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed here")
def test_ray_that_is_not_installed_is_said():
    with pytest.raises(UserError, match=r"install mulnb\[cluster\]"):
        on_ray.check()


@pytest.fixture
def as_if_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_an_address_at_which_nothing_answers_is_one_line_at_once(monkeypatch, as_if_installed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        on_ray.check()
    with pytest.raises(UserError, match=f"no Ray cluster answers at {address}"):
        on_ray.check()

    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere")
    with pytest.raises(UserError, match="expected HOST:PORT"):
        on_ray.check()


def test_an_address_means_ray(monkeypatch, as_if_installed):
    for name in ("MULNB_BACKEND", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # monkeypatch puts them back
    commands.use_workers(None, None, "auto")
    assert (os.environ["MULNB_BACKEND"], os.environ["RAY_ADDRESS"]) == ("ray", "auto")
    with pytest.raises(UserError, match="--address auto is for --backend ray, not serial"):
        commands.use_workers(None, "serial", "auto")


# ---- with Ray


@pytest.fixture(scope="module")
def local():
    """A cluster of two cores that ends with these tests, although somebody else's may run on this machine."""
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULNB_WORKERS", "2")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
        on_ray._close()


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A cluster of two cores that goes on when its user leaves it, as a failure makes them do."""
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    nodes = Nodes(tmp_path_factory.mktemp("nodes"), cores=2)
    nodes.start()
    yield nodes
    nodes.end()


@pytest.fixture
def far(head, monkeypatch):
    """The same, as the cluster to use."""
    for name, value in {**head.token, "RAY_ADDRESS": head.address}.items():
        monkeypatch.setenv(name, value)
    yield
    on_ray._close()


@pytest.fixture(autouse=True)
def two_workers(monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "2")


def on_cluster(fn, tasks, shares=None, things=None, terms=Terms()) -> list:  # noqa: B008
    """The results in the order of the tasks."""
    shares = shares or [[] for _ in tasks]
    found = dict(on_ray.run(fn, tasks, shares, (things or {}).__getitem__, terms))
    return [found[number] for number in range(len(tasks))]


def total(task, shared):
    return task + sum(float(array.sum()) for array in shared.values())


@pytest.mark.slow
def test_tasks_get_what_they_share_and_what_is_held_is_lent_once(local):
    things = {"held a": np.ones((1000, 1000)), "b": np.full(10, 0.5)}
    assert on_cluster(total, [1, 2, 3], [["held a"], ["held a", "b"], []], things) == [1_000_001, 1_000_007, 3]
    del things["held a"]
    assert on_cluster(total, [1], [["held a"]], things) == [1_000_001]
    with pytest.raises(KeyError):
        on_cluster(total, [1], [["b"]], {})  # what is not held is asked for again
    assert not on_ray._open  # the cluster ends with the first failure: nobody waits for its tasks


@pytest.mark.slow
def test_what_a_task_raises_is_raised_here(far):
    def refuse(task, shared):
        raise UserError(f"task {task} is refused")

    with pytest.raises(UserError, match=r"^task 1 is refused$"):
        on_cluster(refuse, [1])


@pytest.mark.slow
def test_a_task_whose_worker_was_killed_is_begun_again(far, tmp_path):
    def die_once(task, shared):
        try:
            Path(task).touch(exist_ok=False)
        except FileExistsError:
            return "done"
        os.kill(os.getpid(), signal.SIGKILL)

    assert on_cluster(die_once, [str(tmp_path / "a"), str(tmp_path / "b")]) == ["done", "done"]


@pytest.mark.slow
def test_a_task_that_always_dies_is_one_line(far):
    def die(task, shared):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(UserError, match="a task on the Ray cluster was lost") as error:
        on_cluster(die, [1])
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_task_that_no_node_has_room_for_is_one_line(far):
    with pytest.raises(UserError, match="no node of the Ray cluster has 64 cores and 0 GPUs"):
        on_cluster(total, [1], terms=Terms(cpus=64))


@pytest.mark.slow
def test_nothing_of_a_local_cluster_is_left_when_its_process_is_killed(tmp_path):
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    code = "from mulnb.core import on_ray; print(on_ray._courier().process.pid, flush=True); import time; time.sleep(600)"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    study = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    courier = int(study.stdout.readline())
    study.kill()
    study.communicate()

    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            os.killpg(courier, 0)  # its session: the cluster's own processes are in it
        except ProcessLookupError:
            return
        time.sleep(0.5)
    raise AssertionError("the cluster is still there")
