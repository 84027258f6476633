"""What a committed notebook owes a reader who does not know the paper: a question before each figure, a reading text after it."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from mulnb.core import paths

QUESTION, READING = "predict", "look here"
NOTEBOOKS = [path for path in sorted((paths.CHECKOUT / "notebooks").glob("0[0-68]_*.ipynb"))]


def cells(path):
    return json.loads(path.read_text())["cells"]


def text(cell):
    return "".join(cell["source"])


def pictures(cell):
    found = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
    return ["".join(png) for png in found if png]


def figures(path):
    """The places of the cells that show a picture."""
    return [place for place, cell in enumerate(cells(path)) if pictures(cell)]


@pytest.mark.parametrize(
    ("path", "place"),
    [(path, place) for path in NOTEBOOKS for place in figures(path)],
    ids=lambda value: getattr(value, "stem", value),
)
def test_a_figure_has_a_question_before_it_and_a_reading_text_after_it(path, place):
    found = cells(path)
    earlier = [before for before in figures(path) if before < place]
    since = found[(earlier[-1] + 1 if earlier else 0) : place]

    asked = [text(cell) for cell in since if cell["cell_type"] == "markdown"]
    assert any(QUESTION in words.lower() for words in asked), f"{path.stem}: nothing to predict before cell {place}"
    assert READING in text(found[place + 1]).lower(), f"{path.stem}: no reading text after cell {place}"


TERMS = {  # a term, and words that its explanation has, in the cell where it first appears
    "00_overview": {
        "oracle": "trained from scratch on $R$ only",
        "RUM$^F$": "the same unlearning algorithm",
        "MIA efficacy": "share of $S$",
        "seed": "random draws",
    },
    "01_memorization": {"Spearman": "correlation of two *rankings*", "standard error": "if the pool were drawn again"},
    "02_proxies": {"curvature": "slope of the loss", "Spearman": "correlation of two rankings", "Disattenuation": "divides ρ"},
    "03_rum": {"NegGrad+": "away from", "SalUn": "random labels", "equivalence margin": "count as equally good"},
    "04_sequential": {"ToW": "1-\\Delta_S", "NegGrad+": "away from"},
    "05_paper_figures": {"ToW-MIA": "membership inference attack", "ρ": "Spearman", "RUM$^F$": "stratum by stratum"},
    "06_explore": {"ToW": "the difference between", "SalUn": "random labels"},
    "08_audits": {"ROC": "every threshold", "KLoM": "KL divergence", "Kendall": "all pairs of methods", "member": "trained on"},
}


@pytest.mark.parametrize(("name", "term"), [(name, term) for name, terms in TERMS.items() for term in terms])
def test_a_term_is_explained(name, term):
    (path,) = [path for path in NOTEBOOKS if path.stem == name]
    words = [text(cell) for cell in cells(path) if cell["cell_type"] == "markdown"]
    assert any(term in part and TERMS[name][term] in part for part in words)


def test_rum_f_is_typeset():
    for path in NOTEBOOKS:
        words = [text(cell) for cell in cells(path) if cell["cell_type"] == "markdown"]
        assert "RUM^F" not in "".join(words), path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_figure_is_legible_on_a_dark_page(path):
    """It brings its own light background: dark letters on a transparent one could not be read."""
    for cell in cells(path):
        for png in pictures(cell):
            image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
            corners = [image.getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]
            assert set(corners) == {(255, 255, 255, 255)}
            assert image.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_checks_are_the_last_code_and_folded_away(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    checked = [cell for cell in code if "nbval-check-output" in cell["metadata"].get("tags", [])]
    assert checked == code[-1:]
    assert checked[0]["metadata"]["jupyter"]["source_hidden"]
