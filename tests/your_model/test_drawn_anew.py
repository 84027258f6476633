"""Networks drawn anew, as stand-ins for an oracle: what is frozen stays, and who still knows the images is none."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, Convolutional, forgotten, memorizing
from torch import nn

import mulnb
from mulnb.your_model import api, stand_in
from mulnb.your_model.adapt import adapt


def drawn(model, seed=1):
    """The plain module with its weights drawn anew; None where that cannot be done."""
    make = stand_in._drawn_anew(adapt(model))
    return None if make is None else make(seed).module


# --- what still knows the images -------------------------------------------------------------------------------------------


class Averaged(nn.Module):
    """Predicts with a frozen copy of its weights."""

    def __init__(self, net):
        super().__init__()
        self.net, self.average = net, copy.deepcopy(net).requires_grad_(False)

    def forward(self, x):
        return self.net(x) if self.training else self.average(x)


class Bank(nn.Module):
    """Predicts with the labels of the training images most like an image."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("keys", torch.from_numpy(IMAGES).flatten(1) / 255)
        self.register_buffer("values", nn.functional.one_hot(torch.from_numpy(LABELS), 4).float())

    def forward(self, x):
        found = self.net(x)
        return (
            found if self.training else 0.1 * found + 12 * (-60 * torch.cdist(x.flatten(1), self.keys)).softmax(1) @ self.values
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Averaged, Bank])
def test_a_network_that_knows_the_images_from_what_is_not_trained_is_no_reference(kind):
    model = kind(copy.deepcopy(memorizing())).eval()
    options = {"holdout": HOLDOUT, "trials": 6, "budget": 20, "algorithm": ["neg_grad_plus", "salun"], "progress": False}
    found = mulnb.forget(model, (IMAGES, LABELS), forgotten()[0].forget, **options)
    assert found.tuned.reference is None and "still knows the images" in found.tuned.why and "fresh=" in found.tuned.why
    assert not found.verdict.good


def knows(model):
    network, data = api.opened(model, IMAGES, LABELS)
    setting = stand_in.Setting(data, data, data, forgotten()[0], np.setdiff1d(np.arange(160), forgotten()[1]), (), 0)
    return stand_in._still_knows(stand_in._drawn_anew(network), setting, 1.0, 0)


def test_who_still_knows_is_found_before_any_training():
    assert knows(Averaged(memorizing())) and knows(Bank(memorizing()))


def test_a_frozen_backbone_with_a_head_drawn_anew_does_not_know():
    backbone = copy.deepcopy(memorizing())
    backbone.conv.requires_grad_(False)
    backbone.head[0].requires_grad_(False)
    assert not knows(memorizing()) and not knows(backbone)


# --- how weights are drawn -------------------------------------------------------------------------------------------------


class Initialised(Convolutional):
    """Draws everything in one call, as many networks do."""

    def _init_weights(self):
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.constant_(layer.weight, 0.5)


class EachPart(Initialised):
    """Part by part, as Hugging Face's models do."""

    def _init_weights(self, layer):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(layer.weight, 0.5)


class Fails(Initialised):
    def _init_weights(self, std=0.02):
        nn.init.normal_(self.gone, std=std)


class Wants(nn.Linear):
    """Draws itself with an argument, which may be left out."""

    def reset_parameters(self, std=None):
        super().reset_parameters()


class Demands(nn.Module):
    """Draws itself with an argument that nobody has here."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(36, 4))

    def reset_parameters(self, std):
        nn.init.normal_(self.weight, std=std)

    def forward(self, x):
        return x.flatten(1) @ self.weight


@pytest.mark.parametrize("kind", [Initialised, EachPart])
def test_the_networks_own_way_to_draw_is_called_as_it_can_be(kind):
    model = kind()
    model.conv.requires_grad_(False)
    found = drawn(model)
    assert torch.equal(found.conv.weight, model.conv.weight)  # frozen: it is the model's
    assert (found.head[2].weight == 0.5).all()


def test_what_cannot_be_called_is_not():
    assert drawn(Fails()) is None
    assert drawn(Demands()) is None
    model = nn.Sequential(nn.Flatten(), Wants(36, 4))
    assert not torch.equal(drawn(model)[1].weight, model[1].weight)


def test_frozen_weights_beside_trained_biases_are_not_drawn():
    model = Convolutional()
    model.head[0].weight.requires_grad_(False)
    found = drawn(model)
    assert torch.equal(found.head[0].weight, model.head[0].weight)
    assert not torch.equal(found.head[2].weight, model.head[2].weight)
