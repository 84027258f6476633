"""Evaluation: in eval mode, without augmentation, and without side effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit, examples, models, training
from mulnb.audit import evaluation
from mulnb.config import Recipe
from mulnb.training import Examples, predict


def test_method10_08_evaluation_changes_nothing():
    """BatchNorm buffers, the model's mode, and every random state are as before."""
    model = models.build("small_cnn", num_classes=4, in_channels=1, seed=0)
    model.train()
    model[1].eval()  # a mode of its own must come back, too
    images = torch.randint(0, 255, (80, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Examples(images, torch.arange(80) % 4, torch.tensor([0.5]), torch.tensor([0.3]))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state(legacy=False))
    audit.evaluate(model, data, data, np.arange(10), np.arange(10, 80), seed=0)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert model.training and not model[1].training and model[0].training
    assert torch.equal(torch.get_rng_state(), torch_state) and repr(np.random.get_state(legacy=False)) == numpy_state
    # and a second evaluation sees the same model: in eval mode a prediction does not depend on its batch
    assert torch.allclose(predict(model, data)[:7], predict(model, data, torch.arange(7), batch=3), atol=1e-6)


def test_method10_08_a_recipe_that_augments_does_so_in_training_alone(monkeypatch):
    images = torch.randint(0, 255, (80, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Examples(images, torch.arange(80) % 4, torch.tensor([0.5]), torch.tensor([0.3]))
    moves, move = [], examples.moved
    monkeypatch.setattr(examples, "moved", lambda *given: moves.append(1) or move(*given))
    monkeypatch.setenv("MULNB_GRAPHS", "0")
    recipe = Recipe(epochs=2, batch=20, lr=0.05, augment=True)
    model = training.fit(models.build("small_cnn", num_classes=4, in_channels=1, seed=0), data, recipe, seed=0)
    assert len(moves) == 8  # every batch of the training
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    first, second = (audit.evaluate(model, data, data, np.arange(10), np.arange(10, 80), seed=0) for _ in range(2))
    assert len(moves) == 8 and first == second
    assert statistics and all(torch.equal(statistics[name], value) for name, value in model.named_buffers())


def test_outcomes_by_hand(monkeypatch):
    """Which images are counted, and which the attack is trained on and asked about."""
    odds = torch.tensor([2.0, -1, 4, 4.5, 5, 5.5, 6, -3])  # S is the first two, R the other six
    test_odds = torch.tensor([-2.0, 0.5, 1, 1.5])
    asked = []

    def attack(*given):
        asked.append([features[:, 0] for features in given])
        return 0.25

    def logits(of_class_0):
        return torch.stack([of_class_0, torch.zeros(len(of_class_0))], 1)

    monkeypatch.setattr(evaluation, "mia", attack)
    labels = torch.zeros(8, dtype=torch.int64)
    sets = np.arange(2), np.arange(2, 8)
    found = audit.evaluate_outputs(logits(odds), labels, logits(test_odds), labels[:4], *sets, 0, ("confidence",))
    assert found == {"acc_forget": 0.5, "acc_retain": pytest.approx(5 / 6), "acc_test": 0.75, "mia": 0.25}

    [(members, others, forget)] = asked
    p, p_test = (values.double().sigmoid().numpy() for values in (odds, test_odds))
    assert np.allclose(others, p_test) and np.allclose(forget, p[:2])
    assert len(members) == len(others) and np.isin(members.round(9), p[2:].round(9)).all()  # as many of R as of T
    audit.evaluate_outputs(logits(odds), labels, logits(test_odds), labels[:4], *sets, 1, ("confidence",))
    assert sorted(asked[1][0]) != sorted(members)
