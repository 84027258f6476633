"""RMIA: by hand, and against an independent implementation (in this file: the paper's definition, pair by pair)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mulnb.audit import rmia, roc
from mulnb.audit.margins import probability


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def independent(margin, pool_margin, member, z_margin, z_pool_margin, a, gamma):
    """Pr over z of LR(x, z) > γ, from the definition; a tie counts half."""

    def ratio(own, reference):
        p_out = np.mean([sigmoid(value) for value in reference])
        return sigmoid(own) / (0.5 * ((1 + a) * p_out + (1 - a)))

    population = [ratio(z_margin[k], z_pool_margin[:, k]) for k in range(len(z_margin))]
    found = []
    for i in range(len(margin)):
        x = ratio(margin[i], pool_margin[~member[:, i], i])
        found.append(np.mean([1.0 if x > gamma * z else 0.5 if x == gamma * z else 0.0 for z in population]))
    return np.array(found)


@pytest.mark.parametrize(("a", "gamma"), [(0.3, 1.0), (0.0, 2.0), (1.0, 1.05)])
def test_it_agrees_with_an_independent_implementation(a, gamma):
    rng = np.random.default_rng(0)
    member = rng.random((30, 25)) < 0.6
    pool_margin, z_pool = rng.normal(0, 3, (30, 25)) + 2 * member, rng.normal(0, 3, (30, 50))
    margin, z_margin = rng.normal(1, 3, 25), rng.normal(0, 3, 50)
    ratio_x = rmia.ratio(margin, rmia.out_probability(pool_margin, member), a)
    ratio_z = rmia.ratio(z_margin, rmia.out_probability(z_pool, np.zeros_like(z_pool, dtype=bool)), a)
    expected = independent(margin, pool_margin, member, z_margin, z_pool, a, gamma)
    assert rmia.offline(ratio_x, ratio_z, gamma) == pytest.approx(expected, abs=1e-12)


def test_a_case_by_hand():
    """p = ½ at a margin of 0; out models say ½ and ¼; with a = 0.3 the reference is (1.3·0.375 + 0.7)/2 = 0.59375."""
    pool_margin = np.array([[0.0], [-np.log(3)], [9.0]])
    member = np.array([[False], [False], [True]])
    p_out = rmia.out_probability(pool_margin, member)
    assert p_out == pytest.approx([0.375])
    assert rmia.ratio(np.array([0.0]), p_out) == pytest.approx([0.5 / 0.59375])
    assert rmia.offline(np.array([1.0, 2.0]), np.array([0.5, 1.0, 1.5, 3.0])).tolist() == [0.375, 0.75]


def test_an_example_that_is_in_the_population_itself_has_no_advantage():
    """Scores of T against T as population order S and T exactly as their ratios do, so the AUC is that of the ratios."""
    rng = np.random.default_rng(0)
    ratio_s, ratio_t = rng.normal(0.2, 1, 30), rng.normal(0, 1, 40)
    scores_s, scores_t = rmia.offline(ratio_s, ratio_t), rmia.offline(ratio_t, ratio_t)
    truth = np.repeat([1, 0], [30, 40])
    assert roc.auc(scores_s, scores_t) == pytest.approx(roc_auc_score(truth, np.r_[ratio_s, ratio_t]), abs=1e-12)


def test_probabilities_are_the_softmax_of_the_true_class():
    import torch

    from mulnb.audit.margins import log_odds

    logits, labels = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7
    softmax = logits.softmax(1)[torch.arange(50), labels].numpy()
    assert probability(log_odds(logits, labels)) == pytest.approx(softmax, abs=3e-4)  # margins are float16
