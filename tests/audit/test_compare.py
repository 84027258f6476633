"""Agreement between audits, on invented frames whose answer is known, and Kendall's τ against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from mulnb.audit import compare
from mulnb.core.errors import UserError

METHODS = [(algorithm, strategy) for algorithm in ("fine_tune", "salun", "scrub") for strategy in ("vanilla", "rum_f")]


def frame(noise: float = 0.0, seeds: int = 4, reverse: bool = False) -> pd.DataFrame:
    """Method k lies k steps from the oracle in ToW and LiRA (in LiRA in reverse order if `reverse`); with floor and ceiling."""
    rng, rows = np.random.default_rng(0), []
    for k, (algorithm, strategy) in enumerate([*METHODS, ("nothing", "nothing"), ("retrain", "vanilla")]):
        for score in ("memorization", "confidence"):
            for seed in range(seeds):
                far = 0.05 * (k + noise * rng.standard_normal())
                side = 1 if seed % 2 else -1  # an AUC below the oracle's is as far away as one above
                rows.append(
                    {
                        "algorithm": algorithm, "strategy": strategy, "score": score, "seed": seed, "acc_forget": 0.7,
                        "tow": 0.95 - far, "lira_auc": 0.48 + side * (0.3 - far if reverse else far), "oracle_lira_auc": 0.48,
                        "relearn_epochs": 5.0 - 0.5 * k, "oracle_relearn_epochs": 5.0, "klom_p50": 1.0 + k, "rmia_auc": np.nan,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def tau(found: pd.DataFrame, audit: str, other: str) -> pd.Series:
    (row,) = found[(found["audit"] == audit) & (found["other"] == other)].to_dict("records")
    return row


def test_the_same_order_is_one_and_the_opposite_order_is_minus_one():
    found = compare.agreement(frame(), draws=20)
    assert list(found.columns) == ["audit", "other", "tau", "low", "high", "n_methods", "n_seeds"]
    assert set(found["audit"]) == {"tow", "lira_auc", "klom_p50", "relearn_epochs"}  # RMIA is NaN throughout: left out
    assert (found["n_methods"] == 6).all() and (found["n_seeds"] == 4).all()  # neither floor nor ceiling
    between = found[found["audit"] != found["other"]]
    assert np.allclose(between[["tau", "low", "high"]], 1)
    assert tau(compare.agreement(frame(reverse=True), draws=20), "tow", "lira_auc")["tau"] == pytest.approx(-1)


def test_tau_is_scipys_with_ties():
    rng = np.random.default_rng(0)
    means = rng.integers(0, 5, (3, 12)).astype(float)
    found = compare._tau(means)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx(kendalltau(means[i], means[j]).statistic)


def test_noise_widens_the_interval_and_lowers_what_an_audit_says_of_itself():
    calm, noisy = (compare.agreement(frame(noise), draws=200) for noise in (0.1, 5.0))
    quiet, loud = tau(calm, "tow", "lira_auc"), tau(noisy, "tow", "lira_auc")
    assert loud["high"] - loud["low"] > quiet["high"] - quiet["low"]
    assert loud["low"] <= loud["tau"] <= loud["high"]
    assert tau(noisy, "tow", "tow")["tau"] < tau(calm, "tow", "tow")["tau"] <= 1
    assert np.isnan(tau(calm, "klom_p50", "klom_p50")["tau"])  # one number for all seeds


def test_an_audit_is_compared_with_itself_over_disjoint_halves_of_the_seeds():
    values = np.array([[[0.0, 0, 1, 1], [5, 5, 0, 0]]])  # [audits, methods, seeds]
    assert compare._self_agreement(values, np.arange(4)) == pytest.approx(-1)


def test_one_seed_has_no_interval():
    row = tau(compare.agreement(frame(seeds=1), draws=20), "tow", "lira_auc")
    assert row["tau"] == pytest.approx(1) and np.isnan(row["low"]) and np.isnan(row["high"])


def test_what_never_relearns_is_far_from_an_oracle_that_does_and_a_divergence_is_the_worst():
    rows = frame()
    first = (rows["algorithm"] == "fine_tune") & (rows["strategy"] == "vanilla")
    rows.loc[first, "relearn_epochs"] = np.inf
    lost = (rows["algorithm"] == "salun") & (rows["strategy"] == "vanilla")
    rows.loc[lost, ["acc_forget", "lira_auc", "relearn_epochs"]] = np.nan
    near = compare.closeness(rows)
    own = near.groupby(["algorithm", "strategy"])["relearn_epochs"].mean()
    assert own["fine_tune", "vanilla"] == pytest.approx(-1 / 6)  # |1/∞ − 1/6|
    assert near.loc[near["algorithm"] == "salun", "lira_auc"].min() == near["lira_auc"].min()
    assert near.notna().all(axis=None)
    once = frame()
    lost = (once["algorithm"] == "fine_tune") & (once["strategy"] == "vanilla")
    once.loc[lost, "klom_p50"] = np.nan  # one number over all seeds: it is gone with one of them
    once.loc[lost & (once["seed"] == 1), "acc_forget"] = np.nan
    assert compare.closeness(once).notna().all(axis=None)
    both = frame()
    both["oracle_relearn_epochs"] = both["relearn_epochs"] = np.inf
    assert (compare.closeness(both)["relearn_epochs"] == 0).all()


def test_the_ranking_puts_the_most_disputed_method_first():
    places = compare.ranking(frame(reverse=True))
    assert set(places.index) == set(METHODS)
    assert places["tow"][METHODS[0]] == 1 and places["lira_auc"][METHODS[0]] == 6
    assert places["spread"].iloc[0] == 5 and places.index[0] in (METHODS[0], METHODS[-1])


def test_methods_that_are_equally_far_share_their_place():
    rows = frame(seeds=1)
    rows.loc[rows["algorithm"] == "fine_tune", "tow"] = 0.99
    assert sorted(compare.ranking(rows)["tow"]) == [1.5, 1.5, 3, 4, 5, 6]


def test_the_interval_goes_from_the_2_5th_to_the_97_5th_percentile_of_the_draws(monkeypatch):
    taus = iter(np.linspace(0, 1, compare.DRAWS + 1))  # the first is the estimate

    def counted_up(means):
        return np.full((len(means), len(means)), next(taus))

    def nothing_of_itself(values, order):
        return np.full(len(values), np.nan)

    monkeypatch.setattr(compare, "_tau", counted_up)
    monkeypatch.setattr(compare, "_self_agreement", nothing_of_itself)
    row = tau(compare.agreement(frame(seeds=2)), "tow", "lira_auc")
    assert (row["low"], row["high"]) == pytest.approx((0.026, 0.975), abs=0.002)


def test_results_without_an_audit_are_one_line():
    with pytest.raises(UserError, match="run the stage unlearning first"):
        compare.agreement(frame()[["algorithm", "strategy", "score", "seed", "acc_forget"]])
    with pytest.raises(UserError, match="run the stage unlearning first"):
        compare.closeness(frame()[lambda rows: rows["algorithm"] == "nothing"])
