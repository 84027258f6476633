"""The study: the same tables however it is run, and nothing is ever done twice."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from smaller import SMALL
from terminal import hears_signals

from mulnb import load_profile, study
from mulnb.core import paths, store
from mulnb.core.errors import UserError
from mulnb.proxies import PROXIES, centre
from mulnb.results import publish
from mulnb.study import Study

MEASURED = ("seconds", "oracle_seconds", "share_of_exact", "runtime_ratio")  # times differ from run to run


def options() -> list[str]:
    return [word for key, value in SMALL.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def mulnb(*words: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mulnb", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env)


def tables(home) -> dict[str, pd.DataFrame]:
    """Every CSV table of a run, without what is measured in seconds."""
    frames = {path.name: pd.read_csv(path) for path in sorted((home / "figures" / "smoke").glob("*.csv"))}
    return {name: frame[[column for column in frame if not column.startswith(MEASURED)]] for name, frame in frames.items()}


def assert_same_tables(one: dict[str, pd.DataFrame], two: dict[str, pd.DataFrame]) -> None:
    assert list(one) == list(two) and len(one) >= 4
    for name, frame in one.items():
        pd.testing.assert_frame_equal(frame, two[name], check_exact=True, obj=name)


@pytest.mark.slow
def test_serial_and_two_processes_give_identical_tables_and_a_repeat_the_same_bytes(tmp_path):
    serial, parallel = tmp_path / "serial", tmp_path / "parallel"
    for home, workers in ((serial, "1"), (parallel, "2")):
        done = mulnb("run", "--profile", "smoke", "--workers", workers, *options(), MULNB_HOME=str(home))
        assert done.returncode == 0, done.stderr
    assert_same_tables(tables(serial), tables(parallel))

    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (serial / "figures").rglob("*.csv")}
    made = sorted((serial / "artifacts").rglob("manifest.json"))
    stamps = [path.stat().st_mtime_ns for path in made]
    assert mulnb("run", "--profile", "smoke", *options(), MULNB_HOME=str(serial)).returncode == 0
    for path, (content, stamp) in before.items():
        assert path.read_bytes() == content and path.stat().st_mtime_ns > stamp, path.name
    assert sorted((serial / "artifacts").rglob("manifest.json")) == made
    assert [path.stat().st_mtime_ns for path in made] == stamps  # nothing was computed again


def wait_for(count: int, home, process: subprocess.Popen) -> list:
    deadline = time.time() + 90
    while time.time() < deadline and process.poll() is None:
        found = sorted((home / "artifacts" / "pool").glob("[!.]*/manifest.json"))
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError("the pool was finished, or never begun, before it could be killed")


def start_pool(home, more: tuple[str, ...] = ()) -> subprocess.Popen:
    command = [sys.executable, "-m", "mulnb", "run", "--profile", "smoke", "--stage", "memorization", "--workers", "2", *more]
    environment = os.environ | {"MULNB_HOME": str(home)}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hears_signals
    )


POOL = ("--set", "pool.models=160", "--set", "pool.group=5")
LONG_POOL = ("--set", "pool.models=1000", "--set", "pool.group=5")  # not finished before a busy machine gets to interrupt it


@pytest.mark.slow
def test_kill_minus_nine_in_the_middle_of_the_pool(tmp_path):
    """The rerun trains only the models that were not finished, and ends in the same table."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start_pool(killed, POOL)
    wait_for(2, killed, process)
    os.killpg(process.pid, signal.SIGKILL)  # the workers too: nobody gets to tidy up
    process.communicate()
    finished = sorted((killed / "artifacts" / "pool").glob("[!.]*/manifest.json"))
    assert 2 <= len(finished) < 32
    stamps = [path.stat().st_mtime_ns for path in finished]

    for home in (killed, whole):
        done = mulnb("run", "--profile", "smoke", "--stage", "memorization", "--workers", "2", *POOL, MULNB_HOME=str(home))
        assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in finished] == stamps
    frames = [pd.read_parquet(home / "figures" / "smoke" / "data" / "memorization.parquet") for home in (killed, whole)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert len(list((killed / "artifacts" / "pool").glob("[!.]*/manifest.json"))) == 32


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_keeps_what_is_finished(tmp_path):
    process = start_pool(tmp_path, LONG_POOL)
    wait_for(1, tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert [line for line in stderr.splitlines() if line.strip()] == [
        "mulnb: interrupted; finished work is kept, and the same command continues from there"
    ]
    assert list((tmp_path / "artifacts" / "pool").glob("[!.]*/manifest.json"))
    assert not list((tmp_path / "artifacts").rglob(".partial-*/manifest.json"))


# the full RUM beside the algorithms
MIXED = {"low": {}, "medium": {"algorithm": "fine_tune", "settings": {"lr": 0.03, "epochs": 1, "batch": 128}}}
MIXED |= {"high": {"algorithm": "salun", "settings": {"lr": 0.03, "epochs": 1, "batch": 128}}}


@pytest.fixture(scope="module")
def finished_home(tmp_path_factory):
    return tmp_path_factory.mktemp("finished")


@pytest.fixture(scope="module")
def finished(finished_home):
    """A finished small study, shared by the tests below."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MULNB_HOME", str(finished_home))
    patch.setenv("MULNB_WORKERS", "1")
    patch.setenv("MULNB_PROGRESS", "")
    profile = load_profile("smoke", {"training.epochs": 2, "sequential.steps": 3, "unlearning.rum": MIXED})
    frames = {name: frame for stage in publish.STAGES for name, frame in publish.publish(profile, stage).items()}
    yield profile, frames, json.loads((paths.results("smoke") / "run.json").read_text())
    patch.undo()


def test_columns_are_those_of_the_design(finished):
    _, frames, _ = finished
    outcome = "n_forget acc_forget acc_retain acc_test mia oracle_acc_forget oracle_acc_retain oracle_acc_test oracle_mia"
    unlearning = f"profile algorithm strategy score seed {outcome} tow tow_mia seconds oracle_seconds".split()
    audits = ["lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc", "relearn_epochs"]
    audits += [f"{part}_{end}" for part in ("klom", "klom_retain", "klom_test") for end in ("p50", "p95")]
    assert list(frames["memorization"])[:6] == ["example", "label", "memorization", "se", "n_in", "n_out"]
    assert list(frames["proxies"]) == ["example", "proxy", "seed", "raw", "value"]
    assert list(frames["proxy_costs"])[:6] == ["proxy", "seconds", "share_of_exact", "spearman", "ci_low", "ci_high"]
    assert list(frames["unlearning"])[: len(unlearning)] == unlearning
    more = {"passes_retain", "passes_forget", "converged", *audits, *(f"oracle_{name}" for name in audits)}
    assert more <= set(frames["unlearning"])
    assert {*unlearning, "step", "scope", "passes_retain", "passes_forget"} <= set(frames["sequential"])
    assert {*unlearning, "order", "converged"} <= set(frames["crossed"])
    for name in ("unlearning", "sequential", "crossed", "memorization", "proxies"):
        known = frames[name][[column for column in frames[name] if "klom" not in column]]  # two seeds are too few for KLoM
        assert not known.isna().any().any(), name


def test_every_run_is_there_once_with_a_floor_and_a_real_second_oracle_as_ceiling(finished):
    profile, frames, _ = finished
    runs = frames["unlearning"]
    plan = profile.unlearning
    assert len(runs) == (12 + 1 + 1 + 1) * len(plan.scores) * len(profile.seeds)  # with full RUM, floor and ceiling
    assert not runs.duplicated(["algorithm", "strategy", "score", "seed"]).any()
    ceiling = runs[runs.algorithm == "retrain"]
    assert (ceiling.tow < 1).any() and (ceiling.acc_test != ceiling.oracle_acc_test).any()  # another seed, another model
    floor = runs[runs.algorithm == "nothing"]
    assert (floor.passes_retain == 0).all() and (floor.passes_forget == 0).all()
    assert (floor.groupby("seed").acc_test.nunique() == 1).all()  # the original model itself
    assert (runs.n_forget == 3 * profile.forget.size).all()
    assert (runs.groupby(["score", "seed"]).oracle_acc_forget.nunique() == 1).all()
    product = (
        (1 - (runs.acc_forget - runs.oracle_acc_forget).abs())
        * (1 - (runs.acc_retain - runs.oracle_acc_retain).abs())
        * (1 - (runs.acc_test - runs.oracle_acc_test).abs())
    )
    assert np.allclose(product, runs.tow)


def test_method10_03_every_algorithm_and_strategy_unlearns_the_same_strata(finished, finished_home, monkeypatch):
    """As it is stored: the recipe of every run names its strata. `finished` ran three algorithms, and the full RUM."""
    profile, _, _ = finished
    monkeypatch.setenv("MULNB_HOME", str(finished_home))
    stored: dict[tuple[str, int], set[str]] = {}
    for path in (paths.artifacts() / "unlearned").glob("[!.]*/manifest.json"):
        parts = json.loads(path.read_text())["parts"]
        algorithm, strategy, _, seed = parts["run"]
        if seed in profile.seeds:
            stored.setdefault((f"{algorithm} {strategy}", seed), set()).add(json.dumps(parts["strata"]))
    assert {name for name, _ in stored} >= {"fine_tune vanilla", "neg_grad_plus rum_f", "salun shuffle", "rum rum"}
    for seed in profile.seeds:
        expected = [study.strata(profile, score, seed) for score in profile.unlearning.scores]
        expected = {json.dumps([store.to_json(part) for part in one]) for one in expected}
        assert len(expected) == len(profile.unlearning.scores)
        for (name, at), found in stored.items():
            if at == seed and name.endswith("rum_f"):  # also refined in other orders: the same members
                assert found >= expected, name
            elif at == seed:
                assert found == expected, name


@pytest.mark.slow
def test_method10_03_one_function_chooses_and_one_table_says_where_the_middle_is():
    """Whatever is chosen or split by scores is so by `forget`; elsewhere strata are only read back or matched one by one."""
    makers = {}
    for path in sorted((paths.CHECKOUT / "mulnb").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        count = sum(getattr(call.func, "id", getattr(call.func, "attr", "")) == "Strata" for call in calls)
        makers |= {path.name: count} if count else {}
    read_back = {"chains.py": 1, "ledger.py": 1, "selection.py": 1}  # from an artefact, a ledger, the explorer's choice by hand
    matched = {"tuning.py": 1, "api.py": 1}  # a stand-in request, example by example; a request that is not split
    wrong_twin = {"mistaken.py": 1}  # of `forget.strata`, to show what it does
    assert makers == {"forget.py": 3} | read_back | matched | wrong_twin
    assert centre("memorization") == 0.5
    assert {centre(name) for name in PROXIES} == {"median"}


def test_sequential_sets_are_disjoint_chosen_afresh_and_leave_the_rest(finished):
    profile, frames, _ = finished
    steps, values = frames["sequential"], frames["sequential_scores"]
    size, plan = 3 * profile.forget.size, profile.sequential
    ends = steps[steps.strategy.isin(["nothing", "retrain"])]  # floor and ceiling, on the first chain's sets
    assert len(ends) == 2 * len(profile.seeds) * plan.steps * 2 and (ends[ends.strategy == "retrain"].tow < 1).any()
    steps = steps.drop(ends.index)
    assert len(steps) == len(plan.strategies) * len(profile.seeds) * plan.steps * 2
    assert (steps[steps.scope == "step"].n_forget == size).all()
    assert (steps[steps.scope == "union"].n_forget == steps[steps.scope == "union"].step * size).all()
    first = steps[steps.step == 1].drop(columns="scope").drop_duplicates()
    assert len(first) == len(plan.strategies) * len(profile.seeds)  # at step 1 the union is the step's set
    chosen = values[(values.moment == "before") & (values.group == "forget")]
    assert not chosen.duplicated(["strategy", "seed", "example"]).any()
    n = len(study.splits(profile).train)
    for (_, _, step), group in values[values.moment == "after"].groupby(["strategy", "seed", "step"]):
        assert (group.group == "retain").sum() == n - step * size
    # the proxy is refreshed: what step 2 chooses by is what was measured after step 1
    after = values.query("step == 1 and moment == 'after' and group == 'retain'").set_index(["strategy", "seed", "example"]).value
    before = values.query("step == 2 and moment == 'before'").set_index(["strategy", "seed", "example"]).value
    assert np.array_equal(after.loc[before.index], before)
    scores = values.query("step == 1 and moment == 'before'").set_index(["strategy", "seed", "example"]).value
    assert not np.allclose(scores.loc[before.index], before)


def test_run_json_says_what_ran(finished):
    profile, frames, record = finished
    assert record["seeds"] == list(profile.seeds) and record["profile"]["pool"]["models"] == profile.pool.models
    assert list(record["stages"]) == list(publish.STAGES)
    assert record["stages"]["unlearning"]["rows"]["unlearning"] == len(frames["unlearning"])
    seconds = {name: stage["compute_s"] for name, stage in record["stages"].items()}
    assert seconds.pop("audits") == 0 and all(value > 0 for value in seconds.values())  # audits only read stored margins
    assert record["versions"]["torch"] and record["device"]
    assert all(stage["peak_memory_mb"]["main"] > 50 for stage in record["stages"].values())  # an interpreter with NumPy


@pytest.mark.slow
def test_the_peak_memory_of_workers_is_that_of_the_run_that_trained(home, monkeypatch):
    monkeypatch.setenv("MULNB_WORKERS", "2")
    monkeypatch.setenv("MULNB_BACKEND", "processes")
    profile = load_profile("smoke")

    def peak() -> dict[str, int]:
        publish.publish(profile, "memorization")
        return json.loads((paths.results("smoke") / "run.json").read_text())["stages"]["memorization"]["peak_memory_mb"]

    trained = peak()
    assert trained["largest_worker"] > 100  # an interpreter with torch
    assert peak()["largest_worker"] == trained["largest_worker"]  # the second time nothing is trained


@pytest.mark.slow
def test_tuning_gives_every_strategy_the_same_candidates_on_its_own_seeds(finished):
    profile, _, _ = finished
    table = study.tune(profile)
    assert (table.groupby(["algorithm", "strategy"]).settings.nunique() == 2).all()
    assert table.passes_retain.round().nunique() == 1  # three epochs at once, or one in each of three stages
    assert (table.groupby(["algorithm", "strategy"]).chosen.sum() == 1).all()
    best = table.loc[table.groupby(["algorithm", "strategy"]).objective.idxmax()]
    assert best.chosen.all()
    assert not set(profile.tune.seeds) & set(profile.seeds)
    assert table.unconverged.between(0, table.n).all()


@pytest.mark.slow
def test_repeat_makes_as_many_optimizer_steps_as_three_stages():
    """The control for "three passes" (METHOD §5): passes over R and over S as `rum_f` and `shuffle` make them."""
    here = Study(load_profile("smoke", {"seeds": [0], "unlearning.scores": ["memorization"]}))
    from mulnb.study import frames

    frame = frames.unlearning(here)
    steps = frame[frame.algorithm == "fine_tune"].set_index("strategy").passes_retain
    assert steps["repeat"] == steps["rum_f"] == steps["shuffle"] == 3 * steps["vanilla"] == 3


@pytest.mark.slow
def test_scores_from_a_file_replace_the_pool(home, tmp_path):
    """Nobody's pool is trained, audits that need one are left out, and everything else runs."""
    n = len(study.splits(load_profile("smoke")).train)
    values = np.random.default_rng(0).random(n)
    np.savez(tmp_path / "scores.npz", memorization=values)
    given = {"file": str(tmp_path / "scores.npz"), "key": "memorization", "index": "train"}
    profile = load_profile("smoke", SMALL | {"pool": {"scores": given}})
    assert np.allclose(study.memorization(profile).memorization, values)
    frame = study.unlearning(profile)
    assert frame.lira_auc.isna().all() and frame.tow.between(0, 1).all() and frame.relearn_epochs.notna().all()
    assert study.proxy_costs(profile).share_of_exact.isna().all()
    examples = study.audit_examples(profile)
    assert len(examples) == 0 and {"score", "seed", "group", "lira", "oracle_rmia"} <= set(examples)  # notebook 08 groups them
    assert not (home / "artifacts" / "pool").exists()


def test_a_pool_too_small_for_the_membership_audits_is_refused_before_it_is_trained(home):
    with pytest.raises(UserError, match=r"LiRA needs at least 8 pool models without each example.*audit.membership: false"):
        study.memorization(load_profile("smoke", {"pool.models": 12}))
    assert not (home / "artifacts" / "pool").exists()
    assert len(study.memorization(load_profile("smoke", {"pool.models": 12, "audit.membership": False})))
