"""The learning rate at every moment of a training, by hand."""

from __future__ import annotations

import math

import pytest

from mulnb.config import Recipe
from mulnb.step import learning_rate


def test_a_cosine_falls_within_an_epoch_and_ends_at_zero():
    recipe = Recipe(epochs=4, batch=8, lr=2.0, schedule="cosine")
    rates = [learning_rate(recipe, epoch) for epoch in (0, 0.5, 2, 4)]
    assert rates == pytest.approx([2, 1 + math.cos(math.pi / 8), 1, 0])


def test_a_step_is_taken_with_the_first_batch_of_its_milestone():
    recipe = Recipe(epochs=30, batch=8, lr=2.0, schedule="step", milestones=(15, 20), gamma=0.1)
    rates = [learning_rate(recipe, epoch) for epoch in (14.9, 15, 19.9, 20)]
    assert rates == pytest.approx([2, 0.2, 0.2, 0.02])
