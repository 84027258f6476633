"""Oracles: trained and measured each on its own sets, and with seeds that they share with no other model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smaller import FEW

from mulnb import audit, load_profile
from mulnb.config import known_profiles
from mulnb.core.store import Artifact
from mulnb.study import Study, oracles
from mulnb.study.oracles import ORACLE_SEEDS, Retraining
from mulnb.unlearning import ALGORITHMS


@pytest.mark.parametrize("name", known_profiles())
def test_seeds_of_originals_oracles_and_second_oracles_are_disjoint(name):
    profile = load_profile(name)
    seeds = {*profile.seeds, *profile.tune.seeds}
    used = seeds.union(*({seed + shift for seed in seeds} for shift in ORACLE_SEEDS))
    assert len(used) == 3 * len(seeds)


def test_each_oracle_of_a_stack_is_trained_without_its_own_set_and_measured_on_it():
    here = Study(load_profile("smoke", FEW))
    n, gone = len(here.train), (np.arange(20), np.arange(30, 50))
    tasks = [Retraining(gone[0], (gone[0],), 3, 0, None), Retraining(gone[1], (gone[1][:6], gone[1]), 4, 1, None)]
    for task, found in zip(tasks, oracles.retrain_together(here, tasks), strict=True):
        kept = np.setdiff1d(np.arange(n), task.forgotten)
        index = torch.from_numpy(kept)[None]
        how = {"seed": [task.seed + ORACLE_SEEDS[task.number]], "fresh": here.fresh, **here.profile.training.model_dump()}
        logits, test_logits = here.outputs(ALGORITHMS["retrain"](None, here.train, None, index, **how))
        data = (logits[0], here.train.labels, test_logits[0], here.test.labels)
        expected = [audit.evaluate_outputs(*data, part, kept, task.seed, ("confidence",)) for part in task.evaluated]
        assert found.meta["outcomes"] == expected and np.isnan(found.meta["relearn_epochs"])
        for name, part, of in (("margin", logits, here.train), ("margin_test", test_logits, here.test)):
            assert np.allclose(found.arrays[name], audit.margins.log_odds(part[0], of.labels), atol=1e-2)


def test_relearnt_is_nine_tenths_of_what_the_original_model_knew_of_the_forget_set():
    here = Study(load_profile("smoke", FEW))
    model = here.fresh([0, 0])
    right = (here.outputs(model)[0][0].argmax(1) == here.train.labels).numpy()
    half = np.concatenate([np.flatnonzero(right)[:4], np.flatnonzero(~right)[:4]])  # half of it is known, untrained
    inside, part = np.isin(np.arange(len(right)), half), np.isin(np.arange(len(right)), half[2:6])
    originals = [Artifact({"correct": ~inside | part}), Artifact({"correct": inside})]  # .5 and 1 on the set
    at_once, later = oracles.relearn(here, model, originals, [half, half], [0, 1])
    assert at_once == 0 < later
