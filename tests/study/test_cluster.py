"""A study on a Ray cluster of two nodes with homes of their own: the tables of a serial run, whatever happens to the nodes.

Ray is the optional extra [cluster]; the tests that need it are skipped where it is missing (CONTRIBUTING says how to run them).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attempts import OPTIONS, stored, tables

from mulnb import load_profile
from mulnb.core import on_ray, paths, registry
from mulnb.core.errors import UserError
from mulnb.study import Study, cluster, recipes, runs

STAGES = ("memorization", "unlearning", "sequential")
FEWER = ("--set", "unlearning.scores=[memorization]")  # sets by the other scores would be more jobs of the same kinds


# ---- without Ray: what a node does with a job


@pytest.fixture(scope="module")
def driver_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def driver(driver_home) -> Iterator[Study]:
    """A study whose originals and first step are stored, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULNB_HOME", str(driver_home))
        patch.setenv("MULNB_WORKERS", "1")
        patch.setenv("MULNB_PROGRESS", "")
        study = Study.of(load_profile("smoke", {"training.epochs": 1, "sequential.steps": 2}))
        for job in wanted(study):
            for need in job.needs:
                study.get(need)
        yield study


def wanted(study: Study) -> list:
    """A job of every kind that reads results of others."""
    seed, n = study.profile.seeds[0], len(study.splits.train)
    chosen = study.strata("confidence", seed)
    return [
        recipes.holdout_job(study, seed),
        recipes.unlearning_job(study, runs.Run(*runs.ways(study.profile)[0][:2], "confidence", seed, {}), chosen),
        recipes.oracle_job(study, chosen.forget, [chosen.forget], seed),
        recipes.step_job(study, "vanilla", seed, 1),
        recipes.step_job(study, "vanilla", seed, 2),
        recipes.floor_job(study, seed, (chosen.forget,), np.setdiff1d(np.arange(n), chosen.forget)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_job_brings_all_that_it_reads_to_a_node_with_an_empty_store(driver, driver_home, number, monkeypatch, tmp_path):
    monkeypatch.setenv("MULNB_HOME", str(driver_home))
    job = wanted(driver)[number]
    lent = {f"{need.kind}/{need.key}": (need, driver.get(need)) for need in job.needs}

    with monkeypatch.context() as node:
        node.setenv("MULNB_HOME", str(tmp_path))
        how = (driver.profile, registry.additions(), cluster.code(), "images")
        _, [made] = cluster._work(*how, [job], {"images": driver.splits, **lent})
        found = {path.parent.parent.name for path in tmp_path.glob("artifacts/*/*/manifest.json")}

    assert found == {job.kind, *(need.kind for need in job.needs)}  # no images were read, and nothing else was computed
    here = driver.get(job)
    assert made.arrays.keys() == here.arrays.keys()
    for name, values in here.arrays.items():
        np.testing.assert_array_equal(made.arrays[name], values)


def test_a_node_with_another_version_says_so(driver):
    with pytest.raises(UserError, match="has another version of mulnb"):
        cluster._work(driver.profile, [], "another", "images", [], {"images": driver.splits})


def test_resources_are_no_part_of_what_results_depend_on():
    plain, changed = load_profile("smoke"), load_profile("smoke", {"resources.num_cpus": 4, "resources.num_gpus": 0.5})
    assert changed != plain and changed.numbers() == plain.numbers()
    with pytest.raises(UserError, match=r"resources\.num_gpus"):
        load_profile("smoke", {"resources.num_gpus": 1.5})


# ---- with Ray


class Nodes:
    """A cluster of two nodes of one core, each with a home of its own; only who has its token may join."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.head = self._start("head", "--head", f"--port={port}", "--include-dashboard=false")
        wait(lambda: on_ray.answers(self.address))
        self.other = self._start("other", f"--address={self.address}")

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MULNB_FIGURES")}
        return kept | self.token | {"MULNB_HOME": str(home), "PYTHONPATH": str(paths.CHECKOUT), **more}

    def _start(self, name: str, *words: str) -> subprocess.Popen:
        ray = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
        log = (self.folder / f"{name}.log").open("w")
        environment = self.environment(self.folder / name)
        return subprocess.Popen([*ray, *words], env=environment, stdout=log, stderr=log, start_new_session=True)

    def study(self, home: Path) -> subprocess.Popen:
        """The stages of `smoke`, on the cluster."""
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(all_stages("--address", self.address), env=self.environment(home), **pipe)

    def end(self) -> None:
        for node in (self.head, self.other):
            kill(node)


def all_stages(*options: str) -> list[str]:
    """The command for the stages of `smoke` in one process: each process more would import torch for itself."""
    words = ["run", *OPTIONS, *FEWER, *options, "--stage"]
    code = "import sys; from mulnb.__main__ import main\n"
    code += f"sys.exit(max(main([*{words}, stage]) for stage in {STAGES}))"
    return [sys.executable, "-P", "-c", code]


def kill(node: subprocess.Popen) -> None:
    """End a node as a power cut does: all of its processes at once."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def wait(reached: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def nodes(tmp_path) -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    found = Nodes(tmp_path)
    yield found
    found.end()


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    """A home with the results of a serial run."""
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    home = tmp_path_factory.mktemp("serial")
    finish(home)
    return home


def finish(home: Path) -> None:
    """Run, or continue, the stages in one process."""
    environment = os.environ | {"MULNB_HOME": str(home), "MULNB_WORKERS": "1", "PYTHONPATH": str(paths.CHECKOUT)}
    environment.pop("MULNB_FIGURES", None)
    subprocess.run(all_stages(), env=environment, check=True, capture_output=True)


def assert_equal(home: Path, expected: Path) -> None:
    found = tables(home)
    for name, frame in tables(expected).items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True)
    assert set(stored(home)) == set(stored(expected))


def kinds(home: Path) -> set[str]:
    return {path.parent.parent.name for path in home.glob("artifacts/*/*/manifest.json")}


@pytest.mark.slow
def test_two_nodes_with_homes_of_their_own_give_the_tables_of_a_serial_run(nodes, serial, tmp_path):
    home = tmp_path / "driver"
    wait(lambda: "Ray runtime started" in (tmp_path / "other.log").read_text())
    study = nodes.study(home)
    said = study.communicate(timeout=600)[0]
    assert study.returncode == 0, said
    assert_equal(home, serial)

    for node in ("head", "other"):  # both worked, and neither had the images
        assert "unlearned" in kinds(tmp_path / node) and "images" not in kinds(tmp_path / node)


@pytest.mark.slow
def test_a_node_that_is_lost_in_the_middle_is_made_up_for(nodes, serial, tmp_path):
    home = tmp_path / "driver"
    study = nodes.study(home)
    wait(lambda: "unlearned" in kinds(tmp_path / "other"), 300)
    kill(nodes.other)
    said = study.communicate(timeout=600)[0]
    assert study.returncode == 0, said
    assert_equal(home, serial)


@pytest.mark.slow
def test_a_head_that_is_gone_is_one_line_and_what_is_finished_is_kept(nodes, serial, tmp_path):
    home = tmp_path / "driver"
    study = nodes.study(home)
    wait(lambda: "oracle" in kinds(home), 300)
    kill(nodes.head)
    killed = time.monotonic()
    said = study.communicate(timeout=300)[0]

    assert study.returncode == 2 and time.monotonic() - killed < 60
    messages = [line for line in said.splitlines() if line.startswith("mulnb:")]
    assert f"the Ray cluster at {nodes.address} is gone, its head does not answer" in messages[0]
    assert not [line for line in said.splitlines() if "gcs" in line.lower() or "raylet" in line.lower()]  # nothing of Ray's own

    kept = stored(home)
    assert len(kept) > 3
    finish(home)
    assert_equal(home, serial)
    assert {name: when for name, when in stored(home).items() if name in kept} == kept


@pytest.mark.slow
def test_a_cluster_that_nobody_named_is_not_joined(nodes, monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        assert on_ray.places() == 1  # cores of this machine alone
        assert on_ray._courier().head.rpartition(":")[2] != nodes.address.rpartition(":")[2]
    finally:
        on_ray._close()
