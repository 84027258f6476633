"""Known effects in, the same differences and rankings out."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from scipy.stats import kendalltau

from mulnb.core import stats
from mulnb.core.stats import t_interval
from mulnb.results import effects

EXACT = synthetic.mistakes(seeds=5, spread=0.0)


def of(table, mistake, algorithm=None):
    rows = table[table["mistake"] == mistake]
    return (rows if algorithm is None else rows[rows["algorithm"] == algorithm]).iloc[0]


def test_each_mistake_moves_what_it_was_made_to_move():
    table = effects.shifts(EXACT)
    expected = {
        ("labels_kept", "salun"): -0.15,  # the mean of vanilla and RUM^F within each seed
        ("mixed_up_indices", "fine_tune"): -0.05,
        ("mixed_up_indices", "neg_grad_plus"): -0.05,
        ("mixed_up_indices", "salun"): -0.05,
        ("original_reloaded", "fine_tune"): -0.3,  # RUM^F alone: the mistake cannot touch vanilla
        ("original_reloaded", "neg_grad_plus"): -0.3,
        ("original_reloaded", "salun"): -0.3,
        ("training_mode", "fine_tune"): 0.08,
    }
    found = {(row.mistake, row.algorithm): row.moved for row in table.itertuples()}
    assert found == pytest.approx(expected)
    assert set(table["n"]) == {5}


def test_the_interval_is_students_over_the_differences_of_the_seeds():
    noisy = synthetic.mistakes(seeds=6, spread=0.02)
    cells = noisy[(noisy["mistake"] == "labels_kept") & (noisy["algorithm"] == "salun")]
    differences = (cells["wrong"] - cells["right"]).groupby(cells["seed"]).mean()
    row, expected = of(effects.shifts(noisy), "labels_kept", "salun"), t_interval(differences.to_numpy())
    assert (row.moved, row.moved_low, row.moved_high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_one_seed_has_no_interval():
    alone = synthetic.mistakes(seeds=1)
    assert effects.shifts(alone)[["moved_low", "moved_high"]].isna().all(axis=None)
    ranked = effects.rankings(alone)
    assert ranked[["low", "high"]].isna().all(axis=None) and effects.ONE_SEED not in set(ranked["mistake"])
    assert np.isnan(effects.spread(alone)) and np.isnan(effects.halves(alone))
    assert "whole interval" not in effects.found(alone)


def test_the_rankings_are_compared_by_kendalls_tau():
    ranked = effects.rankings(EXACT)
    assert list(ranked["mistake"]) == ["labels_kept", "mixed_up_indices", "original_reloaded", "training_mode", "one_seed"]
    assert set(ranked["n_methods"]) == {6} and set(ranked["n_seeds"]) == {5}
    # without a mistake, the six methods stand .02 apart; with it, RUM^F of all three comes last: 3 of 15 pairs are swapped
    assert of(ranked, "original_reloaded").tau == pytest.approx((12 - 3) / 15)
    assert of(ranked, "mixed_up_indices").tau == 1  # all are moved alike
    assert (of(ranked, "original_reloaded").low, of(ranked, "original_reloaded").high) == pytest.approx((0.6, 0.6))


def test_tau_is_that_of_scipy_with_ties_and_row_by_row():
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 4, (20, 7)), draw.integers(0, 4, (20, 7))
    expected = [kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert stats.tau_b(x, y) == pytest.approx(expected)
    assert np.isnan(stats.tau_b(np.ones(4), np.arange(4)))


def test_one_seed_is_ranked_against_all_others():
    plain = effects.without(EXACT).copy()
    assert of(effects.rankings(EXACT), "one_seed").tau == 1
    # one of five seeds has the opposite order: it disagrees with the others, and they with each other not at all
    odd = EXACT.copy()
    for column in ("right", "wrong"):
        odd.loc[odd["seed"] == 4, column] = 1.6 - odd.loc[odd["seed"] == 4, column]
    row = of(effects.rankings(odd), "one_seed")
    assert row.tau == pytest.approx((4 * 1 - 1) / 5) and (row.low, row.high) == (-1, 1)
    assert effects.spread(odd) > effects.spread(EXACT) == pytest.approx(0, abs=1e-12)
    assert len(plain) == 6 * 5


def test_two_halves_of_the_seeds_agree_where_there_is_no_noise():
    assert effects.halves(EXACT) == 1
    noise = synthetic.mistakes(seeds=6, spread=0.5)
    assert abs(effects.halves(noise)) < 0.5


def test_the_words_say_what_the_frame_shows():
    text = effects.found(EXACT)
    assert "Of 4 mistakes, 3 lower and 1 raise" in text and "is −0.30 (" in text and "every stage reloads the original)" in text
    assert "None puts another method first." in text

    better = EXACT.copy()
    last = (better["mistake"] == "labels_kept") & (better["algorithm"] == "salun") & (better["strategy"] == "rum_f")
    better.loc[last, "wrong"] = 0.99
    assert "Another method comes first with 1 of 4: random labels not drawn." in effects.found(better)
    row = of(effects.rankings(better), "labels_kept")
    assert (row.best_right, row.best_wrong) == ("Fine-tune vanilla", "SalUn RUM^F")


def test_a_mistake_that_moves_nothing_is_not_counted():
    none = EXACT.assign(wrong=EXACT["right"])
    assert "Of 4 mistakes, 0 lower and 0 raise" in effects.found(none)
    assert (effects.rankings(none)["tau"] == 1).all()


def test_an_interval_goes_from_the_2_5th_to_the_97_5th_percentile_of_the_draws(monkeypatch):
    monkeypatch.setattr(effects, "tau_b", lambda a, b: np.linspace(0, 1, effects.DRAWS))
    assert effects._bootstrap(np.eye(3), np.eye(3)) == pytest.approx((0.025, 0.975))
