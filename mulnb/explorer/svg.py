"""SVG as text: shapes, labels, and axes that map values to pixels.

Colours are CSS variables (`style.css`), which follow JupyterLab's theme: a picture is dark where the page is dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


def page(body: str) -> str:
    """`body` inside the element that the style sheet applies to."""
    return f'<div class="mx">{body}</div>'


@dataclass(frozen=True)
class Axis:
    """Maps the values `low` … `high` to the pixels `start` … `stop`. A logarithmic axis draws values below `low` at `low`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: Any) -> Any:
        share = (self._place(value) - self._place(self.low)) / self._span
        return self.start + share * (self.stop - self.start)

    def value(self, pixel: float) -> float:
        """The value at a pixel: the inverse of calling the axis."""
        place = self._place(self.low) + (pixel - self.start) / (self.stop - self.start) * self._span
        return float(10**place if self.log else place)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values, or powers of ten on a logarithmic axis."""
        if self.log:
            first = math.ceil(math.log10(self.low) - 1e-9)
            last = math.floor(math.log10(self.high) + 1e-9)
            powers = range(first, last + 1)
            return [10.0**power for power in powers][:: math.ceil(len(powers) / 6) or 1]

        # the next of 1, 2, 5 or 10 times a power of ten above the exact distance
        rough = (self.high - self.low) / count or 1.0
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)

        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]

    @property
    def _span(self) -> float:
        return float(self._place(self.high) - self._place(self.low)) or 1.0

    def _place(self, value: Any) -> Any:
        return np.log10(np.clip(value, self.low, None)) if self.log else np.asarray(value, dtype=float)


def drawing(width: int, height: int, about: str, *parts: str) -> str:
    """The whole picture; `about` is what a screen reader says."""
    size = f'viewBox="0 0 {width} {height}" style="max-width:{round(1.2 * width)}px"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="group" aria-label="{html.escape(about)}">{"".join(parts)}</svg>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", turn: bool = False) -> str:
    """A label; `turn` writes it upwards."""
    rotated = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{rotated}>{html.escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0, extra: str = "") -> str:
    """A filled rectangle; negative sizes are drawn as 0."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{fill}" '
        f'fill-opacity="{opacity:.2f}" {extra}/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis", extra: str = "") -> str:
    """A straight line of the class `kind`."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}" {extra}/>'


def polyline(x: Iterable[float], y: Iterable[float], color: str, width: float = 2, extra: str = "") -> str:
    """A line through points."""
    points = " ".join(f"{at:.1f},{height:.1f}" for at, height in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}"{extra}/>'


def mark(x: float, y: float, shape: str, color: str, r: float = 6.0) -> str:
    """A marker: ring, triangle, cross, diamond, star, square, plus, tee (⊤) or base (⊥)."""
    outline = f'fill="none" stroke="{color}" stroke-width="2.4"'
    solid = f'fill="{color}" stroke="{color}"'

    if shape == "ring":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" {outline}/>'
    if shape == "square":
        return f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}" {solid}/>'
    if shape == "plus":
        return f'<path d="M{x - 1.2 * r:.1f} {y:.1f}h{2.4 * r}M{x:.1f} {y - 1.2 * r:.1f}v{2.4 * r}" {outline}/>'
    if shape in ("tee", "base"):
        bar = y - r if shape == "tee" else y + r
        return f'<path d="M{x - r:.1f} {bar:.1f}h{2 * r}M{x:.1f} {y - r:.1f}v{2 * r}" {outline}/>'
    if shape == "cross":
        return f'<path d="M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}" {outline}/>'
    if shape == "triangle":
        return f'<path d="M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r} {2.1 * r}h{-2.4 * r}z" {outline}/>'
    if shape == "star":
        corners = []
        for number in range(10):  # five points and five corners between them
            angle, radius = math.pi * (number / 5 - 0.5), r * (1.4 if number % 2 == 0 else 0.6)
            corners.append(f"{x + radius * math.cos(angle):.1f},{y + radius * math.sin(angle):.1f}")
        return f'<polygon points="{" ".join(corners)}" {solid}/>'
    return f'<path d="M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r} {1.3 * r}l{-1.3 * r} {1.3 * r}l{-1.3 * r} {-1.3 * r}z" {solid}/>'


def button(body: str, act: str, about: str, reachable: bool = True) -> str:
    """`body` that can be clicked and, if `reachable`, focused with the Tab key: `canvas` sends `act` to Python."""
    order = 0 if reachable else -1
    about = html.escape(about)
    return f'<g data-act="{act}" role="button" tabindex="{order}" aria-label="{about}"><title>{about}</title>{body}</g>'


def number(value: float) -> str:
    """A score in at most six characters, with a real minus sign: 0.98, 0.041, 2e−4."""
    size = abs(value)
    if size >= 0.0995 or size == 0:
        written = f"{value:.2f}"
    elif size >= 0.001:
        written = f"{value:.2g}"
    else:
        written = f"{value:.0e}"
    return written.replace("e-0", "e-").replace("-", "−")


# --- the ticks of an axis -------------------------------------------------------------------------------------------------


def grid_across(y: Axis, ticks: Iterable[float], left: float, right: float, write: Callable[[float], str] = number) -> list[str]:
    """Lines across a picture at the ticks of its vertical axis, with their values to the left."""
    parts = []
    for tick in ticks:
        parts.append(line(left, y(tick), right, y(tick), "grid"))
        parts.append(text(left - 6, y(tick) + 4, write(tick), "end", "soft"))
    return parts


def grid_down(x: Axis, ticks: Iterable[float], top: float, bottom: float) -> list[str]:
    """Lines down a picture at the ticks of its horizontal axis, with their values below."""
    parts = []
    for tick in ticks:
        parts.append(line(x(tick), top, x(tick), bottom, "grid"))
        parts.append(text(x(tick), bottom + 14, number(tick), "middle", "soft"))
    return parts


def ticks_below(x: Axis, ticks: Iterable[float], floor: float, write: Callable[[float], str] = number) -> list[str]:
    """Short lines below a horizontal axis at its ticks, with their values below."""
    parts = []
    for tick in ticks:
        parts.append(line(x(tick), floor, x(tick), floor + 4))
        parts.append(text(x(tick), floor + 16, write(tick), "middle", "soft"))
    return parts
