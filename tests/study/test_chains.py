"""Several requests in a row: each step starts from the weights that the one before it left."""

from __future__ import annotations

import numpy as np
import pytest
from smaller import SMALL

from mulnb import load_profile, study
from mulnb.core.errors import UserError
from mulnb.core.store import Artifact
from mulnb.study import Study

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


@pytest.mark.slow
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
