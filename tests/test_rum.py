"""The stages of RUM and of its controls."""

from __future__ import annotations

import numpy as np

from mulnb import rum
from mulnb.forget import Strata


def test_the_stages_of_shuffle_are_as_large_as_the_strata():
    strata = Strata(np.arange(2), np.arange(2, 5), np.arange(5, 12))
    stages = rum.stages(strata, "shuffle", 1)
    assert [len(stage) for stage in stages] == [2, 3, 7]
    assert sorted(np.concatenate(stages).tolist()) == list(range(12))
