"""Intervals and rank correlation against numbers worked by hand, and against what an interval promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from mulnb.core import stats


def test_t_interval_of_three_values_by_hand():
    # mean 0.91, s = 0.01, t(0.975, 2) = 4.302653: half = 4.302653 · 0.01 / √3
    interval = stats.t_interval([0.90, 0.92, 0.91])
    assert interval.mean == pytest.approx(0.91)
    assert interval.half == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert (interval.n, interval.known) == (3, True)
    assert str(interval) == "0.910 ± 0.025"
    assert f"{stats.t_interval([0.0, 0.02]):+.2f}" == "+0.01 ± 0.13"


def test_method10_09_one_value_has_no_interval():
    interval = stats.t_interval([0.9])
    assert interval.mean == 0.9
    assert math.isnan(interval.low) and math.isnan(interval.high) and math.isnan(interval.half)
    assert not interval.known
    assert str(interval) == "0.900 (n = 1)"


def test_t_interval_covers_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(0).normal(2.0, 3.0, (3000, 3))
    inside = [interval.low <= 2.0 <= interval.high for interval in map(stats.t_interval, draw)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)  # three standard errors of a share of 0.95 in 3000


def test_t_interval_by_hand():
    interval = stats.t_interval([0.01, 0.02, 0.03])
    assert interval.mean == pytest.approx(0.02)
    assert interval.half == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)


def test_method10_04_ties_share_the_mean_of_their_ranks():
    assert stats.ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]
    assert stats.ranks([7, 7, 7]).tolist() == [2, 2, 2]
    assert np.isnan(stats.ranks([1, np.nan, 2])).all()  # a diverged model has no order

    draw = np.random.default_rng(0)
    for values in (draw.normal(size=500).astype(np.float32), draw.integers(0, 9, 501), [np.inf, -np.inf, 0.0, np.inf, -0.0]):
        assert np.array_equal(stats.ranks(values), rankdata(values))


def test_method10_04_spearman_with_ties_by_hand():
    # ranks x: 1, 2.5, 2.5, 4; y: 1, 2, 3, 4 → covariance 4.5, variances 4.5 and 5 → ρ = 4.5 / √22.5
    rho = stats.spearman([1, 2, 2, 9], [0.1, 0.2, 0.3, 0.4])
    assert rho.mean == pytest.approx(4.5 / math.sqrt(22.5))
    half = 1.959964 * math.sqrt((1 + rho.mean**2 / 2) / 1)
    assert rho.low == pytest.approx(math.tanh(math.atanh(rho.mean) - half), rel=1e-5)
    assert rho.high == pytest.approx(math.tanh(math.atanh(rho.mean) + half), rel=1e-5)
    assert "[" in str(rho)  # not symmetric: never written with ±


def test_spearman_agrees_with_scipy_and_is_invariant_to_monotone_maps():
    from scipy.stats import spearmanr

    draw = np.random.default_rng(1)
    x = draw.integers(0, 8, 200).astype(float)
    y = x + draw.normal(0, 4, 200)
    rho = stats.spearman(x, y)
    assert rho.mean == pytest.approx(spearmanr(x, y).statistic)
    assert stats.spearman(np.exp(x), y**3).mean == pytest.approx(rho.mean)
    assert stats.spearman(x, -y).mean == pytest.approx(-rho.mean)
    assert stats.spearman(x, -y).low == pytest.approx(-rho.high)


def test_spearman_interval_covers_the_truth_of_normal_data():
    # for bivariate normal data ρ_Spearman = 6/π · arcsin(r / 2)
    draw, r = np.random.default_rng(2), 0.7
    truth = 6 / math.pi * math.asin(r / 2)
    hits = 0
    for _ in range(600):
        x = draw.standard_normal(60)
        rho = stats.spearman(x, r * x + math.sqrt(1 - r * r) * draw.standard_normal(60))
        hits += rho.low <= truth <= rho.high
    assert hits / 600 == pytest.approx(0.95, abs=0.03)


def test_perfect_order_is_one_and_stays_finite():
    rho = stats.spearman([1, 2, 3, 4, 5], [2, 4, 8, 16, 32])
    assert (rho.mean, rho.low, rho.high) == (1.0, 1.0, 1.0)


def test_noise_in_the_scores_is_taken_out_of_a_correlation():
    assert stats.spearman_brown(0.6) == pytest.approx(0.75)  # 1.2 / 1.6
    corrected = stats.disattenuated(stats.Interval(0.6, 0.5, 0.7, 3), 0.64)
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


def test_noise_that_is_unknown_or_hides_everything_leaves_no_corrected_correlation():
    for reliability in (math.nan, 0.0, -0.2):
        assert not stats.disattenuated(stats.Interval(0.5, 0.4, 0.6, 3), reliability).known
    assert math.isnan(stats.spearman_brown(math.nan))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.t_interval([]), "at least one value"),
        (lambda: stats.t_interval([0.5, math.nan]), "not finite"),
        (lambda: stats.t_interval([0.5], confidence=95), "between 0 and 1"),
        (lambda: stats.spearman([1, 2, 3, 4], [1, 2, 3]), "the same length"),
        (lambda: stats.spearman([1, 2, 3], [1, 2, 3]), "at least 4"),
        (lambda: stats.spearman_brown(-1.0), "correlation"),
        (lambda: stats.spearman([1, 1, 1, 1], [1, 2, 3, 4]), "constant"),
    ],
)
def test_bad_input_is_told_clearly(call, message):
    with pytest.raises(ValueError, match=message):
        call()
