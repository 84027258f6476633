"""Take the pictures of the explorer that README and notebook 06 show: `.venv/bin/python tests/screenshots.py`.

They are of the profile `digits`, whose results must be there (`./run_all.sh --only 01,02`). Needs Debian's package chromium.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from lab import CHROMIUM, FLAGS, jupyter_lab, notebook
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from mulnb.core import paths

LIMIT = 200_000  # bytes of one picture
RUNS = """
explorer.choose("holdout_retraining", 40)
for size in (40, 150):
    explorer.choose(sizes=size)
    explorer.unlearn("neg_grad_plus", "shuffle")
    explorer.unlearn("neg_grad_plus", "rum_f")
print("errors:", 0)
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mulnb-shots-"))
    try:
        source = notebook(paths.CHECKOUT / "notebooks" / "06_explore.ipynb", folder / "06.ipynb", profile="digits", overrides={})
        _only_the_explorer(source)
        for theme in ("Light", "Dark"):
            with jupyter_lab(paths.home(), folder, f"JupyterLab {theme}") as (address, _), sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 2600})
                page.goto(f"{address}lab/tree/06.ipynb?reset")
                page.get_by_text("| Idle").wait_for(timeout=60_000)
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_text("Run All Cells", exact=True).click()
                page.wait_for_selector("text=/errors: \\d/", timeout=300_000)
                page.wait_for_timeout(1500)
                _shoot(page, theme.lower())
                browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _only_the_explorer(path: Path) -> None:
    import json

    tree = json.loads(path.read_text())
    code = [cell for cell in tree["cells"] if cell["cell_type"] == "code"]
    code[2]["source"] = RUNS
    tree["cells"] = code[:3]
    path.write_text(json.dumps(tree))


def _shoot(page: Page, theme: str) -> None:
    first = page.locator(".mx h3", has_text="1 ·").bounding_box()
    second = page.locator(".mx h3", has_text="2 ·").bounding_box()
    third = page.locator(".mx h3", has_text="3 ·").bounding_box()
    width = page.locator(".mx .sheets").bounding_box()["width"] + 12
    for name, top, bottom in (("choose", first, second), ("compare", second, third)):
        clip = {"x": first["x"] - 6, "y": top["y"] - 6, "width": width, "height": bottom["y"] - top["y"] - 4}
        _write(paths.figures() / "explorer" / f"{name}_{theme}.png", page.screenshot(clip=clip))


def _write(path: Path, png: bytes) -> None:
    packed = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    if len(packed.getvalue()) > LIMIT:
        raise SystemExit(f"{path} has {len(packed.getvalue())} bytes, at most {LIMIT} are allowed")
    paths.write_file(path, lambda to: to.write_bytes(packed.getvalue()))
    print(f"{path}: {image.size[0]} × {image.size[1]}, {len(packed.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
