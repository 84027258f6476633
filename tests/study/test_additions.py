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
