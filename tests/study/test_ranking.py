"""The published frame of proxies: numbers as short as the order of the scores allows, and no shorter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from mulnb import forget
from mulnb.study import ranking


@pytest.mark.parametrize("kind", ["uniform", "with ties", "nearly equal", "neighbours in single precision", "signs", "one value"])
def test_ranks_and_ties_are_exact_and_the_error_is_small(kind):
    rng = np.random.default_rng(0)
    scores = {
        "uniform": rng.random(5000),
        "with ties": rng.integers(0, 30, 5000) / 30,
        "nearly equal": 1 - 1e-5 * rng.random(5000),
        "neighbours in single precision": np.float32(0.7) + np.arange(50) * np.float32(2**-24),
        "signs": rng.standard_normal(5000) * 10.0 ** rng.integers(-8, 8, 5000),
        "one value": np.full(7, 1 / 3),
    }[kind].astype(np.float32)

    short = ranking._keeping_order(scores)

    assert short.dtype == np.float32
    assert np.array_equal(rankdata(short), rankdata(scores))
    np.testing.assert_allclose(short, scores, rtol=2.0**-11, atol=0)

    # so are the strata: the medium one is chosen by the distance to the median
    size = len(scores) // 20 or 1
    for exact_part, part in zip(forget.strata(scores, size), forget.strata(short, size), strict=True):
        assert np.array_equal(exact_part, part)


def test_an_example_that_is_nearer_to_the_median_stays_nearer():
    scores = np.float32([0.1, 0.31, 0.5, 0.69001, 0.9])  # 0.31 is nearer to 0.5 than 0.69001 is
    short = ranking._keeping_order(scores)
    assert abs(short[1] - short[2]) < abs(short[3] - short[2])


def test_numbers_that_stand_far_apart_become_short():
    scores = np.float32([0.1, 0.5, 0.75, 0.8])  # the two in the middle make the median, which stays as it is
    bits = ranking._keeping_order(scores).view(np.uint32)[[0, 3]]
    assert not (bits & (2 ** (24 - ranking.THREE_DIGITS) - 1)).any()  # the last bits of each are zero, so that they take no room


def test_the_reliability_is_that_of_the_largest_halves_stepped_up_to_the_whole_pool(monkeypatch):
    table = pd.DataFrame({"models": [20, 20, 50, 50, 100], "split_half": [0.4, 0.6, 0.7, 0.9, np.nan]})
    monkeypatch.setattr(ranking, "convergence", lambda study: table)
    assert ranking.reliability(SimpleNamespace(pool="any")) == pytest.approx(2 * 0.8 / 1.8)  # Spearman and Brown
