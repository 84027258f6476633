"""The logit margin, by hand and at the ends of float16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb.audit import margins


def test_it_is_the_log_odds_of_the_true_class():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    found = margins.log_odds(p.log() + 5, torch.tensor([0, 1]))  # a constant added to logits changes nothing
    assert found.dtype == np.float16
    assert found == pytest.approx([np.log(0.7 / 0.3), np.log(0.3 / 0.7)], rel=1e-3)


def test_k_models_at_once_are_each_alone():
    logits = torch.randn(4, 20, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 5
    together = margins.log_odds(logits, labels)
    assert together.shape == (4, 20)
    assert (together == np.stack([margins.log_odds(alone, labels) for alone in logits])).all()


def test_extreme_logits_stay_finite_in_float16():
    logits = torch.tensor([[1e6, 0.0], [-1e6, 0.0]])
    assert margins.log_odds(logits, torch.tensor([0, 0])).tolist() == [6e4, -6e4]


def test_the_package_does_not_load_torch():
    import subprocess
    import sys

    script = "import sys, mulnb.audit; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
