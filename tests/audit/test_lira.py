"""LiRA: by hand, and against an independent implementation.

The independent one is in this file, in the plainest scipy (`norm.logpdf`, `norm.cdf`, a loop over examples), written from the
paper's algorithm 1; no published package on the registry offers LiRA on given margins (privacy-meter 1.0.1 has none).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mulnb.audit import lira
from mulnb.core.errors import UserError


def pool(models: int = 60, n: int = 40, seed: int = 0):
    """Margins float16 [M, n], higher where a model was trained on the example, and the membership mask."""
    rng = np.random.default_rng(seed)
    member = np.zeros((models, n), dtype=bool)
    for row in member:
        row[rng.permutation(n)[: round(0.7 * n)]] = True
    margin = rng.normal(0, 3, n) + rng.normal(0, 1, (models, n)) * rng.uniform(0.5, 2, n) + 2.5 * member
    return margin.astype(np.float16), member


def independent(margin, pool_margin, member, online, fixed_variance):
    """Algorithm 1 of the paper, example by example."""
    n = len(margin)
    pool_margin = pool_margin.astype(float)
    inside = [pool_margin[member[:, i], i] for i in range(n)]
    outside = [pool_margin[~member[:, i], i] for i in range(n)]

    def deviation(samples, i):
        if fixed_variance:
            return np.sqrt(sum(((x - x.mean()) ** 2).sum() for x in samples) / sum(len(x) - 1 for x in samples))
        return samples[i].std(ddof=1)

    found = []
    for i in range(n):
        out = norm(outside[i].mean(), deviation(outside, i))
        if online:
            found.append(norm(inside[i].mean(), deviation(inside, i)).logpdf(margin[i]) - out.logpdf(margin[i]))
        else:
            found.append(out.cdf(margin[i]))
    return np.array(found)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_it_agrees_with_an_independent_implementation(online, fixed):
    pool_margin, member = pool()
    margin = np.random.default_rng(1).normal(1, 2, 40)
    own = lira.scores(margin, pool_margin, member, online=online, fixed_variance=fixed)
    expected = independent(margin, pool_margin, member, online, fixed)
    assert (own if online else norm.cdf(own)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_case_by_hand():
    """Out margins 0 and 2 (mean 1, variance 2), in margins 4 and 6 (mean 5, variance 2), each eight times; asked: 4."""
    pool_margin = np.array([[0.0], [2.0]] * 8 + [[4.0], [6.0]] * 8)
    member = np.repeat([False, True], 16)[:, None]
    variance = 16 / 15  # sixteen squared deviations of 1, fifteen degrees of freedom
    asked = np.array([4.0])
    offline = lira.scores(asked, pool_margin, member)
    assert offline == pytest.approx([3 / np.sqrt(variance)])
    online = lira.scores(asked, pool_margin, member, online=True)
    assert online == pytest.approx([(9 - 1) / (2 * variance)])  # (4 − 1)² − (4 − 5)² over 2σ²


def test_the_fixed_variance_is_one_number_and_does_not_depend_on_how_examples_differ():
    """The variance is within examples: examples of very different difficulty leave it as it is."""
    rng = np.random.default_rng(0)
    pool_margin = rng.normal(0, 1.5, (400, 30)) + rng.normal(0, 50, 30)
    found = lira.gaussians(pool_margin, np.ones((400, 30), dtype=bool))
    assert np.ptp(found.std) == 0 and found.std[0] == pytest.approx(1.5, rel=0.03)


def test_a_pool_whose_margins_are_all_the_same_gives_finite_scores():
    pool_margin, member = np.full((20, 3), 7.5, np.float16), np.arange(20)[:, None] % 2 == np.zeros(3)
    for online in (False, True):
        assert np.isfinite(lira.scores(np.array([7.5, 8.0, -1.0]), pool_margin, member, online, fixed_variance=False)).all()


def test_a_pool_that_is_too_small_is_one_line_with_the_example_and_the_number():
    pool_margin, member = pool(models=60)
    member[:, 17] = np.arange(60) >= 5
    with pytest.raises(UserError, match="at least 8 pool models without each example, but example 17 has 5 of 60") as error:
        lira.scores(np.zeros(40), pool_margin, member)
    assert "\n" not in str(error.value)


def test_in_models_are_needed_online_alone():
    pool_margin, member = pool(models=60)
    member[:, 17] = np.arange(60) < 7
    assert len(lira.scores(np.zeros(40), pool_margin, member)) == 40
    with pytest.raises(UserError, match="at least 8 pool models with each example, but example 17 has 7 of 60"):
        lira.scores(np.zeros(40), pool_margin, member, online=True)


def test_shapes_that_do_not_fit_are_one_line():
    pool_margin, member = pool()
    with pytest.raises(UserError, match=r"expected \[n\], \[M, n\] and \[M, n\]"):
        lira.scores(np.zeros(39), pool_margin, member)


def test_eight_models_without_an_example_are_enough():
    member = np.ones((20, 1), dtype=bool)
    member[:8] = False
    lira.check(member)
