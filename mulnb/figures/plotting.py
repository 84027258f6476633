"""What all figures share: one style, colours and markers, caption, legend, intervals, and the way to disk.

Colours follow Okabe and Ito (safe for colour-blind readers) with lightness spread so that they differ in greyscale, too; every
colour goes with a marker or a line style of its own. Sizes are those of print at two-column width (7 in): no text below 7 pt.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from mulnb.config import Profile
from mulnb.core import paths

WIDTH = 7.0  # inches: the text width of a two-column page
SMALL = 7.0  # points: captions, ticks and notes; nothing is smaller
INK, SOFT, FAINT, PALE = "#222222", "#5F5F5F", "#DDDDDD", "#F4F4F4"
ALERT = "#C2410C"  # flipped labels

STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8A8A8A",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.unicode_minus": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": "#8A8A8A",
    "ytick.color": "#8A8A8A",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "text.color": INK,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "savefig.dpi": 180.0,
    "svg.fonttype": "path",  # the letters travel with the file
    "svg.hashsalt": "mulnb",  # the same picture gives the same bytes
}


@dataclass(frozen=True)
class Look:
    """How one strategy, score or stratum is always drawn."""

    color: str
    marker: str
    line: str | tuple = "-"


STRATEGY = {
    "vanilla": Look("#C75B12", "o", (0, (4, 1.5))),
    "shuffle": Look("#9E9E9E", "^", (0, (1, 1.2))),
    "rum_f": Look("#0B4F8A", "s", "-"),
    "rum": Look("#000000", "D", "-."),
}
SCORE = {
    "memorization": Look("#111111", "o"),
    "confidence": Look("#0B5FA5", "s"),
    "binary_accuracy": Look("#D55E00", "D"),
    "holdout_retraining": Look("#2DB898", "^"),
    "max_confidence": Look("#8E5BA6", "P"),
    "entropy": Look("#D9A21B", "v"),
    "loss_curvature": Look("#7A4A1E", "X"),
}
STRATUM = {
    "low": Look("#AFD5E8", "o"),
    "medium": Look("#E0952A", "s"),
    "high": Look("#9C2F1C", "^"),
}


def style() -> mpl.rc_context:
    """The house style, as a context or as a decorator."""
    return mpl.rc_context(STYLE)


class Picture(Figure):
    """A figure that a notebook shows when it is a cell's value, and only then: pyplot does not know it, so never twice."""

    def __init__(self, width: float = WIDTH, height: float = 3.0, **options):
        super().__init__(figsize=(width, height), **{"layout": "constrained", **options})

    saved: bytes | None = None  # what `save` wrote: drawing it again for the notebook would take as long again

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        content = png(self) if self.stale or self.saved is None else self.saved  # stale: changed since it was saved
        return content, {"width": int(110 * self.get_figwidth()), "height": int(110 * self.get_figheight())}


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes every time; a palette of 256 colours gives a third of the size and no visible loss."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(drawn, format="png", dpi=STYLE["savefig.dpi"], metadata={"Software": None})
    image = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(packed, "png", optimize=True, dpi=(STYLE["savefig.dpi"],) * 2)
    return packed.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes every time; dense point clouds are drawn as pixels in it."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", dpi=STYLE["savefig.dpi"], metadata={"Date": None, "Creator": "mulnb"})
    return buffer.getvalue()


def save(figure: Figure, profile: Profile | str, name: str) -> Figure:
    """Write `<name>.png` and `<name>.svg` under the profile's results and return the figure, so that a notebook shows it.

    Raises `UserError` when the folder cannot be written.
    """
    folder = paths.results(profile if isinstance(profile, str) else profile.name)
    for ending, draw in (("png", png), ("svg", svg)):
        content = draw(figure)
        paths.write_file(folder / f"{name}.{ending}", lambda path, content=content: path.write_bytes(content))
        if ending == "png":
            figure.saved = content
    figure.stale = False  # nothing was changed, although savefig says so
    return figure


def finish(figure: Picture, caption: str) -> Picture:
    """Set the caption line below everything and fix the layout, so that every later drawing gives the same picture."""
    text = wrapped(caption, 70 * figure.get_figwidth() - 10)  # of 72 points an inch: hinting widens letters a little
    figure.supxlabel(text, x=0.008, ha="left", fontsize=SMALL, color=SOFT, linespacing=1.35)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def wrapped(caption: str, points: float, size: float = SMALL, weight: str = "normal") -> str:
    """The caption in lines no longer than `points`, measured, since letters differ in width."""
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)

    def width(text: str) -> float:
        return text_to_path.get_text_width_height_descent(text, font, "$" in text)[0]

    for held in (" = ", " %"):  # "n = 3" and "95 %" stay on one line
        caption = caption.replace(held, held.replace(" ", "\N{NO-BREAK SPACE}"))
    caption = re.sub(r"(?<=\d) (?=\d{3}\b)", "\N{NO-BREAK SPACE}", caption)  # and so does "3 000"
    lines, used, space = [[]], 0.0, width("a b") - width("ab")
    for word in caption.split(" "):
        size = width(word)
        if used + size > points:
            lines, used = [*lines, []], 0.0
        lines[-1].append(word)
        used += size + space
    return "\n".join(" ".join(line) for line in lines).replace("\N{NO-BREAK SPACE}", " ")


def headline(figure: Picture, text: str, handles: Sequence[Artist] = (), columns: int = 8) -> None:
    """The sentence above the panels, with the legend in the row below it."""
    bold = {"weight": "bold", "size": 9}
    options = {"loc": "outside upper left", "alignment": "left", "borderpad": 0.1, "borderaxespad": 0.3}
    legend = figure.legend(
        handles=list(handles), title=text, title_fontproperties=bold, ncols=min(columns, max(len(handles), 1)), **options
    )
    legend.set_in_layout(True)


def key(look: Look, text: str, filled: bool = True, line: bool = False, color: str | None = None) -> Line2D:
    """An entry of a legend."""
    tint = color or look.color
    return Line2D(
        [], [], color=tint, marker=look.marker, linestyle=look.line if line else "none", label=text,
        markerfacecolor=tint if filled else "white", markeredgecolor=tint, markeredgewidth=1.0,
    )  # fmt: skip


def points(
    axes: Axes, x: Iterable[float], mean: Iterable[float], low: Iterable[float], high: Iterable[float], look: Look,
    filled: bool = True, line: bool = False, across: bool = False, size: float = 4.5, bar: float = 1.0, color: str | None = None,
) -> None:  # fmt: skip
    """Markers with their intervals; an interval that does not exist (NaN: one seed) is not drawn. `across`: bars along x."""
    x, mean, low, high = (np.asarray(list(values), dtype=float) for values in (x, mean, low, high))
    tint = color or look.color
    known = ~(np.isnan(low) | np.isnan(high))
    if known.any():
        ends = np.stack([mean - low, high - mean])[:, known]
        first, second, which = (mean, x, "xerr") if across else (x, mean, "yerr")
        axes.errorbar(first[known], second[known], **{which: ends}, fmt="none", ecolor=tint, elinewidth=bar, capsize=0, zorder=2)
    first, second = (mean, x) if across else (x, mean)
    axes.plot(
        first, second, color=tint, marker=look.marker, markersize=size, linestyle=look.line if line else "none", zorder=3,
        markerfacecolor=tint if filled else "white", markeredgecolor=tint, markeredgewidth=0.9,
    )  # fmt: skip


def columns(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`x`, `x_low`, `x_high` of a table as arrays."""
    return tuple(table[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))


def look(table: dict[str, Look], name: str) -> Look:
    """The look of `name`; a name without one (yours) gets a plain one."""
    return table.get(name, Look(SOFT, "h", "--"))


def bare(axes: Axes) -> None:
    """No frame, no ticks, no grid."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def texts(figure: Figure) -> list:
    """Every visible text of a figure (tests look at sizes and words)."""
    return [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]


def captioned(profile: Profile) -> str:
    return f"{profile.title} (profile {profile.name})"


def rows(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows of `table` in which every named column has the given value (or one of a tuple of values)."""
    for column, value in values.items():
        table = table[table[column].isin(value if isinstance(value, tuple) else (value,))]
    return table
