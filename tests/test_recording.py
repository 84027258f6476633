"""The recorder holds little, and an example that it never saw is not a number divided by zero."""

from __future__ import annotations

import pytest
import torch

from mulnb.proxies import SignalRecorder
from mulnb.training import Batch


def test_however_long_an_epoch_is_few_batches_are_held():
    recorder = SignalRecorder(2, torch.device("cpu"))
    for _ in range(200):
        recorder.record(Batch(torch.tensor([0]), None, torch.tensor([1]), 0), torch.zeros(1, 3))
        assert len(recorder._kept) <= recorder.STEPS
    seen, never_seen = recorder.raw()["confidence"].tolist()
    assert seen == pytest.approx(1 / 3, rel=1e-4) and never_seen == 0
