"""Rows of outcomes: which models count as converged, and what stands beside what."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
from smaller import store_scores

from mulnb import load_profile
from mulnb.core.store import Artifact
from mulnb.study import Study
from mulnb.study.frames import FAR_BELOW, _facts, compare, converged, orders_of, second_oracles_fitted
from mulnb.study.study import Scored

OUTCOME = {"acc_forget": 0.5, "acc_retain": 0.9, "acc_test": 0.8, "mia": 0.3, "seconds": 2.0}


def scored(accuracy: float) -> Scored:
    return Scored({"confidence": np.zeros(3)}, {}, 1.0, accuracy)


def oracle(accuracy: float) -> Artifact:
    return Artifact(meta={"outcomes": [{"acc_retain": accuracy}]})


def test_a_model_far_below_the_median_of_its_like_did_not_converge():
    originals = {0: scored(0.99), 1: scored(0.98), 2: scored(0.98 - 2 * FAR_BELOW)}
    oracles = [oracle(0.97), oracle(0.97 - 2 * FAR_BELOW), oracle(0.97)]
    assert converged(originals, [0, 1, 2], oracles) == [True, False, False]  # 1: its oracle; 2: its original model
    assert converged(originals, [0, 0, 1], oracles) == [True, False, True]


def test_a_ceiling_whose_second_oracle_did_not_fit_is_marked():
    low = 0.99 - 2 * FAR_BELOW
    rows = [("retrain", 0.99), ("retrain", low), ("retrain", 1.0), ("fine_tune", low), ("nothing", low)]
    frame = pd.DataFrame(rows, columns=["algorithm", "acc_retain"]).assign(strategy="vanilla")
    assert list(second_oracles_fitted(frame)) == [True, False, True, True, True]
    assert second_oracles_fitted(frame.iloc[3:]).all()  # no ceiling, nothing to mark

    # in a chain, the two ends of the scale are strategies
    chain = frame.assign(strategy=frame["algorithm"], algorithm="neg_grad_plus")
    assert list(second_oracles_fitted(chain)) == [True, False, True, True, True]


def test_a_run_that_diverged_has_no_numbers_and_the_worst_tow():
    row = compare({"diverged": "lr"}, OUTCOME)
    assert row["tow"] == row["tow_mia"] == 0 and math.isnan(row["acc_forget"]) and math.isnan(row["seconds"])
    assert row["oracle_mia"] == 0.3 and row["oracle_seconds"] == 2.0
    same = compare(OUTCOME, OUTCOME)
    assert same["tow"] == same["tow_mia"] == 1


def test_an_oracle_passes_over_the_retain_set_in_every_epoch_and_never_over_the_forget_set():
    study = SimpleNamespace(profile=load_profile("smoke"))
    trained = Artifact(meta={"outcomes": [{"mia": 0.5}], "seconds": 1.0, "relearn_epochs": 2})
    facts = _facts(study, trained)
    assert (facts["passes_retain"], facts["passes_forget"]) == (study.profile.training.epochs, 0)


def test_crossed_runs_refine_the_memorization_set_in_the_order_of_each_score():
    here = Study.of(load_profile("smoke"))
    store_scores(here)
    runs, orders, sets = orders_of(here)
    assert len(runs) == 3 * 4 * 2 and set(orders) == set(here.profile.unlearning.scores)
    for run, order, chosen in zip(runs, orders, sets, strict=True):
        assert (run.strategy, run.score) == ("rum_f", "memorization")
        assert np.array_equal(chosen.forget, here.strata("memorization", run.seed).forget)
        low, medium, high = (here.scores(order, run.seed)[part] for part in chosen)
        assert low.max() <= medium.min() and medium.max() <= high.min()
