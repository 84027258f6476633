"""What decides a claim: tests, equivalence, Holm's procedure and the number of seeds, each against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mulnb.core import decisions, stats


def sample(mean: float, spread: float, n: int = 10) -> np.ndarray:
    """`n` values with exactly this mean and standard deviation."""
    x = np.random.default_rng(0).normal(size=n)
    return mean + spread * (x - x.mean()) / x.std(ddof=1)


def test_the_p_value_of_three_values_by_hand():
    # mean .91, s = .01: t = .01 / (.01 / √3) = 1.732, and with 2 degrees of freedom p = 1 − t / √(2 + t²)
    t = math.sqrt(3)
    assert decisions.t_p_value([0.90, 0.92, 0.91], null=0.90) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert decisions.t_p_value([1.0, 1.0, 1.0], null=1.0) == 1
    assert decisions.t_p_value([1.0, 1.0, 1.0]) == 0
    assert math.isnan(decisions.t_p_value([0.5]))


def test_the_p_value_is_below_five_percent_exactly_where_the_interval_excludes_the_null():
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = rng.normal(0.3, 1.0, 6)
        assert (decisions.t_p_value(values) < 0.05) == (not stats.t_interval(values).low <= 0 <= stats.t_interval(values).high)


def test_equivalence_of_three_values_by_hand():
    # mean .01, s = .01, error .00577; against .03: t = −3.464, against −.03: t = 6.93; the larger p belongs to the first
    t = 0.02 / (0.01 / math.sqrt(3))
    one_sided = (1 - t / math.sqrt(2 + t * t)) / 2
    assert decisions.equivalence([0.0, 0.02, 0.01], margin=0.03) == pytest.approx(one_sided)
    assert decisions.equivalence([0.03, 0.05, 0.04], margin=0.03) > 0.5  # the mean lies beyond the margin
    assert math.isnan(decisions.equivalence([0.0], margin=0.03))


def test_equivalence_is_shown_where_the_90_percent_interval_lies_within_the_margin():
    rng = np.random.default_rng(2)
    for _ in range(200):
        values = rng.normal(0.01, 0.03, 8)
        interval = stats.t_interval(values, confidence=0.90)
        assert (decisions.equivalence(values, 0.03) < 0.05) == (interval.low > -0.03 and interval.high < 0.03)


def test_holm_by_hand():
    # .005·4 = .02, .01·3 = .03, .03·2 = .06, .04·1 = .04 → never below the one before: .06
    assert decisions.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert decisions.holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert decisions.holm([0.01, math.nan]).tolist() == [0.02, 1.0]


def test_an_interval_at_holms_level_excludes_the_null_where_holm_rejects():
    levels = decisions.holm_levels([0.01, 0.04, 0.03, 0.005])
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])  # .03 > .05 / 2 stops: the rest keep its level
    rng = np.random.default_rng(3)
    for _ in range(200):
        p = rng.uniform(0, 0.1, 5)
        assert ((p <= decisions.holm_levels(p)) == (decisions.holm(p) <= 0.05)).all()


@pytest.mark.parametrize(("effect", "n"), [(1.0, 10), (0.5, 34), (0.2, 199)])  # the textbook's sizes for a power of .8
def test_the_seeds_that_a_difference_takes(effect, n):
    assert decisions.seeds_to_decide(sample(effect, 1.0)) == n
    assert decisions.seeds_to_decide(sample(1 + effect, 1.0), null=1.0) == n


def test_the_seeds_that_equivalence_takes_have_that_power():
    n = decisions.seeds_to_decide(sample(0.0, 0.05), margin=0.03)
    draws = np.random.default_rng(4).normal(0.0, 0.05, (2000, n))
    found = np.mean([decisions.equivalence(values, 0.03) < 0.05 for values in draws])
    assert 0.77 < found < 0.84


def test_the_power_of_equivalence_counts_in_that_the_spread_is_estimated():
    # with the spread taken as known, 35 seeds would have .802; with the noncentral t distribution they have .7998
    assert decisions.seeds_to_decide(sample(-0.006717, 0.05353, 8), margin=0.03) == 36
    # 114 at the level .05 / 29: by integrating over the estimated spread, .794 at 113 and .801 at 114
    assert decisions.seeds_to_decide(sample(0.00016, 0.07465, 8), margin=0.03, equivalence_level=0.001724) == 114


def test_a_stricter_level_takes_more_seeds_and_one_seed_says_nothing():
    assert decisions.seeds_to_decide(sample(0.5, 1.0), level=0.01) > 34
    assert decisions.seeds_to_decide(sample(0.5, 1.0), equivalence_level=0.01) == 34  # without a margin there is no such test
    assert decisions.seeds_to_decide(sample(0.0, 1.0)) is None  # no difference at all: never, without a margin
    assert decisions.seeds_to_decide([0.5]) is None
    assert decisions.seeds_to_decide(sample(50.0, 1.0)) <= 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decisions.equivalence([0.1, 0.2], 0.0), "positive"),
        (lambda: decisions.seeds_to_decide([]), "at least one value"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_values_without_any_spread_decide_by_themselves():
    assert decisions.seeds_to_decide([0.01, 0.01, 0.01]) == 2
    assert decisions.equivalence([0.01, 0.01, 0.01], margin=0.03) == 0
    assert decisions.equivalence([0.05, 0.05, 0.05], margin=0.03) == 1
