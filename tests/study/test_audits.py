"""The audits' columns: which examples and which models a number is of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mulnb.audit import klom, membership, rmia, roc
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study import Run, audits

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


def test_klom_of_an_example_is_over_the_seeds_that_forgot_it():
    """Margins are moved where they are forgotten: example 4 by six seeds, example 5 by the two others, which are too few."""
    draw = np.random.default_rng(1)
    sets = [Strata(np.arange(2), np.arange(2, 4), np.array([4 if seed < 6 else 5])) for seed in range(SEEDS)]
    held = np.stack([np.isin(np.arange(N), chosen.forget) for chosen in sets])
    first, second = draw.normal(size=(2, SEEDS, N)) - 40 * ~held  # which seeds do not count
    models = [*map(network, first + draw.normal(20, 20, first.shape) * held), *map(network, second)]
    rows = pd.DataFrame({"algorithm": ["salun"] * SEEDS + ["retrain"] * SEEDS, "seed": [*range(SEEDS)] * 2})
    rows = rows.assign(strategy="vanilla", score="memorization")

    found = audits.columns(SimpleNamespace(shadow=None), rows, sets * 2, models, [*map(network, first)] * 2)
    moved = np.stack([model.arrays["margin"] for model in models[:SEEDS]])
    by_hand = [klom.per_example(moved[held[:, i], i : i + 1], first[held[:, i], i : i + 1])[0] for i in range(5)]
    expected = klom.summary(np.array(by_hand))
    own, ceiling = found.iloc[0], found.iloc[-1]
    assert own[[*expected]].to_dict() == pytest.approx(expected) and own["klom_retain_p95"] == 0
    for name in ("klom_p50", "klom_p95", "klom_retain_p95"):
        assert own[f"oracle_{name}"] == ceiling[name] == ceiling[f"oracle_{name}"] > 0


def test_membership_is_asked_of_both_models_about_the_forget_and_the_test_set():
    draw, t = np.random.default_rng(2), 120
    test = np.arange(N, N + t)
    member = np.argsort(draw.random((20, N + t)), axis=0) < 10
    member[:, test] = False
    pool = draw.normal(size=member.shape) + 2 * member
    shadow = membership.Shadow.of(pool[:, :N], member[:, :N], pool[:, test])
    margins = [draw.normal(k, 1, N + t) for k in (1, 2)]
    for own in margins:
        own[3:23] += 4
        own[-1] += 50  # a false positive that is allowed at 1 % only
    models = [Artifact({"margin": own[:N], "margin_test": own[N:]}, {"relearn_epochs": 1.0}) for own in margins]
    chosen, run = Strata(np.arange(3, 5), np.arange(10, 12), np.arange(20, 22)), Run("salun", "vanilla", "memorization", 5, {})

    row = pd.DataFrame([{"algorithm": "salun", "strategy": "vanilla", "score": "memorization", "seed": 5}])
    found = audits.columns(SimpleNamespace(shadow=shadow), row, [chosen], models[:1], models[1:]).iloc[0]
    each = audits._of_examples(shadow, run, chosen, *models)
    asked = np.concatenate([chosen.forget, test])
    assert each["example"].tolist() == [*chosen.forget, *range(t)] and each["group"].tolist() == ["forget"] * 6 + ["test"] * t

    out = np.ma.array(pool, mask=member)
    std = np.sqrt(((out - out.mean(0)) ** 2).sum() / (out.count(0) - 1).sum())
    for prefix, own in zip(("", "oracle_"), margins, strict=True):
        lira = ((own - out.mean(0)) / std).data
        ratio = rmia.ratio(own, rmia.out_probability(pool, member))
        expected = {
            f"lira_tpr{name}": roc.tpr(lira[chosen.forget], lira[test], fpr) for name, fpr in (("01", 0.01), ("001", 0.001))
        }
        expected |= {f"{name}_auc": roc.auc(own[chosen.forget], own[test]) for name, own in (("lira", lira), ("rmia", ratio))}
        assert found[[prefix + name for name in expected]].tolist() == pytest.approx([*expected.values()])
        assert each[f"{prefix}lira"].to_numpy() == pytest.approx(lira[asked], rel=1e-3)
