"""A second count: the committed tables and verdicts against their frames, by code that shares nothing with `mulnb/results`.

It runs over every profile that is committed. Where one of these tests fails, a table and its frame disagree: find out by METHOD
which of the two is wrong.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import recounting as again
import yaml
from recount_pages import TREE, every_profile, need, need_table, record
from recounting import KLOM, METRICS, RUN, TABLED, equal

pytestmark = pytest.mark.slow

ACCURACIES = ("acc_forget", "acc_retain", "acc_test", "mia")


def holds(profile: str, name: str, keys: list[str], expected: list[dict]) -> None:
    """The table has these rows and columns, none more and none less, and every cell is what was computed."""
    table = again.table(profile, name)
    assert table is not None, f"{profile} has the frame, but no {name}.csv"
    rows = {tuple(row[key] for key in keys): row for row in expected}
    stated = {tuple(row[key] for key in keys): row for row in table.to_dict("records")}
    assert len(stated) == len(table) and set(stated) == set(rows)

    wrong = []
    for key, row in stated.items():
        assert set(row) == set(rows[key])
        for column in set(row) - set(keys):
            if not equal(row[column], rows[key][column]):
                wrong.append(f"{', '.join(map(str, key))}: {column} is {row[column]}, its frame says {rows[key][column]}")
    assert not wrong, "\n".join(wrong)


def with_bounds(group: pd.DataFrame, names) -> dict:
    """`x x_low x_high` over the seeds."""
    row = {}
    for name in names:
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), again.interval(group[name]), strict=True))
    return row


def with_halves(group: pd.DataFrame, names) -> dict:
    """`x x_half` over the seeds."""
    row = {}
    for name in names:
        row |= {name: again.interval(group[name])[0], f"{name}_half": again.half(group[name])}
    return row


def groups(runs: pd.DataFrame, by: list[str]):
    """Each group with the columns that every table begins with."""
    for key, group in runs.groupby(by, observed=True):
        assert group["seed"].is_unique
        row = dict(zip(by, key, strict=True)) | {"n": len(group)}
        if "converged" in group:
            row["unconverged"] = int((~group["converged"].astype(bool)).sum())
        yield row, group


def gains(ours: pd.DataFrame | None, theirs: pd.DataFrame | None) -> dict:
    """The paired difference of both metrics; NaN where there is nothing to compare with."""
    row = {f"{metric}_gain{end}": math.nan for metric in METRICS for end in ("", "_low", "_high")}
    if ours is None or theirs is None or len(theirs) == 0:
        return row
    difference = again.paired(ours, theirs, ["seed"])
    for metric in METRICS:
        bounds = again.interval(difference[metric])
        row |= dict(zip((f"{metric}_gain", f"{metric}_gain_low", f"{metric}_gain_high"), bounds, strict=True))
    return row


# ---- the frames themselves


@every_profile
def test_the_seeds_and_the_rows_are_those_that_the_record_tells_of(profile):
    told = record(profile)
    for stage in told["stages"].values():
        for name, rows in stage["rows"].items():
            found = again.frame(profile, name)
            if found is not None:
                assert len(found) == rows
                if name in {"unlearning", "crossed", "proxies", "sequential"}:
                    assert set(found["seed"]) == set(told["seeds"]) == set(told["profile"]["seeds"])


@every_profile
def test_a_memorization_score_is_the_difference_of_two_shares(profile):
    scores, pool = need(profile, "memorization"), record(profile)["profile"]["pool"]["models"]
    n_in, n_out = (scores[name].to_numpy()[:, None] for name in ("n_in", "n_out"))
    if pool is not None:
        assert (n_in + n_out == pool).all()

    # which counts of right answers give the score, and the standard error with one success and one failure added
    hits = np.arange(n_in.max() + 1)[None]  # of the models that saw the example
    others = (hits / n_in - scores["memorization"].to_numpy()[:, None]) * n_out
    possible = (hits <= n_in) & (others > -1e-6) & (others < n_out + 1e-6) & (np.abs(others - others.round()) < 1e-6)
    assert possible.any(axis=1).all()

    p_in, p_out = (hits + 1) / (n_in + 2), (others + 1) / (n_out + 2)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(p_in * (1 - p_in) / n_in + p_out * (1 - p_out) / n_out)
    assert (possible & (np.abs(error - scores["se"].to_numpy()[:, None]) < 1e-9)).any(axis=1).all()


@every_profile
def test_a_proxy_is_turned_so_that_higher_is_more_memorized(profile):
    scores = need(profile, "proxies")
    raw, value = scores["raw"].to_numpy(float), scores["value"].to_numpy(float)
    falls_from_one = scores["proxy"].isin(["confidence", "max_confidence", "binary_accuracy"])
    expected = np.where(falls_from_one, 1 - raw, np.where(scores["proxy"] == "aum", -raw, raw))
    three_digits = 2**-11 * (np.abs(raw) + np.abs(value))  # as both are stored; `value` with more where its order needs them
    assert (np.abs(value - expected) <= three_digits + 1e-6).all()
    assert not scores.duplicated(["proxy", "seed", "example"]).any()


@every_profile
@pytest.mark.parametrize("name", ["unlearning", "crossed", "sequential"])
def test_tow_is_the_product_that_its_accuracies_give(profile, name):
    runs = need(profile, name)
    diverged = runs["acc_forget"].isna()
    for metric, first in (("tow", "acc_forget"), ("tow_mia", "mia")):
        expected = again.tow(runs, first).where(~diverged, 0.0)
        assert np.abs(runs[metric] - expected).max() < 1e-12
        assert runs[metric].between(0, 1).all()

    keys = [key for key in (*RUN, "seed", "order", "step", "scope") if key in runs]
    assert not runs.duplicated(keys).any()
    if name == "sequential":  # at the first step, its set is the union
        first = runs[runs["step"] == 1].pivot(index=["strategy", "seed"], columns="scope", values="tow")
        assert (first["union"] == first["step"]).all()
    size = 3 * record(profile)["profile"]["forget"]["size"]
    asked = np.where(runs["scope"] == "union", runs["step"], 1) if "scope" in runs else 1
    assert (runs["n_forget"] == size * asked).all()


@every_profile
def test_one_oracle_serves_every_run_on_its_forget_set(profile):
    names = [f"oracle_{name}" for name in ACCURACIES]
    of_set = need(profile, "unlearning").groupby(["score", "seed"], observed=True)[names]
    assert (of_set.nunique() == 1).all(axis=None)

    crossed = again.frame(profile, "crossed")
    if crossed is not None and len(crossed):
        assert set(crossed["score"]) == {"memorization"}  # the same S whatever the order
        there = crossed.groupby("seed")[names]
        assert (there.nunique() == 1).all(axis=None)
        pd.testing.assert_frame_equal(there.first(), of_set.first().loc["memorization"], check_names=False)


@every_profile
def test_a_run_counts_as_converged_if_original_and_oracle_fit_as_well_as_their_like(profile):
    runs, n = need(profile, "unlearning"), len(need(profile, "memorization"))
    original = runs[runs["algorithm"] == "nothing"].copy()
    right = original["acc_forget"] * original["n_forget"] + original["acc_retain"] * (n - original["n_forget"])
    original["fit"] = right / n
    fit = original.groupby("seed")["fit"].first()

    crossed = again.frame(profile, "crossed")
    for frame in (runs, runs[:0] if crossed is None else crossed):
        fits = frame["seed"].map(fit) >= fit.median() - 0.03 - 1e-9
        fits &= frame["oracle_acc_retain"] >= frame["oracle_acc_retain"].median() - 0.03 - 1e-9
        second = frame["algorithm"] == "retrain"  # the ceiling's network is a training, too
        low = frame.loc[second, "acc_retain"].median() - 0.03 - 1e-9
        fits &= ~(second & (frame["acc_retain"] < low))
        assert (frame["converged"] == fits).all()


@every_profile
def test_the_second_oracles_fit_as_well_as_the_first(profile):
    """Or their row is marked: METHOD §6 asks of every oracle that it fits R, and the ceiling rests on the second ones."""
    runs = need(profile, "unlearning")
    second = runs[runs["algorithm"] == "retrain"]
    fits = second["acc_retain"] >= runs["oracle_acc_retain"].median() - 0.03
    assert (fits | ~second["converged"]).all()


RATES = {"lira_tpr01": 0.01, "lira_tpr001": 0.001}


@every_profile
def test_the_audits_of_a_run_are_those_of_its_examples(profile):
    examples, runs = need(profile, "audit_examples"), need(profile, "unlearning")
    columns = {"lira_auc": "lira", "lira_tpr01": "lira", "lira_tpr001": "lira", "rmia_auc": "rmia"}
    stated = runs.set_index([*RUN, "seed"])
    for key, group in examples.groupby([*RUN, "seed"], observed=True):
        forgotten = group["group"] == "forget"
        assert forgotten.sum() == stated.loc[key, "n_forget"]
        for prefix in ("", "oracle_"):
            for column, score in columns.items():
                members, others = (group.loc[chosen, prefix + score] for chosen in (forgotten, ~forgotten))
                found = again.tpr(members, others, RATES[column]) if column in RATES else again.auc(members, others)
                assert found == pytest.approx(stated.loc[key, prefix + column], abs=1e-4), (key, prefix + column)


# ---- the tables


@every_profile
def test_table_1(profile):
    costs, scores = need(profile, "fidelity"), need(profile, "proxies")
    own = costs[costs["kind"] == "proxy"]
    sure = again.reliability(profile)
    assert costs["reliability"].dropna().to_numpy() == pytest.approx(sure, abs=1e-9)

    # ρ from the scores themselves
    rho = again.correlations(profile).set_index(["proxy", "seed"])["rho"]
    stated = own.set_index(["name", "seed"])["spearman"]
    assert np.abs(rho.rename_axis(["name", "seed"]) - stated).max() < 1e-9 and len(rho) == len(stated)

    models = record(profile)["profile"]["pool"]["models"]
    pools = costs[costs["kind"] == "pool"]
    whole = (pools["seconds"] * models / pools["count"]).to_numpy()  # of the whole pool
    assert whole == pytest.approx(whole[0])
    assert record(profile)["stages"]["memorization"]["compute_s"] == pytest.approx(whole[0], abs=0.06)

    rows = []
    for name, group in own.groupby("name", observed=True):
        mean, low, high = again.interval(group["spearman"])
        row = {"proxy": name, "spearman": mean, "ci_low": low, "ci_high": high, "n_seeds": len(group)}
        row |= with_bounds(group, ["overlap"])
        free = np.array([mean, low, high]) / math.sqrt(sure)
        row |= dict(zip(("disattenuated", "disattenuated_low", "disattenuated_high"), free, strict=True))
        seconds = float(group["seconds"].mean())
        rows.append(row | {"seconds": seconds, "share_of_exact": seconds / whole[0], "paper": name in again.PAPER})
    holds(profile, "table1_proxies", ["proxy"], rows)
    assert set(scores["proxy"]) == set(own["name"])

    table = again.table(profile, "table1_proxies")
    assert table["paper"].is_monotonic_decreasing
    assert table.groupby("paper")["spearman"].apply(lambda column: column.is_monotonic_decreasing).all()


@every_profile
def test_the_overlap_is_that_of_the_two_high_strata(profile):
    """METHOD §4: the n largest, ties broken by a permutation of the seed."""
    costs, scores = need(profile, "fidelity"), need(profile, "proxies")
    truth = need(profile, "memorization")["memorization"].to_numpy()
    size = record(profile)["profile"]["forget"]["size"]

    def high(values: np.ndarray, seed: int) -> set[int]:
        mixed = np.random.default_rng(seed).permutation(len(values))
        return set(mixed[np.argsort(values[mixed], kind="stable")][-size:])

    stated = costs[costs["kind"] == "proxy"].set_index(["name", "seed"])["overlap"]
    for (name, seed), group in scores.groupby(["proxy", "seed"], observed=True):
        values = group.sort_values("example")["value"].to_numpy(float)
        found = len(high(values, seed) & high(truth, seed)) / size
        assert found == pytest.approx(stated[name, seed]), (name, seed)


@every_profile
def test_table_2(profile):
    runs = again.measured(need(profile, "unlearning"))
    rows = []
    for row, group in groups(runs, RUN):
        vanilla = None
        if row["algorithm"] not in again.ENDS and row["strategy"] not in {"vanilla", "rum"}:
            here = (runs["algorithm"] == row["algorithm"]) & (runs["score"] == row["score"])
            vanilla = runs[here & (runs["strategy"] == "vanilla")]
        rows.append(row | with_bounds(group, METRICS) | gains(group, vanilla))
    holds(profile, "table2_tow", RUN, rows)


@every_profile
def test_table_3(profile):
    runs = again.measured(need(profile, "unlearning")).copy()
    runs["runtime_ratio"] = runs["seconds"] / runs["oracle_seconds"]
    names = [f"{prefix}{name}" for name in (*ACCURACIES, "seconds") for prefix in ("", "oracle_")]
    rows = []
    for row, group in groups(runs, RUN):
        passes = {name: group[name].mean() for name in ("passes_retain", "passes_forget")}
        row |= with_halves(group, [*names, "runtime_ratio"]) | passes
        for name in ("seconds", "oracle_seconds", "runtime_ratio"):
            if group[name].nunique() == 1:  # the time of a stack over its number: one measurement
                row[f"{name}_half"] = np.nan
        rows.append(row)
    holds(profile, "table3_accuracies", RUN, rows)


@every_profile
def test_table_of_audits(profile):
    runs = again.measured(need(profile, "unlearning"))
    if not set(TABLED) <= set(runs) or runs[list(TABLED)].isna().all(axis=None):
        pytest.skip(f"{profile} has no audits")
    names = [f"{prefix}{name}" for name in TABLED for prefix in ("", "oracle_")]
    holds(profile, "table_audits", RUN, [row | with_halves(group, names) for row, group in groups(runs, RUN)])


@every_profile
def test_table_of_klom(profile):
    """One number over all seeds, so that it has no interval; the oracle's own is that of the second oracles."""
    runs = again.measured(need(profile, "unlearning"))
    if not set(KLOM) <= set(runs) or runs[list(KLOM)].isna().all(axis=None):
        pytest.skip(f"{profile} has no audits")
    rows = []
    for row, group in groups(runs, RUN):
        assert all(group[name].nunique() <= 1 for name in KLOM)
        ceiling = runs[(runs["algorithm"] == "retrain") & (runs["score"] == row["score"])]
        for name in KLOM:
            assert group[f"oracle_{name}"].to_numpy() == pytest.approx(ceiling[name].iloc[0], nan_ok=True)
        rows.append(row | {name: group[name].iloc[0] for name in KLOM})
    holds(profile, "table_klom", RUN, rows)


@every_profile
def test_table_of_crossed_runs(profile):
    runs = need(profile, "crossed")
    rows = []
    for row, group in groups(runs, ["algorithm", "order"]):
        exact = runs[(runs["algorithm"] == row["algorithm"]) & (runs["order"] == "memorization")]
        compared = None if row["order"] == "memorization" else exact
        rows.append(row | with_bounds(group, METRICS) | gains(group, compared))
    holds(profile, "table_crossed", ["algorithm", "order"], rows)


@every_profile
def test_table_of_steps(profile):
    runs = need(profile, "sequential")
    assert not (runs.loc[runs["strategy"] == "retrain", list(METRICS)] == 1).all(axis=None)
    by = ["strategy", "scope", "step"]
    rows = []
    for row, group in groups(runs, by):
        same = (runs["strategy"] == row["strategy"]) & (runs["scope"] == row["scope"])
        changed = again.paired(group, runs[same & (runs["step"] == 1)], ["seed"])
        for metric in METRICS:
            mean, low, high = again.interval(changed[metric])
            if row["step"] == 1:  # no measurement: the change is 0 by definition
                low = high = math.nan
            row |= {f"{metric}_change": mean, f"{metric}_change_low": low, f"{metric}_change_high": high}
        rows.append(row | with_bounds(group, METRICS) | {name: group[name].mean() for name in ("passes_retain", "passes_forget")})
    holds(profile, "table_sequential", by, rows)


# ---- the search


@every_profile
def test_the_pinned_settings_are_the_winners_of_the_search(profile):
    found = need_table(profile, "tune")
    pinned = yaml.safe_load((TREE / f"mulnb/profiles/{profile}.yaml").read_text())
    plan = pinned["unlearning"]["algorithms"]
    assert record(profile)["profile"]["unlearning"]["algorithms"] == plan
    assert not set(pinned["tune"]["seeds"]) & set(pinned["seeds"]) and len(pinned["tune"]["seeds"]) >= 4

    assert np.abs(found["objective"] - found["tow"] - found["tow_mia"]).max() < 2e-5
    assert (found["n"] == len(pinned["tune"]["seeds"]) * len(pinned["tune"]["scores"])).all()
    for algorithm, strategies in plan.items():
        tried = found[found["algorithm"] == algorithm]
        assert set(tried["strategy"]) == set(strategies)
        for strategy, settings in strategies.items():
            group = tried[tried["strategy"] == strategy].set_index("settings")["objective"]
            chosen = tried[(tried["strategy"] == strategy) & tried["chosen"]]
            assert group.index.is_unique and list(chosen["settings"]) == [group.idxmax()]
            assert json.loads(group.idxmax()) == settings

        # as many candidates for every strategy, and where there are epochs to share, the same passes over R in all
        assert tried.groupby("strategy").size().nunique() == 1
        if all("epochs" in settings for settings in strategies.values()):
            passes = [sorted(group["passes_retain"]) for _, group in tried.groupby("strategy")]
            assert np.allclose(passes, passes[0], rtol=1e-3)


@every_profile
def test_a_winner_on_an_edge_of_its_grid_is_named(profile):
    for _, group in need_table(profile, "tune").groupby(["algorithm", "strategy"]):
        tried = pd.DataFrame([json.loads(text) for text in group["settings"]])
        winner = json.loads(group.loc[group["chosen"], "settings"].iloc[0])
        axes = tried.columns[tried.nunique() > 1]
        edges = [name for name in axes if winner[name] in (tried[name].min(), tried[name].max())]
        stated = group.loc[group["chosen"], "edge"].iloc[0]
        assert (stated.split(", ") if isinstance(stated, str) else []) == edges


# ---- common mistakes


@every_profile
def test_what_a_mistake_does_is_the_difference_of_two_runs(profile):
    runs = need(profile, "mistakes")
    for metric, first in (("tow", "acc_forget"), ("tow_mia", "mia")):
        of_metric = runs[runs["metric"] == metric]
        assert np.abs(of_metric["wrong"] - again.tow(of_metric, first)).max() < 1e-12
    untouched = runs[~runs["touched"]]
    assert (untouched["right"] == untouched["wrong"]).all()
    assert (runs.groupby([*RUN, "seed", "metric"])["right"].nunique() == 1).all()
