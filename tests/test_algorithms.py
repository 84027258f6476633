"""Each unlearning algorithm does what its paper says, and one from outside the package runs like the others."""

from __future__ import annotations

import copy
import importlib.util
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mulnb import load_profile, models, rum, study, unlearning
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.forget import Strata
from mulnb.training import Batch, Diverged, Examples, fit, predict
from mulnb.unlearning import influence as influence_module
from mulnb.unlearning import l1_sparse as l1_sparse_module
from mulnb.unlearning import scrub as scrub_module

NEW = ("l1_sparse", "neg_grad", "scrub", "influence")
FORGET, RETAIN = torch.arange(24), torch.arange(24, 200)
STRATA = Strata(np.arange(8), np.arange(8, 16), np.arange(16, 24))
SGD = {"lr": 0.02, "epochs": 3, "batch": 32}


@pytest.fixture(scope="module")
def data() -> Examples:
    """200 images of four kinds that can be learned, some forgotten ones with a wrong label that only memory can explain."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    images = torch.randint(0, 90, (200, 1, 8, 8), generator=generator)
    for label in range(4):
        images[labels == label, :, 2 * label : 2 * label + 2] += 60
    labels[:6] = (labels[:6] + 1) % 4
    return Examples(images.to(torch.uint8), labels, torch.tensor([0.4]), torch.tensor([0.3]))


@pytest.fixture(scope="module")
def original(data) -> nn.Module:
    network = models.build("small_cnn", num_classes=4, in_channels=1, width=4, seed=0)
    return fit(network, data, Recipe(epochs=6, batch=32, lr=0.1, schedule="cosine"), seed=0)


def run(name: str, model: nn.Module, data: Examples, seed: int = 3, **settings) -> nn.Module:
    return unlearning.ALGORITHMS[name](copy.deepcopy(model), data, FORGET, RETAIN, seed=seed, fresh=None, **settings)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def batch_of(data: Examples, index: torch.Tensor, epoch: int = 0) -> Batch:
    return Batch(index, data.inputs(index), data.labels[index], epoch)


def theta(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def divergence(teacher: nn.Module, student: nn.Module, data: Examples, index: torch.Tensor, temperature: float = 1.0) -> float:
    """Mean KL(teacher ‖ student), both softened, written out."""
    p, q = ((predict(model, data, index) / temperature).softmax(1) for model in (teacher, student))
    return (p * (p / q).log()).sum(1).mean().item()


# --- ℓ1-sparse -----------------------------------------------------------------------------------------------------------


def test_l1_sparse_without_a_penalty_is_fine_tuning_bit_for_bit(data, original):
    tuned = run("fine_tune", original, data, **SGD)
    assert same(tuned, run("l1_sparse", original, data, gamma=0, **SGD))
    assert not same(tuned, run("l1_sparse", original, data, gamma=1e-5, **SGD))


def test_l1_sparse_shrinks_the_norm_with_gamma(data, original):
    norms = [theta(run("l1_sparse", original, data, gamma=gamma, **SGD)).abs().sum() for gamma in (0, 1e-3, 1e-2)]
    assert norms[0] > norms[1] > norms[2]


def test_l1_sparse_penalty_falls_linearly_and_covers_every_parameter(data, original, monkeypatch):
    objectives = []
    monkeypatch.setattr(l1_sparse_module, "fit", lambda model, *_, objective, **__: objectives.append(objective) or model)
    model = l1_sparse_module.l1_sparse(copy.deepcopy(original), data, FORGET, RETAIN, seed=0, gamma=0.01, epochs=4).eval()
    loss = F.cross_entropy(predict(model, data, RETAIN[:32]), data.labels[RETAIN[:32]])
    for epoch, share in enumerate((1, 0.75, 0.5, 0.25)):
        penalty = objectives[0](model, batch_of(data, RETAIN[:32], epoch))[0] - loss
        assert penalty.item() == pytest.approx(0.01 * share * theta(model).abs().sum().item(), rel=1e-4)
    objectives[0](model, batch_of(data, RETAIN[:32], 2))[0].backward()
    norm_weight = model[1].weight  # BatchNorm's count like any other: its gradient holds γ·(1 − e/E)·sign θ
    plain = torch.autograd.grad(F.cross_entropy(model(data.inputs(RETAIN[:32])), data.labels[RETAIN[:32]]), norm_weight)[0]
    assert torch.allclose(norm_weight.grad - plain, 0.005 * norm_weight.sign(), atol=1e-6)


# --- NegGrad -------------------------------------------------------------------------------------------------------------


def test_neg_grad_climbs_on_the_forget_set(data, original):
    def loss_on_s(lr: float) -> float:
        return F.cross_entropy(predict(run("neg_grad", original, data, lr=lr), data, FORGET), data.labels[FORGET]).item()

    assert loss_on_s(1e-4) < loss_on_s(3e-3) < loss_on_s(3e-2)


def test_neg_grad_never_looks_at_the_retain_set(data, original):
    poisoned = Examples(data.images.clone(), data.labels.clone(), torch.tensor([0.4]), torch.tensor([0.3]))
    poisoned.images[RETAIN], poisoned.labels[RETAIN] = 255, 0
    assert same(run("neg_grad", original, data, lr=0.01), run("neg_grad", original, poisoned, lr=0.01))


# --- SCRUB ---------------------------------------------------------------------------------------------------------------


def test_scrub_without_max_steps_and_teacher_is_fine_tuning_bit_for_bit(data, original):
    tuned = run("fine_tune", original, data, **SGD)
    assert same(tuned, run("scrub", original, data, msteps=0, beta=0, gamma=1, **SGD))
    for other in ({"msteps": 1}, {"beta": 1e-3}, {"gamma": 0.99}):
        assert not same(tuned, run("scrub", original, data, **{"msteps": 0, "beta": 0, "gamma": 1} | other, **SGD))


def test_scrub_disobeys_on_the_forget_set_and_obeys_on_the_retain_set(data, original):
    def far(index: torch.Tensor, **settings) -> float:
        return divergence(original, run("scrub", original, data, **SGD | {"lr": 0.05} | settings), data, index)

    assert far(FORGET, msteps=3) > 1.3 * far(FORGET, msteps=0)
    assert far(RETAIN, msteps=0, beta=1, gamma=0) < 0.5 * far(RETAIN, msteps=0, beta=0, gamma=1)


def test_scrub_alternates_max_and_min_passes(data, original, monkeypatch):
    passes: list[str] = []

    def spied(model, data, recipe, seed, *, index, objective, after_epoch=None):
        def seen(model, on):
            passes.append("S" if (on.index < 24).all() else "R" if (on.index >= 24).all() else "both")
            return objective(model, on)

        return fit(model, data, recipe, seed, index=index, objective=seen, after_epoch=after_epoch)

    monkeypatch.setattr(scrub_module, "fit", spied)
    run("scrub", original, data, msteps=2, epochs=4, batch=256)  # a pass is one step
    assert "".join(passes) == "SRSRRR"


def test_scrub_climbs_in_an_order_of_its_own_in_every_epoch(data, original, monkeypatch):
    climbs = []

    def spied(model, data, recipe, seed, *, index, objective, after_epoch=None):
        if len(index) == len(FORGET):
            climbs.append((seed, recipe.epochs, recipe.batch, recipe.lr))
        return fit(model, data, recipe, seed, index=index, objective=objective, after_epoch=after_epoch)

    monkeypatch.setattr(scrub_module, "fit", spied)
    run("scrub", original, data, seed=3, msteps=3, epochs=3, batch=64, lr=0.01)
    assert len({seed for seed, *_ in climbs} | {3}) == 4  # nor is it the order of the descent
    assert {tuple(recipe) for _, *recipe in climbs} == {(1, 64, 0.01)}


def test_scrub_objectives_by_hand_and_the_teacher_stays_the_original(data, original, monkeypatch):
    """Looked at when the training is over: a teacher that learned along would be at distance 0 from its student."""
    objectives = {}

    def spied(model, data, recipe, seed, *, index, objective, after_epoch=None):
        objectives[len(index)] = objective
        return fit(model, data, recipe, seed, index=index, objective=objective, after_epoch=after_epoch)

    monkeypatch.setattr(scrub_module, "fit", spied)
    student = run("scrub", original, data, beta=0.3, gamma=0.7, temperature=2.0, msteps=1, epochs=2, batch=64, lr=0.05).eval()
    up, down = (objectives[len(index)](student, batch_of(data, index))[0].item() for index in (FORGET, RETAIN))
    loss = F.cross_entropy(predict(student, data, RETAIN), data.labels[RETAIN]).item()
    assert divergence(original, student, data, FORGET) > 1e-3
    assert up == pytest.approx(-4 * divergence(original, student, data, FORGET, 2.0), rel=1e-3)
    assert down == pytest.approx(0.7 * loss + 0.3 * 4 * divergence(original, student, data, RETAIN, 2.0), rel=1e-3)


# --- influence -----------------------------------------------------------------------------------------------------------


def test_influence_moves_weights_only_and_by_alpha(data, original):
    """In eval mode: BatchNorm's statistics stay, and how the examples are batched changes nothing but rounding."""
    once, twice = (run("influence", original, data, alpha=alpha, samples=32) for alpha in (0.5, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(original.buffers(), once.buffers(), strict=True))
    assert torch.allclose(theta(twice) - theta(original), 2 * (theta(once) - theta(original)), rtol=1e-3, atol=1e-6)
    assert torch.allclose(theta(run("influence", original, data, alpha=0.5, samples=32, batch=7)), theta(once), atol=1e-5)
    assert not same(once, run("influence", original, data, seed=4, alpha=0.5, samples=32))  # the seed draws the samples
    assert same(original, run("influence", original, data, alpha=0))


def test_influence_takes_so_many_samples_or_all_there_are(data, original, monkeypatch):
    counts = []

    def kept(gradients, target, damping):
        counts.append(len(gradients))
        return torch.zeros_like(target)

    monkeypatch.setattr(influence_module, "solve", kept)
    for samples in (8, 500):
        influence_module.influence(copy.deepcopy(original), data, FORGET, RETAIN[:16], seed=3, samples=samples)
    assert counts == [8, 16]


def test_influence_leaves_frozen_parameters_alone(data, original):
    model = copy.deepcopy(original)
    model[0].weight.requires_grad_(False)
    moved = run("influence", model, data)
    assert torch.equal(moved[0].weight, model[0].weight) and not same(moved, model)


# --- all of them ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("l1_sparse", {"gamma": -1e-4}),
        ("scrub", {"temperature": 0}),
        ("scrub", {"msteps": 6, "epochs": 5}),
        ("scrub", {"msteps": -1}),
        ("scrub", {"beta": -0.1}),
        ("scrub", {"gamma": -0.1}),
        ("influence", {"alpha": -1}),
        ("influence", {"damping": 0}),
        ("influence", {"samples": 0}),
        ("influence", {"batch": 0}),
    ],
)
def test_impossible_settings_are_refused_in_one_line(data, original, name, settings):
    before = copy.deepcopy(original)
    with pytest.raises(UserError, match=f"^{name}: .*{next(iter(settings))} = ") as error:
        run(name, original, data, **settings)
    assert "\n" not in str(error.value) and same(original, before)


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, {"lr": 1e30}) for name in ("l1_sparse", "neg_grad", "scrub")] + [("influence", {"alpha": 1e38})],
)
def test_a_result_that_is_not_finite_is_an_error(data, original, name, settings):
    with pytest.raises(Diverged, match=f"use a smaller {next(iter(settings))}"):
        run(name, original, data, **settings)


def plain_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 15 * 15, 10))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["no_batchnorm", "small_cnn", "resnet18", "vgg16_bn"])
@pytest.mark.parametrize("name", NEW)
def test_every_architecture_is_unlearned_in_place_and_keeps_its_modes(name, arch):
    model = plain_cnn() if arch == "no_batchnorm" else models.build(arch, num_classes=10, width=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    images = Examples(torch.randn(24, 3, 32, 32, generator=generator), torch.randint(0, 10, (24,), generator=generator))
    for module in model.modules():
        module.training = not isinstance(module, nn.BatchNorm2d)  # a caller's frozen BatchNorm
    modes, before = [module.training for module in model.modules()], copy.deepcopy(model)
    state = torch.get_rng_state()
    settings = {"samples": 4} if name == "influence" else {"epochs": 1, "batch": 8, **({"msteps": 1} if name == "scrub" else {})}
    found = unlearning.ALGORITHMS[name](model, images, torch.arange(8), torch.arange(8, 24), seed=0, fresh=None, **settings)
    assert found is model and not same(model, before)
    assert all(math.isfinite(value) for value in theta(model).tolist())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)  # all randomness comes from `seed`


# --- one from outside ----------------------------------------------------------------------------------------------------

MY_ALGORITHM = '''
"""Forgetting by noise: a file that is in no folder of the package."""

import torch

CALLS = []


def my_algorithm(model, data, forget, retain, *, seed, fresh=None, strength=0.1):
    CALLS.append((forget.tolist(), len(retain), strength))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            parameter += strength * parameter.abs().mean() * noise
    return model
'''


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list[tuple[list[int], int, float]]:
    """The calls of `my_algorithm`, which is added to the registry from a file of one's own."""
    path = tmp_path / "my_algorithm.py"
    path.write_text(MY_ALGORITHM)
    spec = importlib.util.spec_from_file_location("my_algorithm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(unlearning.ALGORITHMS, "my_algorithm", module.my_algorithm)
    return module.CALLS


def test_an_algorithm_from_outside_runs_through_every_strategy(data, original, calls):
    def unlearned(strategy: str, algorithm="my_algorithm", settings=None) -> nn.Module:
        given = settings or {"strength": 0.05}
        return rum.unlearn(original, data, STRATA, algorithm=algorithm, strategy=strategy, settings=given, seed=5).model

    expected = {"vanilla": [24], "shuffle": [8, 8, 8], "rum_f": [8, 8, 8]}
    for strategy, sizes in expected.items():
        assert not same(unlearned(strategy), original)
        assert [len(forget) for forget, _, _ in calls] == sizes
        assert [retained for _, retained, _ in calls] == [200 - gone for gone in np.cumsum(sizes)]
        calls.clear()
    mixed = unlearned("rum", [None, "fine_tune", "my_algorithm"], [{}, {"epochs": 1, "batch": 64}, {"strength": 0.2}])
    assert calls == [(list(range(16, 24)), 176, 0.2)] and not same(mixed, original)
    with pytest.raises(UserError, match="'my_algorithm' has no setting 'lr': it has strength"):
        unlearned("vanilla", settings={"lr": 0.1})


@pytest.mark.slow
def test_an_algorithm_from_outside_runs_through_a_whole_study(calls):
    profile = load_profile(
        "smoke",
        {
            "seeds": [0],
            "sequential.algorithm": "my_algorithm",
            "unlearning.scores": ["confidence"],  # needs no pool of models
            "unlearning.algorithms": {
                "my_algorithm": {
                    "vanilla": {"strength": 0.3},
                    "shuffle": {"strength": 0.2},
                    "rum_f": [{"strength": 0.1}, {"strength": 0.2}, {"strength": 0.3}],
                }
            },
            "unlearning.rum": {
                "low": {"algorithm": None},
                "medium": {"algorithm": "fine_tune", "settings": {"lr": 0.03, "epochs": 1, "batch": 128}},
                "high": {"algorithm": "my_algorithm", "settings": {"strength": 0.4}},
            },
        },
    )
    frame = study.unlearning(profile).set_index(["algorithm", "strategy"])
    outside = [("my_algorithm", strategy) for strategy in ("vanilla", "shuffle", "rum_f")]
    assert set(frame.index) == {*outside, ("rum", "rum"), ("nothing", "nothing"), ("retrain", "vanilla")}
    assert frame[["tow", "tow_mia"]].notna().all().all() and frame.tow.between(0, 1).all()
    assert [strength for _, _, strength in calls] == [0.3, 0.2, 0.2, 0.2, 0.1, 0.2, 0.3, 0.4]
