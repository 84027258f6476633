"""Unlearning algorithms and strategies: what may move, what must not, and the known mistakes."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mulnb import models, rum, unlearning
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.forget import Strata
from mulnb.training import Batch, Examples, fit, predict
from mulnb.unlearning import neg_grad_plus as neg_grad_plus_module
from mulnb.unlearning import random_label as random_label_module
from mulnb.unlearning.salun import saliency_mask

ALGORITHMS = sorted(set(unlearning.ALGORITHMS) - {"retrain"})
FORGET, RETAIN = torch.arange(24), torch.arange(24, 200)
STRATA = Strata(np.arange(8), np.arange(8, 16), np.arange(16, 24))


def fresh(seed: int) -> torch.nn.Module:
    return models.build("small_cnn", num_classes=4, in_channels=1, width=4, seed=seed)


@pytest.fixture(scope="module")
def data() -> Examples:
    """200 images of four kinds that can be learned, in a random order of classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    images = torch.randint(0, 90, (200, 1, 8, 8), generator=generator)
    for label in range(4):
        images[labels == label, :, 2 * label : 2 * label + 2] += 150
    return Examples(images.to(torch.uint8), labels, torch.tensor([0.4]), torch.tensor([0.3]))


@pytest.fixture(scope="module")
def original(data) -> torch.nn.Module:
    return fit(fresh(0), data, Recipe(epochs=8, batch=32, lr=0.1, schedule="cosine"), seed=0)


def run(name: str, model: torch.nn.Module, data: Examples, **settings) -> torch.nn.Module:
    return unlearning.ALGORITHMS[name](copy.deepcopy(model), data, FORGET, RETAIN, seed=3, fresh=fresh, **settings)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_neg_grad_plus_with_alpha_one_is_fine_tuning_bit_for_bit(data, original):
    settings = {"lr": 0.02, "epochs": 3, "batch": 32}
    tuned = run("fine_tune", original, data, **settings)
    assert same(tuned, run("neg_grad_plus", original, data, alpha=1, **settings))  # BatchNorm statistics included
    assert not same(tuned, run("neg_grad_plus", original, data, alpha=0.99, **settings))


def test_neg_grad_plus_forgets_more_with_a_smaller_alpha(data, original):
    def loss_on_s(alpha: float) -> float:
        model = run("neg_grad_plus", original, data, alpha=alpha, lr=0.02, epochs=4, batch=64)
        return F.cross_entropy(predict(model, data, FORGET), data.labels[FORGET]).item()

    losses = [loss_on_s(alpha) for alpha in (1, 0.95, 0.8)]
    assert losses[0] < losses[1] < losses[2]


def test_neg_grad_plus_objective_by_hand(data, monkeypatch):
    objectives = []

    def kept(model, *_, objective, **__):
        objectives.append(objective)
        return model

    monkeypatch.setattr(neg_grad_plus_module, "fit", kept)
    model = run("neg_grad_plus", fresh(0), data, alpha=0.7, batch=256).eval()
    on = RETAIN[:32]
    found = objectives[0](model, Batch(on, data.inputs(on), data.labels[on], 0))[0].item()
    loss_r, loss_s = (F.cross_entropy(predict(model, data, index), data.labels[index]).item() for index in (on, FORGET))
    assert found == pytest.approx(0.7 * loss_r - 0.3 * loss_s, rel=1e-4)


def test_neg_grad_plus_goes_through_the_forget_set_in_a_new_order_each_time():
    ascent = neg_grad_plus_module._cycle(torch.arange(24), 24, 3)
    first, second = next(ascent), next(ascent)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(24)) and not torch.equal(first, second)
    of_the_batches = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    assert not torch.equal(first, of_the_batches)


def test_random_labels_are_drawn_from_the_seed(data, original, monkeypatch):
    draw, drawn = random_label_module._wrong_labels, []

    def kept(*given):
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(random_label_module, "_wrong_labels", kept)
    for seed in (3, 4):
        random_label_module.random_label(copy.deepcopy(original), data, FORGET, RETAIN, seed=seed, epochs=1, batch=256)
    assert not torch.equal(*drawn)


def test_method10_01_salun_moves_only_the_masked_in_weights(data, original):
    """Momentum and weight decay would move the others as well."""
    mask = saliency_mask(original, data, FORGET, keep=0.5)
    moved = run("salun", original, data, lr=0.1, epochs=2, batch=32)
    for chosen, before, after in zip(mask, original.parameters(), moved.parameters(), strict=True):
        assert torch.equal(before[~chosen], after[~chosen])
    changed = sum((before != after).sum().item() for before, after in zip(original.parameters(), moved.parameters(), strict=True))
    assert changed > 0.9 * sum(chosen.sum().item() for chosen in mask)
    assert not same(moved, run("random_label", original, data, lr=0.1, epochs=2, batch=32))


def test_salun_keeps_one_weight_at_least(data, original):
    assert sum(chosen.sum().item() for chosen in saliency_mask(original, data, FORGET, keep=1e-9)) == 1


def test_method10_01_saliency_mask_keeps_the_largest_gradients_of_an_untouched_model(data, original):
    """The known mistake: +∇ on a model that is being updated, which keeps the smallest."""
    model = copy.deepcopy(original)
    mask = saliency_mask(model, data, FORGET, keep=0.3, batch=7)
    assert same(model, original)
    model.eval()
    F.cross_entropy(model(data.inputs(FORGET)), data.labels[FORGET], reduction="sum").backward()
    gradient = torch.cat([parameter.grad.abs().flatten() for parameter in model.parameters()])
    chosen = torch.cat([part.flatten() for part in mask])
    assert chosen.sum() == round(0.3 * len(chosen))
    assert gradient[chosen].min() >= gradient[~chosen].max() * 0.999


@pytest.mark.parametrize("name", ["random_label", "salun"])
def test_method10_02_random_labels_reach_the_forget_set_whatever_the_data(data, original, name):
    """A silent no-op would leave the forget set where fine-tuning leaves it."""

    def certainty(algorithm: str) -> float:
        logits = predict(run(algorithm, original, data, lr=0.05, epochs=6, batch=32), data, FORGET)
        return logits.softmax(1).gather(1, data.labels[FORGET][:, None]).mean().item()

    assert certainty(name) < certainty("fine_tune") - 0.05


def test_random_labels_are_wrong_and_fresh_each_epoch(data, original, monkeypatch):
    seen: list[torch.Tensor] = []
    from mulnb.unlearning import random_label as module

    draw = module._wrong_labels
    monkeypatch.setattr(module, "_wrong_labels", lambda *args: seen.append(draw(*args)) or seen[-1])
    run("random_label", original, data, epochs=5, batch=64)
    assert len(seen) == 5
    assert all((labels != data.labels[FORGET]).all() and labels.max() < 4 and labels.min() >= 0 for labels in seen)
    assert not torch.equal(seen[0], seen[1])


def test_retrain_never_sees_the_forget_set(data, original):
    recipe = {"epochs": 2, "batch": 32, "lr": 0.1}
    oracle = run("retrain", original, data, **recipe)
    poisoned = Examples(data.images.clone(), data.labels.clone(), torch.tensor([0.4]), torch.tensor([0.3]))
    poisoned.images[FORGET] = 255
    assert same(oracle, run("retrain", original, poisoned, **recipe))
    with pytest.raises(UserError, match="fresh"):
        unlearning.ALGORITHMS["retrain"](original, data, FORGET, RETAIN, seed=0)


# --- strategies ----------------------------------------------------------------------------------------------------------


def test_stages_partition_the_forget_set():
    for strategy, count in {"vanilla": 1, "shuffle": 3, "rum_f": 3}.items():
        parts = rum.stages(STRATA, strategy, seed=1)
        assert len(parts) == count
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(24))
    assert [part.tolist() for part in rum.stages(STRATA, "rum_f", 1)] == [part.tolist() for part in STRATA]
    assert not np.array_equal(rum.stages(STRATA, "shuffle", 1)[0], rum.stages(STRATA, "shuffle", 2)[0])


@pytest.mark.parametrize("retain_later", [True, False])
def test_retain_sets_of_the_stages(data, original, monkeypatch, retain_later):
    calls = []

    def spy(model, data, forget, retain, *, seed, fresh=None):
        calls.append((forget.tolist(), set(retain.tolist()), seed))
        return model

    monkeypatch.setitem(unlearning.ALGORITHMS, "spy", spy)
    present = np.ones(200, dtype=bool)
    present[100:110] = False  # forgotten earlier: in no set any more
    rum.unlearn(
        original, data, STRATA, algorithm="spy", strategy="rum_f", seed=0, present=present, retain_later_strata=retain_later
    )
    everything = set(np.flatnonzero(present).tolist())
    assert [forget for forget, _, _ in calls] == [part.tolist() for part in STRATA]
    gone: set[int] = set() if retain_later else set(range(24))
    for forget, retain, _ in calls:
        gone |= set(forget)
        assert retain == everything - gone
    assert len({seed for _, _, seed in calls}) == 3


@pytest.mark.parametrize("strategy", ["vanilla", "shuffle", "rum_f"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_given_model_is_never_changed_and_a_run_repeats(data, original, algorithm, strategy):
    before = copy.deepcopy(original)
    quick = {"epochs": 1, "batch": 64, "msteps": 1, "samples": 32}
    known = inspect.signature(unlearning.ALGORITHMS[algorithm]).parameters
    settings = {key: value for key, value in quick.items() if key in known}  # a one-shot algorithm has no epochs
    one, two = (
        rum.unlearn(original, data, STRATA, algorithm=algorithm, strategy=strategy, settings=settings, seed=5) for _ in range(2)
    )
    assert same(original, before)
    assert same(one.model, two.model) and not same(one.model, original)
    assert one.seconds > 0


def test_settings_are_checked():
    with pytest.raises(UserError, match="unknown unlearning algorithm 'nothing'"):
        unlearning.check("nothing", {})
    with pytest.raises(UserError, match="'fine_tune' has no setting 'alpha': it has lr, epochs, batch"):
        unlearning.check("fine_tune", {"alpha": 1})


def test_settings_for_each_stage(data, original, monkeypatch):
    rates = []

    def spy(model, data, forget, retain, *, seed, fresh=None, lr=0.0):
        rates.append(lr)
        return model

    monkeypatch.setitem(unlearning.ALGORITHMS, "spy", spy)
    settings = [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    rum.unlearn(original, data, STRATA, algorithm="spy", strategy="rum_f", settings=settings, seed=0)
    assert rates == [0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="3 sets of settings for 1 stages"):
        rum.unlearn(original, data, STRATA, algorithm="spy", strategy="vanilla", settings=settings, seed=0)


def test_an_objective_gets_every_example_once_an_epoch(data):
    seen = []

    def objective(model: torch.nn.Module, batch: Batch):
        seen.append((batch.epoch, batch.index))
        logits = model(batch.inputs)
        return F.cross_entropy(logits, batch.labels), logits

    # no small batch at the end, whose step would undo others: all batches have the same size, or one example less
    for examples, expected in {64: [32, 32], 65: [22, 22, 21], 67: [23, 22, 22], 68: [23, 23, 22], 31: [31]}.items():
        seen.clear()
        recipe = Recipe(epochs=2, batch=32, lr=0.1)
        fit(fresh(1), data, recipe, seed=0, index=torch.arange(examples), objective=objective)
        for epoch in range(2):
            indices = torch.cat([index for number, index in seen if number == epoch])
            assert sorted(indices.tolist()) == list(range(examples))
        assert [len(index) for _, index in seen] == expected * 2
