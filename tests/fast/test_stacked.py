"""A stack of networks gives each of them what it would get alone, and the same bits in whatever company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import models, proxies, rum, training
from mulnb.audit import relearn
from mulnb.config import HoldoutRetraining, Recipe
from mulnb.core.registry import ALGORITHMS, STACKABLE_ALGORITHMS
from mulnb.fast.stacked import Stack
from mulnb.forget import Strata
from mulnb.proxies import SignalRecorder
from mulnb.training import Examples

N, CLASSES, K = 150, 5, 6
RECIPE = Recipe(epochs=2, batch=32, lr=0.05, schedule="cosine")
SETTINGS = {
    "neg_grad": {"lr": 1e-3, "epochs": 1, "batch": 16},
    "neg_grad_plus": {"alpha": 0.9, "lr": 0.01, "epochs": 1, "batch": 32},
    "scrub": {"msteps": 1, "beta": 0.1, "lr": 0.01, "epochs": 1, "batch": 32},
    "salun": {"lr": 0.02, "epochs": 1, "batch": 32, "keep": 0.4},
    "l1_sparse": {"gamma": 1e-4, "lr": 0.02, "epochs": 2, "batch": 32},
}


@pytest.fixture(scope="module")
def data() -> Examples:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    return Examples(images, labels, torch.full((1,), 0.5), torch.full((1,), 0.3))


def networks(seeds) -> list:
    return [models.build("small_cnn", num_classes=CLASSES, in_channels=1, width=4, seed=seed) for seed in seeds]


def strata(seed: int) -> Strata:
    mixed = np.random.default_rng(seed).permutation(N)[:21]
    return Strata(*(np.sort(part) for part in np.split(mixed, 3)))


def unlearned(data: Examples, name: str, strategy: str, seeds) -> rum.Unlearned:
    sets = [strata(seed) for seed in seeds]
    how = {"algorithm": name, "strategy": strategy, "settings": SETTINGS.get(name, {"lr": 0.02, "epochs": 1, "batch": 32})}
    fresh = lambda seeds: Stack(networks(seeds))  # noqa: E731
    return rum.unlearn(Stack(networks(seeds)), data, sets, **how, seed=list(seeds), fresh=fresh)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STACKABLE_ALGORITHMS))
def test_a_network_is_the_same_to_the_bit_in_any_company(data, name):
    """So an interrupted study may cut its stacks anew, and a live run gives what the study gave."""
    together = training.predict(unlearned(data, name, "shuffle", range(K)).model, data)
    for seeds in ([0, 1], [4], [2, 3, 5]):
        some = training.predict(unlearned(data, name, "shuffle", seeds).model, data)
        assert torch.equal(some, together[seeds]), seeds
    assert not torch.equal(together[0], together[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STACKABLE_ALGORITHMS))
def test_an_algorithm_does_the_same_to_a_stack_as_to_a_network_alone(data, name):
    """To rounding: a stack computes convolutions as matrix products."""
    stack = unlearned(data, name, "rum_f", [3, 4])
    logits = training.predict(stack.model, data)
    settings = SETTINGS.get(name, {"lr": 0.02, "epochs": 1, "batch": 32})
    for j, seed in enumerate([3, 4]):
        fresh = lambda seed: networks([seed])[0]  # noqa: E731
        how = {"algorithm": name, "strategy": "rum_f", "settings": settings, "seed": seed, "fresh": fresh}
        alone = rum.unlearn(networks([seed])[0], data, strata(seed), **how)
        assert torch.allclose(training.predict(alone.model, data), logits[j], atol=2e-3)
        assert (float(alone.passes_retain), float(alone.passes_forget)) == (stack.passes_retain[j], stack.passes_forget[j])


def test_signals_and_proxies_of_a_stack_are_those_of_its_networks(data):
    seeds = [0, 1, 2]
    stack = Stack(networks(seeds))
    recorder = SignalRecorder(N, data.device, networks=3)
    trace = proxies.CurvatureTrace(stack, data, 0.01)
    training.fit(stack, data, RECIPE, seeds, recorder=recorder, after_epoch=trace.after_epoch)
    settings = HoldoutRetraining(lr=0.05, epochs=4, patience=1, batch=32)
    tuned = proxies.holdout_retraining(stack, data, data, settings, seeds)
    for j, seed in enumerate(seeds):
        network, own = networks([seed])[0], SignalRecorder(N, data.device)
        own_trace = proxies.CurvatureTrace(network, data, 0.01)
        training.fit(network, data, RECIPE, seed, recorder=own, after_epoch=own_trace.after_epoch)
        for name, raw in own.raw().items():
            assert np.allclose(raw, recorder.raw()[name][j], atol=2e-3), name
        # where a step crosses a ReLU's kink, rounding decides on which side: all examples but a few
        assert np.isclose(own_trace.mean(), trace.mean()[j], rtol=0.02, atol=1e-4).mean() > 0.95
        assert np.allclose(proxies.holdout_retraining(network, data, data, settings, seed), tuned[j], rtol=0.05, atol=1e-3)


@pytest.mark.slow
def test_patience_ends_for_each_network_of_a_stack_by_itself(data):
    """The one that stops early keeps the weights of that moment, whatever the others still do."""
    settings = HoldoutRetraining(lr=0.3, epochs=6, patience=1, batch=32)  # so large a rate that losses rise now and then
    seeds = list(range(K))
    together = proxies.holdout_retraining(Stack(networks(seeds)), data, data, settings, seeds)
    for seed in seeds:
        assert np.array_equal(
            proxies.holdout_retraining(Stack(networks([seed])), data, data, settings, [seed])[0], together[seed]
        )


def test_a_network_that_diverges_leaves_the_others_alone(data):
    def poisoned(seeds) -> Stack:
        stack = Stack(networks(seeds))
        with torch.no_grad():
            stack.values(1)[0].fill_(float("nan"))
        return stack

    stack = training.fit(poisoned([0, 1, 2]), data, RECIPE, [0, 1, 2])
    logits = training.predict(stack, data)
    clean = training.predict(training.fit(Stack(networks([0, 2])), data, RECIPE, [0, 2]), data)
    assert torch.isnan(logits[1]).all() and torch.equal(logits[[0, 2]], clean)


def test_relearn_time_of_a_stack(data):
    stack = training.fit(Stack(networks([0, 1])), data, RECIPE, [0, 1])
    sets = np.stack([strata(0).forget, strata(1).forget])
    recipe = Recipe(epochs=15, batch=16, lr=0.02)
    epochs = relearn.relearn_epochs(stack, data, sets, recipe, [0.9, 0.9], [0, 1])
    for j in range(2):
        alone = training.fit(Stack(networks([j])), data, RECIPE, [j])
        assert relearn.relearn_epochs(alone, data, sets[[j]], recipe, [0.9], [j]) == [epochs[j]]


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 3, 3]), (8, 4, [4, 4]), (3, 4, [3]), (130, 128, [65, 65])])
def test_method10_10_batches_are_of_nearly_equal_size(n, size, sizes):
    order = torch.arange(n)
    assert [len(piece) for piece in training.batches(order, size)] == sizes
    assert torch.equal(torch.cat(training.batches(order, size)), order)
    assert [piece.shape[1] for piece in training.batches(order.expand(3, -1), size)] == sizes


def test_every_algorithm_is_known_by_name_before_it_is_imported():
    from mulnb import unlearning

    assert set(ALGORITHMS.builtin) == set(unlearning.ALGORITHMS) and set(ALGORITHMS.builtin) > STACKABLE_ALGORITHMS
