"""AUC and TPR at a fixed FPR: against scikit-learn, by hand, and the coverage of their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from mulnb.audit import roc


def drawn(seed: int, m: int = 80, n: int = 120, shift: float = 0.7, ties: bool = False):
    rng = np.random.default_rng(seed)
    members, others = rng.normal(shift, 1, m), rng.normal(0, 1, n)
    return (np.round(members), np.round(others)) if ties else (members, others)


@pytest.mark.parametrize("ties", [False, True])
def test_the_auc_is_scikit_learns(ties):
    for seed in range(5):
        members, others = drawn(seed, ties=ties)
        truth = np.repeat([1, 0], [len(members), len(others)])
        assert roc.auc(members, others) == pytest.approx(roc_auc_score(truth, np.r_[members, others]), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.05, 0.5, 1.0])
def test_the_tpr_is_the_highest_point_of_the_curve_up_to_that_fpr(fpr, ties):
    for seed in range(5):
        members, others = drawn(seed, ties=ties)
        truth = np.repeat([1, 0], [len(members), len(others)])
        rates, found, _ = roc_curve(truth, np.r_[members, others], drop_intermediate=False)
        assert roc.tpr(members, others, fpr) == pytest.approx(found[rates <= fpr + 1e-12].max())


def test_tpr_by_hand():
    """Of 300 non-members three may lie above the threshold at 1 %; of 50, none."""
    others = np.arange(300.0)
    assert roc.tpr(np.array([295.5, 296.5, 400.0, 0.0]), others, 0.01) == 0.5  # the threshold is 296
    assert roc.tpr(np.array([49.0, 49.5]), np.arange(50.0), 0.01) == 0.5


def test_delongs_variance_by_hand():
    """Members 1 and 3, non-members 0, 2: placements (½, 1) and (0, ½) have variance ⅛ each, so that of the AUC is ⅛."""
    interval = roc.auc_interval(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    assert interval.mean == 0.75
    half = 1.959964 * np.sqrt(1 / 8) / (0.75 * 0.25)
    logit = np.log(3)
    expected = [1 / (1 + np.exp(-(logit - half))), 1 / (1 + np.exp(-(logit + half)))]
    assert [interval.low, interval.high] == pytest.approx(expected, rel=1e-5)


def test_the_interval_of_the_auc_covers_the_truth_as_often_as_it_says():
    truth, hits = 0.6897, 0  # Φ(0.7/√2)
    for seed in range(300):
        interval = roc.auc_interval(*drawn(seed))
        hits += interval.low <= truth <= interval.high
    assert 0.91 < hits / 300 < 0.985


def test_a_perfect_separation_is_not_certain():
    """Twenty of each: 20 disjoint pairs in the right order leave room for an AUC of .83."""
    interval = roc.auc_interval(np.arange(100.0, 120), np.arange(20.0))
    assert interval.mean == interval.high == 1 and interval.low == pytest.approx(0.025 ** (1 / 20))
    assert roc.auc_interval(np.arange(20.0), np.arange(100.0, 120)).high == pytest.approx(1 - 0.025 ** (1 / 20))
    tied = roc.auc_interval(np.zeros(9), np.zeros(9))
    assert tied.mean == tied.low == tied.high == 0.5


def test_a_tpr_of_zero_has_an_interval_too():
    interval = roc.tpr_interval(np.zeros(40), np.arange(1.0, 101), 0.01)
    assert interval.mean == interval.low == 0 and 0.05 < interval.high < 0.15
    members, others = drawn(0, m=300, n=500, shift=2.0)
    usual = roc.tpr_interval(members, others, 0.01)
    assert usual.low < usual.mean < usual.high
    assert usual == roc.tpr_interval(members, others, 0.01)  # the bootstrap is seeded


def test_a_tpr_of_one_is_not_certain_either():
    interval = roc.tpr_interval(np.full(40, 9.0), np.arange(100.0) / 100, 0.01)
    assert interval.mean == interval.high == 1 and interval.low == pytest.approx(0.025 ** (1 / 40))


def test_the_curve_rises_from_zero_to_one():
    fpr, tpr = roc.curve(*drawn(0))
    assert fpr[0] == tpr[0] == 0 and fpr[-1] == tpr[-1] == 1
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc.auc(*drawn(0)))
