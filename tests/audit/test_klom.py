"""KLoM: 0 for the same models, by hand, and against an independent implementation (in this file: numpy.histogram and scipy's
entropy, example by example, with the choices of the authors' code).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from mulnb.audit import klom
from mulnb.core.errors import UserError


def independent(unlearned, oracle):
    found = []
    for p, q in zip(np.clip(unlearned, -100, 100).T, np.clip(oracle, -100, 100).T, strict=True):
        edges = np.linspace(min(p.min(), q.min()), max(p.max(), q.max()), 21)
        share_p, share_q = (np.histogram(values, edges)[0] / len(values) for values in (p, q))  # the last bin is closed
        found.append(entropy(share_p, np.where(share_p > 0, np.maximum(share_q, 1e-5), share_q)))
    return np.array(found)


@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
def test_it_agrees_with_an_independent_implementation(scale):
    rng = np.random.default_rng(0)
    unlearned, oracle = rng.normal(0.5, scale, (40, 60)), rng.normal(0, scale, (25, 60))
    assert klom.per_example(unlearned, oracle) == pytest.approx(independent(unlearned, oracle), rel=1e-9, abs=1e-12)


def test_identical_samples_are_zero_and_shifted_ones_are_not():
    sample = np.random.default_rng(0).normal(0, 1, (12, 30))
    assert (klom.per_example(sample, sample) == 0).all()
    assert (klom.per_example(sample, sample[::-1]) == 0).all()  # a sample has no order
    shifted = klom.per_example(sample + 90, sample)
    assert np.median(shifted) == pytest.approx(np.log(1e5), rel=1e-4)  # each in one bin: the most it can be
    assert (klom.per_example(np.full((9, 2), 3.0), np.full((9, 2), 3.0)) == 0).all()


def test_it_grows_with_the_shift():
    rng = np.random.default_rng(0)
    oracle = rng.normal(0, 1, (400, 20))
    levels = [np.median(klom.per_example(rng.normal(shift, 1, (400, 20)), oracle)) for shift in (0, 0.5, 1, 2)]
    assert levels == sorted(levels) and levels[-1] > 10 * levels[0]


def test_by_hand_and_the_largest_value_is_kept():
    """Half of the unlearned models lie at the joint maximum, where a quarter of the oracles are: ½·log(½/¾) + ½·log(½/¼)."""
    unlearned, oracle = np.array([[0.0], [1.0]] * 4), np.array([[0.0], [0.0], [0.0], [1.0]] * 2)
    assert klom.per_example(unlearned, oracle) == pytest.approx([0.5 * np.log(2 / 3) + 0.5 * np.log(2)])


def test_margins_beyond_a_hundred_are_one_value():
    unlearned, oracle = np.full((6, 1), 500.0), np.full((6, 1), 6e4)
    assert klom.per_example(unlearned, oracle).tolist() == [0]


def test_where_forget_sets_differ_an_example_counts_in_its_own_seeds_alone():
    rng = np.random.default_rng(0)
    unlearned, oracle = rng.normal(1, 1, (12, 3)), rng.normal(0, 1, (12, 3))
    present = np.ones((12, 3), dtype=bool)
    present[7:, 1] = False
    present[4:, 2] = False  # four seeds: too few
    found = klom.per_example(unlearned, oracle, present)
    alone = klom.per_example(unlearned[:7, 1:2], oracle[:7, 1:2])
    assert found[1] == alone[0] and np.isnan(found[2]) and found[0] > 0
    summary = klom.summary(found)
    assert list(summary) == ["klom_p50", "klom_p95"] and summary["klom_p50"] == pytest.approx(found[:2].mean())
    assert np.isnan(list(klom.summary(np.array([np.nan])).values())).all()


def test_an_example_in_no_forget_set_is_nan_without_a_warning(recwarn):
    found = klom.per_example(np.zeros((8, 2)), np.zeros((8, 2)), np.zeros((8, 2), dtype=bool))
    assert np.isnan(found).all() and not recwarn.list


def test_shapes_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match=r"expected \[k, n\] and \[m, n\]"):
        klom.per_example(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(UserError, match="expected the shape of both margins"):
        klom.per_example(np.zeros((3, 4)), np.zeros((2, 4)), np.ones((3, 4), dtype=bool))


def test_five_models_that_forget_an_example_are_enough_and_four_are_not():
    present = np.arange(12)[:, None] < np.array([[5, 4]])
    draws = np.random.default_rng(0).normal(size=(2, 12, 2))
    assert np.isnan(klom.per_example(*draws, present)).tolist() == [False, True]
