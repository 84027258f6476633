"""Live unlearning: it is the study's run, it can be cancelled, it reports its progress and its failures."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

import mulnb
from mulnb import study
from mulnb.explorer import Explorer, attacked, live, outcomes
from mulnb.forget import Strata


def test_a_live_run_is_the_studys_run(smoke):
    explorer = Explorer(smoke)
    results = explorer.unlearn("neg_grad_plus", "rum_f")
    assert results.strategy.tolist() == ["vanilla", "rum_f"] and results.number.tolist() == [1, 2]
    run = study.Run("neg_grad_plus", "rum_f", "memorization", 0, smoke.unlearning.algorithms["neg_grad_plus"]["rum_f"])
    expected = study.outcome(smoke, run, study.strata(smoke, "memorization", 0))
    assert results.iloc[1][list(expected)].to_dict() == expected
    assert "press" not in explorer.workbench.chart.html and f"{expected['tow']:.3f}" in explorer.workbench.table.html
    assert explorer.workbench.bar.value == explorer.workbench.bar.max and explorer.workbench.cancel.disabled
    assert len(explorer.unlearn("neg_grad_plus", "rum_f")) == 2  # once is enough
    assert explorer.unlearn("fine_tune", "shuffle").strategy.tolist() == ["vanilla", "rum_f", "vanilla", "shuffle"]
    assert not explorer.voice.errors.outputs


def test_the_full_rum_is_offered_where_the_profile_runs_it(smoke):
    short = {"lr": 0.03, "epochs": 1, "batch": 128}
    stages = {"medium": {"algorithm": "fine_tune", "settings": short}, "high": {"algorithm": "salun", "settings": short}}
    profile = mulnb.load_profile("smoke", {"unlearning.rum": stages})
    offered = [name for _, name in Explorer(smoke).workbench.algorithm.options]
    explorer = Explorer(profile)
    bench = explorer.workbench
    assert [one for _, one in bench.algorithm.options] == [*offered, "rum"] and "rum" not in offered
    assert "rum" not in [one for _, one in bench.strategy.options]
    results = explorer.unlearn("rum", "rum")
    assert results.algorithm.tolist() == ["fine_tune", "salun", "rum"]  # beside vanilla of those that it is made of
    assert results.strategy.tolist() == ["vanilla", "vanilla", "rum"]
    expected = study.outcome(
        profile,
        study.Run("rum", "rum", "memorization", 0, profile.unlearning.rum),
        study.strata(profile, "memorization", 0),
    )
    assert results.iloc[2][list(expected)].to_dict() == expected
    assert "RUM (low: nothing, medium: Fine-tune, high: SalUn)" in bench.state.value
    assert bench.bar.value == bench.bar.max and not explorer.voice.errors.outputs
    bench.algorithm.value = "salun"
    assert bench.strategy.value == "rum_f"  # an algorithm alone has no full RUM


@pytest.mark.parametrize("during", ["the oracle", "the run"])
def test_cancelling_leaves_everything_as_it_was(smoke, tmp_path, during):
    explorer = Explorer(smoke)
    explorer.unlearn("neg_grad_plus", "vanilla")
    stored = {kind: len(list((tmp_path / "smoke" / "artifacts" / kind).glob("*"))) for kind in ("unlearned", "oracle")}
    chosen = explorer.choose("confidence")
    last = 3 if during == "the oracle" else live.expected_steps(smoke, chosen, [])[0] + 2
    torch.manual_seed(5)
    before = random_states()
    bench, told = explorer.workbench, []
    progress = bench._on_progress

    def stop_at_the_last_step(steps: int) -> None:
        told.append(steps)
        progress(steps)
        if steps == last:
            bench.cancel.click()

    bench._on_progress = stop_at_the_last_step
    report_every, live.REPORT_EVERY = live.REPORT_EVERY, 0
    try:
        bench.run.click()
        bench.job.thread.join(60)
    finally:
        live.REPORT_EVERY = report_every
    assert list(dict.fromkeys(told)) == list(range(last + 1)) and f"cancelled after {last} steps" in bench.state.value
    assert len(explorer.results) == 1
    # what was finished by then stays: the oracle and the floor
    stored = {kind: count + (during == "the run") for kind, count in stored.items()}
    assert {kind: len(list((tmp_path / "smoke" / "artifacts" / kind).glob("*"))) for kind in stored} == stored
    assert all(np.array_equal(a, b) for a, b in zip(random_states(), before, strict=True))
    assert not bench.run.disabled and bench.cancel.disabled and not explorer.voice.errors.outputs
    bench._on_progress = progress
    assert len(explorer.unlearn("neg_grad_plus", "rum_f")) == 3  # and the next run is not cancelled


def random_states() -> list[np.ndarray]:
    return [torch.get_rng_state().numpy(), *np.random.get_state()[1:3], np.array(torch.get_num_threads())]


def test_a_failed_run_is_told(smoke, monkeypatch):
    explorer = Explorer(smoke)
    monkeypatch.setattr(study, "outcome", lambda *_: 1 / 0)
    explorer.workbench.run.click()
    explorer.workbench.job.thread.join(60)
    assert "ZeroDivisionError" in explorer.voice.errors.outputs[0]["text"] and not explorer.workbench.run.disabled
    with pytest.raises(ZeroDivisionError):
        explorer.unlearn()


def test_steps_of_another_thread_are_not_counted():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    counted = []
    with live.each_step(lambda: counted.append(1)):
        optimizer.step()
        other = live.Background(lambda _: optimizer.step(), lambda _: None, lambda *_: None)
        other.thread.start()
        other.thread.join()
    optimizer.step()
    assert len(counted) == 1 and other.steps == 1


def test_the_factors_multiply_to_tow(smoke):
    """Why this ToW: the numbers in the picture are those of the run, and their product is its ToW."""
    explorer = Explorer(smoke)
    explorer.unlearn("neg_grad_plus", "rum_f")
    last, bench = explorer.results.iloc[-1], explorer.workbench
    factors = [1 - abs(last[key] - last[f"oracle_{key}"]) for key in outcomes.FACTORS]
    assert math.prod(factors) == pytest.approx(last.tow)
    assert f"ToW {last.tow:.3f} = {' × '.join(f'{factor:.3f}' for factor in factors)}" in bench.why.html
    bench.chart.act("run:1")
    assert "Run 1: NegGrad+, vanilla" in bench.why.html
    bench.table.act("run:2")
    assert "Run 2: NegGrad+, RUM^F" in bench.why.html


def test_algorithms_are_told_apart_in_the_chart(smoke):
    explorer = Explorer(smoke)
    explorer.unlearn("fine_tune", "vanilla")
    explorer.unlearn("salun", "vanilla")
    assert ">1 Fine-tune<" in explorer.workbench.chart.html and ">2 SalUn<" in explorer.workbench.chart.html


def test_progress_names_what_is_done_and_the_time_left(smoke):
    explorer, said = Explorer(smoke), []
    bench = explorer.workbench
    bench.state.observe(lambda change: said.append(change["new"]), "value")
    report_every, live.REPORT_EVERY = live.REPORT_EVERY, 0
    try:
        explorer.unlearn("fine_tune", "rum_f")
    finally:
        live.REPORT_EVERY = report_every
    words = " ".join(said)
    for part in (
        "training the oracle, a model that never sees the set: step",
        "Fine-tune, vanilla: step",
        "Fine-tune, RUM^F: step",
    ):
        assert part in words
    assert " left" in words


def test_what_the_models_say_and_the_failures_first(smoke):
    explorer = Explorer(smoke)
    assert "Furthest from the oracle first" not in explorer.sheets.html
    explorer.unlearn("neg_grad_plus", "vanilla")
    said, chosen = explorer.workbench.probability, explorer.strata
    assert list(said) == ["original", "unlearned", "oracle"]
    assert all(values.shape == (len(explorer.stock),) and 0 <= values.min() <= values.max() <= 1 for values in said.values())

    explorer.sheets.act("order:failures")
    shown = [int(example) for example in re.findall(r'data-act="image:(\d+)"', explorer.sheets.html)]
    distance = np.abs(said["unlearned"] - said["oracle"])
    first = shown[: len(chosen.low)]
    assert set(first) <= set(chosen.low.tolist()) and (np.diff(distance[first]) <= 0).all()
    explorer.sheets.act(f"image:{shown[0]}")
    assert f"p(label), oracle</td><td><b>{said['oracle'][shown[0]]:.2f}</b>" in explorer.aside.html


# --- the ends of the scale -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_chart_shows_the_floor_and_the_ceiling_of_the_set(smoke):
    explorer = Explorer(smoke)
    bench = explorer.workbench
    assert "floor" not in bench.chart.html and "Measure the ceiling" not in bench.chart.html
    explorer.unlearn("neg_grad_plus", "vanilla")
    floor = study.outcome(smoke, study.Run("nothing", "nothing", "memorization", 0, {}), explorer.strata)
    assert f"floor, not unlearned: ToW {floor['tow']:.3f}, ToW-MIA {floor['tow_mia']:.3f}" in bench.chart.html
    assert "ceiling, a second oracle" not in bench.chart.html

    bench.chart.act("ceiling")
    bench.job.thread.join(60)
    said = re.search(r"ceiling, a second oracle: ToW (0\.\d+), ToW-MIA (0\.\d+)", bench.chart.html)
    assert "Measure the ceiling" not in bench.chart.html and len(explorer.results) == 1
    assert 0.5 < float(said[1]) < 1 and f"ToW {said[1]}, ToW-MIA {said[2]}" in bench.state.value

    # it is the study's ceiling, and a stored one is shown at once
    frame = study.unlearning(mulnb.load_profile("smoke", {"seeds": [0], "unlearning.scores": ["memorization"]}))
    known = frame[(frame.algorithm == "retrain") & (frame.score == "memorization")].iloc[0]
    assert f"{known.tow:.3f}" == said[1] and f"{known.tow_mia:.3f}" == said[2]
    again = Explorer(smoke, shared=False)
    again.unlearn("neg_grad_plus", "vanilla")
    assert said[0] in again.workbench.chart.html and not again.voice.errors.outputs


# --- why this MIA efficacy -----------------------------------------------------------------------------------------------


def efficacy(found):
    """The share of the forget set in the attack's region."""
    places = np.clip(np.concatenate(found.asked), *found.axis)
    return np.mean([any(low <= place <= high for low, high in found.region) for place in places])


def test_the_attacks_region_gives_its_efficacy(smoke):
    explorer = Explorer(smoke)
    explorer.unlearn("neg_grad_plus", "rum_f")
    bench = explorer.workbench
    bench.why.act("tab:mia")
    for _, row in explorer.results.iterrows():
        bench.chart.act(f"run:{row.number}")
        attacks = bench.explanation._attacks[row.number]
        # stored probabilities are rounded, so an example at the edge may change its side
        assert efficacy(attacks["unlearned"]) == pytest.approx(row.mia, abs=2.5 / row.n_forget)
        assert efficacy(attacks["oracle"]) == pytest.approx(row.oracle_mia, abs=2.5 / row.n_forget)
        assert f"m = {row.mia:.3f}" in bench.why.html and f"m = {row.oracle_mia:.3f}" in bench.why.html
        assert f"= {1 - abs(row.mia - row.oracle_mia):.3f}<" in bench.why.html
    assert not explorer.voice.errors.outputs


def test_the_attack_separates_what_can_be_separated():
    draw = np.random.default_rng(0)
    seen, unseen = draw.uniform(0.9, 1, 300), draw.uniform(0, 0.4, 100)
    chosen = Strata(np.arange(10), np.arange(10, 20), np.arange(20, 30))
    seen[:10], seen[10:20] = 0.1, 0.99  # the low stratum looks unseen, medium does not, high is as it was
    found = attacked.attack(seen, unseen, chosen, seed=0)
    assert efficacy(found) == pytest.approx(1 / 3)
    assert len(found.member) == len(unseen) and found.member.min() > attacked.log_odds(0.89)
    [(low, high)] = found.region
    assert low == found.axis[0] and 0.4 < attacked.probability(high) < 0.9


# --- see the forgetting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["fine_tune", "neg_grad_plus", "salun"])
def test_a_run_is_watched_from_before_to_after(smoke, algorithm):
    explorer = Explorer(smoke)
    explorer.unlearn(algorithm, "rum_f")
    bench, results = explorer.workbench, explorer.results
    bench.why.act("tab:forgetting")
    assert "Watch every epoch" in bench.why.html and "before and after" in bench.why.html
    bench.why.act("watch:2")
    bench.job.thread.join(60)
    said, forget = bench.probability, explorer.strata.forget
    way = bench.explanation.epochs[2]
    assert way.probability.shape == (4, len(forget)) and way.stages == [1, 2]  # three stages of one epoch
    assert np.allclose(way.probability[0], said["original"][forget], atol=2e-3)
    assert np.allclose(way.probability[-1], said["unlearned"][forget], atol=2e-3)  # to the bit, but for the store's rounding
    assert not np.allclose(way.probability[1], way.probability[2], atol=1e-3)
    assert "over 3 epochs" in bench.why.html and "Watch every epoch" not in bench.why.html
    assert explorer.results.equals(results) and not explorer.voice.errors.outputs


def test_the_failures_come_first_and_a_click_enlarges_one(smoke):
    explorer = Explorer(smoke)
    explorer.unlearn("neg_grad_plus", "vanilla")
    bench = explorer.workbench
    bench.why.act("tab:forgetting")
    shown = [int(example) for example in re.findall(r'data-act="image:(\d+)"', bench.why.html)]
    distance = np.abs(bench.probability["unlearned"] - bench.probability["oracle"])
    for part, of_part in zip(explorer.strata, np.split(np.array(shown), 3), strict=True):
        assert set(of_part) <= set(part.tolist()) and distance[of_part[0]] == distance[part].max()
        assert (np.diff(distance[of_part]) <= 0).all()
    bench.why.act(f"image:{shown[5]}")
    assert f"Example {shown[5]}" in explorer.aside.html
