"""Relearn time on real trainings: it works on a copy, an original needs none, an oracle needs some, and a limit is a limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mulnb import config, data, models, training
from mulnb.audit.relearn import relearn_epochs
from mulnb.config import Recipe

RECIPE = Recipe(epochs=60, batch=32, lr=0.05)


@pytest.fixture(scope="module")
def study():
    """The digits' training set, a forget set of flipped labels, the original, an oracle, and the original's accuracy on S."""
    profile = config.load_profile("digits")
    splits = data.load_data(profile)
    train = training.examples(splits.train, splits)
    forget = np.flatnonzero(splits.flipped)[:60]
    retain = torch.from_numpy(np.setdiff1d(np.arange(len(train)), forget))

    def fresh(seed):
        return models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed)

    original = training.fit(fresh(0), train, profile.training, 0)
    oracle = training.fit(fresh(1), train, profile.training, 1, index=retain)
    return train, forget, original, oracle, accuracy(original, train, forget)


def accuracy(model, train, index):
    index = torch.from_numpy(index)
    return float((training.predict(model, train, index).argmax(1) == train.labels[index]).double().mean())


@pytest.mark.slow
def test_what_the_original_knows_an_oracle_must_learn(study):
    train, forget, original, oracle, known = study
    assert known > accuracy(oracle, train, forget) + 0.3
    assert relearn_epochs(original, train, forget, RECIPE, known, seed=0) == 0
    needed = relearn_epochs(oracle, train, forget, RECIPE, known, seed=0)
    assert 1 <= needed <= 60 and needed == int(needed)


@pytest.mark.slow
def test_it_is_the_first_epoch_that_reaches_the_target(study):
    """Training a copy for one epoch less than it says does not reach the target; for as many, it does."""
    train, forget, _, oracle, known = study
    needed = int(relearn_epochs(oracle, train, forget, RECIPE, known, seed=0))
    for epochs, reached in ((needed - 1, False), (needed, True)):
        copy = training.clone(oracle)
        training.fit(copy, train, RECIPE.model_copy(update={"epochs": epochs}), 0, index=torch.from_numpy(forget))
        assert (accuracy(copy, train, forget) >= 0.9 * known) == reached


def test_the_model_is_left_as_it_was(study):
    train, forget, _, oracle, known = study
    before = {name: value.clone() for name, value in oracle.state_dict().items()}
    relearn_epochs(oracle, train, forget, RECIPE, known, seed=0)
    assert all(torch.equal(before[name], value) for name, value in oracle.state_dict().items())


def test_beyond_the_limit_is_infinity_and_a_divergence_is_nan(study):
    train, forget, _, oracle, known = study
    slow = RECIPE.model_copy(update={"epochs": 2, "lr": 1e-6})
    assert relearn_epochs(oracle, train, forget, slow, known, seed=0) == math.inf
    wild = RECIPE.model_copy(update={"epochs": 30, "lr": 1e12})
    assert math.isnan(relearn_epochs(oracle, train, forget, wild, known, seed=0))


def test_an_accuracy_exactly_on_the_target_is_enough(study):
    train, forget, original, _, known = study
    assert relearn_epochs(original, train, forget, RECIPE, known, seed=0, share=1.0) == 0
