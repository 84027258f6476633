"""Every figure is drawn, saved as the same bytes twice, small enough to travel, legible, and honest about n."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text
from written import texts, words

from mulnb import figures
from mulnb.core import vocabulary
from mulnb.figures import across as figures_across
from mulnb.figures import crowd, ends, marks, plotting

PROFILE = synthetic.profile()
TRUTH = synthetic.memorization()
STRATA = synthetic.strata(TRUTH)
CLASSES = [str(k) for k in range(10)]


def without_interval(costs: pd.DataFrame) -> pd.DataFrame:
    return costs.assign(ci_low=np.nan, ci_high=np.nan, n_seeds=1)


# as many algorithms as there are, and titles as long as a reduced profile's
TITLES = {
    "mine": "mine",
    "reduced": "CIFAR-10 (JPEG copy), 3 000 images / ResNet-18, width 8",
    "tiny": "Tiny-ImageNet (20 classes, JPEG copy), 4 000 images / VGG-16-BN, width 16",
}
BIG = synthetic.with_rum(title=TITLES["tiny"], algorithms=synthetic.EVERY)


def every_run(seeds: int) -> pd.DataFrame:
    return synthetic.unlearning(seeds=seeds, scores=vocabulary.FIGURE_2_SCORES, algorithms=synthetic.EVERY, rum=0.2)


def marked(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a seed whose oracle did not fit."""
    return frame.assign(converged=frame["seed"] != 0)


@pytest.fixture(autouse=True, scope="module")
def _titles():
    with pytest.MonkeyPatch.context() as patch:
        title = figures_across._title
        patch.setattr(figures_across, "_title", lambda name: TITLES.get(name) or title(name))
        yield


# how each figure is made: from results over `seeds` seeds
MAKE: dict[str, Callable[[int], plotting.Picture]] = {
    "overview": lambda seeds: figures.overview(synthetic.profile(seeds=list(range(seeds)))),
    "memorization_profile": lambda seeds: figures.memorization_profile(PROFILE, TRUTH, STRATA),
    "stratum_images": lambda seeds: figures.stratum_images(PROFILE, synthetic.images(), TRUTH, STRATA, CLASSES),
    "convergence": lambda seeds: figures.convergence(PROFILE, synthetic.convergence(seeds)),
    "proxy_table": lambda seeds: figures.proxy_table(
        PROFILE, synthetic.costs() if seeds > 1 else without_interval(synthetic.costs())
    ),
    "proxy_profiles": lambda seeds: figures.proxy_profiles(PROFILE, synthetic.proxies(TRUTH, seeds), TRUTH),
    "rum": lambda seeds: figures.rum(PROFILE, synthetic.unlearning(seeds=seeds)),
    "strategy_differences": lambda seeds: figures.strategy_differences(PROFILE, synthetic.unlearning(seeds=seeds)),
    "sequential": lambda seeds: figures.sequential(PROFILE, synthetic.sequential(seeds=seeds)),
    "before_after": lambda seeds: figures.before_after(PROFILE, synthetic.values(seeds=seeds)),
    "fidelity": lambda seeds: figures.fidelity(PROFILE, synthetic.fidelity(seeds)),
    "crossed": lambda seeds: figures.crossed(PROFILE, synthetic.crossed(seeds=seeds)),
    "audit_roc": lambda seeds: figures.audit_roc(PROFILE, synthetic.audit_examples(seeds)),
    "audit_examples": lambda seeds: figures.audit_examples(PROFILE, synthetic.audit_examples(seeds)),
    "audit_agreement": lambda seeds: figures.audit_agreement(PROFILE, synthetic.agreement(seeds)),
    "common_mistakes": lambda seeds: figures.common_mistakes(PROFILE, synthetic.mistakes(seeds)),
    "common_mistakes_of_all": lambda seeds: figures.common_mistakes(BIG, synthetic.mistakes(seeds, algorithms=synthetic.EVERY)),
    "audit_roc_of_all": lambda seeds: figures.audit_roc(BIG, synthetic.audit_examples(seeds, algorithms=synthetic.EVERY)),
    "audit_examples_of_all": lambda seeds: figures.audit_examples(
        BIG, synthetic.audit_examples(seeds, algorithms=synthetic.EVERY)
    ),
    "rum_marked": lambda seeds: figures.rum(PROFILE, marked(synthetic.unlearning(seeds=seeds))),
    "rum_before": lambda seeds: figures.rum(PROFILE, synthetic.old(synthetic.unlearning(seeds=seeds))),
    "strategy_differences_before": lambda seeds: figures.strategy_differences(
        PROFILE, synthetic.old(synthetic.unlearning(seeds=seeds))
    ),
    "sequential_before": lambda seeds: figures.sequential(PROFILE, synthetic.old(synthetic.sequential(seeds=seeds))),
    "proxy_table_before": lambda seeds: figures.proxy_table(
        PROFILE, synthetic.costs(beyond=False) if seeds > 1 else without_interval(synthetic.costs(beyond=False))
    ),
    "rum_of_all": lambda seeds: figures.rum(BIG, every_run(seeds)),
    "strategy_differences_of_all": lambda seeds: figures.strategy_differences(BIG, every_run(seeds)),
    "rum_across": lambda seeds: figures.rum_across(
        {"mine": synthetic.unlearning(seeds=seeds), "smoke": None, "cifar100": None}, ["smoke", "cifar100"]
    ),
    "rum_across_all": lambda seeds: figures.rum_across(
        {"mine": every_run(seeds), "reduced": synthetic.old(every_run(seeds)), "tiny": every_run(seeds)}, list(TITLES)
    ),
    "sequential_across": lambda seeds: figures.sequential_across(
        {"mine": synthetic.sequential(seeds=seeds), "smoke": None}, ["smoke"]
    ),
    "sequential_across_all": lambda seeds: figures.sequential_across(
        {"mine": synthetic.sequential(seeds=seeds), "reduced": synthetic.old(synthetic.sequential(seeds=seeds))}, list(TITLES)[:2]
    ),
}
WITH_INTERVALS = ("proxy_table", "rum", "strategy_differences", "sequential", "crossed", "common_mistakes")
OVER_SEEDS = [name for name in MAKE if name.startswith(WITH_INTERVALS)]


def bars(figure: plotting.Picture) -> int:
    """How many intervals are drawn: error bars and bands of the ends of the scale."""
    errors = sum(isinstance(container, ErrorbarContainer) for axes in figure.axes for container in axes.containers)
    return errors + len(bands(figure))


def bands(figure: plotting.Picture) -> list:
    """The bands of floor and ceiling."""
    shades = [patch for axes in figure.axes for patch in (*axes.patches, *axes.collections)]
    colors = [to_rgb(look.color) for look in ends.ENDS.values()]
    return [patch for patch in shades if patch.get_alpha() == 0.13 and to_rgb(_face(patch)) in colors and _area(patch) > 0]


def _face(patch) -> tuple:
    return np.ravel(patch.get_facecolor())[:3]


def _area(patch) -> float:
    """Of a band without an interval, 0 or NaN."""
    path = patch.get_path() if hasattr(patch, "get_path") else patch.get_paths()[0] if patch.get_paths() else None
    return 0.0 if path is None or not len(path.vertices) else float(np.ptp(path.vertices[:, 1]))


@pytest.fixture(scope="module")
def drawn() -> dict[str, plotting.Picture]:
    return {name: make(3) for name, make in MAKE.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_a_figure_is_saved_and_stays_small(name, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    assert figures.save(drawn[name], PROFILE, name) is drawn[name]
    png, svg = (tmp_path / "digits" / f"{name}.{ending}" for ending in ("png", "svg"))
    assert 10_000 < png.stat().st_size <= 150_000 and 10_000 < svg.stat().st_size <= 400_000
    assert sorted(path.name for path in png.parent.iterdir()) == [png.name, svg.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["memorization_profile", "sequential"])
def test_the_same_results_give_the_same_bytes(name, drawn):
    again = MAKE[name](3)
    assert plotting.png(again) == plotting.png(drawn[name])
    assert plotting.svg(again) == plotting.svg(drawn[name])


@pytest.mark.parametrize("name", MAKE)
def test_the_caption_names_the_profile_and_n(name, drawn):
    text = words(drawn[name])
    assert ("mine" if "across" in name else BIG.title if name.endswith("_of_all") else PROFILE.title) in text
    assert re.search(r"n = \d", text)
    if name in OVER_SEEDS:
        assert "95 % t interval over n = 3 seeds" in text


@pytest.mark.parametrize("name", MAKE)
def test_every_text_can_be_read_in_print(name, drawn):
    assert min(text.get_fontsize() for text in texts(drawn[name])) >= 7
    assert drawn[name].get_figwidth() <= 7


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_no_text_leaves_the_page_or_lies_on_another(name, drawn, monkeypatch):
    drawn_texts, draw, page, turned = {}, Text.draw, [], {}

    def note(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            if self.get_rotation() == 35:  # turned tick labels are parallel: what counts is how far their ends are apart
                turned.setdefault(self.axes, {})[self] = self.get_window_extent(renderer).x1
            drawn_texts[self] = self.get_text(), self.get_window_extent(renderer), self.get_rotation()
            page[:] = renderer.width, renderer.height
        return draw(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Text, "draw", note)  # ticks outside the panel have texts, too, but are never drawn
    plotting.png(drawn[name])
    boxes = list(drawn_texts.values())
    assert boxes
    for text, box, _ in boxes:
        assert min(box.x0, box.y0) > -1 and box.x1 < page[0] + 1 and box.y1 < page[1] + 1, text
    for k, (text, box, rotation) in enumerate(boxes):
        for other, that, other_rotation in boxes[k + 1 :]:
            width = min(box.x1, that.x1) - max(box.x0, that.x0)
            height = min(box.y1, that.y1) - max(box.y0, that.y0)
            assert min(width, height) < 2.5 or rotation == other_rotation == 35, (text, other)
    for right in turned.values():
        assert min(np.diff(sorted(right.values())) * np.sin(np.radians(35)), default=99) > 7 * plotting.STYLE["savefig.dpi"] / 72


@pytest.mark.slow
@pytest.mark.parametrize("name", OVER_SEEDS)
def test_method10_09_one_seed_is_never_drawn_with_an_interval(name, drawn):
    alone = MAKE[name](1)
    assert bars(drawn[name]) > 0
    assert bars(alone) == 0
    assert "n = 1 seed: no interval" in words(alone)


@pytest.mark.slow
def test_floor_and_ceiling_are_drawn_in_every_panel_of_tow_where_they_were_measured():
    runs = synthetic.unlearning()
    figure = figures.rum(PROFILE, runs)
    assert len(bands(figure)) == 2 * 2  # ends × metrics
    ceiling = runs[runs["algorithm"] == "retrain"].groupby("seed")["tow"].mean().mean()
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
    assert min(abs(level - ceiling) for level in levels) < 1e-9
    assert "Ceiling: a second oracle; floor: the original model" in words(figure)
    assert len(bands(figures.sequential(PROFILE, synthetic.sequential()))) == 2 * 2 * 3  # and rows
    assert len(bands(figures.rum_across({"mine": runs, "smoke": None}))) == 2 * 2


@pytest.mark.slow
def test_method10_10_one_is_never_drawn_as_the_ceiling():
    for name in ("rum", "rum_before", "rum_across"):
        for axes in MAKE[name](3).axes:
            assert not [line for line in axes.lines if set(np.ravel(line.get_ydata())) == {1}]
    before = figures.rum(PROFILE, synthetic.old(synthetic.unlearning()))
    assert not bands(before) and "ceiling" not in words(before).lower() and "oracle" not in words(before)


@pytest.mark.slow
def test_figure_2_asks_for_more_than_vanilla_where_the_controls_ran():
    asked = "Does refinement help? Where the filled marker lies above"
    runs = synthetic.unlearning(scores=("confidence",))
    assert f"{asked} all others of its line." in words(figures.rum(PROFILE, runs))
    assert f"{asked} the hollow one." in words(figures.rum(PROFILE, runs[~runs["strategy"].isin(["repeat", "shuffle"])]))


@pytest.mark.slow
def test_runs_whose_oracle_did_not_fit_are_marked_and_counted():
    text = words(figures.rum(PROFILE, marked(synthetic.unlearning())))
    assert text.count("†") == 2 * 3 * 4 + 1  # metrics × algorithms × scores, and the caption
    assert "† 60 of 180 runs have an original or oracle that did not fit" in text
    assert "Behind the ceiling: in 5 of 15 pairs an oracle did not fit" in text
    for name in ("strategy_differences", "sequential", "crossed"):
        frame = {"crossed": synthetic.crossed, "sequential": synthetic.sequential}.get(name, synthetic.unlearning)()
        assert "did not fit the retain set" in words(getattr(figures, name)(PROFILE, marked(frame)))
    assert "†" not in words(figures.rum(PROFILE, synthetic.unlearning()))


def test_one_order_beside_memorization_is_drawn_once_and_not_again_as_the_mean():
    frame = synthetic.crossed()
    many, one = (figures.crossed(PROFILE, rows) for rows in (frame, frame[frame.order.isin(["memorization", "confidence"])]))
    assert "need another score" in words(figures.crossed(PROFILE, frame[frame.order == "memorization"]))
    assert "mean over the orders" in words(many) and "mean over the orders" not in words(one)
    algorithms = frame.algorithm.nunique()
    assert [len(figure.axes[0].get_yticklabels()) for figure in (many, one)] == [algorithms * 4, algorithms]


@pytest.mark.slow
def test_captions_say_what_the_data_of_the_profile_show():
    share = 100 * (TRUTH["memorization"] < 0.25).mean()
    assert f"{share:.0f} % of the examples have memorization below 0.25" in words(
        figures.memorization_profile(PROFILE, TRUTH, STRATA)
    )
    hard = TRUTH.assign(memorization=0.9)
    assert "0 % of the examples have memorization below 0.25, 100 % above 0.75" in words(
        figures.memorization_profile(PROFILE, hard, STRATA)
    )
    assert "split, hold-out and exact scores are the same for all" in words(figures.rum(PROFILE, synthetic.unlearning()))


@pytest.mark.slow
def test_imported_scores_have_no_standard_errors_to_show():
    imported = TRUTH.assign(se=np.nan, n_in=0, n_out=0)
    figure = figures.memorization_profile(PROFILE, imported, STRATA)
    assert len(figure.axes) == 2 and "imported" in words(figure) and "worst case" not in words(figure)
    assert "nan" not in words(figures.stratum_images(PROFILE, synthetic.images(), imported, STRATA, CLASSES))
    assert "there is no pool" in words(figures.convergence(PROFILE, synthetic.convergence().iloc[:0]))
    for draw in (figures.audit_roc, figures.audit_examples):
        assert "there is none" in words(draw(PROFILE, pd.DataFrame()))


def test_the_forest_leads_with_the_mean_over_scores_within_each_seed():
    runs = synthetic.unlearning()
    figure = figures.strategy_differences(PROFILE, runs)
    ours = runs[runs["algorithm"] == "fine_tune"].groupby(["strategy", "seed"])["tow"].mean().unstack("seed")
    expected = (ours.loc["rum_f"] - ours.loc["repeat"]).mean()
    assert any(np.isclose(np.ravel(line.get_xdata()), expected).any() for line in figure.axes[0].lines)
    assert "RUM$^F$ − repeat" in words(figure) and "± 0.03" in words(figure)


@pytest.mark.slow
def test_the_counts_beside_the_lines_of_fidelity_cover_nothing():
    figure = figures.fidelity(PROFILE, synthetic.fidelity())
    for axes in figure.axes:
        named = {text.get_text(): text.get_window_extent() for text in axes.texts}
        assert sum(name.startswith("M = ") for name in named) == sum(name.startswith("k = ") for name in named) == 2
        for text in list(axes.texts):
            text.remove()
        drawn = marks._drawn(axes)
        for name, box in named.items():
            assert not ((drawn > box.min) & (drawn < box.max)).all(1).any(), name
            assert axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1 and box.x1 <= axes.bbox.x1, name


@pytest.mark.slow
def test_the_cost_fidelity_figure_draws_the_ceiling_that_the_scores_allow():
    figure = figures.fidelity(PROFILE, synthetic.fidelity())
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
    assert any(np.isclose(level, synthetic.RELIABILITY**0.5) for level in levels)
    text = words(figure)
    assert "√0.90 = 0.95" in text and "M = 5" in text and "M = 50" in text and "k = 2" in text and "EL2N" in text
    imported = synthetic.fidelity().query("kind == 'proxy'").assign(reliability=np.nan, seconds=0.0)
    assert "√" not in words(figures.fidelity(PROFILE, imported))  # scores from outside: no pool, no reliability


@pytest.mark.slow
def test_missing_profiles_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(figures_across, "known_profiles", lambda: ["smoke", "cifar10", "cifar10-small"])
    text = words(figures.rum_across({"mine": synthetic.unlearning(), "smoke": None, "nowhere": None}))
    assert "./run_all.sh --profile smoke" in text and "No results yet for smoke, nowhere" in text
    assert "not part of this release" in text and "--profile nowhere" not in text
    text = words(figures.rum_across({"cifar10": None}))
    assert "./run_all.sh --profile cifar10 or ./run_all.sh --profile cifar10-small" in text


def panels(figure: plotting.Picture) -> list[str]:
    return [" ".join(axes.get_title("left").split()) for axes in figure.axes]


def test_the_papers_panels_have_its_letters(drawn):
    assert panels(drawn["rum_across_all"]) == [
        *(f"({letter}) {title}" for letter, title in zip("abc", TITLES.values(), strict=True)), "(d)", "(e)", "(f)"
    ]  # fmt: skip
    assert [title[:3] for title in panels(drawn["sequential_across_all"])] == ["(a)", "(b)", "(c)", "(d)"]
    beside = panels(drawn["rum_across"])  # a profile that is none of the paper's has no letter
    assert [title[:4] for title in beside] == ["mine", "(a) ", "(b) ", "", "(c)", "(d)"]


@pytest.mark.slow
def test_the_full_rum_is_a_group_of_its_own_and_named_in_full():
    profile, runs = synthetic.with_rum(), synthetic.unlearning(rum=0.2)
    figure = figures.rum(profile, runs)
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["Fine-tune", "NegGrad+", "SalUn", "RUM"]
    assert "RUM (low: nothing, medium: Fine-tune, high: SalUn)" in words(figure)
    lines = [line.get_xdata() for line in figure.axes[0].lines if 2.5 < line.get_xdata()[0] < 3.5]
    lines = [line for line in lines if len(line) == 1 or line[0] != line[1]]  # without the rule between the groups
    assert {len(line) for line in lines} == {1}  # nothing is joined: there is no vanilla and no shuffle beside it
    assert len({line[0] for line in lines}) == len(vocabulary.FIGURE_2_SCORES)
    forest = words(figures.strategy_differences(profile, runs))
    assert "RUM, against Fine-tune" in forest and "RUM, against SalUn" in forest and "RUM, against NegGrad+" not in forest


@pytest.mark.slow
def test_figure_2_shows_the_papers_scores_and_only_what_is_there():
    text = words(figures.rum(PROFILE, synthetic.unlearning()))
    assert "binary accuracy" in text and "max. confidence" not in text
    only = synthetic.unlearning(scores=("entropy",))
    assert "entropy" in words(figures.rum(PROFILE, only[only["strategy"] != "shuffle"]))


@pytest.mark.slow
def test_colour_images_and_frames_without_flipped_labels():
    plain = synthetic.memorization(flipped=False)
    assert "flipped" not in words(figures.memorization_profile(PROFILE, plain, STRATA))
    colour = figures.stratum_images(
        PROFILE, synthetic.images(channels=3, side=32), plain, STRATA, ["a very long class name"] * 10
    )
    assert "a very lon…" in words(colour) and "flipped" not in words(colour)
    none_flipped = figures.stratum_images(PROFILE, synthetic.images(), TRUTH.assign(flipped=False), STRATA, CLASSES)
    assert "flipped" not in words(none_flipped)  # a profile without label noise
    assert len(plotting.png(colour)) <= 150_000


@pytest.mark.slow
@pytest.mark.parametrize(("side", "columns"), [(32, 10), (64, 8)])
def test_larger_images_are_fewer_and_named_by_the_first_synonym(side, columns):
    images = synthetic.images(channels=3, side=side)
    figure = figures.stratum_images(PROFILE, images, TRUTH, STRATA, ["goldfish, Carassius auratus"] * 10)
    assert len(figure.axes) == 3 * columns
    assert "goldfish" in words(figure) and "Carassius" not in words(figure)


@pytest.mark.slow
def test_a_cloud_of_ninety_thousand_examples_is_pixels_and_no_blob():
    truth = synthetic.memorization(90_000, flipped=False)
    profile_of_all = figures.memorization_profile(PROFILE, truth, synthetic.strata(truth, 1000))
    assert len(plotting.svg(profile_of_all)) <= 300_000 and len(plotting.png(profile_of_all)) <= 150_000
    clouds = [line for axes in profile_of_all.axes for line in axes.lines if len(line.get_xdata()) == crowd.MOST]
    assert [line.get_rasterized() for line in clouds] == [True] and clouds[0].get_alpha() < 0.2


def test_small_pools_leave_gaps_in_the_convergence_not_errors():
    frame = synthetic.convergence()
    figures.convergence(PROFILE, frame.assign(split_half=frame["split_half"].where(frame["models"] <= 40)))


@pytest.mark.slow
def test_a_proxy_with_ties_or_without_order_is_drawn():
    proxies = synthetic.proxies(TRUTH)
    coarse = proxies.assign(value=proxies["value"].round(1).where(proxies["proxy"] != "entropy", 0.5))
    assert "ρ = –" in words(figures.proxy_profiles(PROFILE, coarse, TRUTH))


@pytest.mark.slow
def test_a_notebook_shows_a_figure_once():
    """Pyplot must not know the figure, or the inline backend shows it a second time; the figure shows itself as PNG."""
    figure = MAKE["convergence"](3)
    data, size = figure._repr_png_()
    assert data == plotting.png(figure) and size["width"] == 770
    code = "import sys; import mulnb.figures; assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
