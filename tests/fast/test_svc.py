"""The linear-time SVC in the cases where an optimum is hard to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb.fast import svc


def test_an_svc_whose_bias_is_not_unique_takes_the_middle_as_libsvm_does():
    """Of two clouds that cannot be told apart every α is at its bound: a whole interval of b is optimal."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    x, y, asked = rng.dirichlet(np.ones(40), 60), np.repeat([1.0, -1.0], 30), rng.dirichlet(np.ones(40), 20)
    reference = SVC(C=3, gamma="auto", tol=1e-7).fit(x, y)
    assert (np.abs(reference.dual_coef_) == 3).all()
    own = svc.fit(torch.from_numpy(x), torch.from_numpy(y), 3.0, 1 / 40).decision(torch.from_numpy(asked))
    assert own.numpy() == pytest.approx(reference.decision_function(asked), abs=1e-3)


def test_an_svc_of_two_values_alone_finds_its_optimum():
    """Equal examples share what only their sum determines: rounding must not carry the search away (f is −1 everywhere)."""
    seen, unseen = np.ones(180), np.r_[np.ones(296), np.zeros(64)]
    x, y = torch.from_numpy(np.r_[seen, unseen])[:, None], torch.from_numpy(np.repeat([1.0, -1.0], [180, 360]))
    values = svc.fit(x, y, 3.0, 1.0).decision(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert values.tolist() == pytest.approx([-1, -1], abs=1e-3)


def reach_as_first_written(at: svc._Point, step: svc._Point) -> float:
    """The compact form that `_Point.reach` had before it was unpacked: results in the store were made with it."""
    return min(1.0, *(-1 / min(-1e-300, float((change / own).min())) for own, change in zip(at[:4], step, strict=False)))


@pytest.mark.parametrize("seed", range(20))
def test_the_step_length_is_the_same_to_the_bit_as_in_its_compact_form(seed):
    generator = torch.Generator().manual_seed(seed)
    at = svc._Point(*(torch.rand(4, 30, generator=generator, dtype=torch.float64) + 1e-9), 0.3)
    size = 10.0 ** (seed % 5 - 2)  # from steps that fit to steps that must be cut
    step = svc._Point(*(size * torch.randn(4, 30, generator=generator, dtype=torch.float64)), -5.0)
    assert at.reach(step) == reach_as_first_written(at, step)


def test_a_step_is_cut_where_the_first_value_would_turn_negative():
    full = torch.ones(2, dtype=torch.float64)
    at = svc._Point(full, full, full, full, 1.0)
    step = svc._Point(full, full, torch.tensor([-0.5, -4.0], dtype=torch.float64), full, -100.0)  # b may change sign
    assert at.reach(step) == 0.25
    assert at.reach(svc._Point(full, full, full, full, -100.0)) == 1.0
    moved = at.moved(step, 0.25)
    assert moved.s.tolist() == [0.875, 0.0] and moved.b == -24.0


def test_many_equal_examples_end_at_the_optimum():
    """Probabilities of a model that is certain of everything are a handful of points: the last Newton system is singular."""
    from sklearn.svm import SVC

    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        classes = torch.randint(0, 10, (718,), generator=generator)
        x = torch.nn.functional.one_hot(classes, 10).double()
        y = torch.cat([torch.ones(359), -torch.ones(359)]).double()
        ours = svc.fit(x, y, 3.0, 0.1).decision(x).numpy()
        theirs = SVC(C=3.0, gamma=0.1, tol=1e-7).fit(x.numpy(), y.numpy()).decision_function(x.numpy())
        clear = np.abs(theirs) > 1e-3
        assert np.isfinite(ours).all() and ((ours > 0) == (theirs > 0))[clear].all()
