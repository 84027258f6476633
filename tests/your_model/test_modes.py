"""Networks whose train() and eval() do more than set a flag, and networks with several heads."""

from __future__ import annotations

import copy
import warnings
from collections import namedtuple

import pytest
import torch
from small import CLASSES, FLIPPED, HOLDOUT, IMAGES, LABELS, QUICK, Convolutional, Returns, memorizing
from torch import nn

import mulnb
from mulnb.core.errors import Notice, UserError
from mulnb.your_model import adapt, probe


class Merging(nn.Module):
    """An adapter beside a linear layer, which eval() adds to its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.beside, self.merged = copy.deepcopy(memorizing()), nn.Parameter(torch.ones(1)), False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode == self.merged:
            next(self.network.parameters()).data += -self.beside.data if mode else self.beside.data
            self.merged = not mode
        return self

    def forward(self, images):
        return self.network(images) + 0 * self.beside


def test_weights_that_move_with_the_mode_are_refused_at_every_door():
    for ask in (
        lambda: mulnb.unlearn(Merging(), IMAGES, LABELS, FLIPPED, settings=QUICK),
        lambda: mulnb.evaluate(Merging(), IMAGES, LABELS, FLIPPED, holdout=HOLDOUT),
        lambda: mulnb.forget(Merging().eval(), (IMAGES, LABELS), FLIPPED, holdout=HOLDOUT, progress=False),
    ):
        with pytest.raises(UserError, match=r"train\(\) and eval\(\) change its weights"):
            ask()


@pytest.mark.parametrize("training", [True, False])
def test_the_result_is_in_the_mode_of_the_model_by_its_own_train(training):
    class Deployed(Convolutional):
        def train(self, mode: bool = True) -> Deployed:
            self.deployed = not mode
            return super().train(mode)

    found = mulnb.unlearn(Deployed().train(training), IMAGES, LABELS, FLIPPED, settings=QUICK).model
    assert (found.training, found.deployed) == (training, not training)


def test_a_second_head_is_told_of():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = memorizing()

        def forward(self, images):
            logits = self.network(images)
            return logits, logits.flip(1)

    with pytest.warns(Notice, match=r"returns float32 \[8, 4\], float32 \[8, 4\]: the first is taken for the logits"):
        mulnb.unlearn(Two(), IMAGES, LABELS, FLIPPED, settings=QUICK)


def test_a_head_that_is_called_logits_is_taken_without_a_word():
    named = Returns(lambda logits: namedtuple("Two", ["hidden", "logits"])(logits.flip(1), logits), memorizing())
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        mulnb.unlearn(named, IMAGES, LABELS, FLIPPED, settings=QUICK)


class Drops(nn.Module):
    """Forgets that dropout ends with training."""

    def __init__(self) -> None:
        super().__init__()
        self.network = memorizing()

    def forward(self, images):
        return nn.functional.dropout(self.network(images))


class Beside(nn.Module):
    """Its BatchNorm has no running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.norm = memorizing(), nn.BatchNorm1d(CLASSES, track_running_stats=False)

    def forward(self, images):
        return self.norm(self.network(images))


@pytest.mark.parametrize(
    ("kind", "words"), [(Drops, "differ from one pass to the next"), (Beside, "depend on the images beside it")]
)
def test_outputs_that_the_image_does_not_settle_are_told(kind, words):
    with pytest.warns(Notice, match=f"the model's outputs in eval mode .*{words}"):
        mulnb.evaluate(kind(), IMAGES, LABELS, FLIPPED, holdout=HOLDOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        for network in (memorizing(), copy.deepcopy(memorizing()).bfloat16()):
            probe.check_outputs(adapt.adapt(network), torch.from_numpy(IMAGES[:8]).to(next(network.parameters()).dtype) / 255)


@pytest.mark.parametrize("algorithm", ["salun", "influence"])
def test_an_algorithm_that_needs_a_gradient_in_eval_mode_is_refused_where_there_is_none(algorithm):
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(memorizing())

        def forward(self, images):
            with torch.set_grad_enabled(self.training):
                return self.network(images)

    with pytest.raises(UserError, match=f"^{algorithm}: the model's outputs have no gradient in eval mode"):
        mulnb.unlearn(Blind(), IMAGES, LABELS, FLIPPED, algorithm=algorithm)


def test_influence_is_refused_where_a_weight_is_complex():
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.head = nn.Parameter(torch.randn(6, 4, dtype=torch.complex64)), nn.Linear(36, 4)

        def forward(self, images):
            return self.head(torch.fft.irfft2(torch.fft.rfft2(images[:, 0]) * self.weight, s=(6, 6)).flatten(1))

    with pytest.raises(
        UserError, match=r"^influence: weight 'weight' is complex, and this needs real numbers: use neg_grad_plus"
    ):
        mulnb.unlearn(Spectral(), IMAGES, LABELS, FLIPPED, algorithm="influence")
    network = adapt.adapt(Spectral())
    assert probe.usable(["influence", "salun"], network, torch.from_numpy(IMAGES[:8]) / 255) == ["salun"]
