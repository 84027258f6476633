"""Notebook 06 in a browser, as a reader sees and uses it; for `explorer/test_browser.py`."""

from __future__ import annotations

import re

SIZES = ("low", "medium", "high")


class Page:
    """The explorer in its page: what a reader sees and does."""

    def __init__(self, page, address: str) -> None:
        self.page, self.address = page, address
        self.faults: list[str] = []
        self.missing: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"page: {error}"))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        # JupyterLab asks for files that need not be there; whatever is really missed shows in the page
        page.on("response", lambda response: self.missing.append(response.url) if response.status == 404 else None)
        page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"

    def open(self) -> None:
        self.page.goto(f"{self.address}lab/tree/06.ipynb?reset")
        self.ready()

    def ready(self) -> None:
        """Wait for the kernel: before, a run would ask which one to take."""
        self.page.get_by_text("| Idle").wait_for(timeout=60_000)

    def run_all(self) -> None:
        self.menu("Run", "Run All Cells")
        self.page.locator(".mx svg").first.wait_for(timeout=60_000)
        self.page.wait_for_function("document.body.innerText.includes('| Idle')", timeout=60_000)

    def menu(self, *names: str) -> None:
        self.page.get_by_role("menuitem", name=names[0], exact=True).click()
        for name in names[1:-1]:
            self.page.get_by_text(name, exact=True).hover()
        self.page.get_by_text(names[-1], exact=True).click()

    def text(self, words: str) -> str:
        """What the explorer says where `words` stand."""
        return self.page.locator(".mx p, .mx td, .widget-html-content", has_text=words).last.inner_text()

    def handle(self, side: str):
        return self.page.locator(f"[role=slider][data-act='drag:{side}']")

    def sizes(self) -> list[int]:
        return [int(self.page.get_by_label(f"size: {name}").input_value()) for name in SIZES]

    def button(self, name: str):
        return self.page.locator(".mulnb-explorer").get_by_role("button", name=name)  # the name begins with an icon

    def until(self, words: str, seconds: float = 30) -> str:
        place = self.page.locator(".mx", has_text=re.compile(words)).last
        place.wait_for(timeout=1000 * seconds)
        return place.inner_text()

    def pictures(self) -> list[str]:
        return [image.get_attribute("src") for image in self.page.locator(".mx .tiles img").all()]

    def rows(self) -> int:
        return self.page.locator(".mx .wide tbody tr").count()

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

    def clipped(self) -> list[str]:
        """Pieces that are wider than their place, or labels that stick out of their picture."""
        return self.page.evaluate(
            """() => {
              const wide = [...document.querySelectorAll('.mx, .mx .wide')].filter(one =>
                one.scrollWidth > one.clientWidth + 1).map(one => one.innerText.slice(0, 60))
              const words = [...document.querySelectorAll('.mx svg text')].filter(word => {
                const own = word.getBoundingClientRect(), box = word.closest('svg').getBoundingClientRect()
                return own.left < box.left - 1 || own.right > box.right + 1 }).map(word => word.textContent)
              return wide.concat(words)
            }"""
        )
