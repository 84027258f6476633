"""The user's own way to train, in every algorithm; settings that cannot be right; progress and cancelling."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, Convolutional, forgotten, memorizing, same, state

import mulnb
from mulnb import Training
from mulnb.core.errors import UserError
from mulnb.your_model.progress import Cancelled, State

TRAINED = ("fine_tune", "l1_sparse", "neg_grad", "neg_grad_plus", "random_label", "salun", "scrub", "retrain")
SETTINGS = {"scrub": QUICK | {"msteps": 1}}


def unlearn(algorithm="neg_grad_plus", **options):
    how = {"algorithm": algorithm, "strategy": "vanilla", "fresh": Convolutional, "settings": SETTINGS.get(algorithm, QUICK)}
    return mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], **how | options).model


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", TRAINED)
def test_every_algorithm_takes_the_users_optimizer(algorithm):
    made = []

    def adam(parameters, lr):
        made.append((len(parameters), lr))
        return torch.optim.AdamW(parameters, lr=lr)

    before = state(memorizing())
    assert not torch.equal(weights(unlearn(algorithm, training=Training(optimizer=adam))), weights(unlearn(algorithm)))
    assert made and set(made) == {(6, QUICK["lr"])}
    assert same(before, state(memorizing()))


def test_plain_sgd_given_by_the_user_is_what_is_done_anyway():
    own = Training(optimizer=lambda what, lr: torch.optim.SGD(what, lr=lr, momentum=0.9, weight_decay=5e-4))
    assert torch.allclose(weights(unlearn(training=own)), weights(unlearn()), atol=1e-6)


def test_weight_groups_keep_their_own_rates_under_a_schedule():
    seen = []

    def groups(network):
        assert isinstance(network, Convolutional)  # the user's network, not a wrapper of ours
        return [{"params": network.conv.parameters(), "lr": 0.0}, {"params": network.head.parameters(), "weight_decay": 0.0}]

    def sgd(what, lr):
        optimizer = torch.optim.SGD(what, lr=lr)
        optimizer.register_step_post_hook(lambda opt, *_: seen.append([group["lr"] for group in opt.param_groups]))
        return optimizer

    found = unlearn(training=Training(optimizer=sgd, groups=groups, schedule="cosine"))
    assert torch.equal(found.conv.weight, memorizing().conv.weight) and not torch.equal(
        found.head[0].weight, memorizing().head[0].weight
    )
    steps = len(seen) // QUICK["epochs"]
    assert np.allclose(seen[0], [0.0, QUICK["lr"]]) and math.isclose(seen[steps][1], QUICK["lr"] / 2, rel_tol=1e-6)


def test_a_transform_sees_images_before_the_normalisation_and_only_in_training():
    seen = []

    def mirror(x):
        seen.append((float(x.min()), float(x.max()), len(x)))
        return x.flip(3)

    own = Training(transform=mirror)
    found = unlearn("fine_tune", training=own, normalize=(0.4, 0.2))
    assert seen and all(low >= -1e-5 and high <= 1 + 1e-5 for low, high, _ in seen)
    mirrored = mulnb.unlearn(
        memorizing(), np.flip(IMAGES, 3), LABELS, forgotten()[0], algorithm="fine_tune", strategy="vanilla", settings=QUICK,
        normalize=(0.4, 0.2),
    ).model  # fmt: skip
    assert torch.allclose(weights(found), weights(mirrored), atol=1e-5)
    seen.clear()
    mulnb.evaluate(found, IMAGES, LABELS, forgotten()[0], holdout=HOLDOUT)
    mulnb.score(memorizing(), IMAGES, LABELS, proxy="loss_curvature", training=own)
    assert not seen


def test_precision_and_batch_size():
    model = unlearn("fine_tune", training=Training(precision="bf16"))
    assert model.conv.weight.dtype == torch.float32 and not torch.equal(weights(model), weights(unlearn("fine_tune")))
    small = unlearn("fine_tune", training=Training(batch=16), settings={"epochs": 2, "lr": 0.05})
    assert torch.equal(weights(small), weights(unlearn("fine_tune", settings={"epochs": 2, "lr": 0.05, "batch": 16})))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fine_tune", "l1_sparse", "salun", "scrub"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_leads_almost_where_full_precision_does(precision, algorithm):
    """In fp16 losses are scaled by 65 536: weights would fly off if any gradient kept that scale, such as that of a penalty."""
    full = weights(unlearn(algorithm))
    mixed = weights(unlearn(algorithm, training=Training(precision=precision)))
    before = weights(memorizing())
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, full)
    assert float((mixed - full).norm()) < 0.3 * float((full - before).norm())


def test_steps_whose_gradients_overflow_are_left_out():
    """The first scale, 2^16, is too large for such inputs: it is halved until the gradients are finite."""

    def steps(precision):
        finite = []

        class Noted(torch.optim.SGD):
            def step(self, closure=None):
                parts = [part for group in self.param_groups for part in group["params"]]
                finite.append(all(bool(torch.isfinite(part.grad).all()) for part in parts))
                return super().step(closure)

        own = Training(precision=precision, optimizer=lambda what, lr: Noted(what, lr=lr / 1e6), transform=lambda x: x * 100)
        found = unlearn("random_label", training=own, settings={"epochs": 3, "batch": 16, "lr": 0.01})
        assert finite and all(finite) and torch.isfinite(weights(found)).all()
        return len(finite)

    assert 0 < steps("fp16") < steps("fp32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fp16_on_a_gpu():
    model = copy.deepcopy(memorizing()).cuda()
    how = {"settings": {"epochs": 2, "batch": 32, "lr": 0.05}, "training": Training(precision="fp16")}
    found = mulnb.unlearn(model, IMAGES, LABELS, [3, 9, 27], **how).model
    assert found.conv.weight.device.type == "cuda" and found.conv.weight.dtype == torch.float32
    assert not torch.equal(weights(found), weights(model))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(optimizer=3), "optimizer is a int: expected a function"),
        (lambda: Training(schedule="step"), "schedule 'step' is unknown: known are constant, cosine, linear"),
        (lambda: Training(precision="fp8"), "precision 'fp8' is unknown"),
        (lambda: Training(batch=1), "batch = 1"),
        (
            lambda: mulnb.unlearn(Convolutional().half(), IMAGES, LABELS, [1], training=Training(precision="fp16")),
            "precision 'fp16' needs weights in float32",
        ),
        (lambda: unlearn(training=Training(optimizer=lambda what, lr: None)), "optimizer returns a NoneType"),
        (
            lambda: unlearn(training=Training(optimizer=lambda what, lr: torch.optim.SGD(Convolutional().parameters(), lr))),
            "the optimizer has none of the network's parameters",
        ),
        (lambda: unlearn(training=Training(optimizer=lambda what: None)), "the optimizer cannot be built: TypeError"),
        (lambda: unlearn(training=Training(transform=lambda x: x[:1])), r"the transform turns float32 \[\d+, 1, 6, 6\] into"),
        (lambda: unlearn(training=Training(transform=lambda x: 1 / 0)), "the transform failed on images"),
        (
            lambda: unlearn(training=Training(transform=lambda x: (255 * x).byte())),
            r"into uint8 \[\d+, 1, 6, 6\]: expected floating point, on the scale of what it is given",
        ),
        (lambda: unlearn(training=Training(optimizer=torch.optim.SparseAdam)), "a step of SparseAdam failed: RuntimeError"),
    ],
)
def test_a_recipe_that_cannot_work(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        ("salun", {"keep": 0}, "salun: keep = 0: should be above 0 and at most 1"),
        ("salun", {"lr": -1}, "salun: lr = -1: should be positive"),
        ("fine_tune", {"lr": float("inf")}, "fine_tune: lr = inf"),
        ("fine_tune", {"lr": "0.1"}, "fine_tune: lr = '0.1'"),
        ("fine_tune", {"epochs": 1.5}, "epochs = 1.5: should be a whole number"),
        ("fine_tune", {"batch": 1}, "batch = 1: should be a whole number of at least 2"),
        ("neg_grad_plus", {"alpha": 1.5}, "alpha = 1.5: should be between 0"),
        ("influence", {"alpha": -1}, "alpha = -1: should be 0 or more"),
        ("influence", {"samples": 0}, "samples = 0"),
        ("influence", {"damping": 0}, "damping = 0: should be positive"),
        ("l1_sparse", {"gamma": -1}, "gamma = -1: should be 0 or more"),
        ("scrub", {"msteps": 9}, "msteps = 9: should be between 0 and epochs = 5"),
        ("scrub", {"temperature": 0}, "temperature = 0: should be positive"),
        ("retrain", {"epochs": 3}, "retrain: batch: Field required"),
        ("fine_tune", {"speed": 3}, "has no setting 'speed'"),
        ("fine_tune", 3, "settings of fine_tune are a int"),
    ],
)
def test_settings_that_cannot_be_right_are_told_before_any_work(algorithm, settings, message):
    watched = memorizing()
    calls = []
    handle = watched.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(UserError, match=message) as error:
        mulnb.unlearn(watched, IMAGES, LABELS, forgotten()[0], algorithm=algorithm, settings=settings, fresh=Convolutional)
    handle.remove()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [-1, 0.5, True, "1", 2**40])
def test_seeds_that_no_generator_takes(seed):
    with pytest.raises(UserError, match="seed = "):
        mulnb.score(memorizing(), IMAGES, LABELS, proxy="loss_curvature", seed=seed)


def test_a_recipe_and_words_of_another_kind_are_told_at_every_door():
    data = (memorizing(), IMAGES, LABELS)
    doors = {
        "score": lambda **more: mulnb.score(*data, holdout=HOLDOUT, **more),
        "unlearn": lambda **more: mulnb.unlearn(*data, [3], **more),
        "tune": lambda **more: mulnb.tune(*data, [3], holdout=HOLDOUT, **more),
        "forget": lambda **more: mulnb.forget(memorizing(), data[1:], [3], holdout=HOLDOUT, **more),
    }
    for door in doors.values():
        with pytest.raises(UserError, match=r"training is a dict: expected mulnb\.Training"):
            door(training={"lr": 0.1})
    for door, words in (("unlearn", "'refuse' or 'keep'"), ("forget", "'refuse', 'keep' or 'forget'")):
        with pytest.raises(UserError, match=f"duplicates = 'remove': should be {words}"):
            doors[door](duplicates="remove")


def test_a_seed_may_be_a_number_of_numpy():
    expected = mulnb.unlearn(memorizing(), IMAGES, LABELS, [3], settings=QUICK, seed=5)
    found = mulnb.unlearn(memorizing(), IMAGES, LABELS, [3], settings=QUICK, seed=np.int64(5))
    assert type(found.seed) is int and torch.equal(found.model.conv.weight, expected.model.conv.weight)


def test_a_training_that_diverges_says_where():
    with pytest.raises(UserError, match=r"scrub, stage 1 of 3 \(14 examples\): training diverged .* use a smaller lr"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], algorithm="scrub", settings={"lr": 1e6})


def test_progress_is_told_and_can_cancel():
    told: list[State] = []
    mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=QUICK, progress=lambda s: told.append(s))
    assert told and all(isinstance(given, State) for given in told) and told[-1].doing.startswith("unlearning: neg_grad_plus")
    before = state(memorizing())
    with pytest.raises(Cancelled, match=r"cancelled while unlearning: .*: the model and the data given are unchanged"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=QUICK, progress=lambda s: False)
    with pytest.raises(Cancelled, match="scoring by hold-out retraining"):
        mulnb.score(memorizing(), IMAGES, LABELS, holdout=HOLDOUT, progress=lambda s: False)
    assert same(before, state(memorizing()))
    with pytest.raises(UserError, match="progress is a int"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=QUICK, progress=3)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (lambda done: 1 / 0, "the schedule failed: ZeroDivisionError"),
        (lambda done: "a", "the schedule failed: ValueError"),
        (lambda done: None, "the schedule failed: TypeError"),
        (lambda done: float("nan"), "the schedule returns nan for 0.00"),
    ],
)
def test_a_schedule_that_fails_is_one_line(schedule, words):
    with pytest.raises(UserError, match=words):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, [1], settings=QUICK, training=mulnb.Training(schedule=schedule))
