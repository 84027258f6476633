"""A second count, of what the pages say: READMEs, claims, tables for readers and notebooks against the committed frames."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import recounting as again
from recounting import FIGURES, METRICS
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, rankdata
from test_recount import AUDITS, measured_as, need, record, verdict_of

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

TREE = FIGURES.parent
DECIDED = ("shown", "contradicted", "equivalent", "undecided")
ENDS = {"nothing": "floor: not unlearned", "retrain": "ceiling: second oracle"}
SPECS = {"seconds": ".3g", "oracle_seconds": ".3g", "passes_retain": ".3g", "passes_forget": ".3g"}
every_profile = pytest.mark.parametrize("profile", again.PROFILES)


def page(profile: str, name: str) -> str:
    path = FIGURES / profile / name
    if not path.is_file():
        pytest.skip(f"{profile} has no {name}")
    return path.read_text()


def grids(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text, each a list of rows of cells; the first row is the heading."""
    found, open_table = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            open_table = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not open_table:
            found.append([])
        open_table = True
        if not set("".join(cells)) <= set(":- "):
            found[-1].append(cells)
    return found


def said(value: float, half: float = math.nan, spec: str = ".3f") -> str:
    """A number with half its interval, as tables show it."""
    if math.isnan(value) or math.isinf(value):
        return "" if math.isnan(value) else "∞"
    return format(value, spec) + ("" if math.isnan(half) else f" ± {half:{spec.lstrip('+')}}")


def ways(value: float, half: float = math.nan, spec: str = ".3f") -> set[str]:
    """How a number of a CSV file, which has six digits, may have been rounded before."""
    near = (1 - 5e-6, 1, 1 + 5e-6)
    return {said(value * a, half * b, spec) for a in near for b in near}


def mean_and_half(values) -> tuple[float, float]:
    return again.interval(values)[0], again.half(values)


def numbers(text: str) -> list[str]:
    """The decimal numbers of a text in their order, with their signs."""
    return re.findall(r"(?<![\d.])[+-]?\d+\.\d+", text.replace("−", "-"))


# ---- the tables for readers say what the CSV files say, which test_recount.py has checked


@every_profile
@pytest.mark.parametrize("name", ["table1_proxies", "table3_accuracies", "table_audits", "table_sequential"])
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

    def settings(given: str) -> str:
        return ", ".join(f"{name} {value}" for name, value in json.loads(given).items())

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


# ---- claims


def counted(profile: str) -> dict[str, tuple[str, list[str]]]:
    """Per claim that has an interval: its leading verdicts, and how many cases have which verdict."""
    found = again.decided(profile)
    told = {}
    for claim, rows in found.groupby("claim"):
        primary, cases = (rows[rows["kind"] == kind] for kind in ("primary", "secondary"))
        leading = primary[primary["algorithm"] == "all"] if (primary["algorithm"] == "all").any() else primary
        leads = []
        for row in leading.sort_values("metric").itertuples():
            leads.append(f"{label(row.metric)} {verdict_of(profile, row)}" if row.metric != "ρ" else verdict_of(profile, row))
        verdicts = Counter(verdict_of(profile, row) for row in cases.itertuples())
        told[claim] = "; ".join(leads), [str(verdicts[name]) if len(cases) else "–" for name in DECIDED]
    return told


def statements(profile: str) -> dict[str, str]:
    return again.table(profile, "claims").set_index("claim")["statement"].to_dict()


@every_profile
def test_the_rows_of_the_claims_page_are_those_of_the_table(profile):
    primary, secondary = grids(page(profile, "claims.md"))
    table = pd.read_csv(FIGURES / profile / "claims.csv", keep_default_na=False)
    columns = ["claim", "measured", "verdict", "halves", "evidence"]
    for kind, rows in (("primary", primary), ("secondary", secondary)):
        assert rows[1:] == table.loc[table["kind"] == kind, columns].to_numpy().tolist()


@every_profile
def test_the_ledger_and_the_replication_are_counted_right(profile):
    text, said_of = page(profile, "claims.md"), statements(profile)
    lines = {line.split("**")[1]: line for line in text.splitlines() if re.match(r"\d+\. \*\*", line)}
    assert set(lines) == set(said_of.values())
    evidence = again.table(profile, "claims").set_index(["claim", "kind", "measured"])["evidence"]
    for claim, (_, cases) in counted(profile).items():
        line = lines[said_of[claim]]
        found = again.decided(profile)
        primary = found[(found["claim"] == claim) & (found["kind"] == "primary")]
        leading = primary[primary["algorithm"] == "all"] if (primary["algorithm"] == "all").any() else primary
        for row in leading.itertuples():
            name = measured_as(row)
            assert f"{name}: **{verdict_of(profile, row)}** ({evidence[claim, 'primary', name]})." in line
        told = [f"{count} {name}" for name, count in zip(DECIDED, cases, strict=True) if count not in {"0", "–"}]
        if told:
            total = sum(int(count) for count in cases)
            assert line.endswith(f"Of {total} cases: {', '.join(told)}.")

    estimates, alike, opposite = again.replication(profile)
    assert f"of {estimates} estimates with an interval" in text
    assert f"decide {alike} alike and {opposite} in opposite ways" in text


@every_profile
def test_the_counts_of_verdicts_in_a_page_of_results(profile):
    said_of = statements(profile)
    texts = [page(profile, "README.md")]
    if profile == "digits":
        texts.append((TREE / "README.md").read_text().split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0])
    for text in texts:
        (table,) = [grid for grid in grids(text) if grid[0][0] == "claim"]
        rows = {row[0]: (row[2], row[3:]) for row in table[1:]}
        assert set(rows) == set(said_of.values())
        for claim, expected in counted(profile).items():
            assert rows[said_of[claim]] == expected


@every_profile
def test_what_a_page_of_results_says_of_its_profile(profile):
    text, run = page(profile, "README.md"), record(profile)["profile"]
    assert f"{len(run['seeds'])} seeds" in text and f"strata of {run['forget']['size']}" in text
    scores = need(profile, "memorization")["memorization"]
    low, high = 100 * (scores < 0.25).mean(), 100 * (scores > 0.75).mean()
    assert f"{low:.0f} % of the examples have memorization below 0.25, {high:.0f} % above 0.75" in text

    # METHOD §6: the paper's sizes
    here = {"training images": run["dataset"]["train_images"], "test images": run["dataset"]["test_images"]}
    here |= {"epochs": run["training"]["epochs"], "examples a stratum": run["forget"]["size"]}
    here |= {"pool models": run["pool"]["models"], "classes": run["dataset"]["classes"], "pixels a side": run["dataset"]["size"]}
    many = "tiny" in profile
    paper = {"training images": 100_000 if many else 50_000, "test images": 10_000, "epochs": 30, "examples a stratum": 1000}
    paper |= {"pool models": 4000 if "cifar100" in profile else 400, "pixels a side": 64 if many else 32}
    paper["classes"] = 200 if many else 100 if "cifar100" in profile else 10
    for ours, words, theirs in re.findall(r"[(,] ?(\d+) ([a-z ]+) instead of (\d+)", text):
        assert (int(ours), int(theirs)) == (here[words], paper[words])


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

    estimate("refine-vanilla", "tow")
    estimate("refine-vanilla", "tow_mia")
    for algorithm in ("fine_tune", "salun", "neg_grad_plus"):
        estimate("refine-vanilla", "tow", algorithm)
    estimate("refine-shuffle", "tow")
    estimate("refine-shuffle", "tow_mia")
    estimate("proxy-as-good", "tow")
    told.append("0.03")

    alone = again.methods(runs).groupby(["algorithm", "strategy", "score"])["tow"].mean()
    algorithm, strategy, score = alone.idxmax()
    cell("tow", algorithm=algorithm, strategy=strategy, score=score)
    for end in ("nothing", "retrain"):
        cell("tow", algorithm=end, score=score)
    cell("lira_tpr01", algorithm="neg_grad_plus", strategy="vanilla", score="memorization")
    cell("oracle_lira_tpr01", algorithm="neg_grad_plus", strategy="vanilla", score="memorization")

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

    found = again.decided("cifar10-small").set_index(["claim", "kind", "metric", "algorithm"])
    row = found.loc[("refine-repeat", "primary", "tow", "all")]
    told = [f"{row['estimate']:.3f}", f"{(row['high'] - row['low']) / 2:.3f}"]
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


def test_what_the_readme_says_of_replication():
    text = " ".join((TREE / "README.md").read_text().split())
    estimates, alike, opposite = again.replication("cifar10-small")
    assert f"decide {alike} of {estimates} estimates alike and {opposite or 'none'} in opposite ways" in text


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


def test_the_verdicts_of_another_machine():
    there = pd.read_csv(FIGURES / "digits/other_machine.csv").set_index(["claim", "measured"])
    here = again.table("digits", "claims")
    here = here[here["kind"] == "primary"].set_index(["claim", "measured"])["verdict"]
    assert set(here.index) == set(there.index) and there.index.is_unique

    # a verdict there is one that its own evidence allows
    limits = {"proxy-as-good": -0.03}
    for (claim, name), row in there.iterrows():
        interval = re.search(r"= ([+-]?\d\.\d{3}) ± (\d\.\d{3}), n = (\d+)", row["evidence"])
        if interval is None or (claim, row["verdict"]) == ("proxy-range", "undecided"):
            continue
        mean, half, limit = float(interval[1]), float(interval[2]), limits.get(claim, 0.0)
        outside = "shown" if mean - half > limit else "contradicted" if mean + half < limit else None
        assert row["verdict"] in ([outside] if outside else ["equivalent", "undecided"]), (claim, name)

    same = int((there["verdict"] == here.loc[there.index]).sum())
    opposite = sum({a, b} == {"shown", "contradicted"} for a, b in zip(there["verdict"], here.loc[there.index], strict=True))
    words = " ".join((TREE / "README.md").read_text().split())
    told = re.search(r"of the (\d+) primary verdicts (\d+) are the same and none is decided in the opposite way; (\w+) ", words)
    assert told is not None and (int(told[1]), int(told[2]), opposite) == (len(there), same, 0)
    assert told[3] == "zero one two three four five six seven eight nine ten".split()[len(there) - same]
    assert (here["refine-vanilla", "ToW, SalUn"], there.loc[("refine-vanilla", "ToW, SalUn"), "verdict"]) == (
        "shown",
        "equivalent",
    )


# ---- the notebooks, which are committed with the outputs of digits


def outputs(name: str) -> str:
    """All texts that the cells of a notebook print."""
    (path,) = (TREE / "notebooks").glob(f"{name}_*.ipynb")
    texts = []
    for cell in json.loads(path.read_text())["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts.append("".join(data.get("text/markdown") or output.get("text") or []))
    return "\n\n".join(texts).replace("RUM$^F$", "RUM^F")


def test_notebook_01_strata():
    scores, size = need("digits", "memorization"), record("digits")["profile"]["forget"]["size"]
    values = scores["memorization"].to_numpy()
    ascending = np.sort(values)
    middle = ascending[size:-size]
    parts = {"low": ascending[:size], "medium": middle[np.argsort(np.abs(middle - 0.5))[:size]], "high": ascending[-size:]}
    (table,) = grids(outputs("01"))
    for cells in table[1:]:
        part = parts[cells[0]]
        assert cells[1:5] == [str(size), *(f"{value:.2f}" for value in (part.min(), part.mean(), part.max()))]


def test_notebook_02_best_proxy_and_pool():
    text, table = outputs("02"), again.table("digits", "table1_proxies")
    best = table[table["paper"]].sort_values("spearman").iloc[-1]
    assert f"**{label(best['proxy'])}** has the highest ρ: {best['spearman']:.2f} " in text
    assert f"interval {best['ci_low']:.2f} to {best['ci_high']:.2f}, n = {best['n_seeds']} seeds" in text
    assert f"costs {1000 * best['seconds']:.2g} ms on top of training, {100 * best['share_of_exact']:.2g} %" in text
    assert page("digits", "table1_proxies.md").strip() in text

    costs = need("digits", "fidelity")
    top = table.sort_values("spearman").iloc[-1]
    pools = costs[costs["kind"] == "pool"].groupby("count")["spearman"].mean()
    enough = pools[pools >= top["spearman"]]
    assert f"{label(top['proxy'])}, {top['spearman']:.2f}. " in text
    assert f"has {enough.index[0]} networks (ρ = {enough.iloc[0]:.2f})" in text


def test_notebook_03_differences():
    text = outputs("03")
    (table,) = [grid for grid in grids(text) if grid[0][1:2] == ["RUM^F minus"]]
    found = again.decided("digits")
    found = found[(found["kind"] == "primary") & (found["algorithm"] != "all")]
    expected = {}
    for row in found[found["claim"].str.startswith("refine-")].itertuples():
        key = label(row.algorithm), row.claim.removeprefix("refine-")
        expected.setdefault(key, {})[row.metric] = f"{row.estimate:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    assert {(row[0], row[1]): {"tow": row[2], "tow_mia": row[3]} for row in table[1:]} == expected
    assert page("digits", "table2_tow.md").strip() in text


def test_notebook_04_last_step():
    text, runs = outputs("04"), need("digits", "sequential")
    last = runs[(runs["scope"] == "union") & (runs["step"] == runs["step"].max())]
    for name, words in (("nothing", "the floor"), ("vanilla", "vanilla"), ("rum_f", "RUM^F"), ("retrain", "the ceiling")):
        rows = last[last["strategy"] == name]
        mean, low, high = again.interval(rows["tow"])
        assert f"- {words}: ToW {mean:.2f} [{low:.2f}, {high:.2f}], ToW-MIA {rows['tow_mia'].mean():.2f}" in text
    assert page("digits", "table_sequential.md").strip() in text


def test_notebook_05_ledger():
    text, ledger = outputs("05"), page("digits", "claims.md")
    sentences = [line for line in ledger.splitlines() if re.match(r"\d+\. \*\*", line)]
    assert sentences and all(line in text for line in sentences)
    told = {row[0]: row for row in grids(page("digits", "README.md"))[0][1:]}
    (counts,) = [grid for grid in grids(text) if grid[0][:2] == ["claim", "paper"]]
    assert {row[0]: row for row in counts[1:]} == told
    (primary,) = [grid for grid in grids(text) if grid[0][:2] == ["claim", "measured"]]
    assert [row[1:] for row in primary[1:]] == [row[1:] for row in grids(ledger)[0][1:]]


def test_notebook_08_roc_and_places():
    text, examples = outputs("08"), need("digits", "audit_examples")
    run = examples[examples["seed"] == examples["seed"].min()]
    roc, places = grids(text)
    told = {(row[0], row[1]): row[2:] for row in roc[1:]}
    assert len(told) == run.groupby(["algorithm", "strategy"]).ngroups
    for (algorithm, strategy), rows in run.groupby(["algorithm", "strategy"]):
        asked = (rows["group"] == "forget").to_numpy()
        members, others = rows["lira"].to_numpy(float)[asked], rows["lira"].to_numpy(float)[~asked]
        area, low, high = delong(members, others)
        assert told[label(algorithm), label(strategy)][0] == f"{area:.2f} [{low:.2f}, {high:.2f}]"

        # the bootstrap's interval is never narrower than the exact binomial one
        share = again.tpr(members, others, 0.01)
        exact = binomtest(round(share * len(members)), len(members)).proportion_ci(0.95)
        mean, low, high = (float(number) for number in re.findall(r"\d\.\d\d", told[label(algorithm), label(strategy)][1]))
        assert mean == float(f"{share:.2f}") and low <= exact.low + 0.005 and high >= exact.high - 0.005

    near = closeness(need("digits", "unlearning"))
    ranks = near.rank(ascending=False)
    ranks["spread"] = ranks.max(axis=1) - ranks.min(axis=1)
    ranks = ranks.rename(index=label)
    assert (
        len(places[1:]) == 6
        and sorted((float(row[-1]) for row in places[1:]), reverse=True) == sorted(ranks["spread"], reverse=True)[:6]
    )
    for row in places[1:]:
        assert [float(cell) for cell in row[2:]] == ranks.loc[(row[0], row[1])].tolist()


def delong(members: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """AUC with DeLong's interval on the scale of its log-odds, from the placements of both sides."""
    m, n = len(members), len(others)
    above = np.array([(x > others).mean() + (x == others).mean() / 2 for x in members])
    below = np.array([(members > y).mean() + (members == y).mean() / 2 for y in others])
    area, error = above.mean(), math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    half = norm.ppf(0.975) * error / (area * (1 - area))
    return float(area), float(expit(logit(area) - half)), float(expit(logit(area) + half))


def closeness(runs: pd.DataFrame) -> pd.DataFrame:
    """How near each method comes to the oracle by each audit, mean over scores and seeds; higher is nearer."""
    runs = again.methods(runs)
    near = {"tow": runs["tow"], "tow_mia": runs["tow_mia"]}
    for name in ("mia", *AUDITS):
        if name.startswith("klom"):
            near[name] = -runs[name]
        elif name == "relearn_epochs":
            near[name] = -(1 / (1 + runs[name]) - 1 / (1 + runs[f"oracle_{name}"])).abs()
        else:
            near[name] = -(runs[name] - runs[f"oracle_{name}"]).abs()
    return pd.DataFrame(near).groupby([runs["algorithm"], runs["strategy"]]).mean()


def test_notebook_09_mistakes():
    shifts, behind = grids(outputs("09"))
    runs = need("digits", "mistakes")
    heading = shifts[0]
    algorithms, told = heading[1:-3], {row[0].rsplit(" (", 1)[0]: row for row in shifts[1:]}

    def best(means: pd.Series) -> str:
        return " ".join(map(label, means.idxmax()))

    for mistake, rows in runs.groupby("mistake"):
        cells = told[label(mistake)]
        assert cells[0].endswith(f"({rows['item'].iloc[0]})")
        touched = rows[rows["touched"]]
        moved = (touched["wrong"] - touched["right"]).groupby([touched["algorithm"], touched["seed"]]).mean()
        expected = {}
        for algorithm, values in moved.groupby("algorithm"):
            mean, half = mean_and_half(values)
            expected[label(algorithm)] = f"{mean:+.3f} ± {half:.3f}"
        assert dict(zip(algorithms, cells[1:-3], strict=True)) == {name: expected.get(name, "") for name in algorithms}

        means = rows.groupby(["algorithm", "strategy"])[["right", "wrong"]].mean()
        tau = again.tau_b(means["right"].to_numpy(), means["wrong"].to_numpy())
        assert cells[-3:] == [f"{tau:.2f}", best(means["right"]), best(means["wrong"])]

    plain = runs[runs["metric"] == "tow"]
    plain = plain[plain["mistake"] == plain["mistake"].iloc[0]]
    table = plain.pivot(index=["algorithm", "strategy"], columns="seed", values="right")
    taus = [again.tau_b(table[own].to_numpy(), table.drop(columns=own).mean(axis=1).to_numpy()) for own in table]
    winners = Counter(best(table[own]) for own in table)
    cells = told[label("one_seed")]
    assert cells[-3:-1] == [f"{np.mean(taus):.2f}", best(table.mean(axis=1))] and winners[cells[-1]] == max(winners.values())

    means = runs[runs["touched"]].groupby("mistake")
    for cells in behind[1:]:
        (mistake,) = [name for name in runs["mistake"].unique() if label(name) == cells[0]]
        columns = [f"{prefix}acc_{part}" for part in ("forget", "retain", "test") for prefix in ("", "oracle_")]
        expected = means.get_group(mistake)[columns].mean().round(3)
        assert [float(cell) for cell in cells[1:]] == expected.tolist()


def test_ranks_are_shared_by_ties():
    """`again.auc` counts pairs; the same by mid-ranks."""
    a, b = np.array([1.0, 2, 2, 5]), np.array([2.0, 2, 0, 7])
    by_ranks = (rankdata(np.concatenate([a, b]))[:4].sum() - 4 * 5 / 2) / 16
    assert again.auc(a, b) == by_ranks
