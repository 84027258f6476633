"""A second count: the committed tables and verdicts against their frames, by code that shares nothing with `mulnb/results`.

It runs over every profile that is committed. Where one of these tests fails, a table and its frame disagree: find out by METHOD
which of the two is wrong.
"""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import recounting as again
import yaml
from recounting import FIGURES, METRICS, RUN

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

SIX_DIGITS = 6e-6  # what `%.6g` leaves of a number
RHO = 1e-4  # scores may be stored with fewer bits than ρ was computed from
ACCURACIES = ("acc_forget", "acc_retain", "acc_test", "mia")
AUDITS = ("lira_auc", "lira_tpr01", "rmia_auc", "klom_p50", "klom_p95", "relearn_epochs")
TREE = FIGURES.parent

every_profile = pytest.mark.parametrize("profile", again.PROFILES)


def need(profile: str, name: str) -> pd.DataFrame:
    """A frame; the test is skipped where the profile has none."""
    found = again.frame(profile, name)
    if found is None or len(found) == 0:
        pytest.skip(f"{profile} has no frame {name}")
    return found


def record(profile: str) -> dict:
    return json.loads((FIGURES / profile / "run.json").read_text())


def equal(stated: float, computed: float, slack: float = 0.0) -> bool:
    if pd.isna(stated) or pd.isna(computed):
        return bool(pd.isna(stated) and pd.isna(computed))
    if math.isinf(stated) or math.isinf(computed):
        return stated == computed
    return abs(stated - computed) <= SIX_DIGITS * abs(computed) + 1e-9 + slack


def holds(profile: str, name: str, keys: list[str], expected: list[dict], slack: float = 0.0) -> None:
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
            if not equal(row[column], rows[key][column], slack):
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
    assert np.abs(value - expected).max() <= 2**-13 * max(1, np.abs(raw).max())
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

    fits = runs["seed"].map(fit) >= fit.median() - 0.03 - 1e-9
    fits &= runs["oracle_acc_retain"] >= runs["oracle_acc_retain"].median() - 0.03 - 1e-9
    assert (runs["converged"] == fits).all()


@every_profile
def test_the_second_oracles_fit_as_well_as_the_first(profile):
    """The ceiling is the one place where a second oracle counts: METHOD §6 asks of every oracle that it fits R."""
    runs = need(profile, "unlearning")
    second = runs.loc[runs["algorithm"] == "retrain", "acc_retain"]
    assert (second >= runs["oracle_acc_retain"].median() - 0.03).all()


@every_profile
def test_the_audits_of_a_run_are_those_of_its_examples(profile):
    examples, runs = need(profile, "audit_examples"), need(profile, "unlearning")
    columns = {"lira_auc": "lira", "lira_tpr01": "lira", "rmia_auc": "rmia"}
    stated = runs.set_index([*RUN, "seed"])
    for key, group in examples.groupby([*RUN, "seed"], observed=True):
        forgotten = group["group"] == "forget"
        assert forgotten.sum() == stated.loc[key, "n_forget"]
        for prefix in ("", "oracle_"):
            for column, score in columns.items():
                members, others = (group.loc[chosen, prefix + score] for chosen in (forgotten, ~forgotten))
                found = again.tpr(members, others, 0.01) if column.endswith("01") else again.auc(members, others)
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
    assert np.abs(rho.rename_axis(["name", "seed"]) - stated).max() < RHO and len(rho) == len(stated)

    models = record(profile)["profile"]["pool"]["models"]
    pools = costs[costs["kind"] == "pool"]
    whole = (pools["seconds"] * models / pools["count"]).to_numpy()  # of the whole pool
    assert whole == pytest.approx(whole[0])

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
        edge = np.sort(values)[-size]
        unsure = (np.abs(values - edge) <= 2**-13 * abs(edge)).sum() - (values == edge).sum()  # rounding may reorder them
        found = len(high(values, seed) & high(truth, seed)) / size
        ties = (values == edge).sum() if unsure or scores["raw"].dtype != np.float32 else 0
        assert abs(found - stated[name, seed]) <= (unsure + ties) / size + 1e-9, (name, seed)


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
        rows.append(row | with_halves(group, [*names, "runtime_ratio"]) | passes)
    holds(profile, "table3_accuracies", RUN, rows)


@every_profile
def test_table_of_audits(profile):
    runs = again.measured(need(profile, "unlearning"))
    if not set(AUDITS) <= set(runs) or runs[list(AUDITS)].isna().all(axis=None):
        pytest.skip(f"{profile} has no audits")
    names = [f"{prefix}{name}" for name in AUDITS for prefix in ("", "oracle_")]
    rows = []
    for row, group in groups(runs, RUN):
        row |= with_halves(group, names)
        for name in names:
            if "klom" in name:
                assert group[name].nunique() <= 1  # one number over all seeds, so that it has no interval
                row[f"{name}_half"] = math.nan
        rows.append(row)
    holds(profile, "table_audits", RUN, rows)


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


# ---- the verdicts


def measured_as(row) -> str:
    """How an estimate is called in `claims.csv`."""
    if row.metric == "ρ":
        return label(row.score) if row.kind == "secondary" else "mean over the paper's proxies"
    names = [label(row.metric), "all algorithms" if row.algorithm == "all" else label(row.algorithm)]
    return ", ".join(names + ([label(row.score)] if row.score else []))


def verdict_of(profile: str, row) -> str:
    """A weaker proxy on other data or sizes contradicts nothing that was published for the paper's."""
    softened = row.claim == "proxy-range" and profile not in {"cifar10", "cifar100", "tiny-imagenet"}
    return "undecided" if softened and row.verdict == "contradicted" else row.verdict


@every_profile
def test_every_verdict_with_its_interval(profile):
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])
    found = again.decided(profile)
    keys = [(row.claim, row.kind, measured_as(row)) for row in found.itertuples()]
    assert table.index.is_unique and set(keys) == set(table.index[table["low"].notna()])

    wrong = []
    for key, row in zip(keys, found.itertuples(), strict=True):
        stated = table.loc[key]
        slack = RHO if row.metric == "ρ" else 0.0
        numbers = all(equal(stated[name], getattr(row, name), slack) for name in ("estimate", "low", "high"))
        words = (stated["n"], stated["verdict"], stated["halves"]) == (row.n, verdict_of(profile, row), row.halves)
        if not (numbers and words):
            wrong.append(f"{key}: {stated.to_dict()} instead of {row}")
    assert not wrong, "\n".join(wrong)


@every_profile
def test_what_each_verdict_is_said_to_rest_on(profile):
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])["evidence"]
    evidence = {claim: values for claim, (values, _, _) in again.evidence(profile).items()}
    for row in again.decided(profile).itertuples():
        text = table[row.claim, row.kind, measured_as(row)]
        mean, half, n = re.search(r"= ([+-]?\d\.\d{3}) ± (\d\.\d{3}), n = (\d+)(;|$)", text).groups()[:3]
        slack = 0.0005 + (RHO if row.metric == "ρ" else 1e-9)
        assert abs(float(mean) - row.estimate) <= slack and abs(float(half) - (row.high - row.low) / 2) <= slack
        assert int(n) == row.n
        assert ("but within ± 0.03" in text) == (row.verdict == "shown" and row.within)
        assert ("would decide it" in text or "would be needed" in text) == (row.verdict == "undecided")

        values = evidence[row.claim]
        if "converged" in values:
            values = values[values["metric"] == row.metric]
            if row.algorithm != "all":
                values = values[values["algorithm"] == row.algorithm]
            if row.kind == "secondary":
                values = values[values["score"] == row.score]
            missed = int((~values["converged"]).sum())
            assert (f"† {missed} of {len(values)} pairs" in text) if missed else ("†" not in text)


@every_profile
def test_how_many_seeds_would_decide_is_right_to_a_twentieth(profile):
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])["evidence"]
    for row in again.decided(profile).itertuples():
        if row.verdict != "undecided":
            continue
        text = table[row.claim, row.kind, measured_as(row)]
        about = row.values, row.threshold, row.margin, row.level
        stated = re.search(r"n = (\d+) seeds would decide it", text)
        if stated is None:
            assert again.power(*about, 10_000) < 0.8, text
            continue
        n = int(stated[1])
        assert again.power(*about, math.ceil(1.05 * n) + 1) > 0.8, text
        if n > row.n + 1:  # it is never less than one seed more
            assert again.power(*about, math.floor(0.95 * n) - 1) < 0.8, text


@every_profile
def test_verdicts_on_costs(profile):
    costs = again.table(profile, "table1_proxies")
    if costs is None or costs["share_of_exact"].isna().all():
        pytest.skip(f"{profile} has no costs")
    share = costs[costs["paper"]].set_index("proxy")["share_of_exact"]
    beyond = share[list(again.SHARE)] / pd.Series(again.SHARE)

    expected = {("proxy-cheap", "primary", "the dearest proxy of the paper"): share.idxmax()}
    expected["proxy-share", "primary", "the furthest from its published share"] = beyond.idxmax()
    expected |= {("proxy-cheap", "secondary", label(name)): name for name in share.index}
    expected |= {("proxy-share", "secondary", label(name)): name for name in again.SHARE}

    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])
    assert set(expected) == {key for key in table.index if key[0] in {"proxy-cheap", "proxy-share"}}
    for key, name in expected.items():
        stated = table.loc[key]
        below = share[name] < 0.10 if key[0] == "proxy-cheap" else share[name] <= again.SHARE[name]
        assert stated["verdict"] == ("shown" if below else "contradicted" if key[0] == "proxy-cheap" else "undecided")
        assert equal(stated["estimate"], share[name]) and stated["evidence"].startswith(label(name))
        assert f"{100 * share[name]:.3g} % of {record(profile)['profile']['pool']['models']} models" in stated["evidence"]


# ---- the search


@every_profile
def test_the_pinned_settings_are_the_winners_of_the_search(profile):
    found = again.table(profile, "tune")
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

        # the same candidates for every strategy, with the same passes over R in all
        assert tried.groupby("strategy")["passes_retain"].apply(lambda column: tuple(sorted(column))).nunique() == 1
        assert tried.groupby("strategy").size().nunique() == 1


@every_profile
def test_a_winner_on_an_edge_of_its_grid_is_named(profile):
    for _, group in again.table(profile, "tune").groupby(["algorithm", "strategy"]):
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
