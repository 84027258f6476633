"""A second count of what captions, rules and the README say in words, where a reader could take them for more than they are."""

from __future__ import annotations

import re

import numpy as np
import pytest
import recounting as again
from recount_pages import TREE, every_profile, need, page, record, said

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

pytestmark = pytest.mark.slow

KLOM_SEEDS = 5  # METHOD §7b: KLoM needs many seeds; an example with fewer has none


def forget_set(values: np.ndarray, size: int, centre: float, seed: int) -> np.ndarray:
    """METHOD §4, written down again: the smallest, the largest, then those nearest to the centre; ties at random."""
    mixed = np.random.default_rng(seed).permutation(len(values))
    order = mixed[np.argsort(values[mixed], kind="stable")]
    rest = np.random.default_rng((seed, 1)).permutation(order[size:-size])
    medium = rest[np.argsort(np.abs(values[rest] - centre), kind="stable")[:size]]
    return np.concatenate([order[:size], medium, order[-size:]])


@pytest.mark.slow
@every_profile
def test_of_how_many_examples_klom_is_measured(profile):
    """A proxy chooses other examples with every seed: few are forgotten often enough to have a distribution."""
    run, scores = record(profile)["profile"], need(profile, "proxies")
    exact = need(profile, "memorization")["memorization"].to_numpy()

    told = []
    for score in run["unlearning"]["scores"]:
        chosen = []
        for seed in run["seeds"]:
            values, centre = exact, 0.5
            if score != "memorization":
                own = scores[(scores["proxy"] == score) & (scores["seed"] == seed)]
                values = own.sort_values("example")["value"].to_numpy(float)
                centre = float(np.median(values))
            chosen.append(forget_set(values, run["forget"]["size"], centre, seed))
        _, times = np.unique(np.concatenate(chosen), return_counts=True)
        told.append(f"{(times >= KLOM_SEEDS).sum()} by {label(score)}")
    assert f"examples that at least {KLOM_SEEDS} of them forget ({', '.join(told)})." in page(profile, "table_klom.md")


@pytest.mark.slow
@every_profile
def test_an_equivalence_is_told_by_the_interval_that_the_rules_name(profile):
    """Two one-sided tests at 5 % are the 90 % interval, not the 95 % one that is printed."""
    found = again.decided(profile)
    found = found[(found["kind"] == "primary") & (found["verdict"] == "equivalent")]
    wider = 0
    for row in found.itertuples():
        _, low, high = again.interval(row.values, 0.10)
        assert low > -again.MARGIN and high < again.MARGIN
        wider += row.low < -again.MARGIN or row.high > again.MARGIN
    assert "its 90 % interval lies inside" in page(profile, "claims.md")
    if profile == "cifar10-small":
        assert wider  # so the words are needed: a reader sees an interval beyond the margin and the word "equivalent"


def test_the_readme_says_where_a_proxys_order_is_not_shown_to_be_as_good():
    text = " ".join((TREE / "README.md").read_text().split()).replace("−", "-")
    found = again.decided("cifar10-small").set_index(["claim", "kind", "metric", "algorithm"])
    row = found.loc[("proxy-as-good", "primary", "tow", "salun")]
    assert row["verdict"] == "undecided"
    assert f"with SalUn alone it is undecided ({said(row['estimate'], (row['high'] - row['low']) / 2)})" in text

    orders = set(need("cifar10-small", "crossed")["order"]) | set(need("cifar100-mini", "crossed")["order"])
    assert orders == {"memorization", "confidence"} and "confidence's order is as good" in text  # no other proxy was tried
    row = again.decided("cifar100-mini").set_index(["claim", "kind", "metric", "algorithm"])
    row = row.loc[("proxy-as-good", "primary", "tow_mia", "all")]
    assert row["verdict"] == "undecided"
    assert f"undecided on `cifar100-mini` ({said(row['estimate'], (row['high'] - row['low']) / 2)})" in text


def test_the_readme_names_the_runs_that_lira_looks_at():
    text = " ".join((TREE / "README.md").read_text().split())
    assert re.search(r"what NegGrad\+ forgot at once \(sets by memorization\)", text)


def test_every_column_of_every_frame_is_explained():
    text = (TREE / "figures/README.md").read_text()
    told = set(re.findall(r"\w+", text))
    for profile in again.PROFILES:
        for path in (TREE / "figures" / profile / "data").glob("*.parquet"):
            assert f"| `{path.stem}` |" in text
            names = {name.removeprefix("oracle_") for name in again.frame(profile, path.stem)}
            bounds = {name for name in names if re.sub("_(low|high)$", "", name) in told}
            assert names - bounds <= told, (path.name, names - bounds - told)


@every_profile
def test_table_1_says_which_images_hold_out_retraining_saw(profile):
    """METHOD §3: the authors take the test set; the choice stands beside the result."""
    which = record(profile)["profile"]["proxies"]["holdout_retraining"]["holdout"]
    said_of = {"holdout": "the hold-out set", "test": "the test set, as the authors' code does"}
    assert f"Hold-out retraining fine-tunes on {said_of[which]}." in page(profile, "table1_proxies.md")
