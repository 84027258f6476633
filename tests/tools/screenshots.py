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
from playwright.sync_api import Page, sync_playwright

from mulnb import config
from mulnb.core import paths

LIMIT = 200_000  # bytes of one picture
PATIENCE = 600_000  # milliseconds: the oracles are trained
RUNS = """
explorer.choose("holdout_retraining", 40)
for size in (40, 150):
    explorer.choose(sizes=size)
    explorer.unlearn("neg_grad_plus", "shuffle")
    explorer.unlearn("neg_grad_plus", "rum_f")
print("errors:", 0)
"""


def main(words: Sequence[str]) -> None:
    """Both themes: the choosing half, and the comparing half after some runs."""
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
