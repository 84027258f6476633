"""Memorization: the estimate by hand, against brute-force leave-one-out, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import large
from mulnb import memorization, models, pool
from mulnb.config import Recipe
from mulnb.core import bits
from mulnb.core.bits import Bits
from mulnb.core.errors import UserError
from mulnb.training import Examples


def test_six_examples_by_hand():
    member = np.array([[1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 1, 1]], dtype=bool)
    correct = np.array([[1, 1, 1, 0, 1, 0], [1, 0, 1, 1, 1, 0], [0, 1, 0, 0, 1, 1], [0, 1, 0, 0, 1, 0]], dtype=bool)
    frame = memorization.estimate(correct, member)
    # example 0: right in both models that saw it, wrong in both that did not → 1; example 4: always right → 0;
    # example 1: 2/2 − 1/2; example 2: 2/3 − 0/1; example 3: 1/2 − 0/2; example 5: 0/2 − 1/2, less than chance
    assert frame.memorization.tolist() == pytest.approx([1, 0.5, 2 / 3, 0.5, 0, -0.5])
    assert frame.n_in.tolist() == [2, 2, 3, 2, 2, 2]
    assert frame.n_out.tolist() == [2, 2, 1, 2, 2, 2]
    # standard error of example 0 with one success and one failure added: p = 3/4 and 1/4, n = 2 and 2
    assert frame.se[0] == pytest.approx(np.sqrt(3 / 16 / 2 + 3 / 16 / 2))


def test_worst_standard_error_is_that_of_METHOD():
    rng = np.random.default_rng(0)
    for models_, expected in {40: 0.173, 100: 0.109, 400: 0.055}.items():
        member = np.zeros((models_, 1), dtype=bool)
        member[: round(0.7 * models_)] = True
        correct = rng.permutation(np.arange(models_) % 2 == 0)[:, None]
        correct[: round(0.7 * models_), 0] = np.arange(round(0.7 * models_)) % 2
        correct[round(0.7 * models_) :, 0] = np.arange(models_ - round(0.7 * models_)) % 2
        assert memorization.estimate(correct, member).se[0] == pytest.approx(expected, abs=0.002)


def test_an_example_that_every_model_saw_is_an_error():
    member = np.ones((4, 3), dtype=bool)
    member[0, :2] = False
    with pytest.raises(UserError, match="example 2 was seen by 4 of 4"):
        memorization.estimate(member, member)


def toy() -> tuple[Examples, np.ndarray]:
    """60 digits, zeros and ones, six of them with the wrong label."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 2)[:60]
    labels = digits.target[chosen].astype(np.int64)
    wrong = np.arange(60) % 10 == 3
    labels[wrong] = 1 - labels[wrong]
    images = torch.tensor(digits.images[chosen] * 15, dtype=torch.uint8)[:, None]
    return Examples(images, torch.from_numpy(labels), torch.tensor([0.3]), torch.tensor([0.35])), wrong


@pytest.mark.slow
def test_pool_agrees_with_leave_one_out():
    """Brute force: P[right] of models trained on all 60, minus that of models trained on all but the example, over repeats."""
    data, wrong = toy()
    recipe = Recipe(epochs=20, batch=20, lr=0.1, schedule="cosine")

    def train(member: np.ndarray, seed: int) -> np.ndarray:
        seeds = [1000 * seed + number for number in range(len(member))]
        networks = [models.build("small_cnn", num_classes=2, in_channels=1, width=4, seed=own) for own in seeds]
        subsets = [torch.from_numpy(np.flatnonzero(row)) for row in member]
        stack = pool.train_stacked(networks, data, subsets, recipe, seeds)
        return (pool.predict_each(stack, data).argmax(2) == data.labels).numpy()

    member = pool.membership(range(150), 60, 0.9, seed=1)
    estimate = memorization.estimate(train(member, 1), member)
    repeats = 5
    without = np.stack([train(~np.eye(60, dtype=bool), 7 + r).diagonal() for r in range(repeats)]).mean(0)
    with_all = train(np.ones((30, 60), dtype=bool), 99).mean(0)
    brute = with_all - without

    brute_se = np.sqrt(0.25 / 30 + np.maximum(without * (1 - without), 0.14) / repeats)  # 0.14 = (k+1)/(n+2) variance at 0 of 5
    error = np.abs(estimate.memorization - brute) / np.sqrt(estimate.se**2 + brute_se**2)
    assert (error < 2).mean() >= 0.9 and error.max() < 4, error.round(1).tolist()
    assert estimate.memorization[wrong].mean() > estimate.memorization[~wrong].mean() + 0.3
    assert brute[wrong].mean() > brute[~wrong].mean() + 0.3


def test_smaller_pools_agree_less():
    rng = np.random.default_rng(3)
    member = rng.random((80, 300)) < 0.7
    hard = rng.random(300)
    correct = rng.random((80, 300)) < np.where(member, 0.98, 1 - hard)
    frame = memorization.convergence(correct, member, (16, 40, 80), repeats=3, seed=0).groupby("models").mean()
    assert frame.split_half[16] < frame.split_half[40]
    assert np.isnan(frame.split_half[80]) and frame.spearman_full[80] == pytest.approx(1)
    assert frame.mean_se.is_monotonic_decreasing


def test_the_halves_of_a_pool_are_scored_each_by_its_own_models():
    draw = np.random.default_rng(0)
    correct, member = draw.random((2, 30, 40)) < 0.5
    [row] = memorization.convergence(correct, member, (15,), 1, seed=3).itertuples()
    halves = np.split(np.random.default_rng(3).permutation(30), 2)
    one, other = (memorization.scores(correct[half], member[half]) for half in halves)
    assert row.split_half == memorization.agreement(one, other)


def test_models_build_is_seeded_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = (models.build("small_cnn", num_classes=3, in_channels=1, seed=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_scores_that_rank_nothing_agree_with_nothing():
    """As after a dry run: an untrained network is right about the same examples whatever it saw."""
    correct, member = np.ones((8, 6), dtype=bool), np.random.default_rng(1).random((8, 6)) < 0.5
    table = memorization.convergence(correct, member, (2, 4), repeats=2, seed=0)
    assert table.split_half.isna().all() and table.spearman_full.isna().all()


@pytest.mark.filterwarnings("error")
def test_a_single_model_has_no_error_and_no_warning():
    """The smallest share of a dry run's pool is one or two models, of which none saw and left out the same example."""
    member = (np.arange(8)[:, None] + np.arange(6)) % 2 == 0
    table = memorization.convergence(member, member, (1,), repeats=3, seed=0)
    assert table.mean_se.isna().all() and table.spearman_full.isna().all()


def test_scores_from_bits_and_in_blocks_are_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    member, correct = rng.random((30, 77)) < 0.7, rng.random((30, 77)) < 0.6
    whole = memorization.estimate(correct, member)

    monkeypatch.setattr(bits, "BLOCK", 16)
    packed = [Bits(np.packbits(matrix, axis=1), 77) for matrix in (correct, member)]
    pd.testing.assert_frame_equal(memorization.estimate(*packed), whole)
    pd.testing.assert_frame_equal(
        memorization.convergence(*packed, (8, 20), repeats=2, seed=0),
        memorization.convergence(correct, member, (8, 20), repeats=2, seed=0),
    )


def test_models_of_different_seeds_have_different_subsets():
    one, two = (memorization.membership(range(10), 50, 0.7, seed=seed) for seed in (1, 2))
    assert not any(np.array_equal(ours, theirs) for ours in one for theirs in two)
    assert memorization.membership(range(1), 50, 0.75, seed=0).sum() == 38  # 37.5 is rounded, not cut


def test_three_values_are_too_few_for_an_agreement():
    assert np.isnan(memorization.agreement(np.arange(3.0), np.arange(3.0)))


@pytest.mark.slow
def test_as_many_examples_as_ImageNet_fit_into_little_memory():
    """N = 1 280 000, M = 400: as bool arrays, membership and correctness alone would be 1 GB."""
    growth = large.measure("scores", 1_280_000, 400).megabytes
    assert growth < 1000, f"{growth:.0f} MB"
