"""A second count of what the notebooks print: they are committed with the outputs of `digits`."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import recounting as again
from recount_pages import TREE, grids, mean_and_half, need, page, record
from recounting import AUDITS
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

pytestmark = pytest.mark.slow


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
    low, high = 100 * (values < 0.25).mean(), 100 * (values > 0.75).mean()
    text = outputs("01")
    assert f"{low:.0f} % of the examples have memorization below 0.25, {high:.0f} % above 0.75." in text
    (table,) = grids(text)
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
    roc, distances, places = grids(text)
    apart = again.table("digits", "table_klom")
    apart = apart[apart["score"] == "memorization"]
    for cells, (_, row) in zip(distances[1:], apart.iterrows(), strict=True):
        assert [float(cell) for cell in cells[2:]] == pytest.approx([row["n"], *row[list(again.KLOM)]], abs=1e-3)

    told = {(row[0], row[1]): row[2:] for row in roc[1:]}
    assert len(told) == run.groupby(["algorithm", "strategy"]).ngroups
    for (algorithm, strategy), rows in run.groupby(["algorithm", "strategy"]):
        asked = (rows["group"] == "forget").to_numpy()
        members, others = rows["lira"].to_numpy(float)[asked], rows["lira"].to_numpy(float)[~asked]
        area, low, high = delong(members, others)
        assert told[label(algorithm), label(strategy)][0] == f"{area:.2f} [{low:.2f}, {high:.2f}]"

        # examples drawn anew a thousand times, and never narrower than the exact binomial interval
        m, n, share = len(members), len(others), again.tpr(members, others, 0.01)
        rng = np.random.default_rng(0)
        drawn = [again.tpr(members[rng.integers(m, size=m)], others[rng.integers(n, size=n)], 0.01) for _ in range(1000)]
        exact = binomtest(round(share * m), m).proportion_ci(0.95)
        low, high = min(np.quantile(drawn, 0.025), exact.low), max(np.quantile(drawn, 0.975), exact.high)
        assert told[label(algorithm), label(strategy)][1] == f"{share:.2f} [{low:.2f}, {high:.2f}]"

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
