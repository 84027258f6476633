"""The recorded search: the same chances for every strategy, winners that a profile pins, and edges that move."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from smaller import SMALL

from mulnb import load_profile, study
from mulnb.config import known_profiles
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import publish

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


@pytest.mark.parametrize(
    ("key", "values", "winner", "axis", "new"),
    [
        ("damping", (1, 10), 1, {"factor": 10, "low": 0.1}, 0.1),
        ("temperature", (2, 4), 2, {"factor": 2, "low": 1}, 1),
        ("temperature", (2, 4), 4, {"factor": 2, "high": 16}, 8),
        ("msteps", (3, 4), 4, {"step": 1, "high": 6}, 5),
        ("samples", (128, 256), 256, {"factor": 2, "high": 1024}, 512),
        ("epochs", (3, 9), 3, {"factor": 3, "low": 1}, 3),  # there is no smaller number that three stages can share
        ("epochs", (3, 9), 9, {"factor": 2, "high": 11}, 9),
        ("epochs", (1, 3), 3, {"factor": 1.5, "high": 15}, 6),  # never back to where it stands
        ("epochs", (3, 9), 9, {"step": 2, "high": 30}, 12),
        ("epochs", (9, 15), 9, {"step": 2, "low": 3}, 6),
    ],
)
def test_the_next_value_lies_within_the_declared_end_and_only_epochs_are_multiples_of_three(key, values, winner, axis, new):
    from mulnb.config import Axis
    from mulnb.study.tuning import extended

    wider = extended({key: values}, [{key: winner}], {key: Axis(**axis)})
    assert wider == {key: tuple(sorted({*values, new}))}


def test_the_winner_is_best_in_the_sum_of_both_metrics_over_seeds_and_runs_that_did_not_fit_are_counted(monkeypatch):
    from types import SimpleNamespace

    from mulnb.study import tuning

    def outcomes(study, runs, label):
        """The small learning rate is worse in ToW and far better in ToW-MIA; the model of seed 7 never fits."""
        small = [run.settings["lr"] < 0.05 for run in runs]
        frame = pd.DataFrame({name: [getattr(run, name) for run in runs] for name in ("algorithm", "strategy", "seed")})
        spread = 0.01 * (frame["seed"] - 8)
        frame = frame.assign(tow=[0.8 if own else 0.9 for own in small] + spread, tow_mia=[0.7 if own else 0.1 for own in small])
        return frame.assign(passes_retain=frame["seed"], converged=frame["seed"] != 7)

    monkeypatch.setattr(tuning, "outcomes", outcomes)
    here = SimpleNamespace(profile=load_profile("smoke", {"tune.seeds": [7, 8, 9]}))
    found = tuning._tried(here, "fine_tune", [{"lr": 0.03, "epochs": 3}, {"lr": 0.1, "epochs": 3}])
    assert set(found["objective"].round(9)) == {1.5, 1.0}
    assert [json.loads(candidate)["lr"] for candidate in found.loc[found["chosen"], "candidate"]] == [0.03] * (len(found) // 2)
    scores = len(here.profile.tune.scores)
    assert set(found["n"]) == {3 * scores} and set(found["unconverged"]) == {scores}
    assert set(found["passes_retain"]) == {8.0}
    of_all = np.repeat([-0.01, 0, 0.01], scores)
    assert found["se"].to_numpy() == pytest.approx(np.full(len(found), of_all.std(ddof=1) / np.sqrt(3 * scores)))


def test_a_winner_on_the_edge_after_the_last_extension_is_recorded_as_on_it(monkeypatch):
    from mulnb.study import tuning

    def tried(study, algorithm, candidates):
        """The largest learning rate wins."""
        rates = [candidate["lr"] for candidate in candidates]
        return pd.DataFrame({"candidate": map(json.dumps, candidates), "chosen": [rate == max(rates) for rate in rates]})

    monkeypatch.setattr(tuning, "_tried", tried)
    profile = load_profile("smoke", ONE_SEARCH | {"tune.extend": {"lr": {"factor": 2, "high": 1000}}})
    found = tuning._search(study.Study.of(profile), "random_label", {"lr": (0.1, 0.2)})
    assert found[found.chosen].edge.tolist() == ["lr"] and found["round"].max() == tuning.ROUNDS
    assert found["round"].min() == 0


def test_a_search_of_one_algorithm_keeps_what_was_found_for_the_others(monkeypatch):
    searches = [
        ("1000", [("fine_tune", "{}", 0.5), ("salun", "{}", 0.6)]),
        ("5 6", [("salun", '{"lr": 0.1}', 0.9), ("salun", '{"lr": 0.2}', 0.7)]),
    ]
    for seeds, rows in searches:
        frame = pd.DataFrame(rows, columns=["algorithm", "settings", "tow"]).assign(seeds=seeds, strategy="vanilla")
        frame = frame.assign(objective=frame.tow, chosen=True, tow_mia=0.5, passes_retain=3.0, se=0.1, n=4, edge="", round=0)
        frame = frame.assign(scores="memorization")
        monkeypatch.setattr(study, "tune", lambda profile, frame=frame: frame)
        publish.publish(load_profile("smoke"), "tune")
    table = pd.read_csv(paths.results("smoke") / "tune.csv", dtype=str)
    assert table[["algorithm", "tow", "seeds"]].to_numpy().tolist() == [
        ["fine_tune", "0.5", "1000"],
        ["salun", "0.9", "5 6"],
        ["salun", "0.7", "5 6"],
    ]
    assert "| Fine-tune | vanilla |" in (paths.results("smoke") / "tune.md").read_text()


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


@pytest.mark.parametrize("name", ["digits", "smoke", "cifar10", "cifar100", "tiny-imagenet"])
def test_three_stages_can_share_the_epochs_of_a_packaged_search(name):
    from mulnb.study import tuning

    tuning._check(load_profile(name))
    if name.startswith(("cifar", "tiny")):
        tuning._check(load_profile(name, {"limit.steps": 2}))
