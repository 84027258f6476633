"""The linear-time SVC in the cases where an optimum is hard to find."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mulnb.fast import svc


def test_an_svc_whose_bias_is_not_unique_takes_the_middle_as_libsvm_does():
    """Of two clouds that cannot be told apart every α is at its bound: a whole interval of b is optimal."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    x, y, asked = rng.dirichlet(np.ones(40), 60), np.repeat([1.0, -1.0], 30), rng.dirichlet(np.ones(40), 20)
    reference = SVC(C=3, gamma="auto", tol=1e-7).fit(x, y)
    assert (np.abs(reference.dual_coef_) == 3).all()
    own = svc.fit(x, y, 3.0, 1 / 40).decision(asked)
    assert own == pytest.approx(reference.decision_function(asked), abs=1e-3)


@pytest.mark.parametrize("classes", [10, 100])
def test_probabilities_get_the_values_of_libsvm_from_few_landmarks(classes):
    """Networks that are sure of most images, and often right: what the attack on all probabilities meets."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(1000, classes)) * 2
    right = rng.random(1000) < np.repeat([0.99, 0.75], 500)
    logits[np.arange(1000), rng.integers(classes, size=1000)] += right * (4 + rng.gamma(3, 2.5, 1000))
    p = np.exp(logits - logits.max(1, keepdims=True))
    x, y = p / p.sum(1, keepdims=True), np.repeat([1.0, -1.0], 500)

    classifier = svc.fit(x, y, 3.0, 1 / classes)
    reference = SVC(C=3, gamma="auto", tol=1e-7).fit(x, y).decision_function(x)
    assert len(classifier.landmarks) < 250
    assert classifier.decision(x) == pytest.approx(reference, abs=1e-3)


def test_an_svc_of_two_values_alone_finds_its_optimum():
    """Equal examples share what only their sum determines: rounding must not carry the search away (f is −1 everywhere)."""
    seen, unseen = np.ones(180), np.r_[np.ones(296), np.zeros(64)]
    x, y = np.r_[seen, unseen][:, None], np.repeat([1.0, -1.0], [180, 360])
    values = svc.fit(x, y, 3.0, 1.0).decision(np.array([[0.0], [1.0]]))
    assert values.tolist() == pytest.approx([-1, -1], abs=1e-3)


def test_a_step_is_cut_where_the_first_value_would_turn_negative():
    full = np.ones(2)
    at = svc._Point(full, full, full, full, 1.0)
    step = svc._Point(full, full, np.array([-0.5, -4.0]), full, -100.0)  # b may change sign
    assert at.reach(step) == 0.25
    assert at.reach(svc._Point(full, full, full, full, -100.0)) == 1.0
    moved = at.moved(step, 0.25)
    assert moved.s.tolist() == [0.875, 0.0] and moved.b == -24.0


def test_many_equal_examples_end_at_the_optimum():
    """Probabilities of a model that is certain of everything are a handful of points: the last Newton system is singular."""
    from sklearn.svm import SVC

    for seed in range(5):
        x = np.eye(10)[np.random.default_rng(seed).integers(0, 10, 718)]
        y = np.repeat([1.0, -1.0], 359)
        ours = svc.fit(x, y, 3.0, 0.1).decision(x)
        theirs = SVC(C=3.0, gamma=0.1, tol=1e-7).fit(x, y).decision_function(x)
        clear = np.abs(theirs) > 1e-3
        assert np.isfinite(ours).all() and ((ours > 0) == (theirs > 0))[clear].all()


def test_fits_in_several_threads_leave_the_number_of_blas_threads_as_it_was():
    rng = np.random.default_rng(0)
    x, y = rng.random((400, 1)), np.repeat([1.0, -1.0], 200)
    with threadpool_limits(2, user_api="blas"):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: svc.fit(x, y, 3.0, 1.0), range(12)))
        assert {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"} == {2}
