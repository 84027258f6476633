"""What may be added from outside, and under which name."""

from __future__ import annotations

import pickle
import threading

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


def positional(model, data, forget, retain, seed, fresh, lr):
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
    [
        positional,
        algorithm,
        lambda *a, **k: a[0],
        lambda a, b, c, d, seed, fresh: a,
        lambda m, d, f, r, *, seed=0, fresh=None, lr=1: m,
    ],
)
def test_algorithms_that_can_be_called(entry, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "x", entry)
    assert ALGORITHMS.version("x") and ALGORITHMS.version("fine_tune") is None


def test_another_process_keeps_an_entry_until_it_changes(monkeypatch):
    here = Registry("thing", ["own"])
    monkeypatch.setattr(registry, "REGISTRIES", (here,))
    here["f"] = lambda x: x + 1
    sent = pickle.loads(pickle.dumps(registry.additions()))

    there = Registry("thing", ["own"])
    monkeypatch.setattr(registry, "REGISTRIES", (there,))
    registry.adopt(sent)
    kept = there["f"]
    assert kept(1) == 2 and there.versions == here.versions
    registry.adopt(sent)
    assert there["f"] is kept

    here["f"] = lambda x: x + 2
    monkeypatch.setattr(registry, "REGISTRIES", (here,))
    sent = pickle.loads(pickle.dumps(registry.additions()))
    monkeypatch.setattr(registry, "REGISTRIES", (there,))
    registry.adopt(sent)
    assert there["f"](1) == 3 and there.versions == here.versions


SCALE = 1
SEEN = []


def test_what_a_function_does_to_its_globals_changes_no_key_and_what_a_user_does_to_numbers_does(monkeypatch):
    def own(x):
        SEEN.append(x)
        return SCALE * x

    found = Registry("thing", [])
    found["own"] = own
    before = found.versions
    own(3)
    assert found.versions == before
    monkeypatch.setitem(globals(), "SCALE", 2)
    assert found.versions != before


def test_a_data_set_that_is_added_again_is_told_by_its_content():
    images = np.zeros((10, 1, 4, 4), np.uint8)
    found = Registry("data set", [])
    found["mine"] = lambda dataset: images
    before = found.versions
    images[3] += 1
    found["mine"] = found["mine"]
    assert found.versions != before


def test_a_function_that_reads_a_registry_finds_the_one_of_its_process(monkeypatch):
    def calls(model, data, forget, retain, *, seed, fresh=None):
        return ALGORITHMS["neg_grad"]

    monkeypatch.setitem(ALGORITHMS, "calls", calls)
    before = ALGORITHMS.version("calls")
    monkeypatch.setitem(ALGORITHMS, "another", algorithm)
    assert ALGORITHMS.version("calls") == before

    sent = pickle.loads(pickle.dumps(registry.additions()))
    found = next(entries["calls"] for entries in sent.added if "calls" in entries)
    assert found(None, None, None, None, seed=0) is ALGORITHMS["neg_grad"]
    assert pickle.loads(pickle.dumps(ALGORITHMS)) is ALGORITHMS


def test_what_cannot_be_sent_is_one_line_and_only_where_it_is_sent(monkeypatch):
    lock = threading.Lock()
    monkeypatch.setitem(DATASETS, "locked", lambda dataset: lock)
    added = registry.additions()
    with pytest.raises(UserError, match=r"locked: cannot be sent to worker processes .*: use --backend serial"):
        pickle.dumps(added)
