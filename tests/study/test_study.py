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
import torch
from terminal import hears_signals

from mulnb import load_profile, study
from mulnb.config import known_profiles
from mulnb.core import paths, store
from mulnb.core.errors import UserError
from mulnb.core.store import Artifact
from mulnb.proxies import PROXIES, centre
from mulnb.results import publish
from mulnb.study import Study

# smaller still than `smoke`: what these tests ask does not depend on the size
SMALL = {
    "seeds": [0],
    "sequential.steps": 2,
    "unlearning.scores": ["memorization", "confidence"],
    "training.epochs": 2,
}
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
        found = sorted((home / "artifacts" / "pool").glob("*/manifest.json"))
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
    process.wait()
    finished = sorted((killed / "artifacts" / "pool").glob("*/manifest.json"))
    assert 2 <= len(finished) < 32
    stamps = [path.stat().st_mtime_ns for path in finished]

    for home in (killed, whole):
        done = mulnb("run", "--profile", "smoke", "--stage", "memorization", "--workers", "2", *POOL, MULNB_HOME=str(home))
        assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in finished] == stamps
    frames = [pd.read_parquet(home / "figures" / "smoke" / "data" / "memorization.parquet") for home in (killed, whole)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert len(list((killed / "artifacts" / "pool").glob("*/manifest.json"))) == 32


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
    assert list((tmp_path / "artifacts" / "pool").glob("*/manifest.json"))
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
    for path in (paths.artifacts() / "unlearned").glob("*/manifest.json"):
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


CHAIN = SMALL | {"sequential.steps": 3, "sequential.strategies": ["rum_f"]}


@pytest.mark.slow
def test_method10_07_a_chain_resumes_from_its_own_last_step(tmp_path, monkeypatch):
    """Interrupted in step 3 and resumed: bit for bit the chain that was never interrupted, and only step 3 is taken."""
    from mulnb.study import recipes, steps

    def last_step(name: str) -> tuple[Study, study.Job]:
        monkeypatch.setenv("MULNB_HOME", str(tmp_path / name))
        here = Study(load_profile("smoke", CHAIN))
        return here, recipes.step_job(here, "rum_f", 0, 3)

    here, job = last_step("whole")
    whole = here.get(job).arrays
    (here, job), taken, apply = last_step("interrupted"), [], steps.apply

    def counted(study, model, runs, *more):
        taken.append(runs[0].seed)  # of step 1, 2, 3, … in the chain of seed 0
        if taken == [1, 2, 3]:
            raise KeyboardInterrupt
        return apply(study, model, runs, *more)

    monkeypatch.setattr(steps, "apply", counted)
    with pytest.raises(KeyboardInterrupt):
        here.get(job)
    resumed = here.get(job).arrays
    assert taken == [1, 2, 3, 3]
    assert set(resumed) == set(whole) and all(np.array_equal(resumed[name], whole[name]) for name in whole)


def test_method10_07_step_3_is_taken_from_the_weights_of_step_2(monkeypatch):
    """The known mistake: a resumed run that ignores its checkpoint and loads the original model again."""
    from mulnb.study import recipes, steps

    here = Study(load_profile("smoke", CHAIN))
    before = here.get(recipes.step_job(here, "rum_f", 0, 2))
    original = here.get(recipes.original_job(here, 0))
    given = []

    def untouched(study, model, *more):
        given.append(study.unstack(model)[0].state_dict())
        return model, {"seconds": [0.0], "passes_retain": [0.0], "passes_forget": [0.0]}

    monkeypatch.setattr(steps, "apply", untouched)
    changed = {}
    for name, value in before.arrays.items():
        changed[name] = value + np.float32(0.01) if "weight" in name and value.ndim > 1 else value
    for arrays in (before.arrays, changed):
        monkeypatch.setattr(here, "get", lambda job, arrays=arrays: Artifact(arrays))
        steps.take_together(here, [recipes.step_job(here, "rum_f", 0, 3).task])
        for name, value in given[-1].items():
            if "num_batches" not in name:  # which no network reads
                assert np.array_equal(value.numpy(), arrays[f"weights/{name}"])
    assert any(not np.array_equal(value.numpy(), original.arrays[f"weights/{name}"]) for name, value in given[0].items())


def test_a_sequential_step_that_diverges_is_named():
    settings = {"lr": 1e20, "epochs": 2, "batch": 16}
    wild = {"sequential.algorithm": "neg_grad", "unlearning.algorithms": {"neg_grad": {"vanilla": settings, "rum_f": settings}}}
    with pytest.raises(UserError, match=r"sequential unlearning, vanilla, seed 0, step 1 of 2: .*smaller lr"):
        study.sequential(load_profile("smoke", SMALL | wild))


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


SEARCHED = [name for name in known_profiles() if (paths.CHECKOUT / "figures" / name / "tune.csv").is_file()]


@pytest.mark.parametrize("name", SEARCHED)
def test_a_profile_pins_the_winners_of_its_recorded_search(name):
    plan = load_profile(name).unlearning.algorithms
    table = pd.read_csv(paths.CHECKOUT / "figures" / name / "tune.csv")
    runs = table.groupby(["algorithm", "strategy"])
    assert (runs.chosen.sum() == 1).all()
    for row in table.loc[runs.objective.idxmax()].itertuples():
        assert row.chosen and plan[row.algorithm][row.strategy] == json.loads(row.settings), (row.algorithm, row.strategy)
    tried = table.groupby(["algorithm", "strategy"]).size().groupby("algorithm")
    assert (tried.nunique() == 1).all()  # every strategy of an algorithm had as many candidates
    if "passes_retain" in table:  # and could make as many passes over R, where their number can be chosen (not for influence)
        trained = table[table.settings.str.contains("epochs")]
        most = trained.groupby(["algorithm", "strategy"]).passes_retain.max().round().groupby("algorithm")
        assert (most.max() - most.min() <= 1).all()
    for algorithm, strategies in table.groupby("algorithm").strategy.unique().items():
        assert {*strategies} == {*plan[algorithm]}


def count_threads(study: Study, tasks: list) -> list[Artifact]:
    return [Artifact(meta={"threads": torch.get_num_threads()}) for _ in tasks]


def test_what_is_missing_is_computed_with_one_thread_outside_the_workers_too():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = Study(load_profile("smoke"))
        assert here.get(study.Job("threads", {}, count_threads)).meta["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_digits_was_searched():
    assert "digits" in SEARCHED


ONE_SEARCH = {"tune.seeds": [7], "tune.grid": {"random_label": {"lr": [0.03, 0.1], "epochs": [3], "batch": [128]}}, **SMALL}


@pytest.mark.slow
def test_an_algorithm_that_is_not_pinned_yet_is_searched_with_every_strategy():
    table = study.tune(load_profile("smoke", ONE_SEARCH))
    assert table.groupby("strategy", sort=False).settings.count().to_dict() == {
        "vanilla": 2,
        "repeat": 2,
        "shuffle": 2,
        "rum_f": 2,
    }
    assert set(table.seeds) == {"7"} and set(table.scores) == {"memorization"}


def test_the_full_rum_is_not_searched():
    with pytest.raises(UserError, match="unknown unlearning algorithm 'rum'"):
        study.tune(load_profile("smoke", ONE_SEARCH | {"tune.grid": {"rum": {"lr": [0.1]}}}))


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_stopped(monkeypatch):
    from mulnb.study import runs

    profile, done, unlearn = load_profile("smoke", ONE_SEARCH), [], runs.unlearn_together

    def counted(study, tasks):
        done.extend(run for _, run, _ in tasks)
        return unlearn(study, tasks)

    def interrupted(study, tasks):
        if len(done) == 4:
            raise KeyboardInterrupt
        return counted(study, tasks)

    monkeypatch.setattr(runs, "unlearn_together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.tune(profile)
    first = list(done)
    monkeypatch.setattr(runs, "unlearn_together", counted)
    table = study.tune(profile)
    assert len(first) == 4 and len(done) == 8 == len(table)  # 2 candidates × 4 strategies, each once
    assert len({(run.strategy, run.settings["lr"]) for run in done}) == 8


def test_a_winner_on_the_edge_extends_the_grid_up_to_its_declared_end():
    from mulnb.config import Axis
    from mulnb.study.tuning import extended, of_stage, on_edge

    grid = {"lr": (0.01, 0.1), "epochs": (3, 9), "batch": (128,)}
    how = {"lr": Axis(factor=2, low=0.004, high=0.15), "epochs": Axis(factor=2, high=12)}
    assert on_edge(grid, {"lr": 0.1, "epochs": 3, "batch": 128}) == ["lr", "epochs"]
    wider = extended(grid, [{"lr": 0.1, "epochs": 9, "batch": 128}], how)
    assert wider == {"lr": (0.01, 0.1, 0.15), "epochs": (3, 9, 12), "batch": (128,)}  # cut at the declared ends
    assert extended(wider, [{"lr": 0.15, "epochs": 12, "batch": 128}], how) == wider  # which are final
    assert extended(grid, [{"lr": 0.01, "epochs": 3, "batch": 128}], how)["lr"] == (0.005, 0.01, 0.1)
    assert (
        of_stage({"lr": 0.1, "epochs": 9}, "vanilla")["epochs"] == 9 == 3 * of_stage({"lr": 0.1, "epochs": 9}, "rum_f")["epochs"]
    )
    with pytest.raises(UserError, match="multiples of 3"):
        of_stage({"epochs": 10}, "repeat")


def test_a_search_of_one_algorithm_keeps_what_was_found_for_the_others(monkeypatch):
    searches = [
        ("1000", [("fine_tune", "{}", 0.5), ("salun", "{}", 0.6)]),
        ("5 6", [("salun", '{"lr": 0.1}', 0.9), ("salun", '{"lr": 0.2}', 0.7)]),
    ]
    for seeds, rows in searches:
        frame = pd.DataFrame(rows, columns=["algorithm", "settings", "tow"]).assign(seeds=seeds, strategy="vanilla")
        frame = frame.assign(objective=frame.tow, chosen=True)
        monkeypatch.setattr(study, "tune", lambda profile, frame=frame: frame)
        publish.publish(load_profile("smoke"), "tune")
    table = pd.read_csv(paths.results("smoke") / "tune.csv", dtype=str)
    assert table[["algorithm", "tow", "seeds"]].to_numpy().tolist() == [
        ["fine_tune", "0.5", "1000"],
        ["salun", "0.9", "5 6"],
        ["salun", "0.7", "5 6"],
    ]
    assert "| Fine-tune | vanilla |" in (paths.results("smoke") / "tune.md").read_text()


def test_a_task_that_fails_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_HOME", str(tmp_path))
    done = []

    def compute(study: Study, tasks: list[int]) -> list[Artifact]:
        [n] = tasks
        if n == 2:
            raise RuntimeError("boom")
        done.append(n)
        return [Artifact(meta={"n": n})]

    jobs = [study.Job("test", {"n": n}, compute, n) for n in range(4)]
    here = Study(load_profile("smoke"))
    with pytest.raises(RuntimeError, match="boom"):
        here.gather(jobs, "test")
    monkeypatch.setattr(study.jobs, "check", lambda profile: None)
    jobs[2] = study.Job("test", {"n": 2}, lambda study, tasks: [Artifact(meta={"n": n}) for n in tasks], 2)
    assert [artifact.meta["n"] for artifact in here.gather(jobs, "test")] == [0, 1, 2, 3]
    assert done == [0, 1, 3]


def test_jobs_of_one_group_are_cut_into_even_chunks_and_others_stand_alone(monkeypatch):
    from mulnb.study.jobs import chunks

    monkeypatch.setenv("MULNB_WORKERS", "2")
    jobs = [study.Job("kind", {"n": n}, count_threads, n, group="same") for n in range(30)]
    alone = [study.Job("kind", {"n": n}, count_threads, n) for n in range(30, 33)]
    sizes = [len(chunk) for chunk in chunks(jobs + alone, together=25, places=2)]
    assert sizes == [15, 15, 1, 1, 1]
    assert [len(chunk) for chunk in chunks(jobs[:10], together=25, places=2)] == [5, 5]
    assert [len(chunk) for chunk in chunks(jobs[:5], together=25, places=2)] == [5]
    assert [len(chunk) for chunk in chunks(jobs[:3], together=1, places=2)] == [1, 1, 1]


@pytest.mark.slow
def test_repeat_makes_as_many_optimizer_steps_as_three_stages():
    """The control for "three passes" (METHOD §5): passes over R and over S as `rum_f` and `shuffle` make them."""
    here = Study(load_profile("smoke", {"seeds": [0], "unlearning.scores": ["memorization"]}))
    from mulnb.study import frames

    frame = frames.unlearning(here)
    steps = frame[frame.algorithm == "fine_tune"].set_index("strategy").passes_retain
    assert steps["repeat"] == steps["rum_f"] == steps["shuffle"] == 3 * steps["vanilla"] == 3


def test_a_grid_that_cannot_be_extended_is_refused_before_any_training(home):
    for key, value, message in (
        ("tune.extend", {"momentum": {"factor": 2, "high": 1}}, "tune.extend.momentum: no such axis in tune.grid"),
        ("tune.extend", {"lr": {"factor": 2, "step": 0.1}}, "either a factor or a step"),
        ("tune.grid", {"fine_tune": {"lr": [0.1], "epochs": [4], "batch": [64]}}, "multiples of 3"),
        ("tune.grid", {"fine_tune": {"lr": [0.0, 0.1], "epochs": [3], "batch": [64]}}, "lr = 0.0: should be positive"),
        ("tune.grid", {"l1_sparse": {"gamma": [0.0, 1e-4], "epochs": [3], "batch": [64]}}, "positive values only"),
    ):
        changes = {key: value}
        if key == "tune.grid":
            axis = "lr" if "lr" in next(iter(value.values())) else "gamma"
            changes["tune.extend"] = {axis: {"factor": 2, "high": 1}}
        with pytest.raises(UserError, match=message):
            study.tune(load_profile("smoke", changes))
    assert not (home / "artifacts" / "original").exists()


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
    assert not (home / "artifacts" / "pool").exists()


def test_a_pool_too_small_for_the_membership_audits_is_refused_before_it_is_trained(home):
    with pytest.raises(UserError, match=r"LiRA needs at least 8 pool models without each example.*audit.membership: false"):
        study.memorization(load_profile("smoke", {"pool.models": 12}))
    assert not (home / "artifacts" / "pool").exists()
    assert len(study.memorization(load_profile("smoke", {"pool.models": 12, "audit.membership": False})))


@pytest.mark.parametrize("name", ["digits", "smoke", "cifar10", "cifar100", "tiny-imagenet"])
def test_three_stages_can_share_the_epochs_of_a_packaged_search(name):
    from mulnb.study import tuning

    tuning._check(load_profile(name))
    if name.startswith(("cifar", "tiny")):
        tuning._check(load_profile(name, {"limit.steps": 2}))
