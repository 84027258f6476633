"""The SVC attack: its features by hand, and its classifier against libsvm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit
from mulnb.fast import svc


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


@pytest.mark.slow
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
        own = svc.fit(x, y, 3.0, 1 / x.shape[1]).decision(parts[2])
        assert np.abs(own - exact).max() < 1e-3
        clear = np.abs(exact) > 1e-3
        assert clear.mean() > 0.95 and ((own < 0) == (exact < 0))[clear].all()
        assert audit.mia(*parts) == pytest.approx((exact < 0).mean(), abs=1.1 * (~clear).mean())


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
