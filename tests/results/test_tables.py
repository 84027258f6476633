"""Tables: numbers against hand-made frames, cells that a reader can trust, and bytes that never change."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb.core import stats
from mulnb.results import captions, compare, markdown, tables

PROFILE = synthetic.profile()


@pytest.fixture(autouse=True)
def _figures_in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))


def test_tow_table_means_intervals_and_gains_paired_by_seed():
    runs = synthetic.unlearning()
    table = tables.tow_table(runs)
    one = table[(table["algorithm"] == "salun") & (table["score"] == "confidence")].set_index("strategy")
    raw = runs[(runs["algorithm"] == "salun") & (runs["score"] == "confidence")].set_index("strategy")
    expected = stats.t_interval(raw.loc["rum_f", "tow"])
    assert one.loc["rum_f", ["tow", "tow_low", "tow_high"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    gain = stats.paired_difference(raw.loc["rum_f", "tow_mia"], raw.loc["vanilla", "tow_mia"])
    assert one.loc["rum_f", ["tow_mia_gain", "tow_mia_gain_low"]].tolist() == pytest.approx([gain.mean, gain.low])
    assert np.isnan(one.loc["vanilla", "tow_gain"])
    assert one["n"].tolist() == [3, 3, 3]


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
    with pytest.raises(ValueError, match="one-to-one"):
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
    assert [markdown.BETTER in line for line in gained.splitlines() if "RUM^F" in line] == [True] * 6
    assert [markdown.WORSE in line for line in lost.splitlines() if "RUM^F" in line] == [True] * 6
    assert not any(
        mark in line for line in gained.splitlines() if "| vanilla" in line for mark in (markdown.BETTER, markdown.WORSE)
    )


def test_the_full_rum_is_compared_with_every_other_run_and_with_no_best_one():
    runs = synthetic.unlearning(rum=0.2)
    table = tables.rum_table(runs)
    assert len(table) == 3 * 3 * len(synthetic.SCORES) and not set(table["algorithm"]) & {"rum", "retrain"}
    row = table[(table.algorithm == "salun") & (table.strategy == "shuffle") & (table.score == "confidence")].iloc[0]
    raw = runs[runs.score == "confidence"].set_index(["algorithm", "strategy"])
    gain = stats.paired_difference(raw.loc["rum", "rum"].tow_mia, raw.loc["salun", "shuffle"].tow_mia)
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
    assert table["algorithm"].unique().tolist() == ["retrain", *synthetic.ALGORITHMS, "rum"]
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


def test_changes_are_taken_from_the_same_seeds_first_step():
    frame = synthetic.sequential()
    table = tables.sequential_table(frame)
    last = table[(table["strategy"] == "vanilla") & (table["scope"] == "union") & (table["step"] == 5)].iloc[0]
    raw = frame[(frame["strategy"] == "vanilla") & (frame["scope"] == "union")].pivot(index="seed", columns="step", values="tow")
    expected = stats.paired_difference(raw[5], raw[1])
    assert [last["tow_change"], last["tow_change_low"]] == pytest.approx([expected.mean, expected.low])
    first = table[table["step"] == 1]
    assert (first["tow_change"] == 0).all() and first["tow_change_low"].isna().all()  # 0 by definition, not measured


def test_proxy_table_is_ordered_by_correlation_and_written_for_readers():
    table = tables.proxy_table(synthetic.costs())
    assert table["spearman"].is_monotonic_decreasing
    page = markdown.page(table, PROFILE, "Table 1.")
    assert "hold-out retraining" in page and "0.02 %" in page and "n = 3 seeds" in page


def test_retraining_stays_in_the_tables():
    assert "retrain" in set(tables.tow_table(synthetic.unlearning())["algorithm"])


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
