"""A second count of the verdicts: `claims.csv` against the frames, and `claims.md` against `claims.csv` (METHOD §7c)."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import recounting as again
from recount_pages import (
    DECIDED,
    TREE,
    counted,
    every_profile,
    grids,
    measured_as,
    need,
    of_costs,
    page,
    record,
    statements,
    verdict_of,
)
from recounting import FIGURES, equal

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

pytestmark = pytest.mark.slow


@every_profile
def test_every_verdict_with_its_interval(profile):
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])
    found = again.decided(profile)
    keys = [(row.claim, row.kind, measured_as(row)) for row in found.itertuples()]
    assert table.index.is_unique and set(keys) == set(table.index[table["low"].notna()])

    wrong = []
    for key, row in zip(keys, found.itertuples(), strict=True):
        stated = table.loc[key]
        numbers = all(equal(stated[name], getattr(row, name)) for name in ("estimate", "low", "high"))
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
        rounded = 0.0005 + 1e-9
        assert abs(float(mean) - row.estimate) <= rounded and abs(float(half) - (row.high - row.low) / 2) <= rounded
        assert int(n) == row.n
        assert ("but within ± 0.03" in text) == (row.verdict in {"shown", "contradicted"} and row.within)
        assert ("would decide it" in text or "would be needed" in text) == (row.verdict == "undecided")

        values = evidence[row.claim]
        if "converged" in values:
            values = values[values["metric"] == row.metric]
            if row.algorithm != "all":
                values = values[values["algorithm"] == row.algorithm]
            if row.kind == "secondary":
                values = values[values["score"] == row.score]
            missed = int((~values["converged"]).sum())
            assert (f"† {missed} of {len(values)} differences" in text) if missed else ("†" not in text)


@every_profile
def test_how_many_seeds_would_decide(profile):
    """The smallest n with a power of 80 %, by an integral instead of the noncentral t distribution."""
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])["evidence"]
    for row in again.decided(profile).itertuples():
        if row.verdict != "undecided":
            continue
        text = table[row.claim, row.kind, measured_as(row)]
        about = row.values, row.threshold, row.level, row.margin, row.margin_level
        stated = re.search(r"n = (\d+) seeds would decide it", text)
        if stated is None:
            assert again.power(*about, 10_000) < 0.8, text
            continue
        n = int(stated[1])
        near = 2e-4  # of the integral; one seed more adds more than that where a few hundred decide
        assert again.power(*about, n) > 0.8 - near, text
        if n > row.n + 1:  # it is never less than one seed more
            assert again.power(*about, n - 1) < 0.8 + near, text


@every_profile
def test_verdicts_on_costs(profile):
    expected, models = of_costs(profile), record(profile)["profile"]["pool"]["models"]
    table = again.table(profile, "claims").set_index(["claim", "kind", "measured"])
    costs = again.table(profile, "table1_proxies").set_index("proxy")
    assert set(expected) == {key for key in table.index if key[0] in {"proxy-cheap", "proxy-share"}}
    for key, (name, share, verdict) in expected.items():
        stated = table.loc[key]
        assert (stated["verdict"], stated["halves"]) == (verdict, "open") and equal(stated["estimate"], share)
        start = f"{label(name)}: {costs.loc[name, 'seconds']:.3g} s, {100 * share:.3g} % of {models} models"
        assert stated["evidence"].startswith(start) and stated["n"] == costs.loc[name, "n_seeds"]
        if key[0] == "proxy-share":
            assert f"; published {100 * again.SHARE[name]:.3g} %" in stated["evidence"]


# ---- the pages


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

    if run["pool"]["models"] is not None:
        assert f" {run['pool']['models']} pool models" in text

    # METHOD §6: the paper's sizes
    for word, ours, theirs in re.findall(r"(of width|stem) (\w+) instead of (\w+)", text):
        assert (ours, theirs) == ((str(run["model"]["width"]), "64") if word == "of width" else (run["model"]["stem"], "cifar"))
    here = {"training and hold-out images": run["dataset"]["train_images"], "test images": run["dataset"]["test_images"]}
    here |= {"epochs": run["training"]["epochs"], "examples a stratum": run["forget"]["size"]}
    here |= {"pool models": run["pool"]["models"], "classes": run["dataset"]["classes"], "pixels a side": run["dataset"]["size"]}
    many = "tiny" in profile
    paper = {
        "training and hold-out images": 100_000 if many else 50_000,
        "test images": 10_000,
        "epochs": 30,
        "examples a stratum": 1000,
    }
    paper |= {"pool models": 4000 if "cifar100" in profile else 400, "pixels a side": 64 if many else 32}
    paper["classes"] = 200 if many else 100 if "cifar100" in profile else 10
    for ours, words, theirs in re.findall(r"[(,] ?(\d+) ([a-z ]+) instead of (\d+)", text):
        assert (int(ours), int(theirs)) == (here[words], paper[words])
