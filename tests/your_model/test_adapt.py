"""Models as they are: whatever they return, however they are wrapped, and what of them must stay frozen."""

from __future__ import annotations

import copy
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, Convolutional, Returns, draw, forgotten, memorizing, same, state
from torch import nn
from torch.nn.utils import prune

import mulnb
from mulnb.core.errors import UserError
from mulnb.your_model import adapt, stand_in

Auxiliary = namedtuple("Auxiliary", ["logits", "aux"])
ALGORITHMS = {
    **{name: QUICK for name in ("fine_tune", "l1_sparse", "neg_grad", "neg_grad_plus", "random_label", "salun")},
    "scrub": QUICK | {"msteps": 1},
    "influence": {"samples": 16},
}


def unlearn(model, algorithm="neg_grad_plus", **options):
    settings = options.pop("settings", None) or ALGORITHMS[algorithm]
    return mulnb.unlearn(model, IMAGES, LABELS, forgotten()[0], algorithm=algorithm, settings=settings, **options)


def weights(model):
    return torch.cat([parameter.detach().flatten().double() for parameter in model.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: {"loss": logits.sum(), "logits": logits},
        lambda logits: {"out": logits},
        lambda logits: SimpleNamespace(logits=logits),
        lambda logits: (logits, logits * 2),
        lambda logits: [logits.sum(), logits],
        lambda logits: Auxiliary(logits, logits * 2),
        lambda logits: logits[:, :, None, None],
    ],
)
def test_the_logits_are_found_in_what_the_model_returns(wrap):
    torch.manual_seed(0)
    model = Returns(wrap)
    expected = unlearn(model.inner).model
    found = unlearn(model).model
    assert isinstance(found, Returns) and torch.equal(weights(found.inner), weights(expected))


def test_a_head_that_returns_more_in_training_mode():
    class Inception(Convolutional):
        def forward(self, x):
            logits = super().forward(x)
            return Auxiliary(logits, logits) if self.training else logits

    assert unlearn(Inception()).model.training


def test_one_logit_is_trained_by_binary_cross_entropy():
    torch.manual_seed(0)
    model, labels = Convolutional(out=1), (LABELS > 1).astype(int)
    flat = Returns(lambda logits: logits[:, 0], model)  # [B] instead of [B, 1]
    found = [mulnb.unlearn(one, IMAGES, labels, forgotten()[0], algorithm="fine_tune", settings=QUICK) for one in (model, flat)]
    assert torch.allclose(weights(found[0].model), weights(found[1].model), atol=1e-6)
    x, y = torch.from_numpy(IMAGES) / 255, torch.from_numpy(labels)
    z = model(x)
    pair = adapt.logits_of(z, len(x))
    ours = nn.functional.cross_entropy(pair, y)
    assert torch.allclose(ours, nn.functional.binary_cross_entropy_with_logits(z[:, 0], y.float()))
    with pytest.raises(UserError, match="labels run from 0 to 3, the model has 2 classes"):
        mulnb.score(model, IMAGES, LABELS, proxy="loss_curvature")


def test_outputs_of_a_sigmoid_are_warned_about():
    one = Convolutional(out=1)
    with pytest.warns(UserWarning, match="outputs are those of a sigmoid"):
        mulnb.score(Returns(lambda logits: logits.sigmoid()[:, 0], one), IMAGES, LABELS > 1, proxy="loss_curvature")
    for wrap in (torch.sigmoid, lambda logits: {"logits": 1 / (1 + (-logits).exp())}, lambda logits: (logits.tanh() + 1) / 2):
        with pytest.warns(UserWarning, match="outputs are those of a sigmoid"):
            mulnb.score(Returns(wrap), IMAGES, LABELS, proxy="loss_curvature")


def test_logits_that_happen_to_lie_in_the_unit_interval_are_not_warned_about():
    model = Convolutional()
    with torch.no_grad():
        model.head[2].weight *= 0.1
        model.head[2].bias.fill_(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*near chance")  # it is untrained, and that is said
        mulnb.score(model, IMAGES, LABELS, proxy="loss_curvature")


def test_exported_programs_are_refused_in_one_line():
    program = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), (torch.zeros(2, 1, 6, 6),)).module()
    with pytest.raises(UserError, match=r"the model failed on images|cannot be put into train and eval mode") as error:
        unlearn(program)
    assert "\n" not in str(error.value)


def test_a_model_made_in_inference_mode_can_be_trained():
    with torch.inference_mode():
        model = Convolutional()
    assert not torch.equal(weights(unlearn(model).model), weights(model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager"), lambda model: nn.DataParallel(torch.compile(model))],
)
def test_wrappers_leave_no_trace_in_the_result(wrap):
    torch.manual_seed(0)
    model = Convolutional()
    found = unlearn(wrap(model)).model
    assert list(found.state_dict()) == list(model.state_dict()) and type(found) is Convolutional
    assert torch.equal(weights(found), weights(unlearn(model).model))


def test_a_module_that_has_every_attribute_is_no_compiled_one():
    class Everything(Convolutional):
        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return None

    model = Everything()
    assert adapt.plain(model) is model


@pytest.mark.parametrize("inside", [False, True])
def test_scripted_modules_are_refused_at_the_door(inside):
    scripted = torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), torch.zeros(1, 1, 6, 6))
    with pytest.raises(UserError, match="is a TorchScript module, which cannot be copied for training"):
        unlearn(nn.Sequential(scripted) if inside else scripted)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_frozen_and_unused_parameters_in_every_algorithm(algorithm):
    torch.manual_seed(0)
    model = Convolutional(norm=True)
    model.spare = nn.Linear(3, 3)
    model.conv.requires_grad_(False)
    before = state(model)
    found = unlearn(model, algorithm).model
    assert torch.equal(found.conv.weight, model.conv.weight) and not torch.equal(found.head[0].weight, model.head[0].weight)
    assert same(before, state(model))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_frozen_batch_norm_stays_frozen(algorithm):
    torch.manual_seed(0)
    model = Convolutional(norm=True).train()
    model.norm.eval().requires_grad_(False)
    found = unlearn(model, algorithm)
    assert torch.equal(found.model.norm.running_mean, model.norm.running_mean)
    assert torch.equal(found.model.norm.running_var, model.norm.running_var)
    assert found.frozen_norms == ("norm",) and not found.model.norm.training and found.model.training
    model.norm.train().requires_grad_(True)
    moved = unlearn(model, algorithm)
    assert moved.frozen_norms == ()
    assert torch.equal(moved.model.norm.running_mean, model.norm.running_mean) == (algorithm == "influence")


def test_a_model_that_is_frozen_altogether_is_told_before_any_training():
    for call in (unlearn, lambda model: mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT)):
        with pytest.raises(UserError, match="no parameter of the model has requires_grad"):
            call(Convolutional().requires_grad_(False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_is_kept(dtype):
    torch.manual_seed(0)
    model = Convolutional().to(dtype)
    found = unlearn(model).model
    assert {parameter.dtype for parameter in found.parameters()} == {dtype}
    assert np.isfinite(mulnb.score(model, IMAGES, LABELS, proxy="loss_curvature")).all()


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.head(self.second(self.first(x.flatten(1)).relu()).relu())

    found = unlearn(Tied(), "salun")
    assert found.model.second.weight is found.model.first.weight
    again = Tied()
    path = found.save(tmp_path / "tied")
    assert path.name == "tied.safetensors"
    assert mulnb.score(path, IMAGES, LABELS, proxy="loss_curvature", factory=lambda: again).shape == (160,)


def test_one_image_can_be_forgotten_whatever_the_norm():
    class Pooled(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(1, 4, 6), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4))

    for algorithm in ALGORITHMS:
        found = mulnb.unlearn(Pooled(), IMAGES, LABELS, [5], algorithm=algorithm, settings=ALGORITHMS[algorithm])
        assert found.strategy == "vanilla" and torch.isfinite(weights(found.model)).all()


# --- what is refused, and where the work is done ---------------------------------------------------------------------------


def test_another_default_device_changes_nothing():
    model = memorizing()
    with torch.device("meta"):  # as torch.set_default_device("cuda") of a script whose model lies on the CPU
        found = unlearn(model).model
    assert torch.equal(weights(found), weights(unlearn(model).model))


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning", "ignore:.*quantization:DeprecationWarning")
def test_a_network_with_a_quantised_layer_is_refused():
    layer = torch.ao.nn.quantized.dynamic.Linear(4, 4)
    network = nn.Sequential(nn.Conv2d(1, 4, 6), nn.Flatten(), layer)
    with pytest.raises(UserError, match=r"^layer '2' is quantised and cannot be trained: give the model before that$"):
        unlearn(network)


def test_fresh_must_build_another_network():
    model = memorizing()
    for fresh in (lambda: model, lambda: trained_copy(model)):
        with pytest.raises(UserError, match="fresh returns the trained"):
            unlearn(model, "retrain", strategy="vanilla", settings={"epochs": 1, "batch": 32, "lr": 0.1}, fresh=fresh)


def trained_copy(model):
    other = Convolutional()
    other.load_state_dict(model.state_dict())
    return other


def test_fresh_must_build_a_network_that_fits():
    how = {"algorithm": "retrain", "strategy": "vanilla", "settings": {"epochs": 1, "batch": 32, "lr": 0.1}}
    cases = [
        (Convolutional(), "fresh must be a function .* and it failed: TypeError: "),  # a network, not what builds one
        (nn.Linear, "fresh must be a function without arguments .* and it failed: TypeError: "),
        (lambda: None, "fresh must be a function .* and it returned a NoneType"),
        ("resnet18", "fresh must be a function .* and it is a str"),
        (lambda: Convolutional(out=3), "fresh builds a network with 3 classes, the model has 4"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 4)), r"the model failed on images that are float32 \[8, 1, 6, 6\]"),
    ]

    for fresh, message in cases:
        with pytest.raises(UserError, match=message) as error:
            unlearn(memorizing(), fresh=fresh, **how)
        assert "\n" not in str(error.value)

    with pytest.raises(UserError, match=r"factory must be a function without arguments .* and it failed: TypeError"):
        unlearn(memorizing().state_dict(), factory=nn.Linear)


def test_a_forward_pass_without_gradients_is_told_at_the_door():
    class Deployed(Convolutional):
        """Without the gradients of its parameters, or without those of the images."""

        def __init__(self, everything):
            super().__init__()
            self.everything = everything

        def forward(self, x):
            with torch.set_grad_enabled(not self.everything):
                return super().forward(x.detach())

    for algorithm in ("fine_tune", "salun", "influence"):
        with pytest.raises(UserError, match="the model's outputs have no gradient: its forward pass"):
            unlearn(Deployed(True), algorithm)
    assert unlearn(Deployed(False)).seconds > 0
    with pytest.raises(UserError, match="no gradient with respect to the images, which loss_curvature needs"):
        mulnb.score(Deployed(False), IMAGES, LABELS, proxy="loss_curvature")


def test_features_before_the_logits_are_not_taken_for_them():
    assert torch.isfinite(weights(unlearn(Returns(lambda logits: (logits, logits.repeat(1, 8)))).model)).all()
    with pytest.raises(UserError, match="the model returns a tuple of 2: mulnb needs logits"):
        unlearn(Returns(lambda logits: (logits.repeat(1, 8), logits)))


def test_an_oracle_must_be_another_model_of_the_same_task():
    strata, _ = forgotten()
    doors = (
        lambda oracle: mulnb.evaluate(
            memorizing(), IMAGES, LABELS, strata, holdout=HOLDOUT, original=memorizing(), oracle=oracle
        ),
        lambda oracle: mulnb.tune(memorizing(), IMAGES, LABELS, strata, holdout=HOLDOUT, oracle=oracle, progress=False),
        lambda oracle: mulnb.forget(memorizing(), (IMAGES, LABELS), [1, 2], holdout=HOLDOUT, oracle=oracle, progress=False),
    )
    for door in doors:
        with pytest.raises(UserError, match="oracle has the weights of the original: give a model that was trained without"):
            door(memorizing())
        with pytest.raises(UserError, match="oracle has 3 classes, the model has 4"):
            door(Convolutional(out=3))
        for hardly in (Convolutional(), Convolutional().double()):
            with pytest.raises(
                UserError, match=r"oracle: accuracy on the retain set is .*, near chance .* or it was hardly trained"
            ):
                door(hardly)


def test_errors_of_the_model_are_told_as_such():
    class Odd(Convolutional):
        def forward(self, x):
            if self.training and len(x) > 8:
                raise AssertionError("this batch is not to my liking\nat all")
            return super().forward(x)

    with pytest.raises(UserError, match=r"the model failed on images that are float32 \[\d+, 1, 6, 6\]: this batch is not to my"):
        unlearn(Odd())


def test_calls_work_where_gradients_are_off():
    model = memorizing()
    expected = weights(unlearn(model).model)
    with torch.no_grad():
        assert torch.equal(weights(unlearn(model).model), expected)
    with torch.inference_mode():
        assert torch.equal(weights(unlearn(model).model), expected)


def test_a_hold_out_of_another_class_count_is_told():
    images, labels = draw(20, 9)
    with pytest.raises(UserError, match=r"labels of holdout run from 7 to 7, the model has 4 classes: 0 … 3"):
        mulnb.score(memorizing(), IMAGES, LABELS, holdout=(images, labels * 0 + 7))


def weight_normed():
    model = Convolutional()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(model.head[0])
    return model


def spectral_normed():
    model = Convolutional()
    nn.utils.spectral_norm(model.head[0])
    return model


def pruned():
    model = Convolutional()
    prune.l1_unstructured(model.head[0], "weight", 0.5)
    return model


@pytest.mark.parametrize(
    ("build", "can"), [(Convolutional, True), (weight_normed, False), (spectral_normed, False), (pruned, False)]
)
def test_stand_ins_of_a_network_whose_weights_are_computed_from_others_need_another_maker(build, can):
    """A layer's reset draws the computed weight, and the next forward pass computes it from the trained ones again."""
    model = build()
    model(torch.rand(4, 1, 6, 6))
    make = stand_in._drawn_anew(adapt.adapt(model))
    assert (make is not None) == can


class Keeps(Convolutional):
    """Holds what it computed last, as those do that draw maps of attention."""

    def forward(self, x):
        self.kept = {"all": [super().forward(x)]}
        return self.kept["all"][0]


@pytest.mark.slow
@pytest.mark.parametrize("build", [weight_normed, spectral_normed, pruned, Keeps])
@pytest.mark.parametrize("algorithm", ["neg_grad_plus", "scrub", "salun"])
def test_tensors_with_a_history_do_not_hinder_the_copy(build, algorithm):
    torch.manual_seed(0)
    model = build()
    model(torch.rand(4, 1, 6, 6))
    before = state(model)
    found = unlearn(model, algorithm)
    assert same(before, state(model)) and list(found.model.state_dict()) == list(model.state_dict())
    assert not torch.equal(weights(found.model), weights(model))
    again = adapt.adapt(copy.deepcopy(found.model))  # nothing is left in it that could not be copied
    assert torch.equal(weights(again), weights(found.model))
    if build is pruned:
        gone = model.head[0].weight_mask == 0
        assert gone.any() and not again(torch.rand(4, 1, 6, 6)).isnan().any() and not again.module.head[0].weight[gone].any()


def test_buffers_that_have_no_values_yet_are_refused():
    model = nn.Sequential(nn.LazyBatchNorm2d(affine=False), nn.Flatten(), nn.Linear(36, 4))
    with pytest.raises(UserError, match=r"uninitialised .lazy. parameters or buffers: run one batch"):
        adapt.adapt(model)


def test_a_model_without_values_is_refused_at_every_door():
    model = Convolutional().to("meta")
    for door in (
        lambda: unlearn(model),
        lambda: mulnb.forget(model, (IMAGES, LABELS), [1, 2], holdout=HOLDOUT, progress=False),
        lambda: mulnb.evaluate(model, IMAGES, LABELS, [1, 2], holdout=HOLDOUT),
        lambda: mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT),
        lambda: mulnb.tune(model, IMAGES, LABELS, [1, 2], holdout=HOLDOUT, progress=False),
    ):
        with pytest.raises(UserError, match="the model lies on the meta device, without weights: load them first"):
            door()


def test_a_weight_that_is_not_finite_is_named_before_any_work():
    model = Convolutional()
    model.spare = nn.Parameter(torch.tensor([1.0, torch.inf]))
    with pytest.raises(UserError, match="weight 'spare' of the model is not finite"):
        unlearn(model)


def test_a_factory_leaves_the_random_states_alone():
    before = torch.get_rng_state()
    adapt.plain(memorizing().state_dict(), Convolutional)
    assert torch.equal(before, torch.get_rng_state())


def test_calls_in_several_threads_give_the_bits_of_calls_in_turn_and_leave_the_generators_alone():
    model = Convolutional(dropout=0.3)

    def call(seed):
        return weights(mulnb.unlearn(model, IMAGES, LABELS, [1, 2, 3], settings=QUICK, seed=seed).model)

    in_turn = [call(seed) for seed in range(3)]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with ThreadPoolExecutor(3) as threads:
        at_once = list(threads.map(call, range(3)))
    assert all(torch.equal(one, other) for one, other in zip(in_turn, at_once, strict=True))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def test_mixed_precision_around_a_call_changes_nothing():
    plain = mulnb.unlearn(memorizing(), IMAGES, LABELS, [1, 2, 3], settings=QUICK)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mulnb.unlearn(memorizing(), IMAGES, LABELS, [1, 2, 3], settings=QUICK)
    assert torch.equal(weights(plain.model), weights(mixed.model))


def test_an_oracle_does_not_begin_with_the_weights_of_the_original():
    unlearned = mulnb.unlearn(memorizing(), IMAGES, LABELS, [1, 2, 3], settings=QUICK)
    report = mulnb.evaluate(unlearned, IMAGES, LABELS, [1, 2, 3], holdout=HOLDOUT, original=memorizing())
    with pytest.raises(UserError, match="fresh returns the trained weights"):
        report.train_oracle(lambda: copy.deepcopy(memorizing()), epochs=1)


def test_a_part_that_refuses_to_be_copied_is_told_in_one_line():
    class Refuses(Convolutional):
        def __deepcopy__(self, memo):
            raise NotImplementedError()

    with pytest.raises(UserError, match=r"the model cannot be copied, .*: NotImplementedError"):
        mulnb.unlearn(Refuses(), IMAGES, LABELS, [1], settings=QUICK)
