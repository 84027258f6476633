"""The pool: k networks trained as one are the k networks trained one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mulnb import models, pool, training
from mulnb.config import Recipe, load_profile
from mulnb.fast.stacked import Stack
from mulnb.training import Examples


def networks(seeds, channels: int = 1, width: int = 4):
    return [models.build("small_cnn", num_classes=5, in_channels=channels, width=width, seed=seed) for seed in seeds]


def images(n: int, channels: int = 1, size: int = 8, seed: int = 7) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (n,), generator=generator)
    return Examples(pixels, labels, torch.full((channels,), 0.5), torch.full((channels,), 0.25))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return torch.allclose(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 9), (2, 16)])
def test_a_stack_is_its_networks(channels, size):
    """Logits and every gradient, in train and in eval mode, odd sizes and pooled maps included."""
    alone, data = networks(range(3), channels), images(30, channels, size)
    stack = Stack(alone)
    x = data.inputs(torch.arange(30)).unflatten(0, (3, 10))
    together = stack(x)
    apart = torch.stack([network(own) for network, own in zip(alone, x, strict=True)])
    assert close(together, apart, 1e-5)
    F.cross_entropy(together.flatten(0, 1), data.labels, reduction="sum").backward()
    F.cross_entropy(apart.flatten(0, 1), data.labels, reduction="sum").backward()
    for number, stacked in enumerate(stack.parameters()):
        own = torch.stack([list(network.parameters())[number].grad for network in alone])
        assert close(stacked.grad, own.view_as(stacked))
    stack.eval(), [network.eval() for network in alone]
    assert close(stack(x), torch.stack([network(own) for network, own in zip(alone, x, strict=True)]), 1e-5)


def test_training_a_stack_is_training_each_network():
    """Weights and BatchNorm statistics after two epochs with batches of two sizes, momentum, weight decay, a cosine schedule."""
    data, seeds = images(90), [3, 4, 5]
    subsets = [torch.randperm(90, generator=torch.Generator().manual_seed(seed))[:50] for seed in seeds]
    recipe = Recipe(epochs=2, batch=16, lr=0.05, schedule="cosine")
    together, apart = networks(seeds), networks(seeds)
    pool.train_stacked(networks(seeds), data, subsets, recipe, seeds).copy_to(together)
    for stacked, alone, subset, seed in zip(together, apart, subsets, seeds, strict=True):
        training.fit(alone, data, recipe, seed, index=subset)
        for name, value in alone.state_dict().items():
            if "num_batches" not in name:
                assert close(stacked.state_dict()[name], value), name
    assert not close(apart[0][0].weight, networks(seeds)[0][0].weight, 1e-2)  # they did move


def test_a_pool_model_does_not_depend_on_its_group():
    profile = load_profile("smoke", {"pool.training": {"epochs": 2, "batch": 16, "lr": 0.05}})
    data, test = images(60), images(20, seed=8)
    whole = pool.train_group(profile, data, test, range(2, 8), 5)
    parts = [pool.train_group(profile, data, test, numbers, 5) for numbers in (range(2, 3), range(3, 8))]
    for name in ("member", "correct", "margin", "margin_test"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts])), name


SHORT = {"pool.training": {"epochs": 1, "batch": 16, "lr": 0.05}}


def test_margins_of_the_test_set_are_those_of_its_images():
    """A test set of the training images in reverse has their margins in reverse; other images have others."""
    profile, data, scale = load_profile("smoke", SHORT), images(60), (torch.full((1,), 0.5), torch.full((1,), 0.25))
    reverse = Examples(data.images.flip(0), data.labels.flip(0), *scale)
    others = Examples(images(60, seed=8).images, data.labels, *scale)
    same, apart = (pool.train_group(profile, data, test, range(2), 5) for test in (reverse, others))
    assert np.allclose(same.margin_test, same.margin[:, ::-1], atol=1e-2)
    assert not np.allclose(apart.margin_test, apart.margin, atol=1e-2)


def test_pools_of_different_seeds_share_no_network(monkeypatch):
    build, seeds = models.build, []

    def spied(*given, seed, **more):
        seeds.append(seed)
        return build(*given, seed=seed, **more)

    monkeypatch.setattr(pool.models, "build", spied)
    for own in (0, 1):
        pool.train_group(load_profile("smoke", SHORT | {"pool.seed": own}), images(60), images(20, seed=8), range(3), 5)
    assert len(set(seeds)) == len(seeds) == 6


def test_architectures_that_cannot_be_stacked_give_the_same_pool_one_after_another():
    data, seeds = images(40), [0, 1]
    subsets = [torch.arange(0, 30), torch.arange(10, 40)]
    recipe = Recipe(epochs=2, batch=16, lr=0.05)
    stacked = pool.predict_each(pool.train_stacked(networks(seeds), data, subsets, recipe, seeds), data)
    in_turn = pool.predict_each(pool.train_in_turn(networks(seeds), data, subsets, recipe, seeds), data)
    assert stacked.shape == (2, 40, 5)
    assert close(stacked, in_turn, 1e-3)


def test_a_pool_that_diverges_says_so():
    data = images(40)
    stack = pool.train_stacked(networks([0, 1]), data, [torch.arange(30)] * 2, Recipe(epochs=3, batch=16, lr=1e30), [0, 1])
    with pytest.raises(training.Diverged, match="smaller lr"):
        pool.predict_each(stack, data)


def test_membership_is_the_same_for_a_model_in_any_range():
    """A random share of the examples without replacement, from (seed, model) alone."""
    whole = pool.membership(range(10), 50, 0.7, seed=1)
    assert (whole.sum(1) == 35).all()
    assert (pool.membership(range(4, 6), 50, 0.7, seed=1) == whole[4:6]).all()
    assert (pool.membership(range(10), 50, 0.7, seed=2) != whole).any()


def test_a_margin_is_the_log_odds_of_the_true_class():
    """Carlini et al. 2022, eq. 3: log p_y − log(1 − p_y)."""
    logits = torch.tensor([[[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]]])
    result = pool.outcomes(np.ones((1, 2), dtype=bool), logits, torch.tensor([0, 2]))
    p = logits.double().softmax(2)[0, [0, 1], [0, 2]]
    assert np.allclose(result.margin[0], torch.log(p / (1 - p)), atol=2e-3)  # float16
    assert result.correct.tolist() == [[True, False]]
