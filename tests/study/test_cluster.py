"""A study on a Ray cluster of two nodes with homes of their own: the tables of a serial run, whatever happens to the nodes.

Ray is the optional extra [cluster]; the tests that need it are skipped where it is missing (CONTRIBUTING says how to run them).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attempts import OPTIONS, stored, tables
from ray_nodes import Nodes, wait

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_node_with_another_version_says_so(driver):
    with pytest.raises(UserError, match="has another version of mulnb"):
        cluster._work(driver.profile, [], "another", "images", [], {"images": driver.splits})


def test_resources_are_no_part_of_what_results_depend_on():
    plain, changed = load_profile("smoke"), load_profile("smoke", {"resources.num_cpus": 4, "resources.num_gpus": 0.5})
    assert changed != plain and changed.numbers() == plain.numbers()
    with pytest.raises(UserError, match=r"resources\.num_gpus"):
        load_profile("smoke", {"resources.num_gpus": 1.5})


# ---- with Ray


def begin(nodes: Nodes, home: Path) -> subprocess.Popen:
    """Start the stages of `smoke` on the cluster."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(all_stages("--address", nodes.address), env=nodes.environment(home), **pipe)


def all_stages(*options: str) -> list[str]:
    """The command for the stages of `smoke` in one process: each process more would import torch for itself."""
    words = ["run", *OPTIONS, *FEWER, *options, "--stage"]
    code = "import sys; from mulnb.__main__ import main\n"
    code += f"sys.exit(max(main([*{words}, stage]) for stage in {STAGES}))"
    return [sys.executable, "-P", "-c", code]


@pytest.fixture(scope="module")
def cluster_of_two(tmp_path_factory) -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="ray is the optional extra [cluster]")
    found = Nodes(tmp_path_factory.mktemp("nodes"))
    yield found
    found.end()


@pytest.fixture
def nodes(cluster_of_two) -> Nodes:
    """Two nodes of one core each with empty homes. A node that an earlier test has lost is started again."""
    for name in ("head", "other"):
        cluster_of_two.start(name)
        shutil.rmtree(cluster_of_two.folder / name, ignore_errors=True)
    return cluster_of_two


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
    study = begin(nodes, home)
    said = study.communicate(timeout=600)[0]
    assert study.returncode == 0, said
    assert_equal(home, serial)

    for node in ("head", "other"):  # both worked, and neither had the images
        assert "unlearned" in kinds(nodes.folder / node) and "images" not in kinds(nodes.folder / node)


@pytest.mark.slow
def test_a_cluster_that_nobody_named_is_not_joined(nodes, monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        assert on_ray.places() == 1  # cores of this machine alone
        assert on_ray._courier().head.rpartition(":")[2] != nodes.address.rpartition(":")[2]
    finally:
        on_ray._close()


@pytest.mark.slow
def test_a_node_that_is_lost_in_the_middle_is_made_up_for(nodes, serial, tmp_path):
    home = tmp_path / "driver"
    study = begin(nodes, home)
    wait(lambda: "unlearned" in kinds(nodes.folder / "other"), 300)
    assert study.poll() is None
    nodes.kill("other")
    said = study.communicate(timeout=600)[0]
    assert study.returncode == 0, said
    assert_equal(home, serial)


@pytest.mark.slow
def test_a_head_that_is_gone_is_one_line_and_what_is_finished_is_kept(nodes, serial, tmp_path):
    home = tmp_path / "driver"
    study = begin(nodes, home)
    wait(lambda: "oracle" in kinds(home), 300)
    nodes.kill("head")
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
