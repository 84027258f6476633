"""What may be added from outside, and under which name."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core import registry
from mulnb.core.errors import UserError
from mulnb.core.registry import ALGORITHMS, DATASETS, PROXIES, Registry
from mulnb.proxies import Proxy
from mulnb.unlearning import fine_tune as _  # noqa: F401  attaches the algorithms


def signal(out):
    return out.p_true


def algorithm(model, data, forget, retain, *, seed, fresh=None, strength):
    return model


REFUSED = {
    "a built-in name": (PROXIES, "confidence", Proxy("a", "b", signal=signal), "'confidence' is mulnb's own: add yours under"),
    "another built-in name": (ALGORITHMS, "fine_tune", algorithm, "'fine_tune' is mulnb's own"),
    "a name of stored arrays": (PROXIES, "margin", Proxy("a", "b", signal=signal), "'margin': the name means something else"),
    "the exact score": (PROXIES, "memorization", Proxy("a", "b", signal=signal), "'memorization': the name means"),
    "the floor": (ALGORITHMS, "nothing", algorithm, "'nothing': the name means something else here"),
    "no text": (PROXIES, 3, Proxy("a", "b", signal=signal), "proxy 3: give it a name"),
    "a folder": (DATASETS, "a/b", algorithm, "'a/b': give it a name on one line, without '/'"),
    "a wrong direction": (PROXIES, "x", Proxy("a", "b", "falls", signal=signal), "direction = 'falls': should be one of 'rises'"),
    "no signal": (PROXIES, "x", Proxy("a", "b"), "give either signal or history"),
    "two": (PROXIES, "x", Proxy("a", "b", signal=signal, history=signal), "give either signal or history"),
    "post-hoc": (PROXIES, "x", Proxy("a", "b", post_hoc=True), "computed from a trained model are mulnb's own"),
    "a function": (PROXIES, "x", signal, "proxy 'x' is a function: make it with mulnb.proxies.Proxy"),
    "a number": (ALGORITHMS, "x", 3, "algorithm 'x' is a int: expected a function"),
    "no seed": (ALGORITHMS, "x", lambda m, d, f, r: m, "cannot be called as algorithm(model, data, forget, retain, *, seed"),
    "too few": (ALGORITHMS, "x", lambda m, *, seed, fresh: m, "cannot be called as"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_when_it_is_added(name):
    where, key, entry, words = REFUSED[name]
    before = dict(where)
    for add in (lambda: where.__setitem__(key, entry), lambda: where.update({key: entry}), lambda: where.__ior__({key: entry})):
        with pytest.raises(UserError) as error:
            add()
        assert words in str(error.value) and "\n" not in str(error.value)
    assert dict(where) == before


@pytest.mark.parametrize(
    "entry",
    [algorithm, lambda *a, **k: a[0], lambda a, b, c, d, seed, fresh: a, lambda m, d, f, r, *, seed=0, fresh=None, lr=1: m],
)
def test_algorithms_that_can_be_called(entry, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "x", entry)
    assert ALGORITHMS.version("x") and ALGORITHMS.version("fine_tune") is None


def test_another_process_keeps_an_entry_until_it_changes(monkeypatch):
    here = Registry("thing", ["own"])
    monkeypatch.setattr(registry, "REGISTRIES", (here,))
    here["f"] = lambda x: x + 1
    sent = registry.additions()

    there = Registry("thing", ["own"])
    monkeypatch.setattr(registry, "REGISTRIES", (there,))
    registry.adopt(sent)
    kept = there["f"]
    assert kept(1) == 2 and there.versions == here.versions
    registry.adopt(sent)
    assert there["f"] is kept

    here["f"] = lambda x: x + 2
    monkeypatch.setattr(registry, "REGISTRIES", (here,))
    sent = registry.additions()
    monkeypatch.setattr(registry, "REGISTRIES", (there,))
    registry.adopt(sent)
    assert there["f"](1) == 3 and there.versions == here.versions


def test_a_large_data_set_is_told_by_its_content():
    images = np.zeros((10, 1, 4, 4), np.uint8)
    found = Registry("data set", [])
    found["mine"] = lambda dataset: images
    before = found.versions
    images[3] += 1
    assert found.versions != before
