"""Weights instead of a module: whatever a checkpoint puts around them."""

from __future__ import annotations

import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, Convolutional, forgotten, memorizing

import mulnb
from mulnb.core.errors import UserError
from mulnb.your_model import adapt
from mulnb.your_model.adapt import same_weights
from mulnb.your_model.weights import save_weights


def unlearn(model, **options):
    return mulnb.unlearn(model, IMAGES, LABELS, forgotten()[0], algorithm="neg_grad_plus", settings=QUICK, **options)


def test_weights_and_a_factory_instead_of_a_module(tmp_path):
    model = memorizing()
    expected = unlearn(model).model
    parallel = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}
    lightning = {"epoch": 3, "state_dict": {f"model.net.{key}": value for key, value in model.state_dict().items()}}
    torch.save(parallel, tmp_path / "a.pt")
    path = save_weights(model, tmp_path / "b.safetensors")

    for weighed in (model.state_dict(), lightning, tmp_path / "a.pt", path, str(path)):
        before = torch.get_rng_state()
        assert same_weights(unlearn(weighed, factory=Convolutional).model, expected)
        assert torch.equal(before, torch.get_rng_state())  # although the factory draws weights

    (tmp_path / "c.pt").write_bytes(b"no checkpoint")
    for weighed, factory, message in (
        (model.state_dict(), None, "the state dict holds weights only: give factory="),
        (tmp_path / "none.pt", Convolutional, "none.pt does not exist"),
        (tmp_path / "c.pt", Convolutional, "c.pt cannot be read as a state dict"),
        (model.state_dict(), lambda: Convolutional(out=7), "does not fit the factory's network: .*size mismatch"),
    ):
        with pytest.raises(UserError, match=message) as error:
            unlearn(weighed, factory=factory)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["net", "weights", "params", "model_state"])
def test_the_only_state_dict_of_a_checkpoint_is_taken_whatever_its_key(tmp_path, key):
    own = memorizing().state_dict()
    for checkpoint in (
        {key: own, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        {"model": {key: own}, "args": None},
    ):
        torch.save(checkpoint, tmp_path / "a.pt")
        assert same_weights(adapt.plain(tmp_path / "a.pt", Convolutional), memorizing())
    torch.save({key: own, "discriminator": {"weight": torch.ones(2)}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=rf"a\.pt holds no state dict but {key}, discriminator: save model\.state_dict\(\)"):
        adapt.plain(tmp_path / "a.pt", Convolutional)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_not_cast(kind):
    own = memorizing().state_dict()
    given = own | {"conv.weight": (own["conv.weight"] * 127).to(kind)}
    with pytest.raises(UserError, match=rf"the state dict: weight 'conv\.weight' is {kind}, and the network has torch\.float32"):
        adapt.plain(given, Convolutional)
    assert same_weights(adapt.plain({key: value.double() for key, value in own.items()}, Convolutional), memorizing())


def test_a_file_of_safetensors_is_known_in_capitals_too(tmp_path):
    save_weights(memorizing(), tmp_path / "a.safetensors").rename(tmp_path / "A.SAFETENSORS")
    assert same_weights(adapt.plain(tmp_path / "A.SAFETENSORS", Convolutional), memorizing())


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_torchscript_is_told_from_weights(tmp_path):
    torch.jit.save(torch.jit.trace(memorizing(), torch.zeros(2, 1, 6, 6)), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt holds a TorchScript module: save model\.state_dict\(\) of the Python module"):
        adapt.plain(tmp_path / "a.pt", Convolutional)


def test_a_loading_of_ones_own_that_fails_is_one_line():
    class Own(Convolutional):
        def load_state_dict(self, given, strict=True):
            return super().load_state_dict(given["network"], strict)

    with pytest.raises(UserError, match="the state dict does not fit the factory's network: 'network'"):
        adapt.plain(memorizing().state_dict(), Own)


def test_weights_of_a_part_only_are_named():
    given = {f"head.{key}": value for key, value in memorizing().state_dict().items()} | {"loss.weight": torch.ones(4)}
    with pytest.raises(UserError, match=r"does not fit the factory's network: .* weights are missing, the first is"):
        unlearn(given, factory=Convolutional)


def test_a_pickled_module_is_told_from_weights(tmp_path):
    torch.save(memorizing(), tmp_path / "whole.pt")
    with pytest.raises(UserError, match=r"whole\.pt holds more than tensors, a whole module perhaps: save model\.state_dict\(\)"):
        unlearn(tmp_path / "whole.pt", factory=Convolutional)


def test_what_safetensors_cannot_hold_is_told_before_the_work(tmp_path, monkeypatch):
    class Extra(Convolutional):
        def get_extra_state(self):
            return {"version": 1}

        def set_extra_state(self, state):
            pass

    class View(Convolutional):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("row", next(self.parameters()).data[0])

    monkeypatch.setattr("mulnb.your_model.forgetting.tuned", lambda *_, **__: pytest.fail("it has searched"))
    for network in (Extra(), View()):
        with pytest.raises(UserError, match=r"cannot be written as \.safetensors: .*torch\.save"):
            mulnb.forget(network, (IMAGES, LABELS), [1, 2], holdout=HOLDOUT, out=tmp_path / "out", progress=False)
