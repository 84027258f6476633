"""What is told of time: each job's share of its stack, and sums in which nothing is counted twice."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from smaller import FEW, store_scores

from mulnb import load_profile, proxies, rum, study
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study import Run, Study, jobs, oracles, ranking, runs, scoring
from mulnb.study.oracles import Retraining


@pytest.fixture
def clock(monkeypatch):
    """Lets a module's clock show 10 s when it is first looked at, and then 16 s."""

    def of(module) -> None:
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=iter([10.0, 16.0]).__next__))

    return of


def test_the_time_of_a_job_is_its_share_of_what_was_computed(clock):
    def made(here: Study, tasks: list[int]) -> list[Artifact]:
        return [Artifact(meta={"n": n}) for n in tasks]

    here, wanted = Study(load_profile("smoke")), [study.Job("share", {"n": n}, made, n, group="one") for n in range(4)]
    clock(jobs)
    jobs.run_together(here, wanted[1:2])
    clock(jobs)
    found = jobs.run_together(here, wanted)  # the other three
    assert [artifact.meta for artifact in found] == [{"n": n, "wall_s": 6.0 if n == 1 else 2.0} for n in range(4)]


def test_networks_of_a_stack_share_its_seconds(clock):
    here, sets = Study(load_profile("smoke", FEW | {"training.epochs": 1})), (np.arange(12), np.arange(12, 24))
    clock(oracles)
    trained = oracles.retrain_together(here, [Retraining(gone, (gone,), 0, 0, None) for gone in sets])
    assert [artifact.meta["seconds"] for artifact in trained] == [3.0, 3.0]

    clock(scoring)
    clock(proxies)
    trained = [artifact.meta for artifact in scoring.train_originals(here, [0, 1])]
    assert [meta["training_s"] + sum(meta["seconds"].values()) for meta in trained] == pytest.approx([3.0, 3.0])
    assert [meta["seconds"]["loss_curvature"] for meta in trained] == [3.0, 3.0]

    clock(rum)
    asked = [Run("fine_tune", "vanilla", "memorization", seed, {"epochs": 2, "batch": 64}) for seed in (0, 1)]
    _, facts = runs.apply(here, here.fresh([0, 1]), asked, [Strata(*np.split(gone, 3)) for gone in sets])
    assert facts == {"seconds": [3.0, 3.0], "passes_retain": [2.0, 2.0], "passes_forget": [0.0, 0.0]}


def test_the_table_of_costs_adds_up_what_was_stored():
    here = Study.of(load_profile("smoke"))
    read_off = store_scores(here)
    assert here.pool.seconds == 20.0
    costs = ranking.proxy_costs(here).set_index("proxy")
    assert costs.seconds.to_dict() == dict.fromkeys(read_off, 1.5) | {"holdout_retraining": 3.0}
    assert costs.share_of_exact.to_numpy() == pytest.approx(costs.seconds.to_numpy() / 20)
    assert study.compute_seconds(here.profile, "memorization", {}) == 20.0
    assert study.compute_seconds(here.profile, "proxies", {"proxy_costs": costs}) == len(read_off) * 3.0 + 2 * 3.0 + 10.0 + 11.0

    table = ranking.fidelity(here).query("kind != 'proxy'").groupby(["kind", "count"]).seconds.unique()
    assert table["mean", 2].tolist() == [1.0 + 2.0 + (10.0 + 11.0) / 2]
    assert table["pool", 20].tolist() == [10.0]


def test_every_run_and_every_oracle_is_counted_once():
    columns = ["algorithm", "strategy", "score", "seed", "seconds", "oracle_seconds"]
    rows = [
        (name, way, "memorization", seed, 1.0, 100.0 + seed) for name in ("salun", "scrub") for way in "ab" for seed in (0, 1)
    ]
    rows += [(end, end, "memorization", 0, 7.0, 100.0) for end in ("nothing", "retrain")]
    frame, profile = pd.DataFrame(rows, columns=columns), load_profile("smoke")
    assert study.compute_seconds(profile, "unlearning", {"unlearning": frame}) == 8 * 1.0 + 100.0 + 101.0
    chain = pd.concat([frame.assign(step=step, scope=scope) for step in (1, 2) for scope in ("step", "union")])
    chain = chain[chain.algorithm != "scrub"].assign(algorithm="salun")
    assert study.compute_seconds(profile, "sequential", {"sequential": chain}) == 2 * (4 * 1.0 + 2 * (100.0 + 101.0))
