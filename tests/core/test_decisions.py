"""What decides a claim: tests, equivalence, Holm's procedure and the number of seeds, each against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mulnb.core import stats
from mulnb.core.stats import Interval


def sample(mean: float, spread: float, n: int = 10) -> np.ndarray:
    """`n` values with exactly this mean and standard deviation."""
    x = np.random.default_rng(0).normal(size=n)
    return mean + spread * (x - x.mean()) / x.std(ddof=1)


def test_the_p_value_of_three_values_by_hand():
    # mean .91, s = .01: t = .01 / (.01 / √3) = 1.732, and with 2 degrees of freedom p = 1 − t / √(2 + t²)
    t = math.sqrt(3)
    assert stats.t_p_value([0.90, 0.92, 0.91], null=0.90) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert stats.t_p_value([1.0, 1.0, 1.0], null=1.0) == 1
    assert stats.t_p_value([1.0, 1.0, 1.0]) == 0
    assert math.isnan(stats.t_p_value([0.5]))


def test_the_p_value_is_below_five_percent_exactly_where_the_interval_excludes_the_null():
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = rng.normal(0.3, 1.0, 6)
        assert (stats.t_p_value(values) < 0.05) == (not stats.t_interval(values).low <= 0 <= stats.t_interval(values).high)


def test_equivalence_of_three_values_by_hand():
    # mean .01, s = .01, error .00577; against .03: t = −3.464, against −.03: t = 6.93; the larger p belongs to the first
    t = 0.02 / (0.01 / math.sqrt(3))
    one_sided = (1 - t / math.sqrt(2 + t * t)) / 2
    assert stats.equivalence([0.0, 0.02, 0.01], margin=0.03) == pytest.approx(one_sided)
    assert stats.equivalence([0.03, 0.05, 0.04], margin=0.03) > 0.5  # the mean lies beyond the margin
    assert math.isnan(stats.equivalence([0.0], margin=0.03))


def test_equivalence_is_shown_where_the_90_percent_interval_lies_within_the_margin():
    rng = np.random.default_rng(2)
    for _ in range(200):
        values = rng.normal(0.01, 0.03, 8)
        interval = stats.t_interval(values, confidence=0.90)
        assert (stats.equivalence(values, 0.03) < 0.05) == (interval.low > -0.03 and interval.high < 0.03)


def test_holm_by_hand():
    # .005·4 = .02, .01·3 = .03, .03·2 = .06, .04·1 = .04 → never below the one before: .06
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert stats.holm([0.01, math.nan]).tolist() == [0.02, 1.0]


def test_an_interval_at_holms_level_excludes_the_null_where_holm_rejects():
    levels = stats.holm_levels([0.01, 0.04, 0.03, 0.005])
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])  # .03 > .05 / 2 stops: the rest keep its level
    rng = np.random.default_rng(3)
    for _ in range(200):
        p = rng.uniform(0, 0.1, 5)
        assert ((p <= stats.holm_levels(p)) == (stats.holm(p) <= 0.05)).all()


@pytest.mark.parametrize(("effect", "n"), [(1.0, 10), (0.5, 34), (0.2, 199)])  # the textbook's sizes for a power of .8
def test_the_seeds_that_a_difference_takes(effect, n):
    assert stats.seeds_to_decide(sample(effect, 1.0)) == n
    assert stats.seeds_to_decide(sample(1 + effect, 1.0), null=1.0) == n


def test_the_seeds_that_equivalence_takes_have_that_power():
    n = stats.seeds_to_decide(sample(0.0, 0.05), margin=0.03)
    draws = np.random.default_rng(4).normal(0.0, 0.05, (2000, n))
    found = np.mean([stats.equivalence(values, 0.03) < 0.05 for values in draws])
    assert 0.77 < found < 0.84


def test_a_stricter_level_takes_more_seeds_and_one_seed_says_nothing():
    assert stats.seeds_to_decide(sample(0.5, 1.0), level=0.01) > 34
    assert stats.seeds_to_decide(sample(0.0, 1.0)) is None  # no difference at all: never, without a margin
    assert stats.seeds_to_decide([0.5]) is None
    assert stats.seeds_to_decide(sample(50.0, 1.0)) <= 3


def test_kendalls_tau_by_hand():
    # 15 pairs, two of them in the other order: τ = (13 − 2) / 15
    tau = stats.kendall_tau([1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5])
    assert tau.mean == pytest.approx(11 / 15)
    half = 1.959964 * math.sqrt(0.437 / 2)
    assert tau.low == pytest.approx(math.tanh(math.atanh(11 / 15) - half), rel=1e-5)
    assert stats.kendall_tau([1, 2, 3, 4, 5], [9, 8, 7, 6, 5]) == Interval(-1.0, -1.0, -1.0, 5)
    assert not stats.kendall_tau([1, 2, 3], [1, 3, 2]).known


def test_noise_in_the_scores_is_taken_out_of_a_correlation():
    assert stats.spearman_brown(0.6) == pytest.approx(0.75)  # 1.2 / 1.6
    corrected = stats.disattenuated(Interval(0.6, 0.5, 0.7, 3), 0.64)
    assert [corrected.mean, corrected.low, corrected.high, corrected.n] == pytest.approx([0.75, 0.625, 0.875, 3])


def test_the_correction_gives_back_the_correlation_with_the_true_scores():
    rng = np.random.default_rng(5)
    truth, proxy = rng.normal(size=(2, 20_000))
    proxy = 0.8 * truth + 0.6 * proxy
    halves = truth + rng.normal(0, 1.2, (2, 20_000))  # two noisy estimates of the same scores
    reliability = stats.spearman_brown(np.corrcoef(halves)[0, 1])
    raw = stats.spearman(proxy, halves.mean(0))
    assert raw.mean < 0.65
    assert stats.disattenuated(raw, reliability).mean == pytest.approx(stats.spearman(proxy, truth).mean, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.equivalence([0.1, 0.2], 0.0), "positive"),
        (lambda: stats.spearman_brown(-1.0), "correlation"),
        (lambda: stats.disattenuated(Interval(0.5, 0.4, 0.6, 3), 0.0), "reliability"),
        (lambda: stats.kendall_tau([1, 1], [1, 2]), "constant"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
