"""What all figures share: colours that a greyscale print tells apart, and files that keep them."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb import figures
from mulnb.core import paths, vocabulary
from mulnb.figures import plotting

PROFILE = synthetic.profile()
TRUTH = synthetic.memorization()


FIGURE_2 = {name: plotting.SCORE[name] for name in vocabulary.FIGURE_2_SCORES}


@pytest.mark.parametrize("table", [plotting.STRATEGY, plotting.STRATUM, FIGURE_2], ids=["strategies", "strata", "scores"])
def test_colours_differ_in_greyscale_and_markers_differ(table):
    lightness = sorted(_lightness(how.color) for how in table.values())
    assert min(np.diff(lightness)) >= 8
    assert len({how.marker for how in table.values()}) == len(table)


def _lightness(color: str) -> float:
    """CIE L*, 0 to 100."""
    linear = [((k / 255 + 0.055) / 1.055) ** 2.4 if k > 10 else k / 255 / 12.92 for k in bytes.fromhex(color[1:])]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return 116 * luminance ** (1 / 3) - 16


@pytest.mark.slow
def test_a_saved_figure_is_shown_as_saved_until_it_changes():
    figure = figures.save(figures.overview(PROFILE), PROFILE, "overview")
    shown = figure._repr_png_()[0]
    assert shown == (paths.results(PROFILE.name) / "overview.png").read_bytes()
    figure.text(0.5, 0.5, "changed")
    assert figure._repr_png_()[0] != shown


def test_a_palette_keeps_the_colours_of_areas_and_those_of_single_markers_nearly():
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)  # a photograph takes most of the palette
    image = np.full((300, 300, 3), 255, np.uint8)
    image[:100, :100] = pixels
    image[150:200], image[220:280, :150] = (244, 244, 244), (220, 232, 242)  # a pale band and a bluish one
    image[250, 250] = (0, 158, 115)  # a marker

    found = np.array(plotting.with_palette(Image.fromarray(image)).convert("RGB")).astype(int)
    assert (found[100:] == image[100:]).all(-1).mean() > 0.9999
    assert np.abs(found[250, 250] - (0, 158, 115)).max() < 90
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= plotting.COLOURS


@pytest.mark.slow
def test_an_area_in_a_picture_of_many_colours_keeps_its_own():
    """Forty shades of orange and the letters on them: the two violet cells of opposite orders had turned grey."""
    from PIL import Image

    names = [f"audit {k}" for k in range(9)]
    pairs = [(one, other) for k, one in enumerate(names) for other in names[k:]]
    table = pd.DataFrame(pairs, columns=["audit", "other"])
    table = table.assign(tau=np.linspace(-0.18, 0.93, len(table)), low=0.1, high=0.2, n_methods=12, n_seeds=10)
    drawn = io.BytesIO()
    with plotting.style():
        figures.audit_agreement(PROFILE, table).savefig(drawn, format="png", dpi=150)

    image = Image.open(drawn).convert("RGB")
    exact, packed = np.array(image).astype(int), np.array(plotting.with_palette(image).convert("RGB"))
    colours, count = np.unique(exact.reshape(-1, 3), axis=0, return_counts=True)
    areas = colours[count > 2000]
    assert len(areas) > 35
    for colour in areas:
        found = packed[(exact == colour).all(-1)]
        assert np.abs(found - colour).max() < 12
