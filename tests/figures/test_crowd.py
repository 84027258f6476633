"""Figures of very many examples: some are drawn as points, the rest is counted, and the caption says so."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

from mulnb import figures
from mulnb.figures import crowd

N = 3000


@pytest.fixture
def few_points(monkeypatch):
    monkeypatch.setattr(crowd, "MOST", 1000)


def points(figure) -> int:
    """The most points of one cloud."""
    return max(len(line.get_xdata()) for axes in figure.axes for line in axes.lines)


def captions(figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def drawings():
    truth = synthetic.memorization(N, flipped=False)
    profile = synthetic.profile()
    yield figures.memorization_profile(profile, truth, synthetic.strata(truth))
    yield figures.proxy_profiles(profile, synthetic.proxies(truth, seeds=1, names=("confidence",)), truth)
    yield figures.audit_examples(profile, synthetic.audit_examples(seeds=1, forget=N, algorithms=("fine_tune",)))


@pytest.mark.slow
def test_few_of_many_are_drawn_and_the_caption_says_so(few_points):
    for figure in drawings():
        assert points(figure) <= 1000
        assert f"Of {N} examples, at most 1000 of a kind are drawn as points, at random." in captions(figure)


@pytest.mark.slow
def test_all_are_drawn_where_they_are_few():
    for figure in drawings():
        assert points(figure) > 1000
        assert "at random" not in captions(figure)


def test_the_same_examples_are_drawn_every_time_each_once(few_points):
    chosen = crowd.drawn(N)
    assert len(set(chosen.tolist())) == 1000 and chosen.max() < N
    assert (chosen == crowd.drawn(N)).all() and (np.diff(chosen) > 0).all()
