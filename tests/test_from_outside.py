"""Functions of a user's own that give something else than asked: one line that names them, or the right numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mulnb import load_data, load_profile, rum
from mulnb.core.errors import UserError
from mulnb.core.registry import DATASETS
from mulnb.data import ImageSet
from mulnb.forget import Strata
from mulnb.models import ARCHITECTURES
from mulnb.proxies import PROXIES, Proxy, orient
from mulnb.recording import SignalRecorder
from mulnb.study import additions
from mulnb.study.study import Study
from mulnb.training import Batch, Examples
from mulnb.unlearning import ALGORITHMS, check

LABELS = torch.tensor([0, 1, 2, 0])


def recorded(monkeypatch, proxy: Proxy) -> np.ndarray:
    """The raw signal of a proxy after two epochs of one step with four examples."""
    monkeypatch.setitem(PROXIES, "own", proxy)
    recorder = SignalRecorder(4, torch.device("cpu"))
    for epoch in range(2):
        logits = torch.eye(3)[[0, 1, epoch, 1]]
        recorder.record(Batch(torch.arange(4), None, LABELS, epoch), logits)
    return recorder.raw()["own"]


SIGNALS = {
    "bool": lambda out: out.correct,
    "whole": lambda out: out.labels,
    "double": lambda out: out.p_true.double(),
    "half": lambda out: out.p_true.half(),
    "with a gradient": lambda out: out.p_true.clone().requires_grad_(),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_of_any_kind_of_number_are_averaged(name, monkeypatch):
    found = recorded(monkeypatch, Proxy("a", "b", signal=SIGNALS[name]))
    assert found.dtype == np.float32 and found.shape == (4,)


NO_SIGNALS = {
    "a scalar": (lambda out: out.p_true.sum(), "its signal gives torch.float32 []"),
    "a column": (lambda out: out.p_true[:, None], "its signal gives torch.float32 [4, 1]"),
    "an array": (lambda out: out.p_true.numpy(), "its signal gives float32 [4]"),
    "a list": (lambda out: out.p_true.tolist(), "its signal gives a list"),
    "nothing": (lambda out: None, "its signal gives a NoneType"),
    "infinite": (lambda out: out.p_true / 0, "its value for example 0 is not finite"),
    "NaN": (lambda out: torch.where(out.labels == 2, torch.nan, out.p_true), "its value for example 2 is not finite"),
}


@pytest.mark.parametrize("name", NO_SIGNALS)
def test_what_is_no_signal_is_named(name, monkeypatch):
    signal, words = NO_SIGNALS[name]
    with pytest.raises(UserError) as error:
        recorded(monkeypatch, Proxy("a", "b", signal=signal))
    assert f"proxy 'own': {words}" in str(error.value)


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int8, bool, np.float16])
@pytest.mark.parametrize("direction", ["1 - raw", "-raw"])
def test_histories_are_turned_without_wrapping_around(kind, direction, monkeypatch):
    raw = recorded(monkeypatch, Proxy("a", "b", direction, history=lambda correct: correct.sum(0).astype(kind)))
    scores = orient("own", raw)
    assert np.argsort(scores, kind="stable").tolist() == np.argsort(-raw.astype(float), kind="stable").tolist()


@pytest.mark.parametrize("history", [lambda c: c.sum(), lambda c: c.sum(1), lambda c: ["a"] * 4, lambda c: None])
def test_what_is_no_history_is_named(history, monkeypatch):
    with pytest.raises(UserError, match=r"proxy 'own': its history gives .*: expected a number per example"):
        recorded(monkeypatch, Proxy("a", "b", history=history))


# ---- algorithms


def unlearned(monkeypatch, algorithm) -> Examples:
    """Run an algorithm from outside on eight examples."""
    monkeypatch.setitem(ALGORITHMS, "own", algorithm)
    data = Examples(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 2, torch.ones(1), torch.ones(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    strata = Strata(np.array([0]), np.array([1]), np.array([2]))
    rum.unlearn(model, data, strata, algorithm="own", strategy="rum_f", seed=0)
    assert strata.forget.tolist() == [0, 1, 2]  # other runs read them
    return data


def relabels(model, data, forget, retain, *, seed, fresh=None):
    data.labels[forget] = 1 - data.labels[forget]
    return model


def blackens(model, data, forget, retain, *, seed, fresh=None):
    data.images[forget] = 255
    return model


WRONG = {
    "relabels": (relabels, "changes the labels that all runs share: change a copy"),
    "blackens": (blackens, "changes the images that all runs share"),
    "nothing": (lambda model, *_, seed, fresh: None, "returns a NoneType: return the network"),
    "a tuple": (lambda model, *_, seed, fresh: (model, 1), "returns a tuple"),
    "wrapped": (lambda model, *_, seed, fresh: nn.Sequential(model), "returns another network"),
    "wider": (lambda model, *_, seed, fresh: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), "returns another network"),
    "double": (lambda model, *_, seed, fresh: model.double(), "returns another network"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_an_algorithm_must_not_do_is_named(name, monkeypatch):
    algorithm, words = WRONG[name]
    with pytest.raises(UserError, match=f"algorithm 'own' {words}"):
        unlearned(monkeypatch, algorithm)


def test_labels_that_an_algorithm_changed_are_put_back(monkeypatch):
    kept = torch.arange(8) % 2
    seen = []

    def spy(model, data, forget, retain, *, seed, fresh=None):
        seen.append(data)
        return relabels(model, data, forget, retain, seed=seed)

    with pytest.raises(UserError):
        unlearned(monkeypatch, spy)
    assert torch.equal(seen[0].labels, kept)


# ---- data sets


def images(n=60, side=8, kind=np.int64, classes=3, channels=1) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 255, (n, channels, side, side)).astype(np.uint8)
    return ImageSet(pixels, (np.arange(n) % classes).astype(kind), tuple("abcdef"[:classes]), "made up")


def loaded(monkeypatch, given):
    monkeypatch.setitem(DATASETS, "own", lambda dataset: given)
    return load_data(load_profile("smoke", {"dataset": {"name": "own", "test": 0.2, "holdout": 0.2}, "forget.size": 2}))


NO_DATA = {
    "no pair": (images(), "data set 'own' gives a ImageSet: expected (training images, test images or None)"),
    "arrays": ((np.zeros(3), None), "its training images are a ndarray: expected an ImageSet"),
    "another size": ((images(), images(side=9)), "test images [1, 9, 9] of 3 classes, training images [1, 8, 8] of 3"),
    "other channels": ((images(), images(channels=3)), "test images [3, 8, 8]"),
    "other classes": ((images(), images(classes=2)), "they must have the same size and the same classes"),
}


@pytest.mark.parametrize("name", NO_DATA)
def test_what_a_data_set_must_give(name, monkeypatch):
    given, words = NO_DATA[name]
    with pytest.raises(UserError) as error:
        loaded(monkeypatch, given)
    assert words in str(error.value)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float64])
def test_whole_labels_of_any_kind_are_taken(kind, monkeypatch):
    assert images(kind=kind).labels.dtype == np.int64
    assert loaded(monkeypatch, (images(kind=kind), None)).train.labels.dtype == np.int64


@pytest.mark.parametrize("labels", [np.full(60, 0.5), np.array(["a"] * 60), np.zeros((60, 1), int), "a", None])
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(UserError, match=r"^labels are "):
        ImageSet(images().images, labels, tuple("abc"))


def test_a_channel_that_is_the_same_everywhere_is_no_nan(monkeypatch):
    whole = images(channels=2)
    whole.images[:, 1] = 255
    splits = loaded(monkeypatch, (whole, None))
    assert splits.std[0] > 0 and splits.std[1] == 1 and splits.mean[1] == 1


def network(outputs=10, **kind) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs, **kind))


SHARED = network()
NO_NETWORKS = {
    "another number of outputs": (lambda *_: network(11), "gives [2, 11] for two images"),
    "the same one": (lambda *_: SHARED, "gives the same weights at every call"),
    "double": (lambda *_: network(dtype=torch.float64), "needs weights"),
    "nothing to train": (lambda *_: nn.Flatten(), "needs weights"),
    "lazy": (lambda *_: nn.LazyLinear(10), "needs weights"),
    "none": (lambda *_: None, "gives a NoneType"),
    "a network": (network(), "fails as architecture("),
    "other sizes": (lambda *_: nn.Linear(9, 10), "fails on images [2, 1, 8, 8]: RuntimeError"),
    "its input": (lambda *_: nn.Sequential(nn.ReLU(inplace=True), network()), "changes the images"),
}


@pytest.mark.parametrize("name", NO_NETWORKS)
def test_what_is_no_network_is_told_before_any_training(name, monkeypatch):
    build, words = NO_NETWORKS[name]
    monkeypatch.setitem(ARCHITECTURES, "own", build)
    with pytest.raises(UserError) as error:
        additions.check(Study.of(load_profile("smoke", {"model": {"arch": "own"}})))
    assert f"architecture 'own' {words}" in str(error.value)


@pytest.mark.parametrize("own", [{"signal": lambda out: out.labels.zero_()}, {"history": lambda correct: correct.sort(0)}])
def test_a_proxy_that_changes_what_others_read_is_refused(own, monkeypatch):
    monkeypatch.setitem(PROXIES, "own", Proxy("a", "b", **own))
    with pytest.raises(UserError, match="proxy 'own' changes what it is given"):
        additions.check(Study.of(load_profile("smoke")))


def test_an_algorithm_changes_no_strata_of_other_runs(monkeypatch):
    unlearned(monkeypatch, lambda model, data, forget, retain, *, seed, fresh: forget.zero_() is None or model)


def test_settings_of_an_algorithm_are_known_and_asked_for(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "own", lambda model, data, forget, retain, seed, fresh, lr: model)
    check("own", {"lr": 0.1})
    with pytest.raises(UserError, match="algorithm 'own' needs the setting 'lr'"):
        check("own", {})
