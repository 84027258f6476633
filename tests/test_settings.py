"""Settings of algorithms: profiles, grids and the API know the same ranges, and say so before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb import load_profile, study
from mulnb.core.errors import UserError
from mulnb.study import tuning
from mulnb.your_model import checks

BAD = [
    ("neg_grad_plus", "alpha", 7, "should be between 0 (ascent alone) and 1 (fine-tuning)"),
    ("neg_grad_plus", "alpha", -1, "should be between 0 (ascent alone) and 1 (fine-tuning)"),
    ("neg_grad_plus", "alpha", 1.0001, "should be between 0 (ascent alone) and 1 (fine-tuning)"),
    ("influence", "alpha", -0.5, "should be 0 or more"),
    ("influence", "damping", 0, "should be positive"),
    ("influence", "samples", 0, "should be a whole number of at least 1"),
    ("salun", "keep", 0, "should be above 0 and at most 1"),
    ("salun", "keep", 1.5, "should be above 0 and at most 1"),
    ("l1_sparse", "gamma", -1e-9, "should be 0 or more"),
    ("scrub", "beta", -1, "should be 0 or more"),
    ("scrub", "temperature", 0, "should be positive"),
    ("scrub", "msteps", 1.5, "should be a whole number of at least 0"),
    ("fine_tune", "lr", 0, "should be positive"),
    ("fine_tune", "epochs", -1, "should be a whole number of at least 0"),
    ("fine_tune", "epochs", 2.5, "should be a whole number of at least 0"),
    ("random_label", "batch", 1, "should be a whole number of at least 2"),
    ("random_label", "batch", 2**31, "should be a whole number of at least 2, and at most 2147483647"),
    ("salun", "epochs", 2**31, "and at most 2147483647"),
    ("neg_grad", "lr", 1e38, "should be positive and at most 1e+36"),
    ("scrub", "temperature", 1e30, "should be positive and at most 1e18"),
]
GOOD = [
    ("neg_grad_plus", {"alpha": 0}),
    ("neg_grad_plus", {"alpha": 1.0, "epochs": 3.0}),
    ("influence", {"alpha": 10, "damping": 1e-3}),
    ("scrub", {"msteps": 2, "epochs": 2}),
    ("salun", {"keep": 1}),
]


def in_a_profile(algorithm, settings):
    return load_profile("smoke", {f"unlearning.algorithms.{algorithm}": {"vanilla": settings, "rum_f": settings}})


@pytest.mark.parametrize(("algorithm", "name", "value", "words"), BAD)
def test_every_door_refuses_what_cannot_be_right(algorithm, name, value, words):
    for door in (
        lambda: in_a_profile(algorithm, {name: value}),
        lambda: load_profile("smoke", {"unlearning.rum": {"high": {"algorithm": algorithm, "settings": {name: value}}}}),
        lambda: load_profile("smoke", {"tune.grid": {algorithm: {name: [value]}}}),
        lambda: checks.check_settings(algorithm, {name: value}),
        lambda: checks.check_settings(algorithm, {name: np.float32(value)}),
    ):
        with pytest.raises(UserError) as error:
            door()
        assert f"{name} = " in str(error.value) and words in str(error.value) and "\n" not in str(error.value)


RECIPE = {"lr": 0.1, "epochs": 3, "batch": 64}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 5}, "momentum = 5: should be less than 1"),
        ({"weight_decay": -1}, "weight_decay = -1: should be greater than or equal to 0"),
        ({"epochs": -1}, "epochs = -1: should be greater than or equal to 0"),
        ({"lrr": 1}, "unknown key 'lrr' = 1: did you mean 'lr'?"),
        ({"batch": None}, "key 'batch' is missing"),
    ],
)
def test_settings_of_retrain_are_a_whole_recipe(change, words):
    settings = {name: value for name, value in (RECIPE | change).items() if value is not None}
    for overrides in (
        {"unlearning.algorithms.retrain": {"vanilla": settings}},
        {"unlearning.algorithms.retrain": {"vanilla": RECIPE, "rum_f": [RECIPE, RECIPE, settings]}},
        {"unlearning.rum": {"high": {"algorithm": "retrain", "settings": settings}}},
        {"tune.grid": {"retrain": {name: [value] for name, value in settings.items()}}},
    ):
        with pytest.raises(UserError) as error:
            load_profile("smoke", overrides)
        assert words in str(error.value)


def test_retrain_is_no_algorithm_of_a_study_since_the_ceiling_is_one_already():
    recipe = load_profile("smoke").training.model_dump()
    plain = {name: value for name, value in recipe.items() if isinstance(value, (int, float))}
    with pytest.raises(UserError, match=r"unlearning\.algorithms\.retrain: leave it out"):
        load_profile("smoke", {"unlearning.algorithms.retrain": {"vanilla": plain}})
    study.check(load_profile("smoke", {"unlearning.rum": {"high": {"algorithm": "retrain", "settings": plain}}}))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "0.1", None, [0.1], True, 1j])
def test_what_is_no_number_is_no_setting(value):
    with pytest.raises(UserError, match=r"fine_tune: lr = .*: should be positive"):
        checks.check_settings("fine_tune", {"lr": value})


@pytest.mark.parametrize(("algorithm", "settings"), GOOD)
def test_every_door_takes_the_ends_of_a_range(algorithm, settings):
    checks.check_settings(algorithm, settings)
    profile = in_a_profile(algorithm, settings)
    study.check(profile)
    assert profile.unlearning.algorithms[algorithm]["vanilla"] == settings


def test_settings_that_are_wrong_only_together():
    """SCRUB cannot climb in more epochs than it has, whichever of the two is left at its default."""
    words = r"msteps = {}: should be between 0 and epochs = {}"
    for settings, known in (({"msteps": 9}, (9, 5)), ({"epochs": 3}, (4, 3)), ({"msteps": 3, "epochs": 2}, (3, 2))):
        with pytest.raises(UserError, match=words.format(*known)):
            checks.check_settings("scrub", settings)
        with pytest.raises(UserError, match=r"unlearning\.algorithms\.scrub\.vanilla\." + words.format(*known)):
            study.check(in_a_profile("scrub", settings))

    # the three stages of a strategy share the epochs of a candidate
    profile = load_profile("smoke", {"tune.grid": {"scrub": {"msteps": [2, 4], "epochs": [9]}}})
    with pytest.raises(UserError, match=r"tune\.grid\.scrub, .*: msteps = 4: should be between 0 and epochs = 3"):
        tuning._check(profile)
    tuning._check(load_profile("smoke", {"tune.grid": {"scrub": {"msteps": [2, 3], "epochs": [9]}}}))


def test_the_search_cannot_leave_a_range():
    grid = {"neg_grad_plus": {"alpha": [0.9, 0.95]}, "influence": {"alpha": [0.5, 1.0]}}
    load_profile("smoke", {"tune.grid": grid, "tune.extend": {"alpha": {"step": 0.05, "high": 1.0}}})
    with pytest.raises(UserError, match=r"tune\.extend\.alpha\.high: neg_grad_plus: alpha = 1\.1: should be between 0"):
        load_profile("smoke", {"tune.grid": grid, "tune.extend": {"alpha": {"step": 0.05, "high": 1.1}}})


def test_an_algorithm_of_ones_own_has_its_own_ranges(monkeypatch):
    from mulnb.unlearning import ALGORITHMS

    def mine(model, data, forget, retain, *, seed, fresh=None, alpha=2.0, keep=3):
        return model

    monkeypatch.setitem(ALGORITHMS, "mine", mine)
    checks.check_settings("mine", {"alpha": -7, "keep": 9})
    study.check(in_a_profile("mine", {"alpha": -7, "keep": 9}))
    with pytest.raises(UserError, match="alpha = nan: should be a finite number"):
        checks.check_settings("mine", {"alpha": float("nan")})
