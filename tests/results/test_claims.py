"""Verdicts follow the data: they turn when the data turn, and the page says what is shown, how surely, and what would decide."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import synthetic

from mulnb import load_profile
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.stats import t_interval
from mulnb.results import claims, evidence, judge, publish
from mulnb.results.statements import CLAIMS

PROFILE = synthetic.profile()


def table(**frames: pd.DataFrame) -> pd.DataFrame:
    return claims.verdicts(PROFILE, **frames)


def told(claim: str, kind: str = "primary", **frames: pd.DataFrame) -> set[str]:
    found = table(**frames)
    return set(found.loc[(found["claim"] == claim) & (found["kind"] == kind), "verdict"])


def everything(seeds: int = 10, **changes: float) -> dict[str, pd.DataFrame]:
    return {
        "costs": synthetic.costs(seeds),
        "correlations": synthetic.correlations(seeds),
        "unlearning": synthetic.unlearning(seeds=seeds, **changes),
        "crossed": synthetic.crossed(seeds=seeds),
        "sequential": synthetic.sequential(seeds=seeds),
    }


def test_without_frames_every_claim_says_no_results():
    found = table()
    assert " ".join(found) == "claim paper kind statement measured estimate low high n verdict halves evidence"
    assert found["claim"].tolist() == [claim.id for claim in CLAIMS if claim.id != "rum-vanilla"]
    assert set(found["verdict"]) == {"no results"}
    assert claims.verdicts(synthetic.with_rum())["claim"].tolist() == [claim.id for claim in CLAIMS]


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "shown"), (-0.2, "contradicted")])
def test_refinement_verdicts_turn_with_the_data(gain, verdict):
    runs = synthetic.unlearning(gain=gain, seeds=10, spread=0.01)
    for claim in ("refine-vanilla", "refine-repeat", "refine-shuffle"):
        assert told(claim, unlearning=runs) == {verdict}
        assert told(claim, "secondary", unlearning=runs) == {verdict}


def test_no_difference_is_equivalent_within_the_margin():
    found = table(unlearning=synthetic.unlearning(gain=0.0, seeds=10, spread=0.01))
    found = found[found["claim"].str.startswith("refine")]
    assert (found["verdict"] == "equivalent").mean() > 0.8


def test_noise_leaves_it_undecided_and_says_how_many_seeds_would_decide():
    found = table(unlearning=synthetic.unlearning(gain=0.0, seeds=4, spread=0.12))
    found = found[found["claim"].str.startswith("refine")]
    assert (found["verdict"] == "undecided").mean() > 0.8
    assert found.loc[found["verdict"] == "undecided", "evidence"].str.contains("seeds would").all()


def test_the_primary_estimate_is_the_mean_over_scores_within_a_seed():
    runs = synthetic.unlearning(seeds=5)
    found = table(unlearning=runs).query("claim == 'refine-repeat' and kind == 'primary'").set_index("measured")
    assert len(found) == 2 * (3 + 1)  # metrics × (algorithms and all of them)
    chosen = runs[runs["algorithm"].isin(synthetic.ALGORITHMS) & (runs["score"] != "max_confidence")]
    means = chosen.groupby(["strategy", "seed"])["tow"].mean().unstack("seed")
    difference = (means.loc["rum_f"] - means.loc["repeat"]).to_numpy()
    row = found.loc["ToW, all algorithms"]
    assert row["estimate"] == pytest.approx(difference.mean()) and row["n"] == 5
    assert row["low"] == pytest.approx(t_interval(difference).low)


def test_the_cases_are_those_of_figure_2():
    found = table(unlearning=synthetic.unlearning(seeds=4))
    cases = found[(found["claim"] == "refine-vanilla") & (found["kind"] == "secondary")]
    assert len(cases) == 3 * 4 * 2  # algorithms × Figure 2's scores × metrics: other scores stay in the tables
    assert not found["measured"].str.contains("oracle|nothing").any()


def test_method10_09_one_seed_shows_nothing():
    found = table(**{name: frame for name, frame in everything(1, gain=0.5).items() if name != "costs"})
    assert set(found["verdict"]) == {"undecided", "no results"}  # no results: the costs
    judged = found[found["verdict"] == "undecided"]
    assert judged["evidence"].str.contains("n = 1").all() and judged["low"].isna().all()


def test_frames_of_before_the_controls_are_judged_as_far_as_they_go():
    found = table(
        unlearning=synthetic.old(synthetic.unlearning(seeds=4)), sequential=synthetic.old(synthetic.sequential(seeds=4))
    )
    verdicts = found.groupby("claim")["verdict"].agg(set)
    assert verdicts["refine-repeat"] == verdicts["sequential-floor"] == {"no results"}
    assert "no results" not in verdicts["refine-vanilla"] | verdicts["sequential-better"]


@pytest.mark.slow
@pytest.mark.parametrize(("rum", "verdict"), [(0.5, "shown"), (-0.5, "contradicted")])
def test_the_full_rum_is_judged_against_vanilla_of_each_of_its_algorithms(rum, verdict):
    runs = synthetic.unlearning(rum=rum)
    found = claims.verdicts(synthetic.with_rum(), unlearning=runs)
    cases = found[(found["claim"] == "rum-vanilla") & (found["kind"] == "secondary")]
    assert set(cases["verdict"]) == {verdict} and len(cases) == 2 * 4 * 2  # Fine-tune and SalUn × Figure 2's scores × metrics
    assert not cases["measured"].str.contains("NegGrad").any()
    assert not found[found["claim"] != "rum-vanilla"]["measured"].str.contains("RUM").any()
    assert "rum-vanilla" not in set(table(unlearning=runs)["claim"])
    assert "RUM (low: nothing, medium: Fine-tune, high: SalUn)" in claims.summary(found, synthetic.with_rum())


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "shown"), (0.2, "shown"), (-0.2, "contradicted")])
def test_a_proxy_is_as_good_as_memorization_on_the_same_forget_set(shift, verdict):
    frames = {"unlearning": synthetic.unlearning(), "crossed": synthetic.crossed(shift, seeds=6)}
    assert told("proxy-as-good", **frames) == {verdict}
    found = table(**frames).query("claim == 'proxy-as-good'")
    assert not found["evidence"].str.contains("no crossed").any()
    assert (found["kind"] == "secondary").sum() == 3 * 3 * 2  # algorithms × orders of proxies × metrics


def test_without_crossed_runs_the_old_comparison_is_made_and_named():
    runs = synthetic.unlearning(scores=("memorization", "confidence"), seeds=6)
    exact = runs[runs["score"] == "memorization"]
    proxy = exact.assign(score="confidence", tow=exact["tow"] - 0.2, tow_mia=exact["tow_mia"] - 0.2)
    found = table(unlearning=pd.concat([exact, proxy])).query("claim == 'proxy-as-good'")
    assert set(found["verdict"]) == {"contradicted"} and found["evidence"].str.contains("no crossed runs").all()


def test_sign_and_published_range_are_two_claims(monkeypatch):
    correlations = synthetic.correlations(10)
    found = table(correlations=correlations).set_index(["claim", "measured"])
    assert found.loc[("proxy-sign", "hold-out retraining"), "verdict"] == "shown"
    assert found.loc[("proxy-range", "hold-out retraining"), "verdict"] == "undecided"  # ρ = .52, published from .62
    assert "contradicts nothing" in found.loc[("proxy-range", "hold-out retraining"), "evidence"]
    assert found.loc[("proxy-range", "confidence"), "verdict"] == "shown"
    assert ("proxy-range", "entropy") not in found.index  # nothing was published for it, nothing is invented
    assert not found.reset_index()["measured"].str.contains("EL2N").any()  # not the paper's
    # in the paper's own experiment the same number would contradict it
    monkeypatch.setattr(judge, "in_the_paper", lambda profile: True)
    assert "contradicted" in told("proxy-range", "secondary", correlations=correlations)
    turned = correlations.assign(spearman=-correlations["spearman"])
    assert told("proxy-sign", correlations=turned) == {"contradicted"}


def test_correlations_are_taken_seed_by_seed():
    truth = synthetic.memorization()
    found = evidence.correlations(synthetic.proxies(truth, seeds=2), truth)
    assert len(found) == 2 * 11 and found["spearman"].between(0.5, 1).all()
    constant = synthetic.proxies(truth, seeds=1, names=("entropy",)).assign(value=0.5)
    assert not len(evidence.correlations(constant, truth))


def test_cost_verdicts_follow_the_share(monkeypatch):
    cheap = synthetic.costs()
    assert told("proxy-cheap", costs=cheap) == {"shown"}
    assert told("proxy-cheap", costs=cheap.assign(share_of_exact=0.5)) == {"contradicted"}
    assert told("proxy-share", costs=cheap) == {"undecided"}
    assert told("proxy-share", costs=cheap.assign(share_of_exact=1e-6)) == {"shown"}
    monkeypatch.setattr(judge, "in_the_paper", lambda profile: True)
    assert told("proxy-share", costs=cheap) == {"contradicted"}


def test_costs_of_imported_scores_are_unknown():
    assert told("proxy-cheap", costs=synthetic.costs().assign(share_of_exact=float("nan"))) == {"no results"}


@pytest.mark.parametrize(("drop", "verdict"), [(0.05, "shown"), (-0.05, "contradicted")])
def test_sequential_verdicts_compare_levels_at_the_last_step(drop, verdict):
    frame = synthetic.sequential(drop=drop)
    assert told("sequential-better", sequential=frame) == {verdict}
    row = table(sequential=frame).query("claim == 'sequential-better'").iloc[0]
    last = frame[(frame["step"] == 5) & (frame["scope"] == "union")].groupby("strategy")["tow"].mean()
    assert row["estimate"] == pytest.approx(last["rum_f"] - last["vanilla"])


def test_what_sequential_unlearning_is_worth_is_judged_against_the_floor():
    frame = synthetic.sequential()
    assert told("sequential-floor", sequential=frame) == {"shown"}
    # the study names the ends by their strategy only
    assert told("sequential-floor", sequential=frame.assign(algorithm="neg_grad_plus")) == {"shown"}
    worse = frame.assign(tow=frame["tow"].where(frame["strategy"] != "rum_f", 0.2), tow_mia=0.2)
    assert "contradicted" in told("sequential-floor", sequential=worse)


def test_runs_that_did_not_converge_are_counted():
    runs = synthetic.unlearning(seeds=4)
    runs.loc[(runs["seed"] == 2) & (runs["score"] == "memorization"), "converged"] = False
    found = table(unlearning=runs).query("claim == 'refine-vanilla'").set_index("measured")
    assert "† 1 of 16 differences" in found.loc["ToW, SalUn", "evidence"]
    assert "† 1 of 4 differences" in found.loc["ToW, SalUn, memorization", "evidence"]
    assert "†" not in found.loc["ToW, SalUn, confidence", "evidence"]


def sized(name: str, arch: str, images: int | None = None, width: int | None = None, **changes: object) -> Profile:
    tree = {
        "dataset": {"name": name, "train_images": images},
        "model": {"arch": arch, "width": width},
        "forget": {"size": 1000},
        "pool": {"models": 4000 if name == "cifar100" else 400},
    }
    return synthetic.profile(**tree | changes)


PAIRS = (("cifar10", "resnet18"), ("cifar100", "resnet50"), ("tiny-imagenet", "vgg16_bn"))


@pytest.mark.parametrize(("name", "arch"), PAIRS)
def test_the_papers_pairs_are_told_from_their_reduced_versions(name, arch):
    assert claims.standing(sized(name, arch)).startswith("One of the paper's pairs")
    reduced = claims.standing(sized(name, arch, images=3000, width=8))
    assert "A reduced version" in reduced and "3000 training and hold-out images instead of" in reduced
    assert "of width 8 instead of 64" in reduced


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"name": "cifar10", "classes": 5}},
        {"dataset": {"name": "cifar10", "test_images": 1000}},
        {"dataset": {"name": "cifar10", "size": 16}},
        {"model": {"arch": "resnet18", "stem": "imagenet"}},
        {"training": {"epochs": 12, "batch": 64, "lr": 0.1}},
        {"pool": {"models": 80}},
        {"pool": {"models": 400, "share": 0.6}},
        {"forget": {"size": 67}},
    ],
)
def test_every_number_of_the_paper_is_compared(changes):
    assert "A reduced version" in claims.standing(sized("cifar10", "resnet18", **changes))


def test_other_data_or_networks_are_a_demonstration():
    assert "A demonstration" in claims.standing(sized("cifar10", "vgg16_bn"))
    assert "A demonstration" in claims.standing(PROFILE)


def test_the_ledger_has_one_sentence_per_claim_and_leads_with_the_estimate_over_all():
    found = table(**everything(gain=0.2))
    lines = claims.ledger(found)
    assert len(lines) == len(claims.examined(PROFILE)) == 10
    line = next(line for line in lines if "better than vanilla unlearning" in line)
    assert "ToW, all algorithms: **shown**" in line and "Of 24 cases: 24 shown." in line and "n = 10" in line
    assert len(claims.counts(found)) == 10
    assert claims.counts(found).set_index("claim")["primary"].iloc[4] == "ToW shown; ToW-MIA shown"


def test_the_page_and_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    frames = everything(gain=-0.2)
    found = table(**{name: frame for name, frame in frames.items() if name != "sequential"})
    claims.write(found, PROFILE)
    page = (tmp_path / "digits" / "claims.md").read_text()
    assert PROFILE.title in page and "n = 3 seeds" in page and "demonstration" in page
    assert "Of 24 cases: 24 contradicted." in page and "No results yet." in page
    assert "0 in opposite ways" in page and "± 0.03" in page
    assert len(pd.read_csv(tmp_path / "digits" / "claims.csv")) == len(found)
    assert "**" not in claims.text(found)


@pytest.mark.slow
def test_frames_of_other_settings_are_left_out_and_said(monkeypatch, tmp_path):
    """Their numbers would stand under this profile's number of seeds and models."""
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    shutil.copytree(paths.CHECKOUT / "figures" / "digits", tmp_path / "digits")
    as_made = publish.publish_claims(load_profile("digits"))
    assert (as_made.verdict == "shown").sum() > 5

    with pytest.warns(
        UserWarning, match=r"unlearning.parquet was made with other settings than these and is left out: run the stage"
    ):
        others = publish.publish_claims(load_profile("digits", {"seeds": [0], "pool.models": 50}))
    assert set(others.verdict) == {"no results"}
    with pytest.warns(UserWarning, match=r"run.json beside it is damaged"):
        (tmp_path / "digits" / "run.json").write_text("{")
        publish.publish_claims(load_profile("digits"))
    kept = pd.read_csv(tmp_path / "digits" / "claims.csv", keep_default_na=False)
    assert kept["verdict"].tolist() == as_made["verdict"].tolist()  # those of these frames
