"""Tables: numbers against hand-made frames, cells that a reader can trust, and bytes that never change."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb.core import stats
from mulnb.results import captions, compare, markdown, search, tables

PROFILE = synthetic.profile()


@pytest.fixture(autouse=True)
def _figures_in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))


def paired(a, b):
    """The interval of the mean difference of two runs, seed by seed."""
    return stats.t_interval(np.asarray(a) - np.asarray(b))


def test_tow_table_means_intervals_and_gains_paired_by_seed():
    runs = synthetic.unlearning()
    table = tables.tow_table(runs)
    ours = table[(table["algorithm"] == "salun") & (table["score"] == "confidence")].set_index("strategy")
    raw = runs[(runs["algorithm"] == "salun") & (runs["score"] == "confidence")].set_index("strategy")
    expected = stats.t_interval(raw.loc["rum_f", "tow"])
    assert ours.loc["rum_f", ["tow", "tow_low", "tow_high"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    gain = paired(raw.loc["rum_f", "tow_mia"], raw.loc["vanilla", "tow_mia"])
    assert ours.loc["rum_f", ["tow_mia_gain", "tow_mia_gain_low"]].tolist() == pytest.approx([gain.mean, gain.low])
    assert np.isnan(ours.loc["vanilla", "tow_gain"])
    assert ours["n"].tolist() == [3, 3, 3, 3]


def test_pairs_are_made_by_seed_not_by_row_order():
    runs = synthetic.unlearning()
    shuffled = runs.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(tables.tow_table(runs), tables.tow_table(shuffled))


def test_only_seeds_that_both_strategies_have_are_compared():
    runs = synthetic.unlearning()
    without = runs[~((runs["strategy"] == "rum_f") & (runs["seed"] == 2))]
    assert set(compare.differences(without, "rum_f", "vanilla")["n"]) == {2}


def test_a_run_that_appears_twice_is_an_error():
    runs = synthetic.unlearning()
    with pytest.raises(ValueError, match="appears twice"):
        compare.differences(pd.concat([runs, runs]), "rum_f", "vanilla")


def test_method10_09_one_seed_gives_no_interval_in_any_table():
    runs = synthetic.unlearning(seeds=1)
    table = tables.tow_table(runs)
    assert table.filter(regex="_low$|_high$").isna().all().all()
    page = markdown.page(table, PROFILE, "ToW.")
    assert "±" not in page and "n = 1 seed" in page and "no interval" in page
    assert "±" not in markdown.page(tables.accuracy_table(runs), PROFILE, "Accuracies.")


def test_marks_say_where_the_paired_interval_excludes_zero():
    gained = markdown.page(tables.tow_table(synthetic.unlearning(gain=0.2)), PROFILE, "ToW.")
    lost = markdown.page(tables.tow_table(synthetic.unlearning(gain=-0.2)), PROFILE, "ToW.")
    assert [line.count(markdown.BETTER) for line in gained.splitlines() if "RUM^F" in line] == [5] * 6
    assert [line.count(markdown.WORSE) for line in lost.splitlines() if "RUM^F" in line] == [5] * 6
    assert not any(
        mark in line for line in gained.splitlines() if "| vanilla" in line for mark in (markdown.BETTER, markdown.WORSE)
    )


def test_the_full_rum_is_compared_with_every_other_run_and_with_no_best_one():
    runs = synthetic.unlearning(rum=0.2)
    table = tables.rum_table(runs)
    assert len(table) == 3 * 4 * len(synthetic.SCORES) and not set(table["algorithm"]) & {"rum", "retrain", "nothing"}
    row = table[(table.algorithm == "salun") & (table.strategy == "shuffle") & (table.score == "confidence")].iloc[0]
    raw = runs[runs.score == "confidence"].set_index(["algorithm", "strategy"])
    gain = paired(raw.loc["rum", "rum"].tow_mia, raw.loc["salun", "shuffle"].tow_mia)
    assert [row.tow_mia_gain, row.tow_mia_gain_low, row.tow_mia_gain_high, row.n] == pytest.approx([*gain_ends(gain), 3])
    page = markdown.page(table, PROFILE, "RUM.")
    assert markdown.BETTER in page and "to vanilla" not in page and "ToW-MIA, RUM − the other" in page
    assert "+0." in page


def gain_ends(gain: stats.Interval) -> tuple[float, float, float]:
    return gain.mean, gain.low, gain.high


def test_the_full_rum_has_its_row_and_no_gain_over_a_vanilla_that_it_does_not_have():
    table = tables.tow_table(synthetic.unlearning(rum=0.2))
    own = table[table["algorithm"] == "rum"]
    assert len(own) == len(synthetic.SCORES) and own.filter(like="gain").isna().all().all() and own["tow_low"].notna().all()
    assert table["algorithm"].unique().tolist() == ["nothing", "retrain", *synthetic.ALGORITHMS, "rum"]
    lines = [line for line in markdown.page(table, PROFILE, "ToW.").splitlines() if line.startswith("| RUM ")]
    assert len(lines) == 2 and markdown.BETTER not in "".join(lines)


def test_a_run_that_diverged_leaves_its_accuracies_empty_and_counts_as_zero():
    runs = synthetic.unlearning()
    lost = (runs.algorithm == "salun") & (runs.strategy == "vanilla") & (runs.seed == 1)
    runs.loc[lost, ["acc_forget", "acc_retain", "acc_test", "mia", "seconds"]] = np.nan
    runs.loc[lost, ["tow", "tow_mia"]] = 0.0
    row = tables.accuracy_table(runs).set_index(["algorithm", "strategy", "score"]).loc["salun", "vanilla", "confidence"]
    assert np.isnan(row.acc_forget) and np.isnan(row.runtime_ratio) and row.oracle_acc_forget == pytest.approx(0.7) and row.n == 3
    assert "nan" not in markdown.page(tables.accuracy_table(runs), PROFILE, "Accuracies.")
    mean = tables.tow_table(runs).set_index(["algorithm", "strategy", "score"]).tow["salun", "vanilla", "confidence"]
    assert mean == pytest.approx(
        runs[(runs.algorithm == "salun") & (runs.strategy == "vanilla") & (runs.score == "confidence")].tow.mean()
    )


def test_accuracy_table_has_the_oracle_beside_and_the_runtime_ratio():
    table = tables.accuracy_table(synthetic.unlearning())
    row = table[(table["algorithm"] == "fine_tune") & (table["strategy"] == "rum_f")].iloc[0]
    assert row["oracle_acc_forget"] == pytest.approx(0.7)
    assert row["runtime_ratio"] == pytest.approx(0.51 / 5)  # 0.50, 0.51, 0.52 s against 5 s
    assert row["runtime_ratio_half"] == pytest.approx(row["seconds_half"] / 5)


def test_a_time_that_a_stack_of_seeds_shares_has_no_interval():
    """0.3 s three times has a standard deviation of 6e-17: the page would say "0.3 ± 6.8e-17"."""
    shared = tables.accuracy_table(synthetic.unlearning().assign(seconds=0.3, oracle_seconds=0.7))
    assert (shared[["seconds", "oracle_seconds"]] - [0.3, 0.7]).abs().max(axis=None) < 1e-12
    assert shared[["seconds_half", "oracle_seconds_half", "runtime_ratio_half"]].isna().all(axis=None)
    assert shared["acc_test_half"].notna().all()
    assert "e-1" not in markdown.page(shared, PROFILE, "Accuracies.")


def test_changes_are_taken_from_the_same_seeds_first_step():
    frame = synthetic.sequential()
    table = tables.sequential_table(frame)
    last = table[(table["strategy"] == "vanilla") & (table["scope"] == "union") & (table["step"] == 5)].iloc[0]
    raw = frame[(frame["strategy"] == "vanilla") & (frame["scope"] == "union")].pivot(index="seed", columns="step", values="tow")
    expected = paired(raw[5], raw[1])
    assert [last["tow_change"], last["tow_change_low"]] == pytest.approx([expected.mean, expected.low])
    first = table[table["step"] == 1]
    assert (first["tow_change"] == 0).all() and first["tow_change_low"].isna().all()  # 0 by definition, not measured


def test_proxy_table_is_ordered_by_correlation_and_written_for_readers():
    table = tables.proxy_table(synthetic.costs(beyond=False))
    assert table["spearman"].is_monotonic_decreasing
    page = markdown.page(table, PROFILE, "Table 1.")
    assert "hold-out retraining" in page and "0.02 %" in page and "n = 3 seeds" in page


def test_the_scale_has_a_floor_and_a_ceiling_that_were_measured():
    table = tables.tow_table(synthetic.unlearning())
    ends = table[table["algorithm"].isin(["nothing", "retrain"])]
    assert len(ends) == 2 * len(synthetic.SCORES) and (ends["tow"] < 1).all() and ends["tow_gain"].isna().all()
    page = markdown.page(table, PROFILE, "ToW.")
    assert "| floor: not unlearned   | –" in page and "| ceiling: second oracle | –" in page
    means = compare.ends(synthetic.unlearning()).set_index("algorithm")
    runs = synthetic.unlearning()
    expected = stats.t_interval(runs[runs["algorithm"] == "retrain"].groupby("seed")["tow"].mean())
    assert means.loc["retrain", "tow"] == pytest.approx(expected.mean) and means.loc["retrain", "n"] == 3
    assert means.loc["retrain", "tow_low"] == pytest.approx(expected.low)


def test_method10_10_an_oracle_that_is_one_by_definition_is_in_no_table():
    before = synthetic.old(synthetic.unlearning())
    assert (before.loc[before["algorithm"] == "retrain", "tow"] == 1).all()
    for table in (tables.tow_table(before), tables.accuracy_table(before)):
        assert set(table["algorithm"]) == set(synthetic.ALGORITHMS)
    assert not len(compare.ends(before))


def test_a_run_whose_oracle_did_not_fit_is_marked_wherever_it_is_averaged():
    runs = synthetic.unlearning()
    runs.loc[(runs["score"] == "confidence") & (runs["seed"] == 0), "converged"] = False
    table = tables.tow_table(runs)
    assert table.groupby("score")["unconverged"].max().to_dict() == dict.fromkeys(synthetic.SCORES, 0) | {"confidence": 1}
    for made in (table, tables.accuracy_table(runs), tables.audit_table(runs)):
        page = markdown.page(made, PROFILE, "ToW.")
        assert "did not fit the retain set" in page
        marked = [line for line in page.splitlines() if "†" in line and line.startswith("|")]
        assert marked and (made is table or all("confidence" in line for line in marked))
    assert "†" not in markdown.page(tables.tow_table(synthetic.unlearning()), PROFILE, "ToW.")


def test_passes_are_those_of_the_whole_strategy():
    table = tables.accuracy_table(synthetic.unlearning()).set_index(["algorithm", "strategy", "score"])
    assert table.loc[("salun", "vanilla", "confidence"), "passes_retain"] == 5
    assert table.loc[("salun", "repeat", "confidence"), "passes_retain"] == 15
    assert "passes_retain" in tables.sequential_table(synthetic.sequential())
    assert "passes_retain" not in tables.accuracy_table(synthetic.old(synthetic.unlearning()))


def test_audits_stand_beside_the_oracles():
    runs = synthetic.unlearning()
    assert tables.has_audits(runs) and not tables.has_audits(synthetic.old(runs))
    assert not tables.has_audits(runs.assign(**dict.fromkeys(tables.AUDITS, np.nan)))  # imported scores: there is no pool
    table = tables.audit_table(runs).set_index(["algorithm", "strategy", "score"])
    row = table.loc[("salun", "rum_f", "confidence")]
    assert row["oracle_lira_auc"] == pytest.approx(0.51) and row["lira_auc_half"] > 0
    assert not any("klom" in name for name in table.columns)


def test_klom_has_no_interval_and_tells_the_forget_the_retain_and_the_test_set_apart():
    table = tables.klom_table(synthetic.unlearning()).set_index(["algorithm", "strategy", "score"])
    assert list(table.columns) == ["n", "unconverged", *tables.KLOM]
    row = table.loc[("salun", "rum_f", "confidence")]
    assert row["klom_retain_p50"] == pytest.approx(0.3) and row["klom_test_p95"] == pytest.approx(1.1)


def test_a_model_that_never_relearned_is_infinite_and_has_no_interval():
    runs = synthetic.unlearning()
    runs.loc[(runs["algorithm"] == "salun") & (runs["seed"] == 0), "relearn_epochs"] = np.inf
    page = markdown.page(tables.audit_table(runs), PROFILE, "Audits.")
    assert "∞" in page and "inf" not in page.replace("information", "") and "nan" not in page


def test_the_crossed_table_compares_orders_on_the_same_forget_set():
    crossed = synthetic.crossed(-0.1)
    table = tables.crossed_table(crossed).set_index(["algorithm", "order"])
    raw = crossed[crossed["algorithm"] == "salun"].pivot(index="seed", columns="order", values="tow")
    gain = paired(raw["confidence"], raw["memorization"])
    assert table.loc[("salun", "confidence"), "tow_gain"] == pytest.approx(gain.mean)
    assert np.isnan(table.loc[("salun", "memorization"), "tow_gain"])
    page = markdown.page(tables.crossed_table(crossed), PROFILE, "Crossed.")
    assert "to memorization's order" in page and markdown.WORSE in page


def test_the_papers_proxies_stand_above_the_others():
    table = tables.proxy_table(synthetic.costs())
    assert table["proxy"].tolist()[0] == "confidence" and table["paper"].tolist() == [True] * 6 + [False] * 5
    assert table["spearman"][:6].is_monotonic_decreasing and table["spearman"][6:].is_monotonic_decreasing
    above, below = markdown.page(table, PROFILE, "Table 1.").split("### Not the paper's")
    assert "entropy" in above and "EL2N" in below and "EL2N" not in above
    assert "scores' noise taken out" in above and "overlap of the high stratum" in above
    unknown = markdown.page(tables.proxy_table(synthetic.costs().assign(share_of_exact=np.nan)), PROFILE, "Table 1.")
    assert "nan" not in unknown  # imported scores: nobody knows what they cost


def test_the_search_page_names_winner_and_runner_up():
    rows = [
        ("salun", "vanilla", '{"lr": 0.1}', 1.80, 0.02, False, "", 0),
        ("salun", "vanilla", '{"lr": 0.2}', 1.85, 0.03, True, "lr", 1),
        ("salun", "vanilla", '[{"lr": 0.1}, {"lr": 0.2}]', 1.20, 0.02, False, "", 0),
    ]
    frame = pd.DataFrame(rows, columns=["algorithm", "strategy", "settings", "objective", "se", "chosen", "edge", "round"])
    page = search.page(frame, PROFILE, "The search.")
    line = next(line for line in page.splitlines() if line.startswith("| SalUn"))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "SalUn", "vanilla", "3", "lr 0.2", "1.850 ± 0.030", "lr 0.1", "0.050", "lr"
    ]  # fmt: skip
    assert "was extended" in page and "two of them" in page and "†" not in page

    marked = search.page(frame.assign(unconverged=[0, 2, 0]), PROFILE, "The search.")
    assert "| 1.850 ± 0.030 † " in marked and "| 1.800 ± 0.020 |" in marked and "did not fit the retain set" in marked


def test_written_files_are_the_same_every_time_and_read_back(tmp_path):
    table = tables.tow_table(synthetic.unlearning())
    first = [path.read_bytes() for path in tables.write(table, PROFILE, "tow", "ToW.")]
    again = [path.read_bytes() for path in tables.write(tables.tow_table(synthetic.unlearning()), PROFILE, "tow", "ToW.")]
    assert first == again
    csv = pd.read_csv(io.BytesIO(first[0]))
    assert list(csv.columns) == list(table.columns)
    assert csv["tow"].to_numpy() == pytest.approx(table["tow"].to_numpy(), rel=1e-5)
    assert max(len(cell.lstrip("-0.").replace(".", "")) for cell in csv["tow"].astype(str)) <= 6
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["tow.csv", "tow.md"]
    assert first[1].decode().startswith("**Invented digits / small CNN** (profile `digits`). ToW.")


@pytest.mark.parametrize(
    ("counts", "text"),
    [([3, 3], "over n = 3 seeds"), ([1], "n = 1 seed: no interval"), ([2, 3], "n = 2 to 3 seeds"), ([1, 3], "none where n = 1")],
)
def test_the_note_says_what_the_intervals_are(counts, text):
    assert text in captions.interval_note(counts)


def test_a_difference_that_is_undecided_bears_no_mark():
    table = tables.tow_table(synthetic.unlearning(gain=0, spread=0.1))
    undecided = (table["tow_gain_low"] < 0) & (table["tow_gain_high"] > 0)
    assert undecided.any() and table["tow_gain"].notna().any()
    for row in table[undecided].to_dict("records"):
        assert markdown._mark(row, "tow") == ""


def test_a_pair_of_which_either_run_did_not_converge_counts_as_unconverged():
    runs = synthetic.unlearning(seeds=4)
    for strategy in ("rum_f", "vanilla"):
        lost = runs.assign(converged=(runs["strategy"] != strategy) | (runs["seed"] != 2))
        assert set(compare.differences(lost, "rum_f", "vanilla")["unconverged"]) == {1}, strategy
