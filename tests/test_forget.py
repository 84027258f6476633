"""Strata: exact, disjoint, and independent of the order of the examples."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb import forget
from mulnb.core.errors import UserError


def test_by_hand():
    scores = np.array([0.0, 0.9, 0.45, 0.1, 1.0, 0.55, 0.2, 0.8])
    chosen = forget.strata(scores, 2, centre=0.5)
    assert chosen.low.tolist() == [0, 3]
    assert chosen.medium.tolist() == [2, 5]
    assert chosen.high.tolist() == [1, 4]
    assert chosen.forget.tolist() == [0, 1, 2, 3, 4, 5]


def test_method10_03_medium_of_a_proxy_lies_at_the_median_of_the_candidates():
    scores = np.r_[np.linspace(0, 0.1, 90), np.linspace(0.9, 1, 10)]
    chosen = forget.strata(scores, 5, centre="median")
    assert abs(scores[chosen.medium] - np.median(scores)).max() < 0.004
    upper = np.arange(50, 100)
    assert scores[forget.strata(scores, 5, candidates=upper).medium].mean() == pytest.approx(np.median(scores[50:]), abs=0.003)


def test_the_median_is_that_of_all_candidates_and_not_of_what_the_other_strata_leave():
    assert forget.strata(np.arange(20.0), (2, 2, 8)).medium.tolist() == [9, 10]


@pytest.mark.parametrize("seed", range(5))
def test_disjoint_and_of_exact_size_even_when_everything_is_tied(seed):
    scores = np.random.default_rng(seed).integers(0, 3, 90) / 3
    chosen = forget.strata(scores, 30, seed=seed)
    assert [len(part) for part in chosen] == [30, 30, 30]
    assert len(chosen.forget) == len(np.unique(chosen.forget)) == 90


@pytest.mark.parametrize("centre", [0.5, "median"])
def test_permuting_the_examples_permutes_the_strata(centre):
    rng = np.random.default_rng(0)
    scores = rng.permutation(500) / 500  # no ties
    order = rng.permutation(500)
    plain, permuted = (forget.strata(values, 40, centre, seed=3) for values in (scores, scores[order]))
    for a, b in zip(plain, permuted, strict=True):
        assert np.array_equal(a, np.sort(order[b]))


def test_method10_04_ties_are_broken_by_seed_not_by_index():
    """Hundreds of zeros, sorted by class as a folder is: the low stratum must not be the first class."""
    scores = np.r_[np.zeros(300), np.linspace(0.1, 1, 100)]
    one, two = (forget.strata(scores, 50, seed=seed) for seed in (0, 1))
    assert one.low.max() > 200 and 100 < one.low.mean() < 200  # spread over the ties
    assert not np.array_equal(one.low, two.low)
    assert np.array_equal(one.low, forget.strata(scores, 50, seed=0).low)
    tied = forget.strata(np.zeros(400), 50, seed=0)  # every stratum is a tie
    assert all(100 < part.mean() < 300 for part in tied)


def test_medium_takes_no_side_among_scores_that_are_equally_far_from_the_centre():
    scores = np.r_[np.zeros(5), np.full(20, 0.25), np.full(20, 0.75), np.ones(5)]
    medium = forget.strata(scores, (5, 10, 5), centre=0.5).medium
    assert 0 < (scores[medium] == 0.25).sum() < 10


def test_only_candidates_are_chosen():
    candidates = np.arange(0, 200, 2)
    chosen = forget.strata(np.arange(200.0), 10, candidates=candidates)
    assert np.isin(chosen.forget, candidates).all()
    assert chosen.high.tolist() == list(range(180, 200, 2))


def test_too_large_and_unknown_scores_are_said():
    with pytest.raises(UserError, match=r"stratum size 4: three strata need 12 of 10"):
        forget.strata(np.arange(10.0), 4)
    with pytest.raises(UserError, match="score of example 3 is not a number"):
        forget.strata(np.r_[0.0, 1, 2, np.nan, 4, 5], 1)
