"""Take the pictures of the explorer that README and notebook 06 show: `.venv/bin/python tests/tools/screenshots.py`.

They are of the profile `digits`, whose results must be there (`./run_all.sh --only 01,02`); words such as `seeds=[0,1,2]` change
it. Needs Debian's package chromium.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lab.py

from lab import CHROMIUM, FLAGS, jupyter_lab, notebook
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from mulnb import config
from mulnb.core import paths

LIMIT = 60_000  # bytes of one picture
LASSO = ((0.08, 0.15), (0.3, 0.05), (0.5, 0.4), (0.35, 0.8), (0.1, 0.7))  # corners, as shares of the map
PATIENCE = 600_000  # milliseconds: the oracles are trained
RUNS = """
explorer.choose("holdout_retraining", 40)
for size in (40, 150):
    explorer.choose(sizes=size)
    explorer.unlearn("neg_grad_plus", "shuffle")
    explorer.unlearn("neg_grad_plus", "rum_f")
bench = explorer.workbench
bench.measure_ceiling()
bench.job.thread.join()
bench.watch(bench.shown)
bench.job.thread.join()
print("errors:", 0)
"""


def main(words: Sequence[str]) -> None:
    """Both themes: the choosing half and its map, and the comparing half after some runs with its tabs."""
    overrides = dict(config.parse_override(word) for word in words)
    folder = Path(tempfile.mkdtemp(prefix="mulnb-shots-"))
    try:
        original = paths.CHECKOUT / "notebooks" / "06_explore.ipynb"
        source = notebook(original, folder / "06.ipynb", profile="digits", overrides=overrides)
        _only_the_explorer(source)
        for theme in ("Light", "Dark"):
            with jupyter_lab(paths.home(), folder, f"JupyterLab {theme}") as (address, _), sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 1600})
                page.set_default_timeout(PATIENCE)
                page.goto(f"{address}lab/tree/06.ipynb?reset")
                page.get_by_text("| Idle").wait_for()
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_text("Run All Cells", exact=True).click()
                page.wait_for_selector("text=/errors: \\d/")
                page.get_by_role("tab", name="Memorized?").click()
                page.wait_for_timeout(3000)
                _shoot(page, theme.lower())
                browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _only_the_explorer(path: Path) -> None:
    """The cells up to the explorer, and one that unlearns."""
    tree = json.loads(path.read_text())
    code = [cell for cell in tree["cells"] if cell["cell_type"] == "code"]
    code[2]["source"] = RUNS
    tree["cells"] = code[:3]
    path.write_text(json.dumps(tree))


def _shoot(page: Page, theme: str) -> None:
    whole = page.locator(".mulnb-explorer").bounding_box()
    second = page.locator(".mx h3", has_text="2 ·").bounding_box()
    third = page.locator(".mx h3", has_text="3 ·").bounding_box()
    for name, top, bottom in (("choose", whole["y"], second["y"]), ("compare", second["y"], third["y"])):
        clip = {"x": whole["x"] - 4, "y": top - 6, "width": whole["width"] + 8, "height": bottom - top - 2}
        _write(paths.CHECKOUT / "figures" / "explorer" / f"{name}_{theme}.png", page.screenshot(clip=clip))

    _shoot_panes(page, theme)


def _shoot_panes(page: Page, theme: str) -> None:
    """Single panes: the line of the attack, the forgetting over the epochs, and a lasso on the map."""
    for title, name in (("Why this MIA?", "mia"), ("See the forgetting", "forgetting")):
        page.get_by_role("tab", name=title).click()
        page.wait_for_timeout(1000)  # it is drawn
        _write_pane(page.locator(".mx", has_text=title).last, f"{name}_{theme}")

    page.get_by_role("tab", name="Map").click()
    page.get_by_text("Alike images lie near each other").wait_for()
    box = page.locator("canvas.map").bounding_box()
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in LASSO]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    page.get_by_text("drop from the set").wait_for()
    page.wait_for_timeout(1000)
    _write_pane(page.locator(".widget-vbox", has=page.locator("canvas.map")).last, f"map_{theme}")


def _write_pane(pane: Locator, name: str) -> None:
    _write(paths.CHECKOUT / "figures" / "explorer" / f"{name}.png", pane.screenshot())


def _write(path: Path, png: bytes) -> None:
    """Write a picture with few colours, so that the repository stays small."""
    packed = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    if len(packed.getvalue()) > LIMIT:
        raise SystemExit(f"{path} has {len(packed.getvalue())} bytes, at most {LIMIT} are allowed")
    paths.write_file(path, lambda to: to.write_bytes(packed.getvalue()))
    print(f"{path}: {image.size[0]} × {image.size[1]}, {len(packed.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
