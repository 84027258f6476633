"""Peak memory: it rises with what is taken, stays when that is given back, and can be begun anew."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core import memory


def test_a_peak_rises_stays_and_is_forgotten():
    memory.forget_peak()
    before = memory.peak_mb()
    taken = np.ones(200_000_000, dtype=np.uint8)  # 200 MB, and every page of it is touched
    assert memory.peak_mb() > before + 150
    assert memory.now_mb() > before + 150
    del taken
    assert memory.peak_mb() > before + 150

    if not memory.CLEAR.exists():
        pytest.skip("only Linux can begin a new peak")
    memory.forget_peak()
    assert memory.peak_mb() < before + 100
