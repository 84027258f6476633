"""The explorer without a browser: what a choice means, what the widgets do with it, live runs, files, and how fast it answers."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
import torch
from lab import smoke_home
from synthetic import profile as invented

import mulnb
from mulnb import explorer as room
from mulnb import forget, study
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.explorer import Explorer, live, selection
from mulnb.explorer import pictures as sketches
from mulnb.explorer.selection import Ranking, Stock
from mulnb.forget import Strata
from mulnb.proxies import unit


def stock(n: int = 400, side: int = 8, channels: int = 1, classes: int = 10, seed: int = 0) -> Stock:
    draw = np.random.default_rng(seed)
    memorization = np.clip(draw.beta(0.4, 2, n), 0, 1)
    proxies = {
        ("confidence", 0): 0.7 * memorization + 0.3 * draw.random(n),
        ("binary_accuracy", 0): np.round(memorization * 10) / 10,  # ties
        ("holdout_retraining", 0): np.exp(draw.normal(8 * memorization - 8, 1)),  # orders of magnitude
    }
    images = draw.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    return Stock(images, draw.integers(0, classes, n), names, draw.random(n) < 0.1, memorization, np.full(n, 0.05), proxies)


@pytest.fixture
def explorer() -> Explorer:
    return Explorer(invented(seeds=[0]), stock())


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    """The profile `smoke` with results in a home of the test's own."""
    home = shutil.copytree(smoke_home(), tmp_path / "smoke")
    monkeypatch.setenv("MULNB_HOME", str(home))
    return mulnb.load_profile("smoke")


def sizes(explorer: Explorer) -> list[int]:
    return [slider.value for slider in explorer.sizes.values()]


# --- what a choice means -------------------------------------------------------------------------------------------------


def test_thresholds_and_sizes_are_two_words_for_the_same():
    ranking = Ranking("confidence", np.random.default_rng(0).permutation(200) / 200, seed=0)
    for size in (1, 7, 50):
        for side in ("low", "high"):
            assert ranking.size(side, ranking.threshold(side, size)) == size
    chosen = ranking.strata((7, 9, 11))
    assert [len(part) for part in chosen] == [7, 9, 11]
    assert (ranking.values[chosen.low] <= ranking.threshold("low", 7)).all()
    assert (ranking.values[chosen.high] >= ranking.threshold("high", 11)).all()


def test_the_strata_are_those_of_the_one_selector():
    scores = np.random.default_rng(0).integers(0, 20, 300) / 20  # ties
    for name, centre in (("memorization", 0.5), ("confidence", "median")):
        for a, b in zip(Ranking(name, scores, 3).strata((30, 30, 30)), forget.strata(scores, 30, centre, 3), strict=True):
            assert np.array_equal(a, b)


def test_ties_at_a_threshold_are_counted():
    ranking = Ranking("binary_accuracy", np.repeat([0.0, 0.5, 1.0], [50, 40, 10]), seed=0)
    assert ranking.ties("low", 20) == (20, 50) and ranking.ties("high", 25) == (15, 40) and ranking.ties("high", 10) == (10, 10)
    assert ranking.size("low", 0.0) == ranking.limit == 25  # more are tied than a stratum may hold
    assert [len(part) for part in ranking.strata((25, 25, 25))] == [25, 25, 25]


@pytest.mark.parametrize("name", ["memorization", "confidence"])
def test_the_curve_of_growth_is_the_mean_of_the_real_strata(name):
    draw = np.random.default_rng(1)
    scores, memorization = draw.beta(0.5, 2, 500), draw.random(500)
    ranking = Ranking(name, scores, seed=0)
    for size, means in zip(*(part.T if part.ndim > 1 else part for part in ranking.growth(memorization)), strict=True):
        expected = [memorization[part].mean() for part in ranking.strata((size,) * 3)]
        assert means == pytest.approx(expected)


def test_overlap_means_and_classes_by_hand():
    chosen, truth = (Strata(*map(np.array, parts)) for parts in (([0, 1], [2, 3], [4, 5]), ([0, 2], [3, 6], [4, 5])))
    assert selection.overlap(chosen, truth, 8).tolist() == [[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 2, 0]]
    means = selection.mean_memorization(chosen, np.arange(8) / 10, np.full(8, 0.3))
    assert means[:, 0] == pytest.approx([0.05, 0.25, 0.45]) and means[:, 1] == pytest.approx(np.full(3, 0.3 / 2**0.5))
    assert selection.class_counts(chosen, np.array([0, 0, 1, 2, 2, 2, 0, 0]), 3).tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 2]]


def test_the_contact_sheet_ends_at_the_threshold():
    values = np.arange(100) / 100
    part = np.arange(80, 100)
    shown = selection.sample(values, part, "high", 0.5, 5)
    assert shown[0] == 99 and shown[-1] == 80 and len(shown) == 5
    assert selection.sample(values, np.arange(40, 60), "medium", 0.5, 30)[0] == 50


# --- widgets -------------------------------------------------------------------------------------------------------------


def test_every_control_has_a_label_and_thresholds_their_unit(explorer):
    controls = [explorer.score, explorer.seed, explorer.equal, explorer.low, explorer.high, *explorer.sizes.values()]
    assert all(control.description for control in controls)
    assert {slider.description for slider in explorer.sizes.values()} == {"examples"}
    for name in explorer.stock.names:
        explorer.choose(name)
        assert unit(name) in explorer.panels["distribution"].value and unit(name) in explorer.unit.value


def test_a_threshold_moves_the_sizes_and_a_size_the_thresholds(explorer):
    explorer.high.value = 0.6
    expected = int((explorer.stock.memorization >= 0.6).sum())
    assert sizes(explorer) == [expected] * 3
    assert explorer.low.value == pytest.approx(np.sort(explorer.stock.memorization)[expected - 1])
    explorer.sizes["medium"].value = 20
    assert sizes(explorer) == [20] * 3
    assert explorer.high.value == pytest.approx(np.sort(explorer.stock.memorization)[-20])


def test_strata_of_different_sizes(explorer):
    explorer.equal.value = False
    explorer.sizes["high"].value = 13
    explorer.low.value = explorer.low.max
    assert sizes(explorer) == [100, 40, 13] == [len(part) for part in explorer.strata]
    explorer.equal.value = True
    assert sizes(explorer) == [100] * 3


def test_a_browsers_echo_is_not_a_move(explorer):
    """The page answers a threshold that is set from here with the nearest step of its slider, even after the next one is set."""
    for size in (30, 50):
        explorer.sizes["high"].value = size
    first, second = (explorer._ranking.threshold("high", size) for size in (30, 50))
    explorer.high.value = first + 0.4 * explorer.high.step
    explorer.high.value = second - 0.4 * explorer.high.step
    assert sizes(explorer) == [50] * 3
    explorer.high.value = explorer.high.value - 20 * explorer.high.step  # this one is the user's
    assert sizes(explorer)[0] > 50


def test_every_picture_follows_a_move(explorer):
    before = {name: panel.value for name, panel in explorer.panels.items()}
    explorer.sizes["low"].value = 90
    assert [name for name, panel in explorer.panels.items() if panel.value == before[name]] == []
    assert "<b>270</b> of 400 examples" in explorer.panels["summary"].value
    assert explorer.panels["sheets"].value.count("<figure") == 3 * sketches.TILES


def test_another_score_keeps_the_sizes(explorer):
    explorer.choose(sizes=25)
    for name in explorer.stock.names:
        explorer.score.value = name
        assert sizes(explorer) == [25] * 3 and not explorer.voice.errors.outputs
    explorer.choose("binary_accuracy")
    assert "ties, by seed" in explorer.ranges["low"].value


def test_an_error_in_a_callback_is_seen(explorer, monkeypatch):
    monkeypatch.setattr(sketches, "histogram", lambda *_: 1 / 0)
    explorer.sizes["low"].value = 30
    (output,) = explorer.voice.errors.outputs
    assert "ZeroDivisionError" in output["text"] and "Traceback (most recent call last)" in output["text"]
    assert "fault of the explorer" in explorer.voice.message.value


def test_a_users_mistake_is_a_message(explorer):
    explorer.file.value = "nowhere.json"
    explorer.load_button.click()
    assert "nowhere.json does not exist" in explorer.voice.message.value and not explorer.voice.errors.outputs
    for wrong in ({"score": "beauty"}, {"seed": 9}, {"sizes": 0}, {"sizes": 101}, {"sizes": (1, 2)}):
        with pytest.raises(UserError, match=r"is not offered|expected one or three numbers from 1 to 100"):
            explorer.choose(**wrong)


def test_colours_come_with_names_and_shapes(explorer):
    assert len({sketches.SHAPES[name] for name in STRATA}) == 3
    for panel in ("distribution", "growth", "agreement", "balance"):
        assert all(f">{name}<" in explorer.panels[panel].value for name in STRATA)


@pytest.mark.parametrize(("n", "side", "channels", "limit"), [(1295, 8, 1, 0.15), (45_000, 32, 3, 0.4)])
def test_it_answers_while_the_slider_moves(n, side, channels, limit):
    explorer = Explorer(invented(seeds=[0]), stock(n, side, channels))
    seconds = []
    for name in explorer.stock.names:
        started = time.perf_counter()
        explorer.score.value = name
        seconds.append(time.perf_counter() - started)
        low, high = explorer.high.min, explorer.high.max
        for value in np.linspace(low, high, 8)[1:-1]:
            started = time.perf_counter()
            explorer.high.value = value
            seconds.append(time.perf_counter() - started)
    print(f"N = {n}: median {1e3 * np.median(seconds):.0f} ms, slowest {1e3 * max(seconds):.0f} ms of {len(seconds)} moves")
    assert np.median(seconds) < limit / 2 and np.quantile(seconds, 0.9) < limit
    assert not explorer.voice.errors.outputs


# --- stored results ------------------------------------------------------------------------------------------------------


def test_without_results_it_says_which_command_makes_them():
    profile = mulnb.load_profile("smoke", {"pool.models": 24, "seeds": [3]})
    with pytest.raises(UserError) as error:
        Explorer(profile)
    assert str(error.value) == (
        "profile smoke has no results for these settings yet: run `./run_all.sh --profile smoke --only 01,02 "
        "--set 'pool.models=24' --set 'seeds=[3]'` first"
    )
    assert error.value._render_traceback_() == [f"UserError: {error.value}"]  # Jupyter shows this line alone


def test_results_are_read_from_the_published_frames_and_from_the_store(smoke, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "run_job", None)  # nothing may be computed
    published = selection.stock(smoke)
    shutil.rmtree(tmp_path / "smoke" / "artifacts" / "pool")
    assert np.array_equal(selection.stock(smoke).memorization, published.memorization)
    with pytest.raises(UserError, match="no results for these settings"):
        selection.stock(mulnb.load_profile("smoke", {"model.width": 8}))


def test_the_store_alone_is_enough(smoke, tmp_path):
    published = selection.stock(smoke)
    shutil.rmtree(tmp_path / "smoke" / "figures")
    stored = selection.stock(smoke)
    assert np.array_equal(stored.memorization, published.memorization) and stored.proxies.keys() == published.proxies.keys()
    assert all(np.array_equal(stored.proxies[key], published.proxies[key]) for key in stored.proxies)


# --- live unlearning -----------------------------------------------------------------------------------------------------


def test_a_live_run_is_the_studys_run(smoke):
    explorer = Explorer(smoke)
    results = explorer.unlearn("neg_grad_plus", "rum_f")
    assert results.strategy.tolist() == ["vanilla", "rum_f"] and results.number.tolist() == [1, 2]
    run = study.Run("neg_grad_plus", "rum_f", "memorization", 0, smoke.unlearning.algorithms["neg_grad_plus"]["rum_f"])
    expected = study.outcome(smoke, run, study.strata(smoke, "memorization", 0))
    assert results.iloc[1][list(expected)].to_dict() == expected
    assert "press" not in explorer.bench.chart.value and f"{expected['tow']:.3f}" in explorer.bench.table.value
    assert explorer.bench.bar.value == explorer.bench.bar.max and explorer.bench.cancel.disabled
    assert len(explorer.unlearn("neg_grad_plus", "rum_f")) == 2  # once is enough
    assert explorer.unlearn("fine_tune", "shuffle").strategy.tolist() == ["vanilla", "rum_f", "vanilla", "shuffle"]
    assert not explorer.voice.errors.outputs


def test_the_full_rum_is_offered_where_the_profile_runs_it(smoke):
    short = {"lr": 0.03, "epochs": 1, "batch": 128}
    stages = {"medium": {"algorithm": "fine_tune", "settings": short}, "high": {"algorithm": "salun", "settings": short}}
    profile = mulnb.load_profile("smoke", {"unlearning.rum": stages})
    offered = [one for _, one in Explorer(smoke).bench.algorithm.options]
    explorer = Explorer(profile)
    bench = explorer.bench
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
    bench, told = explorer.bench, []
    progress = bench._on_progress

    def stop_at_the_last_step(steps: int) -> None:
        told.append(steps)
        progress(steps)
        if steps == last:
            bench.cancel.click()

    bench._on_progress = stop_at_the_last_step
    tell_every, live.TELL_EVERY = live.TELL_EVERY, 0
    try:
        bench.run.click()
        bench.job.thread.join(60)
    finally:
        live.TELL_EVERY = tell_every
    assert told == list(range(1, last + 1)) and f"cancelled after {last} steps" in bench.state.value
    assert len(explorer.results) == 1
    stored["oracle"] += during == "the run"
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
    explorer.bench.run.click()
    explorer.bench.job.thread.join(60)
    assert "ZeroDivisionError" in explorer.voice.errors.outputs[0]["text"] and not explorer.bench.run.disabled
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


# --- files ---------------------------------------------------------------------------------------------------------------


def test_a_set_travels(smoke, tmp_path):
    explorer = Explorer(smoke)
    chosen = explorer.choose("confidence", (10, 12, 14), seed=1)
    explorer.save_button.click()
    assert "36 indices written" in explorer.voice.message.value
    saved = tmp_path / "smoke" / "figures" / "smoke" / "forget_set.json"
    tree = json.loads(saved.read_text())
    assert {**tree["settings"], "thresholds": None} == {
        **{"profile": "smoke", "score": "confidence", "seed": 1, "sizes": [10, 12, 14], "thresholds": None}
    }
    other = Explorer(smoke)
    other.load_button.click()
    assert (other.score.value, other.seed.value, sizes(other), other.equal.value) == ("confidence", 1, [10, 12, 14], False)
    assert all(np.array_equal(a, b) for a, b in zip(other.strata, chosen, strict=True))
    profile = mulnb.load_profile("smoke", {"forget.file": "figures/smoke/forget_set.json"})
    frame = study.unlearning(profile)
    assert set(frame.score) == {"confidence"} and set(frame.n_forget) == {36} and set(frame.seed) == {0, 1}


def test_a_set_of_somebody_elses_is_shown_as_it_is(smoke, tmp_path):
    data = study.splits(smoke)
    own = Strata(*(np.arange(start, start + 9) for start in (0, 30, 60)))
    forget.save(tmp_path / "mine.json", own, data.fingerprint, len(data.train))
    explorer = Explorer(smoke)
    explorer.load(tmp_path / "mine.json")
    assert all(np.array_equal(a, b) for a, b in zip(explorer.strata, own, strict=True))
    assert "Imported set" in explorer.panels["summary"].value
    explorer.sizes["low"].value = 12
    assert "Imported set" not in explorer.panels["summary"].value and len(explorer.strata.low) == 12


def save(path, low=(0, 1), medium=(2, 3), high=(4, 5), data="abc", n=10):
    return forget.save(path, Strata(*(np.array(part) for part in (low, medium, high))), data, n, {"score": "entropy"})


def test_a_saved_set_is_read_back(tmp_path):
    saved = save(tmp_path / "set.json")
    found = forget.load(tmp_path / "set.json", "abc", 10)
    assert found.hash == saved.hash and found.settings == {"score": "entropy"}
    assert [part.tolist() for part in found.strata] == [[0, 1], [2, 3], [4, 5]]


def test_a_relative_file_is_found_from_the_home(home, tmp_path, monkeypatch):
    save(home / "sets" / "one.json")
    monkeypatch.chdir(tmp_path)
    assert forget.load("sets/one.json").n == 10
    with pytest.raises(UserError, match=r"sets/two\.json does not exist; looked in"):
        forget.load("sets/two.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["low"].append(7), "was changed after it was saved"),
        (lambda tree: tree.update(settings={}), "was changed after it was saved"),
        (lambda tree: tree.pop("high"), "is no forget set"),
        (lambda tree: tree.update(format="other"), "is no forget set"),
        (lambda tree: tree.update(low=["a"]), "is no forget set"),
        (lambda tree: tree.update(low=[[0, 1]]), "is no forget set"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, change, message):
    save(tmp_path / "set.json")
    tree = json.loads((tmp_path / "set.json").read_text())
    change(tree)
    (tmp_path / "set.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=message) as error:
        forget.load(tmp_path / "set.json")
    assert "\n" not in str(error.value)


def test_a_set_that_does_not_fit_is_refused(tmp_path):
    save(tmp_path / "set.json")
    for data, n in (("other", 10), ("abc", 11)):
        with pytest.raises(UserError, match=r"was made for other images or labels \(unnamed, 10 examples\)"):
            forget.load(tmp_path / "set.json", data, n)
    for wrong, message in (
        ({"high": (4, 2)}, "example 2 is in it twice"),
        ({"low": (0, 0)}, "example 0 is in it twice"),
        ({"high": (4, 10)}, "has index 10: the data have 0 … 9"),
        ({"low": (-1, 1)}, "has index -1"),
        ({"low": np.array([], int)}, "has an empty stratum"),
    ):
        with pytest.raises(UserError, match=message):
            save(tmp_path / "other.json", **wrong)
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(UserError, match="is no forget set"):
        forget.load(tmp_path / "text.json")


def test_a_hand_made_file_is_checked_too(tmp_path):
    overlapping = forget.ForgetSet(Strata(*map(np.array, ([0, 1], [1, 2], [3, 4]))), "abc", 10)
    tree = overlapping._contents() | {"hash": overlapping.hash}  # the hash is right, the set is not
    (tmp_path / "set.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match="example 1 is in it twice"):
        forget.load(tmp_path / "set.json")


def test_what_is_left_without_widgets(explorer):
    assert "open this notebook in JupyterLab" in repr(explorer)
    assert explorer._repr_mimebundle_()["text/plain"] == repr(explorer)
    assert room.Explorer is mulnb.explorer.Explorer
