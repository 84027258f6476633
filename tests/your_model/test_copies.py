"""A working copy computes with weights of its own, takes along what torch's copy leaves behind, and shows no trace of checks."""

from __future__ import annotations

import functools
import types
import weakref

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, Convolutional
from torch import nn

import mulnb
from mulnb.core.errors import UserError
from mulnb.training import clone
from mulnb.your_model import adapt, api, probe

SOME = torch.from_numpy(IMAGES[:8]) / 255


def unlearn(model, **options):
    return mulnb.unlearn(model, IMAGES, LABELS, [1, 2, 3], settings=options.pop("settings", QUICK), **options).model


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


# --- weights that are nobody's copies --------------------------------------------------------------------------------------


def decorated():
    model = normed()
    model.forward = torch.autocast("cpu")(model.forward)
    return model


def closed_over():
    model = normed()
    before = model.forward
    model.forward = lambda x: before(x)
    return model


def injected():
    model, down, up = normed(), nn.Parameter(torch.randn(2, 36)), nn.Parameter(torch.randn(16, 2))
    before = model[1].forward
    model[1].forward = lambda x: before(x) + x @ down.T @ up.T
    return model


class Adapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.adapter = normed(), nn.Linear(36, 16)
        self.net[1].register_forward_hook(lambda layer, given, found: found + self.adapter(given[0]))

    def forward(self, x):
        return self.net(x)


class Child(nn.Module):
    def __init__(self, parent):
        super().__init__()
        self.parent = weakref.ref(parent)

    def forward(self, x):
        return self.parent().head(x.flatten(1))


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(36, 4)
        self.child = Child(self)

    def forward(self, x):
        return self.child(x)


BACKBONE = nn.Sequential(nn.Flatten(), nn.Linear(36, 16))


class Elsewhere(nn.Module):
    def __init__(self, gradients=True):
        super().__init__()
        self.head, self.gradients = nn.Linear(16, 4), gradients

    def forward(self, x):
        with torch.set_grad_enabled(self.gradients):
            found = BACKBONE(x)
        return self.head(found)


@pytest.mark.parametrize("build", [decorated, closed_over, injected, Adapter, Parent, Elsewhere])
def test_a_forward_with_weights_of_others_is_refused_and_leaves_no_trace(build):
    model = build().train()
    buffers = [value.clone() for value in model.buffers()]
    doors = (
        lambda: unlearn(model),
        lambda: mulnb.forget(model, (IMAGES, LABELS), [1, 2, 3], holdout=HOLDOUT, progress=False),
        lambda: mulnb.evaluate(model, IMAGES, LABELS, [1, 2, 3], holdout=HOLDOUT),
        lambda: mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT),
    )
    for door in doors:
        with pytest.raises(UserError, match="the model's forward uses weights that a copy of it does not have"):
            door()
    assert all(value.grad is None for value in [*model.parameters(), *BACKBONE.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(buffers, model.buffers(), strict=True))


def test_the_weight_is_named():
    with pytest.raises(UserError, match=r"\('adapter\.(weight|bias)' of the model given\)"):
        unlearn(Adapter())


class Odd(nn.Module):
    """Tensors that need a gradient and are no parameters, in a list too; a forward that wants the gradient of its images."""

    def __init__(self):
        super().__init__()
        self.net, self.listed, self.scale = normed(), [nn.Linear(4, 4)], torch.ones(4, requires_grad=True)

    def forward(self, x):
        if torch.is_grad_enabled():
            x = x.requires_grad_()
        return self.listed[0](self.net(x)) * self.scale


class Checkpointed(nn.Module):
    """The weights are not in the graph of the output: its backward pass goes its own way."""

    def __init__(self):
        super().__init__()
        self.net, self.dummy = normed(), torch.ones(1, requires_grad=True)

    def forward(self, x):
        return Again.apply(self.net, x, self.dummy)


class Again(torch.autograd.Function):
    """As reentrant checkpoints do it."""

    @staticmethod
    def forward(ctx, net, x, dummy):
        ctx.net, ctx.x = net, x
        return net(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            ctx.net(ctx.x.detach()).backward(gradient)
        return None, None, None


def bound(wrap):
    model = normed()
    model.forward = wrap(nn.Sequential.forward, model)
    return model


def test_forwards_that_a_copy_has_for_itself_are_not_refused():
    read = normed()
    read[1].register_forward_hook(lambda layer, given, found: None)
    models = [bound(types.MethodType), bound(functools.partial), read, Odd(), Checkpointed(), Elsewhere(gradients=False)]
    for model in models:
        assert probe.check_outputs(adapt.adapt(model), SOME.clone()) == 4


# --- what torch's copy leaves behind ---------------------------------------------------------------------------------------


def masks(kind, weight, mask):
    """Hold some rows of a weight by a gradient hook."""

    def afterwards(weight):
        weight.grad.mul_(mask)

    return (
        weight.register_hook(lambda gradient: gradient * mask) if kind else weight.register_post_accumulate_grad_hook(afterwards)
    )


@pytest.mark.parametrize("kind", [True, False])
def test_gradient_hooks_and_attributes_of_parameters_come_along(kind):
    model = normed()
    weight = model[1].weight
    masks(kind, weight, torch.arange(16)[:, None] < 8)
    weight.no_weight_decay = ["yes"]
    network = clone(adapt.adapt(model)).module  # a copy of the copy
    network(SOME).square().sum().backward()
    found = network[1].weight

    moved = (found.grad != 0).any(1)
    assert moved[:8].any() and not moved[8:].any() and weight.grad is None
    assert found.no_weight_decay == ["yes"] and found.no_weight_decay is not weight.no_weight_decay


def test_a_gradient_hook_that_does_not_work_on_a_copy_is_told_in_one_line():
    model = normed()
    rates = {model[1].weight: 0.1}  # as who steps in the backward pass has its optimizers
    model[1].weight.register_post_accumulate_grad_hook(lambda weight: print(rates[weight]))
    with pytest.raises(UserError, match=r"backward pass failed: .* a gradient hook \(that of weight '1.weight', for example\)"):
        unlearn(model)


def test_sparse_gradients_are_refused_before_any_work():
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.levels, self.head = nn.Embedding(16, 8, sparse=True), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.levels((x.flatten(1) * 15).long()).mean(1))

    with pytest.raises(UserError, match=r"weight 'levels.weight' has sparse gradients, .* sparse=False"):
        unlearn(Sparse())


# --- what is left as it was ------------------------------------------------------------------------------------------------


def test_buffers_that_move_in_eval_mode_are_not_moved_by_checks():
    class Counts(Convolutional):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("last", None)

        def forward(self, x):
            self.seen += len(x)
            self.last = x
            return super().forward(x)

    found = unlearn(Counts(), settings={"epochs": 0})
    assert found.seen == 0 and found.last is None


def test_a_network_that_factory_or_fresh_return_is_not_written_into():
    live = Convolutional().double()
    before = [value.clone() for value in live.parameters()]
    adapt.plain(Convolutional().state_dict(), lambda: live)
    adapt.untrained(lambda: live, Convolutional())(0)
    after = list(live.parameters())
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(before, after, strict=True))


def test_integers_before_the_weights_do_not_decide_the_precision():
    class Indexed(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.ids, self.inner = nn.Parameter(torch.arange(6), requires_grad=False), inner

        def forward(self, x):
            return self.inner(x)

    model, images = Indexed(normed()), IMAGES / np.float32(255)
    options = {"holdout": HOLDOUT, "references": [Indexed(normed()) for _ in range(8)]}
    assert len(mulnb.evaluate(model, images, LABELS, [1, 2, 3], **options).rows) == 1
    network, data = api.opened(model, images, LABELS)
    fresh = probe.untrained_beside(lambda: Indexed(normed()), network, data)(1)
    assert adapt.first_floating(fresh).dtype == torch.float32
