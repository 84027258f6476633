"""A training that diverges names what it belongs to: the step of the study, the stratum, the epoch and the rate."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb import load_profile
from mulnb.core.errors import UserError
from mulnb.study import Study, diverged, recipes, runs

LR = 1e30
RATE_OF = {"pool": "pool.training", "original model": "training", "oracle": "training"}
FORGET = np.arange(12)

pytestmark = pytest.mark.slow


def study(group: int, **changes) -> Study:
    small = {"training.epochs": 1, "sequential.steps": 2, "pool.group": group}
    return Study.of(load_profile("smoke", small | changes))


def job(of: Study, step: str):
    if step == "pool":
        return recipes.pool_jobs(of)[1]
    if step == "oracle":
        return recipes.oracle_job(of, FORGET, [FORGET], 1, relearns=False)
    return recipes.original_job(of, 1)


@pytest.mark.parametrize("group", [1, 4], ids=["a network", "a stack"])
@pytest.mark.parametrize("step", RATE_OF)
def test_a_step_of_the_study_names_its_seed_epoch_and_rate(home, step, group):
    recipe = {"epochs": 1, "batch": 64, "lr": LR}
    own = study(group, **{RATE_OF[step]: recipe})
    place = rf"pool, model {group + 1} of 40" if step == "pool" else f"{step} of seed 1"
    with pytest.raises(UserError, match=rf"^{place}: training diverged in epoch 1 \(lr 1e\+30\): use a smaller lr$"):
        own.get(job(own, step))


@pytest.mark.parametrize("group", [1, 4], ids=["a network", "a stack"])
def test_a_chain_names_its_step_stage_and_stratum(home, group):
    settings = {"alpha": 0.95, "lr": LR, "epochs": 1, "batch": 128}
    own = study(group, **{"unlearning.algorithms.neg_grad_plus.rum_f": settings})
    place = r"sequential unlearning, rum_f, seed 1, step 1 of 2: neg_grad_plus, stage 1 of 3, stratum low \(12 examples\)"
    with pytest.raises(UserError, match=rf"^{place}: training diverged in epoch 1 \(lr 1e\+30\): use a smaller lr$"):
        own.get(recipes.step_job(own, "rum_f", 1, 1))


def test_a_run_is_stored_with_the_stratum_in_which_it_diverged(home):
    own = study(1)
    settings = {"alpha": 0.95, "lr": LR, "epochs": 1, "batch": 128}
    run = runs.Run("neg_grad_plus", "rum_f", "confidence", 1, settings)
    found = own.get(recipes.unlearning_job(own, run, own.strata("confidence", 1)))
    assert "stage 1 of 3, stratum low (12 examples): training diverged in epoch 1" in found.meta["diverged"]


def test_only_the_stages_of_rum_are_strata():
    text = "salun, stage 3 of 3 (9 examples): training diverged"
    assert diverged.with_stratum(text, "rum_f") == "salun, stage 3 of 3, stratum high (9 examples): training diverged"
    assert diverged.with_stratum(text, "shuffle") == text
