"""ToW, ToW-MIA and the attack: against numbers worked by hand, and without side effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit, models, training
from mulnb.config import Recipe
from mulnb.fast import svc
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


def features(kind: str, n: int, rng: np.random.Generator, shift: float) -> np.ndarray:
    """[n, d] what an attack sees of models that are sure of most examples; `shift`: how sure."""
    logits = rng.normal(0, 1, (n, 6))
    logits[:, 0] += rng.normal(shift, 2.5, n)
    return audit.attack_features(torch.from_numpy(logits), torch.zeros(n, dtype=torch.int64))[kind]


@pytest.mark.parametrize("kind", audit.ATTACKS)
@pytest.mark.parametrize("n", [40, 700])
def test_mia_is_the_authors_svc(kind, n):
    """libsvm's decisions, and its decision values to what it leaves open itself when it stops at its default tolerance."""
    from sklearn.svm import SVC

    for seed in range(4):
        rng = np.random.default_rng((n, seed))
        count = (n, n // (1 + seed % 2), n // 3)  # fewer members than others, too
        parts = [features(kind, k, rng, shift) for k, shift in zip(count, rng.uniform(0.5, 5, 3), strict=True)]
        x, y = np.concatenate(parts[:2]), np.repeat([1.0, -1.0], count[:2])
        reference = SVC(C=3, gamma="auto", kernel="rbf", tol=1e-7).fit(x, y)
        exact = reference.decision_function(parts[2])
        own = svc.fit(torch.from_numpy(x), torch.from_numpy(y), 3.0, 1 / x.shape[1]).decision(torch.from_numpy(parts[2]))
        assert np.abs(own.numpy() - exact).max() < 1e-3
        clear = np.abs(exact) > 1e-3
        assert clear.mean() > 0.95 and ((own.numpy() < 0) == (exact < 0))[clear].all()
        assert audit.mia(*parts) == pytest.approx((exact < 0).mean(), abs=1.1 * (~clear).mean())


def test_an_svc_whose_bias_is_not_unique_takes_the_middle_as_libsvm_does():
    """Of two clouds that cannot be told apart every α is at its bound: a whole interval of b is optimal."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    x, y, asked = rng.dirichlet(np.ones(40), 60), np.repeat([1.0, -1.0], 30), rng.dirichlet(np.ones(40), 20)
    reference = SVC(C=3, gamma="auto", tol=1e-7).fit(x, y)
    assert (np.abs(reference.dual_coef_) == 3).all()
    own = svc.fit(torch.from_numpy(x), torch.from_numpy(y), 3.0, 1 / 40).decision(torch.from_numpy(asked))
    assert own.numpy() == pytest.approx(reference.decision_function(asked), abs=1e-3)


def test_an_svc_of_two_values_alone_finds_its_optimum():
    """Equal examples share what only their sum determines: rounding must not carry the search away (f is −1 everywhere)."""
    seen, unseen = np.ones(180), np.r_[np.ones(296), np.zeros(64)]
    x, y = torch.from_numpy(np.r_[seen, unseen])[:, None], torch.from_numpy(np.repeat([1.0, -1.0], [180, 360]))
    values = svc.fit(x, y, 3.0, 1.0).decision(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert values.tolist() == pytest.approx([-1, -1], abs=1e-3)


def test_an_attack_on_a_feature_that_says_nothing_takes_all_for_members():
    assert audit.mia(np.ones(30), np.ones(30), np.ones(10)) == 0


def test_features_that_are_not_finite_are_an_error_not_an_efficacy():
    with pytest.raises(ArithmeticError, match="not finite"):
        audit.mia(np.r_[np.nan, np.ones(30)], np.zeros(30), np.ones(10))


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
