"""A little SVG: shapes and words as text, axes that turn values into pixels, and one style sheet for both themes.

Colours are CSS variables: those of JupyterLab where it defines them, so that a picture is dark where the page is.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

STYLE = """<style>
.mx { --ink: var(--jp-ui-font-color1, var(--vscode-foreground, #222)); --soft: var(--jp-ui-font-color2, #5f5f5f);
  --faint: var(--jp-border-color2, #d0d0d0); --page: var(--jp-layout-color0, #fff); --bar: #a9b4be; --alert: #c2410c;
  --low: #3f8dbd; --medium: #e0952a; --high: #9c2f1c; --vanilla: #c75b12; --shuffle: #7d7d7d; --rum_f: #0b4f8a; --other: #8e5ba6;
  color: var(--ink); font: 13px/1.4 var(--jp-ui-font-family, sans-serif); }
body[data-jp-theme-light="false"] .mx { --bar: #66727d; --alert: #ff9466; --low: #86c5ea; --medium: #f2b34f; --high: #f0704f;
  --vanilla: #f2a25c; --shuffle: #b5b5b5; --rum_f: #6fb1f0; --other: #c79be0; }
.mx svg { display: block; width: 100%; height: auto; font: 12.5px var(--jp-ui-font-family, sans-serif); }
.mx svg text { fill: var(--ink); } .mx svg .soft { fill: var(--soft); } .mx svg .title, .mx b { font-weight: 600; }
.mx .axis { stroke: var(--soft); fill: none; } .mx .grid { stroke: var(--faint); fill: none; }
.mx .note { color: var(--soft); font-size: 12px; } .mx .bad { color: var(--alert); font-weight: 600; }
.mx h3 { font-size: 15px; margin: 10px 0 2px; } .mx p { margin: 2px 0; }
.mx .sheets { display: flex; gap: 14px; flex-wrap: wrap; }
.mx .sheet { flex: 1 1 250px; border-top: 4px solid; padding-top: 3px; }
.mx .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(38px, 1fr)); gap: 4px 5px; margin-top: 4px; }
.mx figure { margin: 0; text-align: center; font-size: 11px; line-height: 1.2; min-width: 0; }
.mx figure span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mx figure img { width: 100%; image-rendering: pixelated; border: 1px solid var(--faint); box-sizing: border-box; }
.mx figure.flipped img { border: 2px dashed var(--alert); } .mx figure.flipped { color: var(--alert); font-weight: 600; }
.mx table { border-collapse: collapse; font-size: 12px; } .mx .wide { overflow-x: auto; }
.mx td, .mx th { padding: 2px 6px; text-align: right; border-bottom: 1px solid var(--faint); white-space: nowrap; }
.mx th { font-weight: 600; } .mx td.word { text-align: left; } .mx tr.last td { font-weight: 600; }
.mx code { background: var(--jp-layout-color2, #eee); color: var(--ink); padding: 1px 4px; }
</style>"""


def page(body: str) -> str:
    return f'<div class="mx">{body}</div>'


@dataclass(frozen=True)
class Axis:
    """Values `low` … `high` to pixels `start` … `stop`; logarithmic ones end at `low`, which stands for all smaller values."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: Any) -> Any:
        span = self._place(self.high) - self._place(self.low) or 1.0
        return self.start + (self._place(value) - self._place(self.low)) / span * (self.stop - self.start)

    def _place(self, value: Any) -> Any:
        return np.log10(np.clip(value, self.low, None)) if self.log else np.asarray(value, dtype=float)

    def ticks(self, count: int = 5) -> list[float]:
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers][:: math.ceil(len(powers) / 6) or 1]
        rough = (self.high - self.low) / count or 1.0
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 10) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def drawing(width: int, height: int, about: str, *parts: str) -> str:
    size = f'viewBox="0 0 {width} {height}" style="max-width:{round(1.3 * width)}px"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{html.escape(about)}">{"".join(parts)}</svg>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", turn: bool = False) -> str:
    rotated = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{rotated}>{html.escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0, extra: str = "") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{fill}" '
        f'fill-opacity="{opacity:.2f}" {extra}/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis", extra: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}" {extra}/>'


def mark(x: float, y: float, shape: str, color: str, filled: bool = True, r: float = 5.0) -> str:
    paint = f'fill="{color if filled else "none"}" stroke="{color}" stroke-width="2"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" {paint}/>'
    if shape == "square":
        return f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}" {paint}/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r} {1.3 * r}l{-1.3 * r} {1.3 * r}l{-1.3 * r} {-1.3 * r}z" {paint}/>'
    return f'<path d="M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r} {2.1 * r}h{-2.4 * r}z" {paint}/>'


def number(value: float) -> str:
    """A score in at most six letters, with a real minus sign: 0.98, 0.041, 2e−4."""
    size = abs(value)
    written = f"{value:.2f}" if size >= 0.0995 or size == 0 else f"{value:.2g}" if size >= 0.001 else f"{value:.0e}"
    return written.replace("e-0", "e-").replace("-", "−")


def plus(x: float, y: float) -> str:
    return f'<path d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14" class="axis" style="stroke:var(--ink)" stroke-width="3"/>'
