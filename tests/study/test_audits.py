"""The audits' columns: which examples and which models a number is of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study import audits

SEEDS, N, FORGOTTEN = 8, 30, 6


def network(margin: np.ndarray) -> Artifact:
    return Artifact({"margin": margin, "margin_test": np.zeros(9)}, {"relearn_epochs": 1.0})


def test_klom_tells_the_forget_the_retain_and_the_test_set_apart():
    """Margins of the unlearned models are those of the oracles, but on the forget set."""
    draw = np.random.default_rng(0)
    margins = [draw.normal(size=N) for _ in range(SEEDS)]
    moved = 50.0 * (np.arange(N) < FORGOTTEN)
    oracles, unlearned = [network(margin) for margin in margins], [network(margin + moved) for margin in margins]
    chosen = Strata(np.arange(2), np.arange(2, 4), np.arange(4, FORGOTTEN))
    rows = pd.DataFrame({"algorithm": "salun", "strategy": "vanilla", "score": "memorization", "seed": range(SEEDS)})

    found = audits.columns(SimpleNamespace(shadow=None), rows, [chosen] * SEEDS, unlearned, oracles)
    assert (found["klom_p50"] > 5).all() and (found[["klom_retain_p95", "klom_test_p95"]] == 0).all(axis=None)
    assert found["oracle_klom_p50"].isna().all()  # there is no second oracle
    assert found["lira_auc"].isna().all()  # nor a pool
