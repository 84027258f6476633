"""Verdicts follow the intervals: they turn when the data turn, and without an interval nothing is shown."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import synthetic

from mulnb.config import Profile
from mulnb.core.stats import Interval, paired_difference
from mulnb.results import claims

PROFILE = synthetic.profile()


def told(claim: str, **frames: pd.DataFrame) -> set[str]:
    table = claims.verdicts(PROFILE, **frames)
    return set(table.loc[table["claim"] == claim, "verdict"])


def test_a_verdict_is_the_side_of_the_threshold_on_which_the_whole_interval_lies():
    assert claims.above(Interval(0.1, 0.01, 0.2, 3)) == "shown"
    assert claims.above(Interval(-0.1, -0.2, -0.01, 3)) == "contradicted"
    assert claims.above(Interval(0.1, -0.01, 0.2, 3)) == "not shown"
    assert claims.above(Interval(0.1, math.nan, math.nan, 1)) == "not shown"
    assert claims.above(Interval(-0.03, -0.04, -0.02, 3), threshold=-0.05) == "shown"


def test_without_frames_every_claim_says_no_results():
    table = claims.verdicts(PROFILE)
    assert list(table.columns) == ["claim", "paper", "statement", "measured", "verdict", "evidence"]
    assert table["claim"].tolist() == [claim.id for claim in claims.CLAIMS if claim.id != "rum-vanilla"]
    assert set(table["verdict"]) == {"no results"}
    assert claims.verdicts(synthetic.with_rum())["claim"].tolist() == [claim.id for claim in claims.CLAIMS]


@pytest.mark.parametrize(("rum", "verdict"), [(0.5, "shown"), (-0.5, "contradicted")])
def test_the_full_rum_is_judged_against_vanilla_of_each_of_its_algorithms(rum, verdict):
    runs = synthetic.unlearning(rum=rum)
    table = claims.verdicts(synthetic.with_rum(), unlearning=runs)
    cases = table[table["claim"] == "rum-vanilla"]
    assert set(cases["verdict"]) == {verdict} and len(cases) == 2 * 4 * 2  # Fine-tune and SalUn × Figure 2's scores × metrics
    assert not cases["measured"].str.contains("NegGrad").any()
    raw = runs[runs["score"] == "confidence"].set_index(["algorithm", "strategy"])["tow"]
    gain = paired_difference(raw.loc["rum", "rum"], raw.loc["salun", "vanilla"])
    evidence = cases.set_index("measured")["evidence"]["ToW, SalUn, confidence"]
    assert evidence == f"RUM − vanilla = {gain:+.3f}, n = 3"
    assert not table[table["claim"] != "rum-vanilla"]["measured"].str.contains("RUM").any()
    assert "rum-vanilla" not in set(claims.verdicts(PROFILE, unlearning=runs)["claim"])
    assert "RUM (low: nothing, medium: Fine-tune, high: SalUn)" in claims.summary(table, synthetic.with_rum())


def test_one_seed_shows_nothing_of_the_full_rum():
    table = claims.verdicts(synthetic.with_rum(), unlearning=synthetic.unlearning(rum=0.5, seeds=1))
    assert set(table.loc[table["claim"] == "rum-vanilla", "verdict"]) == {"not shown"}


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "shown"), (-0.2, "contradicted")])
def test_refinement_verdicts_turn_with_the_data(gain, verdict):
    runs = synthetic.unlearning(gain=gain)
    assert told("refine-vanilla", unlearning=runs) == {verdict}
    assert told("refine-shuffle", unlearning=runs) == {verdict}


def test_no_difference_is_mostly_not_shown():
    table = claims.verdicts(PROFILE, unlearning=synthetic.unlearning(gain=0.0))
    compared = table[table["claim"] == "refine-vanilla"]
    assert len(compared) == 3 * 4 * 2  # algorithms × Figure 2's scores × metrics: other scores stay in the tables
    assert (compared["verdict"] == "not shown").mean() > 0.75


def test_method10_09_one_seed_shows_nothing():
    runs = synthetic.unlearning(gain=0.5, seeds=1)
    table = claims.verdicts(PROFILE, unlearning=runs, sequential=synthetic.sequential(seeds=1))
    decided = table[table["verdict"] != "no results"]
    assert len(decided) and set(decided["verdict"]) == {"not shown"}
    assert decided["evidence"].str.contains("n = 1").all()


def test_the_oracle_is_no_unlearning_algorithm():
    table = claims.verdicts(PROFILE, unlearning=synthetic.unlearning(oracle=True))
    assert not table["measured"].str.contains("retrain (oracle)", regex=False).any()


def test_a_proxy_is_as_good_as_memorization_when_it_is_and_not_when_it_is_worse():
    runs = synthetic.unlearning(scores=("memorization", "confidence"))
    exact = runs[runs["score"] == "memorization"]
    for shift, verdict in ((0.0, "shown"), (0.3, "shown"), (-0.2, "contradicted")):
        proxy = exact.assign(score="confidence", tow=exact["tow"] + shift, tow_mia=exact["tow_mia"] + shift)
        assert told("proxy-as-good", unlearning=pd.concat([exact, proxy])) == {verdict}


def test_sign_and_published_range_are_two_claims(monkeypatch):
    costs = synthetic.costs()
    table = claims.verdicts(PROFILE, costs=costs).set_index(["claim", "measured"])["verdict"]
    assert table["proxy-sign", "hold-out retraining"] == "shown"
    assert table["proxy-range", "hold-out retraining"] == "not shown"  # ρ = 0.52 [0.49, 0.54], published from 0.62
    assert table["proxy-range", "confidence"] == "shown"
    assert ("proxy-range", "entropy") not in table.index  # nothing was published for it, nothing is invented
    # on the paper's own data the same number would contradict it; digits are no evidence about other data
    monkeypatch.setattr(claims, "PAPER_PAIRS", {("digits", "small_cnn")})
    assert "contradicted" in told("proxy-range", costs=costs)
    turned = costs.assign(spearman=-costs["spearman"], ci_low=-costs["ci_high"], ci_high=-costs["ci_low"])
    assert told("proxy-sign", costs=turned) == {"contradicted"}


def sized(name: str, arch: str, images: int | None = None, width: int | None = None) -> Profile:
    return synthetic.profile(dataset={"name": name, "train_images": images}, model={"arch": arch, "width": width})


def test_the_papers_pairs_are_told_from_their_reduced_versions_and_from_other_data():
    for name, arch in (("cifar10", "resnet18"), ("cifar100", "resnet50"), ("tiny-imagenet", "vgg16_bn")):
        assert claims.standing(sized(name, arch)).startswith("One of the paper's pairs")
        reduced = claims.standing(sized(name, arch, images=3000, width=8))
        assert "A reduced version" in reduced and "3000 training images, a network of width 8" in reduced
    assert "A demonstration" in claims.standing(sized("cifar10", "vgg16_bn"))
    costs = synthetic.costs()  # hold-out retraining lies below the published range
    verdict = {
        images: claims.verdicts(sized("cifar10", "resnet18", images), costs=costs).query("claim == 'proxy-range'")["verdict"]
        for images in (None, 3000)
    }
    assert "contradicted" in set(verdict[None]) and "contradicted" not in set(verdict[3000])


def test_cost_verdicts_follow_the_share():
    cheap = synthetic.costs()
    assert told("proxy-cheap", costs=cheap) == {"shown"}
    assert told("proxy-cheap", costs=cheap.assign(share_of_exact=2.0)) == {"contradicted"}
    assert told("proxy-share", costs=cheap) == {"not shown"}
    assert told("proxy-share", costs=cheap.assign(share_of_exact=1e-6)) == {"shown"}


@pytest.mark.parametrize(("drop", "verdict"), [(0.05, "shown"), (-0.05, "contradicted")])
def test_sequential_verdict_turns_with_the_data(drop, verdict):
    assert told("sequential-better", sequential=synthetic.sequential(drop=drop)) == {verdict}


def test_stability_is_judged_against_the_margin():
    assert told("sequential-stable", sequential=synthetic.sequential(drop=0.0)) == {"shown"}
    assert told("sequential-stable", sequential=synthetic.sequential(drop=0.5)) == {"contradicted"}


def test_the_page_says_what_is_not_shown_and_that_digits_is_a_demonstration(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    table = claims.verdicts(PROFILE, synthetic.costs(), synthetic.unlearning(gain=-0.2))
    claims.write(table, PROFILE)
    page = (tmp_path / "digits" / "claims.md").read_text()
    assert PROFILE.title in page and "n = 3 seeds" in page
    assert "demonstration" in page
    gaps = page.split("What this profile does not show")[1].split("### Every case")[0]
    assert "0 of 24 cases shown; contradicted in 24 cases" in gaps
    assert "no results yet" in gaps  # the sequential part was not run
    assert len(pd.read_csv(tmp_path / "digits" / "claims.csv")) == len(table)
    assert "Not shown:" in claims.text(table)
