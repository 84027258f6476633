"""ToW and ToW-MIA against numbers worked by hand."""

from __future__ import annotations

import pytest

from mulnb import audit

ORACLE = {"acc_forget": 0.6, "acc_retain": 0.99, "acc_test": 0.9, "mia": 0.7}


def test_tow_by_hand():
    unlearned = {"acc_forget": 0.8, "acc_retain": 0.94, "acc_test": 0.91, "mia": 0.6}
    assert audit.tow(unlearned, ORACLE) == pytest.approx(0.8 * 0.95 * 0.99)
    assert audit.tow_mia(unlearned, ORACLE) == pytest.approx(0.9 * 0.95 * 0.99)


def test_the_oracle_itself_scores_one():
    assert audit.tow(ORACLE, ORACLE) == 1
    assert audit.tow_mia(ORACLE, ORACLE) == 1


def test_too_much_and_too_little_forgetting_cost_the_same():
    low, high = (audit.tow(ORACLE | {"acc_forget": value}, ORACLE) for value in (0.5, 0.7))
    assert low == pytest.approx(high) == pytest.approx(0.9)
