"""The pictures of the audits: ROC curves, and who is recognised."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from written import words

from mulnb import figures
from mulnb.figures import ends

PROFILE = synthetic.profile()
TRUTH = synthetic.memorization()


def test_the_roc_curve_is_the_one_of_scikit_learn():
    from sklearn.metrics import roc_curve

    from mulnb.figures import audits

    run = synthetic.audit_examples(1).query("algorithm == 'salun' and strategy == 'vanilla'")
    grid = np.array([1 / 60, 0.05, 0.1, 0.5, 1.0])
    fpr, tpr, _ = roc_curve(run["group"] == "forget", run["lira"], drop_intermediate=False)
    expected = [tpr[fpr <= rate + 1e-9].max() for rate in grid]
    assert audits._mean_curve(run, "lira", grid) == pytest.approx(expected)


@pytest.mark.slow
def test_the_roc_of_the_oracle_stands_in_every_panel():
    figure = figures.audit_roc(PROFILE, synthetic.audit_examples())
    curves = [[line for line in axes.lines if line.get_color() == ends.ENDS["retrain"].color] for axes in figure.axes]
    assert [len(lines) for lines in curves] == [1] * 6
    assert "oracle" in words(figure)


@pytest.mark.slow
def test_who_is_recognised_is_decided_by_the_unseen_examples_of_the_same_run():
    examples = synthetic.audit_examples(1)
    nobody = examples.assign(lira=examples["lira"].where(examples["group"] != "forget", -100.0))
    assert "not unlearned: 0 %" in words(figures.audit_examples(PROFILE, nobody))
    everybody = examples.assign(lira=examples["lira"].where(examples["group"] != "forget", 100.0))
    assert "not unlearned: 100 %" in words(figures.audit_examples(PROFILE, everybody))
