"""The explorer without a browser: what the widgets do with a choice, how fast they answer, and where results come from."""

from __future__ import annotations

import re
import shutil
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lab import invented_stock
from synthetic import profile as invented

import mulnb
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.explorer import Explorer, explore, images, outcomes, pictures, stock
from mulnb.proxies import unit
from mulnb.study import jobs

TABS = ("growth", "agreement", "classes", "map", "example")


def sizes(explorer: Explorer) -> list[int]:
    return [control.value for control in explorer.sizes.values()]


def drag(explorer: Explorer, side: str, threshold: float) -> None:
    """Drag a handle of the histogram to a score."""
    explorer.distribution.act(f"drag:{side}", x=float(pictures.score_axis(explorer._ranking)(threshold)))


# --- choosing ------------------------------------------------------------------------------------------------------------


def test_every_control_has_a_label_and_thresholds_their_unit(explorer):
    controls = [explorer.score, explorer.seed, explorer.equal, *explorer.sizes.values()]
    assert len({control.description for control in controls}) == len(controls) and all(one.description for one in controls)
    for name in explorer.stock.names:
        explorer.choose(name)
        handles = re.findall(r'role="slider"[^>]* aria-label="([^"]+)" aria-valuetext="([^"]+)"', explorer.distribution.html)
        assert [label for label, _ in handles] == ["low: score at most", "high: score at least"]
        assert unit(name) in explorer.distribution.html


def test_a_threshold_moves_the_sizes_and_a_size_the_thresholds(explorer):
    drag(explorer, "high", 0.6)
    expected = int((explorer.stock.memorization >= 0.6).sum())
    assert sizes(explorer) == [expected] * 3
    assert explorer.threshold("low") == pytest.approx(np.sort(explorer.stock.memorization)[expected - 1])
    explorer.sizes["medium"].value = 20
    assert sizes(explorer) == [20] * 3
    assert explorer.threshold("high") == pytest.approx(np.sort(explorer.stock.memorization)[-20])
    assert len(explorer.choose(high=0.6).high) == expected


def test_what_the_browser_echoes_draws_nothing_anew(explorer):
    drawn = []
    explorer.distribution.observe(lambda change: drawn.append(change["new"]), "html")
    drag(explorer, "high", 0.6)
    assert len(drawn) == 1

    # a front end sends back each value that it was told, as a float, too
    for field in explorer.sizes.values():
        for echo in (field.value, float(field.value)):
            field.set_state({"value": echo})
    drag(explorer, "high", explorer.threshold("high"))
    assert len(drawn) == 1


def test_strata_of_different_sizes(explorer):
    explorer.equal.value = False
    explorer.sizes["high"].value = 13
    drag(explorer, "low", 1.0)
    assert sizes(explorer) == [100, 40, 13] == [len(part) for part in explorer.strata]
    explorer.equal.value = True
    assert sizes(explorer) == [100] * 3


def test_keys_move_a_threshold_the_way_they_point(explorer):
    explorer.equal.value = False
    for side, step, expected in (("low", 1, 41), ("low", 10, 51), ("high", 1, 39), ("high", -10, 49)):
        explorer.distribution.act(f"drag:{side}", step=step)
        assert explorer.sizes[side].value == expected
    for side, step, expected in (("low", "first", 1), ("low", "last", 100), ("high", "first", 100), ("high", "last", 1)):
        explorer.distribution.act(f"drag:{side}", step=step)
        assert explorer.sizes[side].value == expected


def test_every_picture_follows_a_move(explorer):
    for tab in TABS[:3]:
        explorer.aside.act(f"tab:{tab}")
        before = [explorer.distribution.html, explorer.sheets.html, explorer.aside.html, explorer.summary.value]
        explorer.choose(sizes=20 if len(explorer.strata.low) == 90 else 90)
        after = [explorer.distribution.html, explorer.sheets.html, explorer.aside.html, explorer.summary.value]
        assert all(new != old for new, old in zip(after, before, strict=True))
    assert "<b>270</b> of 400 examples" in explorer.summary.value
    assert explorer.sheets.html.count("<figure") == 3 * images.TILES


def test_another_score_keeps_the_sizes(explorer):
    for size in (1, 11, 12, 25, 100):
        explorer.choose(sizes=size)
        for name in explorer.stock.names:
            explorer.score.value = name
            assert sizes(explorer) == [size] * 3 and not explorer.voice.errors.outputs
    explorer.choose("binary_accuracy", sizes=20)
    assert "ties are low, by seed" in explorer.sheets.html


@pytest.mark.slow
@pytest.mark.parametrize(("n", "side", "channels", "limit"), [(1295, 8, 1, 0.15), (45_000, 32, 3, 0.4)])
def test_it_answers_while_a_threshold_is_dragged(n, side, channels, limit):
    places = np.random.default_rng(0).random((n, 2))  # making the map is no move
    explorer = Explorer(invented(seeds=[0]), replace(invented_stock(n, side, channels), places=places))
    seconds = []

    def timed(move) -> None:
        started = time.thread_time()  # of work: a busy machine lets it wait for its turn, too
        move()
        seconds.append(time.thread_time() - started)

    for tab in TABS[:4]:
        explorer.aside.act(f"tab:{tab}")
        if explorer.map.thread is not None:
            explorer.map.thread.join()
        for name in explorer.stock.names:
            timed(lambda name=name: explorer.choose(name))
            for share in np.linspace(0.6, 0.99, 6):
                threshold = float(np.quantile(explorer._ranking.sorted, share))
                timed(lambda threshold=threshold: drag(explorer, "high", threshold))
    print(f"N = {n}: median {1e3 * np.median(seconds):.0f} ms, slowest {1e3 * max(seconds):.0f} ms of {len(seconds)} moves")
    assert np.median(seconds) < limit / 2 and np.quantile(seconds, 0.9) < limit
    assert not explorer.voice.errors.outputs


# --- looking -------------------------------------------------------------------------------------------------------------


def test_a_click_shows_the_examples_behind_it(explorer):
    def shown() -> set[int]:
        return set(map(int, re.findall(r'data-act="image:(\d+)"', explorer.sheets.html)))

    explorer.choose("confidence", sizes=10)
    explorer.aside.act("tab:agreement")
    overlap = int(re.search(r'cell:2:2"[^>]*aria-label="(\d+) examples', explorer.aside.html)[1])
    explorer.aside.act("cell:2:2")
    truth = set(np.argsort(explorer.stock.memorization)[-10:].tolist())
    assert len(shown()) == overlap > 0 and shown() == set(explorer.strata.high.tolist()) & truth

    label = int(explorer.stock.labels[explorer.strata.low[0]])
    explorer.aside.act(f"class:0:{label}")
    assert {int(explorer.stock.labels[example]) for example in shown()} == {label}
    assert shown() <= set(explorer.strata.low.tolist())

    low, high = re.search(r'data-act="bin:([^:]+):([^"]+)"', explorer.distribution.html).groups()
    explorer.distribution.act(f"bin:{low}:{high}")
    scores = explorer.stock.scores("confidence", 0)
    assert shown() and all(scores[example] <= float(high) for example in shown())
    assert "<b>retained</b>" in explorer.sheets.html
    explorer.sheets.act("all")
    assert len(shown()) == 30


def test_every_example_of_the_histogram_can_be_seen(explorer):
    for name in explorer.stock.names:
        explorer.choose(name)
        bars = re.findall(r'data-act="(bin:[^"]+)" [^>]*aria-label="(\d+) examples', explorer.distribution.html)
        assert sum(int(count) for _, count in bars) == len(explorer.stock)
        for act, count in bars:
            explorer.distribution.act(act)
            assert explorer.filter.mask.sum() == int(count)


def test_an_image_is_enlarged_dropped_and_added(explorer):
    example = int(explorer.strata.high[0])
    explorer.sheets.act(f"image:{example}")
    assert f"Example {example}" in explorer.aside.html and "in the forget set, stratum high" in explorer.aside.html
    assert all(f">{name}<" in explorer.aside.html for name in ("memorization", "confidence", "hold-out retraining"))

    explorer.aside.act(f"move:{example}:")
    assert example not in explorer.strata.forget and len(explorer.strata.forget) == 119
    assert "A set of your own" in explorer.summary.value and "retained" in explorer.aside.html
    explorer.aside.act(f"move:{example}:low")
    assert example in explorer.strata.low
    explorer.choose(sizes=1)
    explorer.aside.act(f"move:{int(explorer.strata.low[0])}:")
    assert "a stratum must not be empty" in explorer.voice.message.value and len(explorer.strata.low) == 1


def test_one_meaning_a_mark(explorer):
    """A colour is a stratum, with its name beside it; a shape is a strategy. The square is no strategy's."""
    assert len(set(outcomes.SHAPES.values())) == len(outcomes.SHAPES) and "square" not in outcomes.SHAPES.values()
    for tab in TABS[:3]:
        explorer.aside.act(f"tab:{tab}")
        assert all(f">{name}<" in explorer.aside.html for name in STRATA)
    assert all(f">{name}<" in explorer.distribution.html for name in STRATA)


# --- what goes wrong -----------------------------------------------------------------------------------------------------


def test_an_error_in_a_callback_is_seen(explorer, monkeypatch):
    monkeypatch.setattr(pictures, "histogram", lambda *_, **__: 1 / 0)
    explorer.sizes["low"].value = 30
    (output,) = explorer.voice.errors.outputs
    assert "ZeroDivisionError" in output["text"] and "Traceback (most recent call last)" in output["text"]
    assert "fault of the explorer" in explorer.voice.message.value


def test_a_users_mistake_is_one_line(explorer):
    explorer.file.field.value = "nowhere.json"
    explorer.file.load_button.click()
    assert "nowhere.json does not exist" in explorer.file.voice.message.value and not explorer.voice.errors.outputs
    for wrong in ({"score": "beauty"}, {"seed": 9}, {"sizes": 0}, {"sizes": 101}, {"sizes": (1, 2)}):
        with pytest.raises(UserError, match=r"is not offered here|expected one or three numbers from 1 to 100"):
            explorer.choose(**wrong)
    for algorithm, strategy in (("negggrad", None), ("salun", "rumf"), (None, "rumf")):
        before = explorer.workbench.algorithm.value, explorer.workbench.strategy.value
        with pytest.raises(UserError, match="is not offered here: choose one of") as error:
            explorer.unlearn(algorithm, strategy)
        assert "\n" not in str(error.value)
        assert (explorer.workbench.algorithm.value, explorer.workbench.strategy.value) == before


# --- where it comes from -------------------------------------------------------------------------------------------------


def test_a_profiles_name_is_enough(smoke):
    assert len(Explorer("smoke").stock) == len(mulnb.load_data(smoke).train)
    with pytest.raises(UserError, match="digitz"):
        Explorer("digitz")


@pytest.mark.slow
def test_the_kernel_keeps_the_choice(smoke):
    """The cell runs again after a reload of the page: same widgets, same choice."""
    first = Explorer(smoke)
    first.choose("confidence", sizes=7)
    again = Explorer(smoke)
    assert again.view is first.view and again.score.value == "confidence" and sizes(again) == [7] * 3
    assert Explorer(smoke, shared=False).view is not first.view
    assert Explorer(mulnb.load_profile("smoke", {"forget.size": 9})).view is not first.view


def test_own_data_are_explored_without_a_profile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    images, labels, scores = draw.random((90, 8, 8)), draw.integers(0, 3, 90), draw.random(90)
    explorer = explore(images, labels, scores)
    drag(explorer, "high", 0.9)
    assert len(explorer.strata.high) == (scores >= 0.9).sum()
    explorer.aside.act("tab:agreement")  # nothing to agree with: no such tab
    assert "Memorized?" not in explorer.aside.html
    with pytest.raises(UserError, match="unlearning needs a profile"):
        explorer.unlearn()

    explorer.file.save_button.click()
    assert (tmp_path / "forget_set.json").is_file() and "indices written" in explorer.file.voice.message.value
    known = explore(images, labels, {"loss": scores}, memorization=scores)
    known.aside.act("tab:agreement")
    assert "Memorized?" in known.aside.html and known.stock.names == ["memorization", "loss"]


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
    monkeypatch.setattr(jobs, "run_job", None)  # nothing may be computed
    published = stock.of_profile(smoke)
    shutil.rmtree(tmp_path / "smoke" / "artifacts" / "pool")
    assert np.array_equal(stock.of_profile(smoke).memorization, published.memorization)
    with pytest.raises(UserError, match="no results for these settings"):
        stock.of_profile(mulnb.load_profile("smoke", {"model.width": 8}))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("memorization", lambda rows: rows.sample(frac=1, random_state=0), None),  # in another order, but all there
        ("memorization", lambda rows: rows.iloc[1:], "proxies.parquet has other ones"),
        ("memorization", lambda rows: rows.drop(columns="se"), "no column 'se'"),
        ("proxies", lambda rows: pd.concat([rows, rows.iloc[:1]]), "a row stands there twice"),
        ("proxies", lambda rows: rows.assign(value="x"), "row 1 has no number in the column value"),
    ],
)
def test_published_frames_that_somebody_changed(smoke, name, change, said):
    before = stock.of_profile(smoke)
    path = paths.results("smoke") / "data" / f"{name}.parquet"
    change(pd.read_parquet(path)).to_parquet(path)  # without the checksum
    if said is None:
        assert np.array_equal(stock.of_profile(smoke).memorization, before.memorization)
        return
    with pytest.raises(UserError, match=re.escape(said)) as error:
        stock.of_profile(smoke)
    assert "\n" not in str(error.value)


def test_the_store_alone_is_enough(smoke, tmp_path):
    published = stock.of_profile(smoke)
    shutil.rmtree(tmp_path / "smoke" / "figures")
    stored = stock.of_profile(smoke)
    assert np.array_equal(stored.memorization, published.memorization) and stored.proxies.keys() == published.proxies.keys()
    assert all(np.array_equal(stored.proxies[key], published.proxies[key]) for key in stored.proxies)


def test_what_is_left_without_widgets(explorer):
    assert "run this cell in JupyterLab" in repr(explorer)
    assert explorer._repr_mimebundle_()["text/plain"] == repr(explorer)
    assert mulnb.explorer.Explorer is Explorer


def test_without_the_notebooks_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "mulnb.explorer.panel")
    monkeypatch.delitem(sys.modules, "mulnb.explorer.canvas")
    monkeypatch.setitem(sys.modules, "anywidget", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"needs the package anywidget: pip install 'mulnb\[notebooks\]'"):
        from mulnb.explorer import Explorer  # noqa: F401


@pytest.mark.slow
def test_the_pictures_do_not_grow_with_the_number_of_examples():
    """A browser gets bars, curves and a dozen images of each stratum, however many examples there are."""
    lengths = []
    for n in (1000, 100_000):
        explorer = Explorer(None, invented_stock(n))
        shown = ""
        for tab in TABS:
            explorer.aside.act(f"tab:{tab}")
            shown += explorer.aside.html
        lengths.append(len(shown + explorer.distribution.html + explorer.sheets.html))
    assert lengths[1] < 1.5 * lengths[0]


@pytest.mark.slow
def test_committed_results_open_without_the_images(tmp_path, monkeypatch):
    """A fresh clone has no CIFAR-10: the explorer shows the small copies, and downloads nothing."""
    monkeypatch.setenv("MULNB_HOME", str(tmp_path))
    monkeypatch.setenv("MULNB_FIGURES", str(paths.committed()))
    monkeypatch.setattr("mulnb.study.splits", lambda profile: pytest.fail("the data set was read"))
    explorer = Explorer("cifar10-small")

    assert len(explorer.stock) == 5000 and explorer.stock.images.shape[1:] == (3, 12, 12)
    assert explorer.stock.classes[0] == "airplane" and len(np.unique(explorer.stock.labels)) == 10
    assert "small copies are shown" in explorer.voice.message.value
    assert sizes(explorer) == [112] * 3
    explorer.choose("confidence", sizes=50)
    assert len(explorer.strata.forget) == 150
    assert explorer.export(tmp_path / "set.json") and (tmp_path / "set.json").is_file()


@pytest.mark.slow
def test_images_that_are_there_are_preferred_to_their_copies(tmp_path, monkeypatch):
    (tmp_path / "data" / "cifar10" / "train").mkdir(parents=True)
    monkeypatch.setenv("MULNB_HOME", str(tmp_path))
    monkeypatch.setenv("MULNB_FIGURES", str(paths.committed()))
    with pytest.raises(UserError, match="cifar10"):  # it was looked into, and has no images
        stock.of_profile(mulnb.load_profile("cifar10-small"))
