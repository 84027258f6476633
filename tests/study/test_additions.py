"""One registry entry adds a proxy, an architecture, a data set or an algorithm from outside, also where processes do the work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
import torch
from torch import nn

import mulnb
from mulnb import study
from mulnb.data import ImageSet
from mulnb.data.sources import SOURCES
from mulnb.proxies import PROXIES, Proxy


def stripes(dataset):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = rng.integers(0, 60, (240, 1, 8, 8))
    images[np.arange(240), 0, labels] += 150
    return ImageSet(images.astype(np.uint8), labels, ("a", "b", "c"), "stripes"), None


def perceptron(num_classes, in_channels, width, stem):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, width), nn.ReLU(), nn.Linear(width, num_classes))


def ascent_then_nothing(model, data, forget, retain, *, seed, fresh=None, lr=0.01):
    return mulnb.unlearning.ALGORITHMS["neg_grad"](model, data, forget, retain, seed=seed, lr=lr, epochs=1, batch=32)


SOURCES["stripes"] = stripes
mulnb.models.ARCHITECTURES["perceptron"] = perceptron
mulnb.unlearning.ALGORITHMS["mine"] = ascent_then_nothing
PROXIES["doubt"] = Proxy("1 - probability", "probability", signal=lambda out: 1 - out.p_true)

if __name__ == "__main__":
    profile = mulnb.load_profile("smoke", {
        "name": "mine",
        "dataset": {"name": "stripes", "holdout": 0.3},
        "model": {"arch": "perceptron", "width": 8},
        "training": {"epochs": 2, "batch": 32, "lr": 0.05},
        "forget.size": 6,
        "sequential": {"steps": 2, "algorithm": "mine"},
        "unlearning": {"scores": ["memorization", "doubt"], "algorithms": {"mine": {"vanilla": {}, "rum_f": {"lr": 0.02}}}},
    })
    frame = study.proxies(profile)
    wide = frame[frame.seed == 0].pivot(index="example", columns="proxy", values="value")
    assert np.allclose(wide["doubt"], wide["confidence"], atol=1e-5)
    first = study.strata(profile, "doubt", 0)
    PROXIES["doubt"] = Proxy("probability", "probability", signal=lambda out: out.p_true)
    assert set(study.strata(profile, "doubt", 0).high) != set(first.high)
    PROXIES["doubt"] = Proxy("2 - probability", "probability", signal=lambda out: 2 - out.p_true)  # edited in a notebook
    again = study.proxies(profile)
    assert np.allclose(again[again.proxy == "doubt"].raw, frame[frame.proxy == "doubt"].raw + 1, atol=0.01)  # three digits
    runs = study.unlearning(profile)
    assert set(runs.algorithm) == {"mine", "nothing", "retrain"} and set(runs.score) == {"memorization", "doubt"}
    assert runs.tow.between(0, 1).all()
    print("runs:", len(runs))
"""


@pytest.mark.slow
def test_one_entry_adds_each_kind_of_thing_from_outside(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    env = os.environ | {"MULNB_HOME": str(tmp_path / "home"), "MULNB_WORKERS": "2"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("runs: 16")  # (2 strategies + floor + ceiling) × 2 scores × 2 seeds


EDITED = """
import importlib, os, sys
import numpy as np
import torch
from torch import nn

import mulnb
from mulnb import study
from mulnb.core.errors import UserError
from mulnb.data import ImageSet
from mulnb.data.sources import SOURCES
from mulnb.models import ARCHITECTURES
from mulnb.unlearning import ALGORITHMS

sys.dont_write_bytecode = True
TEXT = "import torch\\ndef own(model, data, forget, retain, *, seed, fresh=None):\\n    with torch.no_grad():\\n" \
       "        for weight in model.parameters(): weight.mul_({})\\n    return model\\n"


def stripes(bright):
    def read(dataset):
        rng = np.random.default_rng(0)
        labels = np.arange(240) % 3
        images = rng.integers(0, 60, (240, 1, 8, 8))
        images[np.arange(240), 0, labels] += bright
        return ImageSet(images.astype(np.uint8), labels.astype(np.int32), ("a", "b", "c"), "stripes"), None
    return read


def network(between):
    def build(num_classes, in_channels, width, stem):
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, 8), between(), nn.Linear(8, num_classes))
    return build


def relabel(model, data, forget, retain, *, seed, fresh=None):
    data.labels[forget] = 0
    return model


def profile(**changes):
    return mulnb.load_profile("smoke", {
        "name": "edited", "dataset": {"name": "stripes", "holdout": 0.3}, "seeds": [0, 1],
        "model": {"arch": "net", "width": 8}, "pool": {"models": 12, "share": 0.5, "group": 6},
        "training": {"epochs": 2, "batch": 32, "lr": 0.05}, "forget.size": 6,
        "audit.membership": False, "sequential": {"steps": 2, "algorithm": "own", "strategies": ["vanilla"]},
        "unlearning": {"scores": ["memorization"], "algorithms": {"own": {"vanilla": {}}}},
    } | changes)


def numbers(**changes):
    chosen = profile(**changes)
    runs = study.unlearning(chosen)
    runs = runs[(runs.algorithm == "own")]
    return [study.splits(chosen).fingerprint, study.memorization(chosen).memorization.sum(), *runs.acc_retain, *runs.tow]


def elsewhere():
    "The same numbers, by a process that has never seen anything else, with a store of its own."
    os.environ["MULNB_HOME"] += "/fresh"
    from mulnb.study import study as opened
    opened._open.clear()
    return numbers()


if __name__ == "__main__":
    open("own_module.py", "w").write(TEXT.format(1.0))
    import own_module

    def register(bright, between):
        SOURCES["stripes"], ARCHITECTURES["net"] = stripes(bright), network(between)
        ALGORITHMS["own"] = own_module.own

    register(150, nn.ReLU)
    first = numbers()

    open("own_module.py", "w").write(TEXT.format(-1.0) + "# edited\\n")
    importlib.reload(own_module)
    register(150, nn.ReLU)
    algorithm = numbers()
    assert algorithm[:2] == first[:2] and algorithm[2:] != first[2:], "workers ran the old algorithm"

    register(150, nn.Sigmoid)
    edited = numbers()
    assert edited[0] == first[0] and edited[1] != first[1], "the pool is of the old network"
    register(90, nn.Sigmoid)
    others = numbers()
    assert others[0] != first[0], "the old images"

    ALGORITHMS["relabel"] = relabel
    try:
        study.unlearning(profile(unlearning={"scores": ["memorization"], "algorithms": {"relabel": {"vanilla": {}}}},
                                 sequential={"steps": 2, "algorithm": "relabel", "strategies": ["vanilla"]}))
        raise SystemExit("labels changed")
    except UserError as error:
        assert "'relabel' changes the labels that all runs share" in str(error), error

    assert elsewhere() == others, "old and new networks were mixed"
    print("done")
"""


@pytest.mark.slow
def test_what_is_edited_in_a_notebook_is_computed_again_with_the_new_code(tmp_path):
    script = tmp_path / "edited.py"
    script.write_text(EDITED)
    env = os.environ | {"MULNB_HOME": str(tmp_path / "home"), "MULNB_WORKERS": "2", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("done")
