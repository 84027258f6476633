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
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

from mulnb import figures, names, paths, plotting

PROFILE = synthetic.profile()
TRUTH = synthetic.memorization()
STRATA = synthetic.strata(TRUTH)
CLASSES = [str(k) for k in range(10)]


def without_interval(costs: pd.DataFrame) -> pd.DataFrame:
    return costs.assign(ci_low=np.nan, ci_high=np.nan, n_seeds=1)


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
    "rum_across": lambda seeds: figures.rum_across({"mine": synthetic.unlearning(seeds=seeds)}, ["cifar10", "cifar100"]),
    "sequential_across": lambda seeds: figures.sequential_across({"mine": synthetic.sequential(seeds=seeds)}, ["cifar10"]),
}
OVER_SEEDS = ["proxy_table", "rum", "strategy_differences", "sequential", "rum_across", "sequential_across"]


def words(figure: plotting.Picture) -> str:
    return " ".join(" ".join(text.get_text() for text in plotting.texts(figure)).split())


def bars(figure: plotting.Picture) -> int:
    return sum(isinstance(container, ErrorbarContainer) for axes in figure.axes for container in axes.containers)


@pytest.fixture(scope="module")
def drawn() -> dict[str, plotting.Picture]:
    return {name: make(3) for name, make in MAKE.items()}


@pytest.mark.parametrize("name", MAKE)
def test_a_figure_is_saved_and_stays_small(name, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    assert figures.save(drawn[name], PROFILE, name) is drawn[name]
    png, svg = (tmp_path / "digits" / f"{name}.{ending}" for ending in ("png", "svg"))
    assert 10_000 < png.stat().st_size <= 150_000 and 10_000 < svg.stat().st_size <= 300_000
    assert sorted(path.name for path in png.parent.iterdir()) == [png.name, svg.name]


@pytest.mark.parametrize("name", ["memorization_profile", "sequential"])
def test_the_same_results_give_the_same_bytes(name, drawn):
    again = MAKE[name](3)
    assert plotting.png(again) == plotting.png(drawn[name])
    assert plotting.svg(again) == plotting.svg(drawn[name])


@pytest.mark.parametrize("name", MAKE)
def test_the_caption_names_the_profile_and_n(name, drawn):
    text = words(drawn[name])
    assert ("mine" if name.endswith("across") else PROFILE.title) in text
    assert re.search(r"n = \d", text)
    if name in OVER_SEEDS:
        assert "95 % t interval over n = 3 seeds" in text


@pytest.mark.parametrize("name", MAKE)
def test_every_text_can_be_read_in_print(name, drawn):
    assert min(text.get_fontsize() for text in plotting.texts(drawn[name])) >= 7
    assert drawn[name].get_figwidth() <= 7


@pytest.mark.parametrize("name", MAKE)
def test_no_text_leaves_the_page_or_lies_on_another(name, drawn, monkeypatch):
    drawn_texts, draw, page = {}, Text.draw, []

    def note(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            drawn_texts[self] = self.get_text(), self.get_window_extent(renderer)
            page[:] = renderer.width, renderer.height
        return draw(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Text, "draw", note)  # ticks outside the panel have texts, too, but are never drawn
    plotting.png(drawn[name])
    boxes = list(drawn_texts.values())
    assert boxes
    for text, box in boxes:
        assert min(box.x0, box.y0) > -1 and box.x1 < page[0] + 1 and box.y1 < page[1] + 1, text
    for k, (text, box) in enumerate(boxes):
        for other, that in boxes[k + 1 :]:
            width = min(box.x1, that.x1) - max(box.x0, that.x0)
            height = min(box.y1, that.y1) - max(box.y0, that.y0)
            assert min(width, height) < 2.5, (text, other)


@pytest.mark.parametrize("name", OVER_SEEDS)
def test_one_seed_is_never_drawn_with_an_interval(name, drawn):
    alone = MAKE[name](1)
    assert bars(drawn[name]) > 0
    assert bars(alone) == 0
    assert "n = 1 seed: no interval" in words(alone)


def test_retraining_is_in_no_figure():
    assert "oracle" not in words(figures.strategy_differences(PROFILE, synthetic.unlearning(oracle=True)))
    assert "oracle" not in words(figures.rum(PROFILE, synthetic.unlearning(oracle=True)))


def test_missing_profiles_say_how_to_get_them():
    text = words(figures.rum_across({"mine": synthetic.unlearning()}, ["smoke", "nowhere"]))
    assert "./run_all.sh --profile smoke" in text and "No results yet for smoke, nowhere" in text
    assert "not part of this release" in text and "--profile nowhere" not in text
    assert "./run_all.sh --profile smoke" in words(figures.rum_across({}, ["smoke"]))


def test_figure_2_shows_the_papers_scores_and_only_what_is_there():
    text = words(figures.rum(PROFILE, synthetic.unlearning()))
    assert "binary accuracy" in text and "max. confidence" not in text
    only = synthetic.unlearning(scores=("entropy",))
    assert "entropy" in words(figures.rum(PROFILE, only[only["strategy"] != "shuffle"]))


def test_colour_images_and_frames_without_flipped_labels():
    plain = synthetic.memorization(flipped=False)
    assert "flipped" not in words(figures.memorization_profile(PROFILE, plain, STRATA))
    colour = figures.stratum_images(
        PROFILE, synthetic.images(channels=3, side=32), plain, STRATA, ["a very long class name"] * 10
    )
    assert "a very lon…" in words(colour) and "flipped" not in words(colour)
    assert len(plotting.png(colour)) <= 150_000


def test_small_pools_leave_gaps_in_the_convergence_not_errors():
    frame = synthetic.convergence()
    figures.convergence(PROFILE, frame.assign(split_half=frame["split_half"].where(frame["models"] <= 40)))


def test_a_proxy_with_ties_or_without_order_is_drawn():
    proxies = synthetic.proxies(TRUTH)
    coarse = proxies.assign(value=proxies["value"].round(1).where(proxies["proxy"] != "entropy", 0.5))
    assert "ρ = –" in words(figures.proxy_profiles(PROFILE, coarse, TRUTH))


FIGURE_2 = {name: plotting.SCORE[name] for name in names.FIGURE_2_SCORES}


@pytest.mark.parametrize("table", [plotting.STRATEGY, plotting.STRATUM, FIGURE_2], ids=["strategies", "strata", "scores"])
def test_colours_differ_in_greyscale_and_markers_differ(table):
    lightness = sorted(_lightness(one.color) for one in table.values())
    assert min(np.diff(lightness)) >= 8
    assert len({one.marker for one in table.values()}) == len(table)


def _lightness(color: str) -> float:
    """CIE L*, 0 to 100."""
    linear = [((k / 255 + 0.055) / 1.055) ** 2.4 if k > 10 else k / 255 / 12.92 for k in bytes.fromhex(color[1:])]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return 116 * luminance ** (1 / 3) - 16


def test_a_notebook_shows_a_figure_once():
    """Pyplot must not know the figure, or the inline backend shows it a second time; the figure shows itself as PNG."""
    figure = MAKE["convergence"](3)
    data, size = figure._repr_png_()
    assert data == plotting.png(figure) and size["width"] == 770
    code = "import sys; import mulnb.figures; assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_figure_is_shown_as_saved_until_it_changes():
    figure = figures.save(figures.overview(PROFILE), PROFILE, "overview")
    shown = figure._repr_png_()[0]
    assert shown == (paths.results(PROFILE.name) / "overview.png").read_bytes()
    figure.text(0.5, 0.5, "changed")
    assert figure._repr_png_()[0] != shown
