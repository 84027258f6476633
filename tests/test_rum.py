"""The stages of RUM and of its controls, and what a run says of its cost."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mulnb import models, rum
from mulnb.fast.stacked import Stack
from mulnb.forget import Strata
from mulnb.training import Examples, clone
from mulnb.unlearning import ALGORITHMS

STRATA = Strata(np.arange(2), np.arange(2, 5), np.arange(5, 12))
SETTINGS = {"epochs": 2, "batch": 16}


@pytest.fixture(scope="module")
def data() -> Examples:
    return Examples(torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 4)


def network(seed: int = 0) -> torch.nn.Module:
    return models.build("small_cnn", num_classes=4, in_channels=1, width=2, seed=seed)


def test_the_stages_of_shuffle_are_as_large_as_the_strata():
    stages = rum.stages(STRATA, "shuffle", 1)
    assert [len(stage) for stage in stages] == [2, 3, 7]
    assert sorted(np.concatenate(stages).tolist()) == list(range(12))


@pytest.mark.parametrize(
    ("algorithm", "strategy", "retain", "forget"),
    [
        ("fine_tune", "vanilla", 2, 0),
        ("neg_grad", "vanilla", 0, 2),
        ("random_label", "vanilla", 2, 2),
        ("fine_tune", "rum_f", 2 + 2 + 2, (10 + 7) * 2 / 12),  # a later stratum is retained until its turn
    ],
)
def test_passes_are_those_over_the_retain_set_and_over_the_forget_set(data, algorithm, strategy, retain, forget):
    how = {"algorithm": algorithm, "strategy": strategy, "settings": SETTINGS}
    alone = rum.unlearn(network(), data, STRATA, seed=0, **how)
    assert (alone.passes_retain, alone.passes_forget) == pytest.approx((retain, forget))
    sets = [STRATA, Strata(*(part + 20 for part in STRATA))]
    both = rum.unlearn(Stack([network(), network(1)]), data, sets, seed=[0, 1], **how)
    assert both.passes_retain == pytest.approx([retain] * 2) and both.passes_forget == pytest.approx([forget] * 2)


def test_what_a_teacher_reads_is_no_pass_and_seconds_are_those_of_all_stages(data, monkeypatch):
    monkeypatch.setattr(rum, "time", SimpleNamespace(perf_counter=iter([10.0, 16.0]).__next__))
    how = {"algorithm": "scrub", "strategy": "vanilla", "settings": SETTINGS | {"msteps": 1}}
    found = rum.unlearn(network(), data, STRATA, seed=0, **how)
    assert (found.passes_retain, found.passes_forget, found.seconds) == (2, 1, 6.0)


def test_the_parts_of_shuffle_are_drawn_by_the_seed_of_the_run(data, monkeypatch):
    seen = []

    def one_more(model, data, forget, *_, **__):
        seen.append(forget.tolist())
        new = clone(model)
        next(new.parameters()).data += 1
        return new

    monkeypatch.setitem(ALGORITHMS, "one_more", one_more)
    found = rum.unlearn(network(), data, STRATA, algorithm="one_more", strategy="shuffle", seed=1)
    assert torch.allclose(next(found.model.parameters()), next(network().parameters()) + 3)  # what was returned goes on
    assert seen == [part.tolist() for part in rum.stages(STRATA, "shuffle", 1)]
