"""Weak stand-ins for an oracle: scaled to the original, or refused where they know hardly more than chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mulnb.your_model import stand_in
from mulnb.your_model.outcome import Outcome

RIGHT, P = np.arange(100) < 40, np.full(100, 0.4)
ORIGINAL = Outcome({"acc_test": 0.9}, RIGHT, P)
SETTING = SimpleNamespace(tested=SimpleNamespace(labels=torch.arange(100) % 4))  # chance is .25


def weak(acc_test: float) -> list[Outcome]:
    return [Outcome({"auc": 0.4, "acc_test": acc_test}, RIGHT, P) for _ in range(3)]


def test_weak_stand_ins_are_scaled_to_the_originals_accuracy():
    reference = stand_in.scaled(weak(0.6), ORIGINAL, SETTING)
    assert reference.acc_forget == pytest.approx(0.4 * 0.9 / 0.6)
    assert reference.high - reference.low > 2 * stand_in.WEAK_WIDTH  # of 100 examples a few more or less are right by chance
    assert stand_in.scaled(weak(0.95), ORIGINAL, SETTING).acc_forget == pytest.approx(0.4)  # stronger than the original


def test_stand_ins_that_know_hardly_more_than_chance_are_no_reference():
    assert stand_in.scaled(weak(0.3), ORIGINAL, SETTING) is None
