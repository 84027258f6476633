"""ToW, ToW-MIA and the attack: against numbers worked by hand, and without side effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit, models, training
from mulnb.config import Recipe
from mulnb.training import Examples, predict

ORACLE = {"acc_forget": 0.6, "acc_retain": 0.99, "acc_test": 0.9, "mia": 0.7}


def test_tow_by_hand():
    unlearned = {"acc_forget": 0.8, "acc_retain": 0.94, "acc_test": 0.91, "mia": 0.6}
    assert audit.tow(unlearned, ORACLE) == pytest.approx(0.8 * 0.95 * 0.99)
    assert audit.tow_mia(unlearned, ORACLE) == pytest.approx(0.9 * 0.95 * 0.99)


def test_the_oracle_itself_scores_one():
    assert audit.tow(ORACLE, ORACLE) == 1
    assert audit.tow_mia(ORACLE, ORACLE) == 1


def test_too_much_and_too_little_forgetting_cost_the_same():
    low, high = (audit.tow(ORACLE | {"acc_forget": value}, ORACLE) for value in (0.5, 0.7))
    assert low == pytest.approx(high) == pytest.approx(0.9)


def test_mia_takes_forgotten_examples_for_unseen_ones():
    rng = np.random.default_rng(0)
    seen, unseen = rng.uniform(0.95, 1, 300), rng.uniform(0.2, 0.9, 300)
    assert audit.mia(seen, unseen, rng.uniform(0.3, 0.8, 50)) == 1
    assert audit.mia(seen, unseen, rng.uniform(0.96, 1, 50)) == 0


def test_mia_is_the_authors_svc():
    from sklearn.svm import SVC

    rng = np.random.default_rng(1)
    seen, unseen, gone = rng.beta(8, 2, 200), rng.beta(4, 3, 200), rng.beta(5, 3, 60)
    reference = SVC(C=3, gamma="auto", kernel="rbf").fit(np.r_[seen, unseen][:, None], np.r_[np.ones(200), np.zeros(200)])
    assert audit.mia(seen, unseen, gone) == pytest.approx(1 - reference.predict(gone[:, None]).mean())


def test_method10_05_modified_entropy_by_hand():
    """Rows are examples, columns classes; mixing them up gives another number."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    by_hand = [
        -(0.3 * np.log(0.7) + 0.2 * np.log(0.8) + 0.1 * np.log(0.9)),
        -(0.7 * np.log(0.3) + 0.1 * np.log(0.9) + 0.6 * np.log(0.4)),
    ]
    features = audit.attack_features(p.log(), labels)
    assert features["modified_entropy"][:, 0].tolist() == pytest.approx(by_hand)
    assert features["confidence"][:, 0].tolist() == pytest.approx([0.7, 0.3])
    assert features["correctness"][:, 0].tolist() == [1, 0]
    assert features["entropy"][:, 0].tolist() == pytest.approx([-(row * row.log()).sum().item() for row in p])


def test_method10_06_entropy_survives_underflow():
    certain = torch.tensor([[1000.0, 0.0, -1000.0]])
    features = audit.attack_features(certain, torch.tensor([0]))
    assert all(np.isfinite(value).all() for value in features.values())
    wrong = audit.attack_features(certain, torch.tensor([2]))
    assert np.isfinite(wrong["modified_entropy"]).all() and wrong["modified_entropy"][0, 0] > 100


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
    moves, move = [], training.moved
    monkeypatch.setattr(training, "moved", lambda *given: moves.append(1) or move(*given))
    monkeypatch.setenv("MULNB_GRAPHS", "0")
    recipe = Recipe(epochs=2, batch=20, lr=0.05, augment=True)
    model = training.fit(models.build("small_cnn", num_classes=4, in_channels=1, seed=0), data, recipe, seed=0)
    assert len(moves) == 8  # every batch of the training
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    one, two = (audit.evaluate(model, data, data, np.arange(10), np.arange(10, 80), seed=0) for _ in range(2))
    assert len(moves) == 8 and one == two
    assert statistics and all(torch.equal(statistics[name], value) for name, value in model.named_buffers())
