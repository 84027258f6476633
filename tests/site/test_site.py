"""The site: one folder that opens from disk, on a phone, without the network, and in which every link leads somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from lab import CHROMIUM, FLAGS
from nbformat.v4 import new_code_cell, new_notebook, new_output

import mulnb
from mulnb import forget
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.site import build, choose, markdown

LINK = re.compile(r'(?:href|src)="([^"]+)"')
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site of the committed results of `digits`."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(paths.CHECKOUT / "figures" / "digits", home / "figures" / "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULNB_HOME", str(home))
        return build.build()


def pages(built):
    return sorted(built.rglob("*.html"))


@pytest.mark.slow
def test_it_shows_notebooks_figures_and_tables_in_five_megabytes(built):
    numbers = {path.name[:2] for path in (built / "notebooks").glob("*.html")}
    assert numbers == {path.name[:2] for path in (paths.CHECKOUT / "notebooks").glob("*.ipynb")}
    assert {"index.html", "claims.html", "table2_tow.html", "table2_tow.csv", "fig2_rum.png"} <= {
        path.name for path in (built / "figures" / "digits").iterdir()
    }
    assert sum(path.stat().st_size for path in built.rglob("*") if path.is_file()) < 5e6


@pytest.mark.slow
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_the_network(built):
    broken, loaded = [], []
    for page in pages(built):
        text = page.read_text()
        assert build.MISSING not in text, page
        assert "<script" not in text or page.name == "choose.html", page
        loaded += re.findall(r'<(?:img|link|iframe|script)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', text)
        for link in LINK.findall(text):
            place, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = page.parent / place if place else page
            if not target.is_file() or (anchor and f'id="{anchor}"' not in target.read_text()):
                broken.append(f"{page.relative_to(built)}: {link}")
    assert (broken, loaded) == ([], [])


def test_a_path_of_this_machine_is_not_shown(built):
    for page in pages(built):
        assert str(paths.CHECKOUT) not in page.read_text() and str(Path.home()) not in page.read_text()


def test_formulas_are_pictures_and_keep_their_words():
    text = markdown.to_html(r"The score is $\mathrm{mem}(i) = \frac{1}{2}$, written `$5`.")
    assert 'aria-label="\\mathrm{mem}(i) = \\frac{1}{2}"' in text and "<path" in text and "$5" in text
    assert markdown.to_html(r"$\begin{matrix}a\end{matrix}$").count("<code>") == 1  # matplotlib cannot set it


def test_the_first_page_counts_and_names_the_notebooks(built):
    text = (built / "index.html").read_text()
    for path in (built / "notebooks").glob("*.html"):
        assert f'href="notebooks/{path.name}"' in text
    assert 'href="figures/digits/index.html"' in text


@pytest.mark.slow
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, monkeypatch):
    shutil.copytree(paths.CHECKOUT / "figures" / "digits", tmp_path / "home" / "figures" / "digits")
    mine = tmp_path / "documents"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds no site"):
        build.build(mine)
    assert (mine / "thesis.txt").read_text() == "years of work"

    assert build.build(tmp_path / "out") == build.build(tmp_path / "out")  # a site is replaced by a new one


@pytest.mark.slow
def test_without_results_it_says_what_makes_them(home):
    done = subprocess.run([sys.executable, "-m", "mulnb.site"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[0].endswith("compute them with ./run_all.sh")
    assert not home.exists()


@pytest.mark.browser
def test_it_opens_from_disk_on_a_phone_with_the_network_off(built):
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip("Debian's package chromium is not installed")

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport=PHONE, offline=True).new_page()
        faults = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))

        for path in pages(built):
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
            page.wait_for_function("[...document.images].every(image => image.complete)")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), path

        page.goto((built / "index.html").as_uri())
        page.click("text=Notebooks")
        page.locator("ol.notebooks a").first.click()
        assert page.url.endswith("00_overview.html") and page.locator("h1").count() == 1

        page.click("text=Choose")
        choice_follows_the_package(page)
        browser.close()
    assert faults == []


def choice_follows_the_package(page):
    """The strata that the page shows are those of `mulnb.forget.strata`; ties aside, which the package draws by seed."""
    profile = mulnb.load_profile("digits")
    page.locator(".pictures canvas").nth(3 * 24 - 1).wait_for()  # drawn once the data are unpacked
    assert page.locator(".pictures canvas").count() == 3 * 24

    page.select_option("select[name=score]", label="confidence")
    page.locator("input[name=high]").fill("25")
    frame = pd.read_parquet(paths.CHECKOUT / "figures" / "digits" / "data" / "proxies.parquet")
    rows = frame[(frame.proxy == "confidence") & (frame.seed == profile.seeds[0])].sort_values("example")
    strata = forget.strata(rows.value.to_numpy(), (profile.forget.size, profile.forget.size, 25), "median", profile.seeds[0])

    shown = page.locator("section.high canvas").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    numbers = {int(text.split()[1].rstrip(",")) for text in shown}
    assert len(numbers) == 24 and numbers <= set(strata.high.tolist())
    threshold = rows.value.to_numpy()[strata.high].min()
    assert page.locator("output[name=high-text]").inner_text() == f"score ≥ {threshold:.3f}: 25 images"

    exact = pd.read_parquet(paths.CHECKOUT / "figures" / "digits" / "data" / "memorization.parquet").memorization.to_numpy()
    found = int(re.search(r"(\d+) are among the 25", page.locator(".agreement").inner_text())[1])
    truly = np.argsort(exact, kind="stable")[-25:]
    assert found == len(set(truly.tolist()) & set(strata.high.tolist()))


def test_without_the_images_there_is_no_page_for_choosing(home):
    shutil.copytree(paths.CHECKOUT / "figures" / "cifar10-small", home / "figures" / "cifar10-small")
    assert choose.data_script("cifar10-small") is None  # the images are not in git
    assert choose.data_script("digits") is None  # no results in this home


def test_markdown_that_a_cell_prints_is_set_like_text(tmp_path):
    output = new_output("display_data", data={"text/markdown": "RUM^F and $\\tau$\n\n| a | b |\n|---|---|\n| 1 ± 2 | 3 |"})
    nbformat.write(new_notebook(cells=[new_code_cell("show()", outputs=[output])]), tmp_path / "x.ipynb")
    body = markdown.notebook_body(tmp_path / "x.ipynb")
    assert "RUM<sup><i>F</i></sup>" in body and 'aria-label="\\tau"' in body
    assert '<div class="wide"><table>' in body and "1\u00a0±\u00a02" in body
