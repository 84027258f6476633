"""Notebook 06 in a real browser: JupyterLab in headless Chromium, used by mouse and keyboard as a reader would."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request

import pytest
from explorer_page import Page
from lab import CHROMIUM, FLAGS, jupyter_lab, notebook

from mulnb.core import paths

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"no Chromium at {CHROMIUM}: install Debian's package chromium"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it comes with mulnb[test]")
LONG = {"unlearning.algorithms.fine_tune.vanilla.epochs": 5000}  # something to cancel


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(smoke_home, tmp_path_factory):
    """A JupyterLab on the notebook: its address, its log, and the home with the results."""
    folder = tmp_path_factory.mktemp("lab")
    home = shutil.copytree(smoke_home, folder / "home")
    (folder / "notebooks").mkdir()
    source = paths.CHECKOUT / "notebooks" / "06_explore.ipynb"
    notebook(source, folder / "notebooks" / "06.ipynb", profile="smoke", overrides=LONG)
    with jupyter_lab(home, folder / "notebooks") as (address, log):
        yield address, log, home


@pytest.fixture(scope="module")
def explorer(lab, browser):
    address, log, home = lab
    page = Page(browser.new_page(viewport={"width": 1280, "height": 800}), address)
    page.open()
    page.home, page.log = home, log
    page.first_words = page.page.locator(".jp-Notebook").inner_text()
    page.first_images = page.page.locator(".jp-Notebook img:visible").count()
    page.run_all()
    return page


# --- the first minute ----------------------------------------------------------------------------------------------------


def test_the_first_screen_says_what_to_press_and_shows_no_picture_of_the_explorer(explorer):
    assert "Run All Cells: the explorer appears below" in explorer.first_words
    assert explorer.first_images == 0


def test_run_all_leaves_the_reader_at_the_explorer(explorer):
    explorer.page.wait_for_timeout(1500)  # whatever scrolls has scrolled
    box = explorer.page.locator(".mulnb-explorer").bounding_box()
    assert 0 < box["y"] < 600
    assert not explorer.page.get_by_text("errors: 0").is_visible()  # the tests' prints are folded away


def test_run_all_unlearns_and_exports_nothing(explorer):
    assert explorer.rows() == 0 and not list(explorer.home.glob("figures/*/forget_set.json"))
    assert not list((explorer.home / "artifacts").glob("unlearned/*"))


# --- choosing ------------------------------------------------------------------------------------------------------------


def test_dragging_a_threshold_changes_numbers_and_pictures(explorer):
    images = explorer.pictures()
    assert "36 of" in explorer.text("Choose a forget set")
    explorer.handle("high").scroll_into_view_if_needed()
    box = explorer.handle("high").bounding_box()
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.down()
    explorer.page.mouse.move(box["x"] - 60, box["y"] + 20, steps=6)
    explorer.page.mouse.up()
    explorer.page.wait_for_function("!document.querySelector('.mulnb-explorer').innerText.includes('36 of ')")
    explorer.page.wait_for_timeout(800)  # the last moves are drawn
    assert min(explorer.sizes()) == max(explorer.sizes()) > 12
    assert explorer.handle("high").bounding_box()["x"] < box["x"] - 20
    assert explorer.pictures() != images


def test_the_arrow_keys_move_a_threshold(explorer):
    before = explorer.sizes()[2]
    explorer.handle("high").focus()
    for _ in range(2):  # the handle is drawn anew after the first, and keeps the focus
        explorer.page.keyboard.press("ArrowRight")
        explorer.page.wait_for_timeout(400)
    assert explorer.sizes() == [before - 2] * 3


def test_every_control_has_a_name_for_screen_readers(explorer):
    names = explorer.page.evaluate(
        """() => [...document.querySelectorAll('.mulnb-explorer :is(input, select, button, [role=slider], [role=button])')]
            .filter(one => one.offsetParent !== null || one.ownerSVGElement)
            .map(one => one.getAttribute('aria-label') || one.title || one.innerText
                || [...(one.labels ?? [])].map(label => label.innerText).join(''))"""
    )
    assert len(names) > 40 and all(name.strip() for name in names)


def test_another_score_never_changes_the_sizes(explorer):
    size, score = explorer.page.get_by_label("size: low"), explorer.page.get_by_label("score", exact=True)
    options = score.locator("option").all_inner_texts()
    assert len(options) >= 7
    for wanted in (11, 12, 40):
        size.fill(str(wanted))
        size.press("Enter")
        explorer.until(rf"{3 * wanted} of \d+ examples")
        for option in [*options, options[0]]:
            score.select_option(option)
            explorer.page.locator(".mx svg[aria-label^='Distribution of']", has_text=option).wait_for()
            assert explorer.sizes() == [wanted] * 3
    explorer.page.wait_for_timeout(500)  # nothing comes late, either
    assert explorer.sizes() == [40] * 3


def test_an_image_is_enlarged_by_a_click_and_by_a_key(explorer):
    explorer.page.locator(".mx figure").first.click()
    assert "in the forget set, stratum low" in explorer.until("Example \\d+")
    explorer.page.locator(".mx figure").last.focus()
    explorer.page.keyboard.press("Enter")
    assert "in the forget set, stratum high" in explorer.until("stratum high")
    explorer.page.get_by_role("tab", name="Memorized?").click()
    explorer.page.locator("[data-act='cell:2:2']").click()
    explorer.until("Only those chosen as high and high by exact memorization")
    explorer.page.get_by_role("button", name="Show all").click()
    explorer.page.get_by_role("tab", name="Size").click()


def test_an_image_is_dropped_from_the_set_and_added_to_another_stratum(explorer):
    low, medium, high = explorer.sizes()
    explorer.page.locator(".mx figure").first.click()
    explorer.page.get_by_role("button", name="drop from low").click()
    explorer.until(rf"{low + medium + high - 1} of \d+ examples")
    explorer.page.get_by_role("button", name="add to high").click()
    explorer.until(rf"{low + medium + high} of \d+ examples")
    assert "A set of your own" in explorer.text("Choose a forget set")
    explorer.page.get_by_role("tab", name="Size").click()


def test_a_lasso_on_the_map_selects_examples_into_the_set(explorer):
    explorer.page.get_by_role("tab", name="Map").click()
    explorer.until(r"Alike images lie near each other", seconds=60)
    canvas = explorer.page.locator("canvas.map")
    assert "Draw a lasso" in canvas.get_attribute("aria-label")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    corners = [(0.02, 0.05), (0.45, 0.05), (0.45, 0.95), (0.02, 0.95), (0.02, 0.1)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    explorer.page.mouse.move(*points[0])
    explorer.page.mouse.down()
    for point in points[1:]:
        explorer.page.mouse.move(*point, steps=4)
    explorer.page.mouse.up()
    said = explorer.until(r"\d+ selected: \d+ low, \d+ medium, \d+ high, \d+ retained")
    low, medium, high, retained = map(int, re.search(r"(\d+) low, (\d+) medium, (\d+) high, (\d+) retained", said).groups())
    assert low and medium and high and retained
    assert "selected on the map" in explorer.text("Show all")

    count = sum(explorer.sizes())
    explorer.page.get_by_role("button", name="drop from the set").click()
    explorer.until(rf"{count - low - medium - high} of \d+ examples")
    assert "A set of your own" in explorer.text("Choose a forget set")


def test_the_map_is_used_with_the_keyboard(explorer):
    explorer.page.locator("canvas.map").focus()
    for key in ("Escape", "ArrowLeft", "ArrowUp", "+", "+", "+", "+"):
        explorer.page.keyboard.press(key)
    explorer.until("From the most typical to the threshold")  # Escape has cleared the lasso
    explorer.page.keyboard.press("Enter")
    assert int(re.search(r"(\d+) selected", explorer.until(r"\d+ selected: "))[1]) > 0
    explorer.page.keyboard.press("Escape")
    explorer.until("From the most typical to the threshold")

    explorer.page.get_by_role("tab", name="Size").click()
    size = explorer.page.get_by_label("size: low")
    for value in ("39", "40"):  # another size leaves a set of one's own
        size.fill(value)
        size.press("Enter")
        explorer.until(rf"{3 * int(value)} of \d+ examples")


# --- unlearning ----------------------------------------------------------------------------------------------------------


def test_a_live_run_and_one_that_is_cancelled(explorer):
    explorer.page.get_by_label("algorithm").select_option("NegGrad+")
    explorer.button("Unlearn this").click()
    explorer.until(r"^NegGrad\+, RUM\^F: ToW 0\.\d+, ToW-MIA 0\.\d+$")
    assert "ToW 0." in explorer.until("Why this ToW\\? Run 2")
    explorer.page.locator(".mx .wide tbody tr").nth(1).wait_for()
    explorer.page.get_by_label("algorithm").select_option("Fine-tune")
    explorer.button("Unlearn this").click()
    assert " left" in explorer.until(r"step \d{2,} of about")
    explorer.button("Cancel").click()
    assert "no model was changed" in explorer.until(r"cancelled after \d+ steps")
    assert explorer.rows() == 2 and explorer.button("Unlearn this").is_enabled()


def test_why_this_mia_shows_where_the_attack_draws_its_line(explorer):
    explorer.page.get_by_role("tab", name="Why this MIA?").click()
    said = explorer.until("Why this MIA efficacy m\\? Run 2")
    assert re.search(r"unlearned model: m = [01]\.\d{3}", said) and re.search(r"oracle: m = [01]\.\d{3}", said)
    picture = explorer.page.locator("svg[aria-label^='Where the membership attack']")
    assert picture.locator("polyline").count() == 4  # members and the never seen, of two models
    assert picture.locator("path").count() == 6  # the strata of the forget set, of two models


def test_the_forgetting_is_watched_over_the_epochs(explorer):
    explorer.page.get_by_role("tab", name="See the forgetting").click()
    explorer.until("unlearned model: before and after")
    explorer.page.get_by_role("button", name="Watch every epoch").click()
    explorer.until("unlearned model: over 3 epochs")
    picture = explorer.page.locator("svg[aria-label^='Probability of the label']")
    points = picture.locator("polyline").first.get_attribute("points").split()
    assert len(points) == 4 and explorer.rows() == 2
    picture.locator("[role=button]").first.focus()
    explorer.page.keyboard.press("Enter")
    explorer.until("in the forget set, stratum low")
    explorer.page.get_by_role("tab", name="Size").click()


def test_the_ceiling_is_measured_when_it_is_asked_for(explorer):
    chart = explorer.page.locator("svg[aria-label^='ToW against']")
    assert chart.locator("[aria-label^='floor, not unlearned: ToW 0.']").count() == 1
    explorer.page.get_by_role("button", name="Measure the ceiling").click()
    explorer.until("a second oracle beside the first: ToW 0")
    assert chart.locator("[aria-label^='ceiling, a second oracle: ToW 0.']").count() == 1
    assert explorer.rows() == 2 and not explorer.page.get_by_role("button", name="Measure the ceiling").is_visible()


def test_a_set_is_exported_and_imported(explorer):
    (explorer.home / "my sets").mkdir()
    explorer.page.get_by_role("textbox", name="file").fill("my sets/mine.json")
    explorer.button("Export").click()
    explorer.until("indices written")
    tree = json.loads((explorer.home / "my sets" / "mine.json").read_text())
    summary = explorer.text("Choose a forget set")

    explorer.handle("high").focus()
    explorer.page.keyboard.press("Home")
    explorer.page.wait_for_function("document.querySelectorAll('.mulnb-explorer').length == 1")
    explorer.page.wait_for_timeout(500)
    assert explorer.text("Choose a forget set") != summary
    explorer.button("Export").click()  # asks, and proposes another name
    explorer.until("mine.json exists and holds another set")
    assert explorer.page.get_by_role("textbox", name="file").input_value() == "my sets/mine-2.json"
    assert json.loads((explorer.home / "my sets" / "mine.json").read_text()) == tree

    explorer.page.get_by_role("textbox", name="file").fill("my sets/mine.json")
    explorer.button("Import").click()
    explorer.until(f"indices read, hash {tree['hash'][:12]}")
    assert explorer.text("Choose a forget set") == summary


# --- what it looks like --------------------------------------------------------------------------------------------------


def test_images_and_tow_are_in_view_together(explorer):
    explorer.page.locator(".mulnb-explorer").evaluate("element => element.scrollIntoView()")
    explorer.page.wait_for_timeout(300)
    place = explorer.page.locator(".jp-WindowedPanel-outer").first.bounding_box()
    bottom = place["y"] + place["height"]
    explorer.page.get_by_role("tab", name="Example").click()  # the tallest
    explorer.page.locator(".mx .enlarged").wait_for()
    for part in ("svg[aria-label^='Distribution']", ".sheets", "svg[aria-label^='ToW against']"):
        box = explorer.page.locator(f".mx {part}").bounding_box()
        assert box["y"] >= place["y"] - 2 and box["y"] + box["height"] <= bottom + 2, part
    explorer.page.get_by_role("tab", name="Size").click()


@pytest.mark.parametrize(("width", "height"), [(1600, 1000), (1280, 800), (900, 800)])
def test_nothing_is_clipped(explorer, width, height):
    explorer.page.set_viewport_size({"width": width, "height": height})
    explorer.page.wait_for_timeout(500)
    for tab in ("Size", "Memorized?", "Classes", "Map", "Example", "Why this ToW?", "Why this MIA?", "See the forgetting"):
        explorer.page.get_by_role("tab", name=tab).click()
        explorer.page.locator(f"[role=tab][aria-selected=true]:has-text('{tab}')").wait_for()
        assert explorer.clipped() == []
    explorer.page.get_by_role("tab", name="Size").click()
    explorer.page.get_by_role("tab", name="Why this ToW?").click()
    explorer.page.set_viewport_size({"width": 1280, "height": 800})


def test_both_themes_are_readable(explorer):
    assert explorer.contrast() > 4.5
    explorer.menu("Settings", "Theme", "JupyterLab Dark")
    explorer.page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
    assert explorer.contrast() > 4.5


def test_no_error_in_page_or_kernel(explorer):
    """After all the others, and before kernels are ended: it looks back on them."""
    assert explorer.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert explorer.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    log = explorer.log.read_text()
    assert "Traceback" not in log and "ERROR" not in log, log[-3000:]
    assert [fault for fault in explorer.faults if "404" not in fault] == []
    assert [url for url in explorer.missing if "widgets" in url or "static" in url] == []


# --- reloading and restarting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
def test_a_reload_during_a_run_keeps_choice_table_and_run(explorer, saved):
    explorer.page.get_by_label("size: low").fill("17")
    explorer.page.get_by_label("size: low").press("Enter")
    explorer.until(r"51 of \d+ examples")
    rows = explorer.rows()
    assert rows == 2
    explorer.page.get_by_label("algorithm").select_option("Fine-tune")
    explorer.button("Unlearn this").click()
    explorer.until(r"step \d{2,} of about")
    if saved:
        explorer.page.keyboard.press("Control+s")
        explorer.page.wait_for_timeout(1000)

    explorer.page.reload()
    explorer.page.locator(".jp-Notebook").wait_for(timeout=60_000)
    if not saved:  # the file knows nothing of the explorer: its cell runs again
        explorer.ready()
        explorer.run_all()
    explorer.until(r"51 of \d+ examples")
    assert explorer.sizes() == [17] * 3 and explorer.rows() == rows
    before = explorer.until(r"step \d{2,} of about")
    explorer.page.wait_for_timeout(1000)
    assert explorer.until(r"step \d{2,} of about") != before  # it goes on
    explorer.button("Cancel").click()
    explorer.until(r"cancelled after \d+ steps")


def test_after_a_restart_of_the_kernel_a_sentence_says_what_to_do(explorer):
    explorer.menu("Kernel", "Restart Kernel…")
    explorer.page.get_by_role("button", name="Confirm Kernel Restart").click()
    place = explorer.page.locator(".mulnb-explorer.jupyter-widgets-disconnected")
    place.wait_for(timeout=30_000)
    said = place.evaluate("element => getComputedStyle(element, '::before').content")
    assert "Run its cell again (Shift+Enter)" in said
    assert not explorer.button("Unlearn this").is_visible()  # nothing that looks alive and is not
    broken = explorer.page.evaluate(
        """() => [...document.querySelectorAll('.mulnb-explorer .jupyter-widgets-disconnected')]
            .filter(one => one.offsetParent !== null).length"""
    )
    assert broken == 0
    explorer.ready()
    explorer.run_all()
    explorer.until(r"36 of \d+ examples")
    assert explorer.button("Unlearn this").is_visible()


def test_run_all_lab_opens_the_explorer(tmp_path):
    root = paths.CHECKOUT
    if not (root / ".venv" / ".set-up").is_file():
        pytest.skip("the environment was not set up by run_all.sh, which would make it anew")
    with jupyter_lab(tmp_path, command=[str(root / "run_all.sh"), "--lab"]) as (address, _):
        with urllib.request.urlopen(address) as page:
            assert page.url.endswith("/lab/tree/artifacts/lab/digits/06_explore.ipynb")
        with urllib.request.urlopen(f"{address}api/contents/artifacts/lab/digits/06_explore.ipynb?content=0") as found:
            assert json.load(found)["type"] == "notebook"
