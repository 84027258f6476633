"""A second count of what the pages say: tables for readers, and the README, against the committed frames."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import recounting as again
from recount_pages import TREE, every_profile, grids, mean_and_half, need, numbers, page, record, said, ways
from recounting import FIGURES, METRICS

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

pytestmark = pytest.mark.slow

ENDS = {"nothing": "floor: not unlearned", "retrain": "ceiling: second oracle"}
SPECS = {"seconds": ".3g", "oracle_seconds": ".3g", "passes_retain": ".3g", "passes_forget": ".3g"}


# ---- tables for readers say what the CSV files say, which test_recount.py checks


@every_profile
@pytest.mark.parametrize("name", ["table1_proxies", "table3_accuracies", "table_audits", "table_klom", "table_sequential"])
def test_a_table_that_is_read_row_by_row(profile, name):
    text, table = page(profile, f"{name}.md"), again.table(profile, name)
    rows = [row for grid in grids(text) for row in grid[1:]]
    assert len(rows) == len(table)

    for row, cells in zip(table.to_dict("records"), rows, strict=True):
        expected = []
        for column, value in row.items():
            if column in {"unconverged", "paper", "ci_low", "ci_high"} or column.endswith(("_low", "_high", "_half")):
                continue
            if isinstance(value, str):
                continue
            if column in {"n", "n_seeds", "step"}:
                expected.append({f"{value}{' †' if column == 'n' and row.get('unconverged') else ''}"})
            elif column == "share_of_exact":
                expected.append({"" if math.isnan(value) else f"{way} %" for way in ways(100 * value, spec=".3g")})
            else:
                low, high = ("ci_low", "ci_high") if column == "spearman" else (f"{column}_low", f"{column}_high")
                half = row.get(f"{column}_half", (row.get(high, math.nan) - row.get(low, math.nan)) / 2)
                expected.append(ways(value, half, SPECS.get(column, ".3f")))
        assert all(cell in allowed for cell, allowed in zip(cells[-len(expected) :], expected, strict=True)), cells
        names = [label(value) for key, value in row.items() if isinstance(value, str) and key in {"proxy", "score", "scope"}]
        assert set(names) <= set(cells)


@every_profile
@pytest.mark.parametrize(("name", "across"), [("table2_tow", "score"), ("table_crossed", "order")])
def test_a_table_of_each_metric(profile, name, across):
    text, table = page(profile, f"{name}.md"), again.table(profile, name)
    for metric, (heading, *rows) in zip(METRICS, grids(text), strict=True):
        told = {}
        for cells in rows:
            first = len(heading) - table[across].nunique()
            told |= {(*cells[:first], column): cell for column, cell in zip(heading[first:], cells[first:], strict=True)}

        expected = {}
        for row in table.to_dict("records"):
            down = [ENDS.get(row["algorithm"], label(row["algorithm"]))]
            if across == "score":
                down.append("–" if row["algorithm"] in ENDS else label(row["strategy"]))
            marks = " ▲" * (row[f"{metric}_gain_low"] > 0) + " ▼" * (row[f"{metric}_gain_high"] < 0)
            marks += " †" * bool(row.get("unconverged", 0))
            numbers = ways(row[metric], (row[f"{metric}_high"] - row[f"{metric}_low"]) / 2)
            expected[*down, label(row[across])] = {way + marks for way in numbers}
        told = {key: cell for key, cell in told.items() if cell}
        assert set(told) == set(expected)
        assert [key for key, cell in told.items() if cell not in expected[key]] == []


@every_profile
def test_the_page_of_the_search(profile):
    text, table = page(profile, "tune.md"), again.table(profile, "tune")
    winners, candidates = grids(text)

    every = [set(json.loads(given).items()) for given in table["settings"]]
    shared = set.intersection(*every)
    assert len(shared) <= 1  # the batch size; influence has none
    always = [f" Always: {name} {value}." for name, value in shared]
    assert (" Always: " in text) == bool(shared) and all(words in text for words in always)

    def settings(given: str) -> str:
        return ", ".join(f"{name} {value}" for name, value in json.loads(given).items() if (name, value) not in shared)

    expected = []
    for (algorithm, strategy), group in table.groupby(["algorithm", "strategy"], sort=False):
        best, *others = group.sort_values("objective", ascending=False, kind="stable").to_dict("records")
        edge = best["edge"] if isinstance(best["edge"], str) else "no"
        row = [
            label(algorithm),
            label(strategy),
            str(len(group)),
            settings(best["settings"]),
            said(best["objective"], best["se"]),
        ]
        second = [settings(others[0]["settings"]), f"{best['objective'] - others[0]['objective']:.3f}"] if others else ["–", "–"]
        expected.append([*row, *second, edge])
    assert winners[1:] == expected

    told = []
    for row in table.to_dict("records"):
        names = [label(row["algorithm"]), label(row["strategy"]), settings(row["settings"])]
        reached = [said(row["tow"]), said(row["tow_mia"]), said(row["objective"], row["se"])]
        told.append([*names, *reached, str(row["round"]), "yes" if row["chosen"] else ""])
    assert candidates[1:] == told


# ---- the README


def block(name: str) -> str:
    text = (TREE / "README.md").read_text()
    return text.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]


def pairs(profile: str) -> set[tuple[str, str]]:
    """Every "mean ± half" of a profile that a text may quote, to three digits."""
    found = []
    for row in again.decided(profile).itertuples():
        found.append((row.estimate, (row.high - row.low) / 2))
    for name in ("table1_proxies", "table2_tow", "table_crossed", "table_audits", "table3_accuracies", "table_sequential"):
        table = again.table(profile, name)
        if table is None:
            continue
        table = table.rename(columns={"ci_low": "spearman_low", "ci_high": "spearman_high"})
        for column in table:
            if f"{column}_low" in table:
                found += zip(table[column], (table[f"{column}_high"] - table[f"{column}_low"]) / 2, strict=True)
            if f"{column}_half" in table:
                found += zip(table[column], table[f"{column}_half"], strict=True)
    return {(f"{mean:.3f}", f"{half:.3f}") for mean, half in found}


def test_every_interval_that_the_readme_quotes_of_a_profile_is_one_of_its_own():
    text = (TREE / "README.md").read_text()
    for profile in set(re.findall(r"<!-- ([\w-]+):begin -->", text)) & set(again.PROFILES):
        quoted = re.findall(r"(-?)\+?(\d\.\d{3}) ± (\d\.\d{3})", block(profile).replace("−", "-"))
        assert quoted
        assert {(sign + mean, half) for sign, mean, half in quoted} <= pairs(profile)


def test_what_the_readme_says_of_cifar10_small_in_this_order():
    profile, runs = "cifar10-small", need("cifar10-small", "unlearning")
    table = again.table(profile, "table1_proxies").set_index("proxy")
    found = again.decided(profile).set_index(["claim", "kind", "metric", "algorithm"])
    told = []

    def add(mean: float, half: float) -> None:
        told.extend([f"{mean:.3f}", f"{half:.3f}"])

    def estimate(claim: str, metric: str, algorithm: str = "all") -> None:
        row = found.loc[(claim, "primary", metric, algorithm)]
        add(row["estimate"], (row["high"] - row["low"]) / 2)

    def cell(column: str, **values: str) -> None:
        rows = runs
        for name, value in values.items():
            rows = rows[rows[name] == value]
        add(*mean_and_half(rows[column]))

    first, second = table.loc["confidence"], table.loc["binary_accuracy"]
    add(first["spearman"], (first["ci_high"] - first["ci_low"]) / 2)
    told += ["0.80", "0.91", "0.80", f"{0.80 - first['ci_low']:.3f}"]
    add(second["spearman"], (second["ci_high"] - second["ci_low"]) / 2)
    told += [f"{100 * row['share_of_exact']:.3g}" for row in (first, second)]
    add(first["overlap"], (first["overlap_high"] - first["overlap_low"]) / 2)
    pools = need(profile, "fidelity").query("kind == 'pool'")
    assert pools["count"].max() == record(profile)["profile"]["pool"]["models"] / 2
    told.append(f"{pools.loc[pools['count'] == pools['count'].max(), 'overlap'].mean():.3f}")

    estimate("refine-vanilla", "tow")
    estimate("refine-vanilla", "tow_mia")
    for algorithm in ("fine_tune", "salun", "neg_grad_plus"):
        estimate("refine-vanilla", "tow", algorithm)
    estimate("refine-shuffle", "tow")
    told.append("0.03")
    estimate("refine-shuffle", "tow_mia")
    estimate("proxy-as-good", "tow")
    told.append("0.03")
    estimate("proxy-as-good", "tow", "salun")

    alone = again.methods(runs).groupby(["algorithm", "strategy", "score"])["tow"].mean()
    algorithm, strategy, score = alone.idxmax()
    cell("tow", algorithm=algorithm, strategy=strategy, score=score)
    for end in ("nothing", "retrain"):
        cell("tow", algorithm=end, score=score)
    cell("lira_tpr01", algorithm="neg_grad_plus", strategy="vanilla", score="memorization")
    cell("oracle_lira_tpr01", algorithm="neg_grad_plus", strategy="vanilla", score="memorization")
    for algorithm_of, strategy_of in (("neg_grad_plus", "rum_f"), ("fine_tune", "rum_f"), ("fine_tune", "vanilla")):
        cell("lira_tpr01", algorithm=algorithm_of, strategy=strategy_of, score="memorization")
    for name, kinder in (("neg_grad_plus", True), ("salun", True), ("fine_tune", False)):  # by the whole interval
        of_one = runs[(runs["algorithm"] == name) & (runs["score"] == "memorization")]
        both = of_one.pivot(index="seed", columns="strategy", values="lira_tpr01")
        mean, half = mean_and_half(both["rum_f"] - both["vanilla"])
        assert (mean + half < 0) if kinder else (mean - half > 0)

    text = block(profile)
    assert numbers(text) == told
    assert f"({label(algorithm)}, {label(strategy)})" in text  # the best ToW
    assert f"of the {record(profile)['profile']['forget']['size']} most memorized" in text


def test_what_the_readme_says_of_later_strata():
    text = (TREE / "README.md").read_text()
    start = text.index("**Why refinement costs ToW here.**")
    text = text[start : text.index("later_strata.csv", start)]
    without = pd.read_csv(FIGURES / "cifar10-small/later_strata.csv")
    for metric, first in (("tow", "acc_forget"), ("tow_mia", "mia")):
        assert np.abs(without[metric] - again.tow(without, first)).max() < 5e-6

    runs = need("cifar10-small", "unlearning")
    runs = runs[runs["score"] == "memorization"]
    oracles = ["oracle_acc_forget", "oracle_acc_retain", "oracle_acc_test", "oracle_mia"]
    there = runs.groupby("seed")[oracles].first()
    assert (without.groupby("seed")[oracles].first() - there).abs().max(axis=None) < 1e-6

    # without later strata, fine-tuning stage by stage is fine-tuning three times: R is the same, and S is never used
    own, thrice = (frame.query("algorithm == 'fine_tune'") for frame in (without, runs[runs["strategy"] == "repeat"]))
    assert again.paired(own, thrice, ["seed"])[["tow", "tow_mia"]].abs().max(axis=None) < 1e-5
    assert "but then it *is* `repeat`" in text

    found = again.decided("cifar10-small").set_index(["claim", "kind", "metric", "algorithm"])
    told = []
    for key in (("refine-repeat", "primary", "tow", "all"), ("refine-shuffle", "primary", "tow", "salun")):
        row = found.loc[key]
        told += [f"{row['estimate']:.3f}", f"{(row['high'] - row['low']) / 2:.3f}"]
    for algorithm, others in (
        ("fine_tune", ("rum_f", "vanilla")),
        ("salun", ("rum_f", "vanilla")),
        ("neg_grad_plus", ("rum_f",)),
    ):
        ours = without[without["algorithm"] == algorithm]
        for strategy in others:
            theirs = runs[(runs["algorithm"] == algorithm) & (runs["strategy"] == strategy)]
            mean, half = mean_and_half(again.paired(ours, theirs, ["seed"])["tow"])
            told += [f"{mean:.3f}", f"{half:.3f}"]
    assert [number.lstrip("+") for number in numbers(text)] == told


@pytest.mark.parametrize(
    ("profile", "heading", "halves"),
    [
        ("cifar10-small", "**Five requests in a row**", None),
        ("cifar100-mini", "**Requests in a row on `cifar100-mini`**", None),
        ("tiny-imagenet-mini", "**Where refinement wins**", "open"),
    ],
)
def test_what_the_readme_says_of_requests_in_a_row(profile, heading, halves):
    text = (TREE / "README.md").read_text()
    start = text.index(heading)
    text = text[start : text.index("\n\n", start)]
    assert record(profile)["profile"]["sequential"]["steps"] == 5

    found = again.decided(profile).set_index(["claim", "kind", "metric"])
    told = []
    for claim, metric in (("sequential-better", "tow"), ("sequential-better", "tow_mia"), ("sequential-floor", "tow")):
        row = found.loc[(claim, "primary", metric)]
        told += [f"{row['estimate']:+.3f}".replace("-", "−"), f"{(row['high'] - row['low']) / 2:.3f}"]
        assert f"({row['verdict']})" in text or claim == "sequential-floor"
    assert re.findall(r"[+−]?\d\.\d{3}", text) == told

    stated = again.table(profile, "claims").set_index(["claim", "kind"])
    assert halves is None or (stated.loc[("sequential-better", "primary"), "halves"] == halves).all()


def test_the_pairs_side_by_side_in_the_readme():
    heading, *rows = grids(block("pairs"))[0]
    told = {row[0]: row[1:] for row in rows}
    for place, name in enumerate(heading[1:]):
        profile = name.strip("`")
        run, costs = record(profile)["profile"], again.table(profile, "table1_proxies").set_index("proxy")
        counts = run["pool"]["models"], len(run["seeds"]), len(run["unlearning"]["algorithms"])
        expected = {"networks of the pool, seeds, algorithms": {", ".join(map(str, counts))}}
        for proxy in ("confidence", "binary_accuracy"):
            row = costs.loc[proxy]
            cell = ways(row["spearman"], (row["ci_high"] - row["ci_low"]) / 2)
            expected[f"ρ of {label(proxy)} with memorization"] = cell

        runs = again.frame(profile, "unlearning")
        found = again.decided(profile).set_index(["claim", "kind", "metric", "algorithm"])
        for claim, metric, words in (
            ("refine-vanilla", "tow", "RUM^F − vanilla, ToW"),
            ("refine-vanilla", "tow_mia", "RUM^F − vanilla, ToW-MIA"),
            ("refine-repeat", "tow", "RUM^F − repeat, ToW"),
            ("refine-shuffle", "tow", "RUM^F − shuffle, ToW"),
            ("proxy-as-good", "tow", "a proxy's order − memorization's, ToW"),
        ):
            if runs is None:
                expected[words] = {"–"}  # its stage has not run
                continue
            row = found.loc[(claim, "primary", metric, "all")]
            numbers = ways(row["estimate"], (row["high"] - row["low"]) / 2, "+.3f")
            expected[words] = {f"{way}: {row['verdict']}".replace("-", "−") for way in numbers}

        words = "ToW of not unlearning, of a second oracle (sets by memorization)"
        expected[words] = {"–"}
        if runs is not None:
            ends = runs[runs["score"] == "memorization"].groupby("algorithm")["tow"].mean()
            expected[words] = {f"{ends['nothing']:.3f}, {ends['retrain']:.3f}"}

        assert set(expected) == set(told) - {"network"}
        wrong = [words for words, allowed in expected.items() if told[words][place] not in allowed]
        assert not wrong, (profile, wrong)


def test_what_the_readme_says_of_sizes_and_replication():
    text = " ".join((TREE / "README.md").read_text().split())
    for profile in ("cifar10-small", "cifar100-mini"):
        estimates, alike, opposite = again.replication(profile)
        assert f"decide {alike} of {estimates} estimates alike and {opposite or 'none'} in opposite ways" in text

    run = record("cifar10-small")["profile"]
    sure = again.reliability("cifar10-small")
    pool = f"exact scores from M = {run['pool']['models']} networks"
    assert f"{pool} (reliability {sure:.3f}, from ρ between halves of the pool)" in text
    assert f"n = {len(run['seeds'])} seeds, strata of {run['forget']['size']} images, three passes over the retain set" in text
    runs = again.methods(need("cifar10-small", "unlearning"))
    assert (runs["passes_retain"] == 3).all() and runs["converged"].all()


def test_what_the_readme_says_of_how_far_above_the_floor_methods_end():
    runs = need("tiny-imagenet-mini", "unlearning")
    floor = runs[runs["algorithm"] == "nothing"].set_index(["score", "seed"])["tow"]
    levels = runs.set_index(["algorithm", "strategy", "score", "seed"])["tow"]
    gained = levels.sub(floor).groupby(["algorithm", "strategy"]).mean()
    range_of = {name: (part.min(), part.max()) for name, part in gained.groupby("algorithm")}

    text = " ".join((TREE / "README.md").read_text().split())
    low = max(range_of[name][1] for name in ("fine_tune", "l1_sparse", "influence"))
    assert f"fine-tuning, L1-sparse and influence end at most {low:.3f} above the floor" in text
    for words, names in (
        ("NegGrad and SCRUB {} to {}", ("neg_grad", "scrub")),
        ("NegGrad+, SalUn and random labels end {} to {} above it", ("neg_grad_plus", "salun", "random_label")),
    ):
        ends = np.array([range_of[name] for name in names])
        assert words.format(f"{ends.min():.3f}", f"{ends.max():.3f}") in text
    assert f"a second oracle {gained.loc['retrain'].item():.3f}" in text


def test_the_results_of_digits_in_the_readme():
    text, table = block("results"), again.table("digits", "table1_proxies")
    proxies, tow, _ = grids(text)
    expected = []
    for row in table.itertuples():
        bounds = f"{row.spearman:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"
        expected.append([label(row.proxy), bounds, f"{row.seconds:.2g}", f"{100 * row.share_of_exact:.2g} %"])
    assert proxies[1:] == expected

    runs = need("digits", "unlearning")
    runs = runs[runs["score"] == "confidence"]
    for cells in tow[1:]:
        for strategy, cell in zip(tow[0][1:], cells[1:], strict=True):
            rows = runs[(runs["algorithm"].map(label) == cells[0]) & (runs["strategy"].map(label) == strategy)]
            assert cell == " / ".join(said(*mean_and_half(rows[metric]), ".2f") for metric in METRICS)

    ends = []
    for name in ("nothing", "retrain"):
        ends.append(" / ".join(f"{runs.loc[runs['algorithm'] == name, metric].mean():.2f}" for metric in METRICS))
    assert f"(not unlearned: {ends[0]}; a second oracle: {ends[1]})" in text


def _elsewhere(file: str) -> dict[str, pd.DataFrame]:
    """The recorded verdicts of other machines, by the machine."""
    table = pd.read_csv(FIGURES / file).set_index(["claim", "measured"])
    if "device" not in table:
        return {"another search": table}
    return dict(list(table.groupby("device", sort=False)))


FILES = ("digits/own_sums.csv", "digits/earlier_search.csv", "cifar10-small/other_machine.csv")
MACHINES = [(file, machine) for file in FILES for machine in _elsewhere(file)]


@pytest.mark.parametrize(("file", "machine"), MACHINES)
def test_the_verdicts_of_another_machine(file, machine):
    there = _elsewhere(file)[machine]
    assert set(there.index) == set(_primary(file.partition("/")[0]).index) and there.index.is_unique

    # a verdict there is one that its own evidence allows
    limits = {"proxy-as-good": -0.03}
    for (claim, name), row in there.iterrows():
        interval = re.search(r"= ([+-]?\d\.\d{3}) ± (\d\.\d{3}), n = (\d+)", row["evidence"])
        if interval is None or (claim, row["verdict"]) == ("proxy-range", "undecided"):
            continue
        mean, half, limit = float(interval[1]), float(interval[2]), limits.get(claim, 0.0)
        allowed = set()
        for rounding in (-0.001, 0, 0.001):  # of the two numbers together
            outside = "shown" if mean - half + rounding > limit else "contradicted" if mean + half + rounding < limit else None
            allowed |= {outside} if outside else {"equivalent", "undecided"}
        assert row["verdict"] in allowed, (claim, name)


def _primary(profile: str) -> pd.Series:
    """The committed primary verdicts, by claim and what was measured."""
    here = again.table(profile, "claims")
    return here[here["kind"] == "primary"].set_index(["claim", "measured"])["verdict"]


def test_what_the_readme_says_of_other_machines():
    here, there = _primary("digits"), _elsewhere("digits/own_sums.csv")
    verdicts = pd.DataFrame({"here": here} | {machine: rows["verdict"].loc[here.index] for machine, rows in there.items()})
    assert not any({"shown", "contradicted"} <= set(row) for row in verdicts.itertuples(index=False))

    same = [str((verdicts[machine] == here).sum()) for machine in there]
    everywhere = (verdicts.nunique(axis=1) == 1).sum()
    words = " ".join((TREE / "README.md").read_text().split())
    said = f"of the {len(here)} primary verdicts {same[0]}, {same[1]} and {same[2]} are the same there ([own_sums.csv]"
    assert said in words and f"{everywhere} in all four" in words


def test_what_the_readme_says_of_another_search():
    here = _primary("digits")
    (there,) = _elsewhere("digits/earlier_search.csv").values()
    both = pd.DataFrame({"here": here, "there": there["verdict"].loc[here.index]})
    assert not any({"shown", "contradicted"} == set(row) for row in both.itertuples(index=False))

    changed = (both["here"] != both["there"]).sum()
    words = " ".join((TREE / "README.md").read_text().split())
    assert f"With those {changed} of the {len(here)} primary verdicts differ, none in opposite ways" in words


def test_what_the_readme_says_of_cifar10_small_on_another_processor():
    there = pd.read_csv(FIGURES / "cifar10-small/other_machine.csv").set_index(["claim", "measured"])
    both = pd.DataFrame({"there": there["verdict"], "here": _primary("cifar10-small").loc[there.index]})
    assert not any({"shown", "contradicted"} == set(row) for row in both.itertuples(index=False))
    same = both["there"] == both["here"]

    text = " ".join((TREE / "README.md").read_text().split()).replace("−", "-")
    start = text.index("**On another processor** (AMD EPYC without AVX-512; pool")
    text = text[start : text.index("Odd and even", start)]
    assert f"of the {len(both)} primary verdicts {int(same.sum())} are the same" in text

    overall = same[same.index.get_level_values("measured").str.endswith("all algorithms")]
    tow = overall[overall.index.get_level_values("measured").str.startswith("ToW,")]
    attacked = overall[overall.index.get_level_values("measured").str.startswith("ToW-MIA,")]
    assert (len(tow), tow.all(), len(attacked), attacked.sum()) == (4, True, 4, 1)
    assert attacked["proxy-as-good"].all()
    for claim in ("refine-vanilla", "refine-repeat", "refine-shuffle", "proxy-as-good"):
        stated = re.search(r"= ([+-]\S+ ± \S+),", there.loc[(claim, "ToW, all algorithms"), "evidence"])
        assert stated[1] in text
