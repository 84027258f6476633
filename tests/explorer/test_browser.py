"""Notebook 06 in a real browser: JupyterLab in headless Chromium, moved by mouse and keyboard as a reader would."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request

import pytest
from lab import CHROMIUM, FLAGS, jupyter_lab, notebook, smoke_home

from mulnb.core import paths

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"no Chromium at {CHROMIUM}: install Debian's package chromium"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it comes with mulnb[test]")
LONG = {"unlearning.algorithms.fine_tune.vanilla.epochs": 5000}  # something to cancel


class Page:
    """The explorer in its page: what a reader sees and does."""

    def __init__(self, page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"page: {error}"))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        # JupyterLab asks for files that need not be there; whatever is really missed shows in the page
        page.on("response", lambda response: self.missing.append(response.url) if response.status == 404 else None)
        self.missing: list[str] = []

    def run_all(self) -> None:
        self.page.get_by_text("| Idle").wait_for(timeout=60_000)  # before, it would ask which kernel to take
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.wait_for_selector("text=/errors: \\d/", timeout=60_000)

    def text(self, words: str) -> str:
        """What the explorer says where `words` stand."""
        return self.page.locator(".mx p, .mx td, .widget-html-content", has_text=words).last.inner_text()

    def slider(self, label: str):
        return self.page.locator(".widget-slider", has_text=label)

    def number(self, label: str) -> float:
        return float(self.slider(label).locator(".widget-readout").inner_text())

    def until(self, words: str, seconds: float = 30) -> str:
        place = self.page.locator(".mx", has_text=re.compile(words)).last
        place.wait_for(timeout=1000 * seconds)
        return place.inner_text()

    def pictures(self) -> list[str]:
        return [image.get_attribute("src") for image in self.page.locator(".mx .tiles img").all()]

    def rows(self) -> int:
        return self.page.locator(".mx table tr").count() - 1

    def contrast(self) -> float:
        """The least contrast (WCAG) of the words in the pictures against the page."""
        return self.page.evaluate(
            """() => {
              const light = rgb => rgb.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
              const page = light(getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor)
              return Math.min(...[...document.querySelectorAll('.mx svg text')].map(word => {
                const ink = light(getComputedStyle(word).fill)
                return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05) }))
            }"""
        )


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    home = shutil.copytree(smoke_home(), folder / "home")
    (folder / "notebooks").mkdir()
    notebook(
        paths.CHECKOUT / "notebooks" / "06_explore.ipynb", folder / "notebooks" / "06.ipynb", profile="smoke", overrides=LONG
    )
    with jupyter_lab(home, folder / "notebooks") as (address, log), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = Page(browser.new_page(viewport={"width": 1280, "height": 1700}))
        page.page.goto(f"{address}lab/tree/06.ipynb?reset")
        page.run_all()
        page.home, page.log = home, log
        yield page
        browser.close()


def test_dragging_a_threshold_changes_numbers_and_pictures(explorer):
    threshold, images = explorer.number("high: score"), explorer.pictures()
    assert "36 of" in explorer.text("to be forgotten")
    box = explorer.slider("high: score").locator(".noUi-handle").bounding_box()
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.down()
    explorer.page.mouse.move(box["x"] - 40, box["y"], steps=4)
    explorer.page.mouse.up()
    explorer.page.wait_for_function("!document.body.innerText.includes('36 of ')")
    assert explorer.number("high: score") < threshold
    assert int(re.search(r"(\d+) of", explorer.text("to be forgotten"))[1]) > 36
    assert explorer.pictures() != images


def test_the_arrow_keys_move_a_slider(explorer):
    size = explorer.page.locator(".widget-slider", has_text="examples").first
    before = int(size.locator(".widget-readout").inner_text())
    size.locator(".noUi-handle").focus()
    explorer.page.keyboard.press("ArrowRight")
    explorer.until(rf"{3 * (before + 1)} of \d+ examples")
    assert [
        slider.inner_text() for slider in explorer.page.locator(".widget-slider:has-text('examples') .widget-readout").all()
    ] == [str(before + 1)] * 3


def test_a_live_run_and_one_that_is_cancelled(explorer):
    assert explorer.rows() == 2  # what the notebook's own cell ran
    explorer.page.get_by_role("button", name="Unlearn this").click()
    explorer.page.wait_for_function("document.querySelectorAll('.mx table tr').length == 5", timeout=60_000)
    assert re.search(r"NegGrad\+, RUM\^F: ToW 0\.\d+", explorer.until("ToW-MIA 0"))
    explorer.page.get_by_label("algorithm").select_option("Fine-tune")
    explorer.page.get_by_role("button", name="Unlearn this").click()
    explorer.until(r"step \d{2,} of about")
    explorer.page.get_by_role("button", name="Cancel").click()
    assert "no model was changed" in explorer.until(r"cancelled after \d+ steps")
    assert explorer.rows() == 4 and explorer.page.get_by_role("button", name="Unlearn this").is_enabled()


def test_a_set_is_exported_and_imported(explorer):
    explorer.page.get_by_role("textbox", name="file").fill("sets/mine.json")
    explorer.page.get_by_role("button", name="Export").click()
    explorer.until("indices written")
    tree = json.loads((explorer.home / "sets" / "mine.json").read_text())
    summary = explorer.text("to be forgotten")
    explorer.slider("high: score").locator(".noUi-handle").focus()
    explorer.page.keyboard.press("Home")
    explorer.page.wait_for_function(f"!document.body.innerText.includes({summary!r})")
    explorer.page.get_by_role("button", name="Import").click()
    explorer.until(f"indices read, hash {tree['hash'][:12]}")
    assert explorer.text("to be forgotten") == summary and sum(map(len, (tree["low"], tree["medium"], tree["high"]))) > 36


def test_both_themes_are_readable(explorer):
    assert explorer.contrast() > 4.5
    explorer.page.get_by_role("menuitem", name="Settings", exact=True).click()
    explorer.page.get_by_text("Theme", exact=True).hover()
    explorer.page.get_by_text("JupyterLab Dark", exact=True).click()
    explorer.page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
    assert explorer.contrast() > 4.5


def test_nothing_is_wider_than_its_cell(explorer):
    too_wide = """() => [...document.querySelectorAll('.mx')].filter(one => !one.querySelector('.wide')
        && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText.slice(0, 60))"""
    assert explorer.page.evaluate(too_wide) == []


def test_run_all_lab_opens_the_explorer(tmp_path):
    root = paths.CHECKOUT
    if not (root / ".venv" / ".set-up").is_file():
        pytest.skip("the environment was not set up by run_all.sh, which would make it anew")
    with jupyter_lab(tmp_path, command=[str(root / "run_all.sh"), "--lab"]) as (address, _):
        with urllib.request.urlopen(address) as page:
            assert page.url.endswith("/lab/tree/artifacts/lab/digits/06_explore.ipynb")
        with urllib.request.urlopen(f"{address}api/contents/artifacts/lab/digits/06_explore.ipynb?content=0") as found:
            assert json.load(found)["type"] == "notebook"


def test_no_error_in_page_or_kernel(explorer):
    """The last one: it looks back on all the others."""
    assert explorer.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert explorer.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    log = explorer.log.read_text()
    assert "Traceback" not in log and "ERROR" not in log, log[-3000:]
    assert [fault for fault in explorer.faults if "404" not in fault] == []
    assert [url for url in explorer.missing if "widgets" in url or "static" in url] == []
