"""The search for settings: what it maximises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mulnb.your_model import search
from mulnb.your_model.outcome import Outcome
from mulnb.your_model.verdict import Reference

KNOWN = {"acc_forget": 1.0, "acc_retain": 1.0, "acc_test": 0.9, "auc": 0.7}
ORACLE = Reference(0.5, 0.42, 0.58, 0.3, 0.9, True, "of the oracle", 0.5)


@pytest.mark.parametrize(("auc", "factor", "side"), [(0.3, 1.0, 0), (0.5, 0.8, -1)])
def test_the_objective_counts_how_far_the_attack_is_from_the_references(auc, factor, side):
    row = {"acc_forget": 0.5, "acc_retain": 0.99, "acc_test": 0.9, "auc": auc}
    assert search.objective(row, KNOWN, ORACLE, noise=0.08) == (pytest.approx(0.99 * factor), side)


def test_an_unchanged_model_ends_a_search_only_where_nothing_was_to_be_forgotten():
    def may_stay(**row):
        known = Outcome(KNOWN | {"mia_unseen": 0.6, "mia_retain": 0.1} | row, np.ones(9, bool), np.ones(9))
        task = search.Search(None, None, known, None, None, 0, None, None, 0.0, 1)
        return [task.forgets_nothing(dataclasses.replace(ORACLE, exact=exact), noise=0.08) for exact in (True, False)]

    assert may_stay(acc_forget=0.5, auc=0.33) == [True, False]
    assert may_stay(acc_forget=0.5, auc=0.4) == may_stay(acc_forget=0.6, auc=0.3) == [False, False]
    assert may_stay(acc_forget=0.5, auc=0.3, mia_unseen=0.1, acc_test=1.0) == [False, False]  # nothing could tell
