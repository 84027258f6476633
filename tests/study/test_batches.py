"""Batches fit into memory: large for small images, small for large ones, and the numbers do not depend on it."""

from __future__ import annotations

import pytest
import torch

from mulnb import config, models, proxies, training
from mulnb.core import memory
from mulnb.study import Study, batches
from mulnb.study.batches import Activations, CurvatureInParts
from mulnb.training import Examples


def network(side: int, width: int | None = None) -> tuple[torch.nn.Module, torch.Tensor]:
    return models.build("resnet18", num_classes=10, width=width, stem="cifar"), torch.zeros(1, 3, side, side)


def test_ResNet_18_at_224_pixels_takes_two_gigabytes_instead_of_twelve():
    found = Activations.of(*network(224))
    assert found.largest == 64 * 224 * 224 * 4  # the first stage: 64 channels of every pixel, in float32
    assert 40 < found.predicted < 60
    assert found.predicted * 3 * found.largest <= 2e9 and found.differentiated * found.total <= 2e9
    assert found.differentiated < found.predicted


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10-small", "tiny-imagenet-mini"])
def test_the_batches_of_reduced_profiles_are_as_they_were(name):
    profile = config.load_profile(name)
    for spec in (profile.model, profile.pool_model):
        model = models.build(spec.arch, num_classes=10, width=spec.width, stem=spec.stem)
        found = Activations.of(model, torch.zeros(1, 3, 32, 32))
        assert (found.predicted, found.differentiated) == (batches.PREDICT, batches.CURVATURE)


def test_a_network_is_left_as_it_was():
    model, x = network(16, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Activations.of(model.train(), x)
    assert model.training and not model.conv1._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def examples(n: int, side: int) -> Examples:
    draw = torch.Generator().manual_seed(0)
    return Examples(torch.rand(n, 3, side, side, generator=draw), torch.randint(0, 10, (n,), generator=draw))


def test_curvature_in_parts_is_the_curvature():
    data, (model, _) = examples(30, 16), network(16, width=4)
    trace = CurvatureInParts(model, data, 0.01, batch=7)
    trace.after_epoch(0, 0.0)
    whole = proxies.loss_curvature(model, data, 0.01)
    # a small curvature is a difference of nearly equal gradients: its rounding is that of the large ones
    assert whole.max() > 0.05 and trace.mean() == pytest.approx(whole, rel=1e-4, abs=1e-6)


def growths() -> tuple[float, float]:
    """MB that predicting takes in parts, and all at once."""
    data, (model, x) = examples(600, 64), network(64, width=8)
    found = Activations.of(model, x)

    def growth() -> float:
        memory.forget_peak()
        before = memory.now_mb()
        training.predict(model, data)
        return memory.peak_mb() - before

    data.largest_batch = 8
    growth()  # what torch allocates once
    batches.BUDGET = 30e6
    data.largest_batch = found.predicted
    in_parts = growth()
    data.largest_batch = batches.PREDICT
    return in_parts, growth()


@pytest.mark.slow
@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux tells the peak of a part of a process")
def test_predicting_takes_what_the_batch_allows(in_new_process):
    in_parts, at_once = in_new_process(growths)
    assert in_parts < 100 < 150 < at_once  # one layer alone has 79


def test_a_study_hands_the_batch_to_whoever_predicts(monkeypatch):
    monkeypatch.setattr(batches, "BUDGET", 3 * 4 * 8 * 8 * 4 * 10)  # for ten digits
    changed = {"model": {"arch": "resnet18", "width": 4}, "seeds": [5]}
    study = Study(config.load_profile("smoke", changed))
    assert study.train.largest_batch == study.test.largest_batch == 10
    assert not hasattr(Study(config.load_profile("smoke")).train, "largest_batch")  # a stack
    assert training.predict(study.fresh(0), study.test).isfinite().all()
