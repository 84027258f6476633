"""What a function from outside does is seen behind its text, and alike in every process."""

from __future__ import annotations

import functools
import importlib
import logging
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch

from mulnb.core.fingerprint import fingerprint, packed
from mulnb.proxies import Proxy

SCALE = 1


def times(k):
    return lambda x: x * k


def scaled(x):
    return x * SCALE


def inner(x):
    return [SCALE * value for value in x]


class Times:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return x * self.k


def by_default(k):
    return lambda x, k=k: x * k


def by_keyword(k):
    def f(x, *, k=k):
        return x * k

    return f


@dataclass
class Callable:
    k: int

    def __call__(self, x):
        return x * self.k


class Slots:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return x * self.k


class Pair(NamedTuple):
    k: int

    def __call__(self, x):
        return x * self.k


def with_members(k):
    class Own:
        @property
        def a(self):
            return k

        @staticmethod
        def b():
            return k

    return times(Own)


MAKERS = {
    "a closure": times,
    "a default": by_default,
    "a keyword's default": by_keyword,
    "partial": lambda k: functools.partial(pow, k),
    "an object": Times,
    "a method": lambda k: Times(k).__call__,
    "an array": lambda k: times(np.arange(3) + k),
    "a tensor": lambda k: times(torch.arange(3) + k),
    "a mapping": lambda k: times({"a": [k]}),
    "a set": lambda k: times({1, 2, k + 5}),
    "a function in a function": lambda k: times(times(k)),
    "a callable dataclass": Callable,
    "slots": Slots,
    "a named tuple": Pair,
    "properties": with_members,
    "a network": lambda k: times(torch.nn.Linear(2, 2 + k)._apply(torch.zeros_like)),
    "a bfloat16 tensor": lambda k: times(torch.full((2,), float(k), dtype=torch.bfloat16)),
    "a proxy": lambda k: Proxy("a", "b", signal=times(k)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_functions_of_one_text_differ_by_the_values_behind_it(name):
    make = MAKERS[name]
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(5))


@pytest.mark.parametrize("function", [scaled, inner])
def test_a_global_that_is_read_counts(function, monkeypatch):
    before = fingerprint(function)
    monkeypatch.setitem(globals(), "SCALE", 2)
    assert fingerprint(function) != before


def test_words_and_what_cannot_be_pickled_do_not_count():
    assert fingerprint(Proxy("a", "b", signal=scaled)) == fingerprint(Proxy("other words", "c", signal=scaled))
    assert fingerprint(times(threading.Lock())) == fingerprint(times(threading.Lock()))


def test_other_loggers_and_endless_lists_change_nothing():
    own = times(logging.getLogger("mine"))
    before = fingerprint(own)
    logging.getLogger("another").warning("x")
    assert fingerprint(own) == before

    deep = []
    for _ in range(5000):
        deep = [deep]
    assert len(fingerprint(times(deep))) == 16


def test_a_function_that_calls_itself_ends():
    def countdown(n):
        return n and countdown(n - 1)

    assert len(fingerprint(countdown)) == 16


SCRIPT = """
import functools, sys
import mine
from mulnb.core.fingerprint import fingerprint
print(*(fingerprint(f) for f in (mine.f, mine.g, functools.partial(mine.f, k=2), mine.C(3), lambda x: {"a", "b", x})))
"""
MODULE = """
import numpy as np
K = {{"b": np.arange(4), "a": (1, 2.5, None, "x")}}
def f(x, k={k}): return K["a"], x * k
def g(x): return frozenset("abc"), f(x)
class C:
    def __init__(self, k): self.k = k
    def __call__(self, x): return g(x) * self.k
"""


def run(script, folder, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=True)
    return done.stdout.split()


def test_it_is_the_same_in_every_process(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE.format(k=1))
    first, second = (run(SCRIPT, tmp_path) for _ in range(2))
    assert first == second and len(set(first)) == 5


def test_an_edited_module_travels_as_it_is_here(tmp_path, monkeypatch):
    """A worker that lives on has the old one."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "edited_module.py"
    file.write_text("def f():\n    return helper()\n\ndef helper():\n    return 1\n")
    module = importlib.import_module("edited_module")
    old = fingerprint(module.f)
    file.write_text("def f():\n    return helper()\n\ndef helper():\n    return 2222\n")
    importlib.reload(module)
    assert fingerprint(module.f) != old

    sent = packed({"f": module.f}, [module.f])
    file.write_text("def f():\n    return 'the worker’s own'\n")
    importlib.reload(module)
    assert pickle.loads(sent)["f"]() == 2222


def test_a_module_with_a_lock_travels_by_its_name_and_says_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "locked_module.py").write_text("import threading\nLOCK = threading.Lock()\ndef f():\n    with LOCK: return 7\n")
    module = importlib.import_module("locked_module")
    with pytest.warns(UserWarning, match=r"locked_module cannot be sent to worker processes .*: they import it"):
        assert pickle.loads(packed([module.f], [module.f]))[0] is module.f
