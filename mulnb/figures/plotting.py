"""What all figures share: one style, colours and markers, caption, headline, and saving. How a panel is filled: `marks`.

Colours follow Okabe and Ito (safe for colour-blind readers), with lightness spread so that they differ in greyscale too; every
colour goes with a marker or a line style of its own. Sizes are those of print at two-column width (7 in): no text below 7 pt.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from mulnb.config import Profile
from mulnb.core import paths

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

WIDTH = 7.0  # inches: the text width of a two-column page
SMALL = 7.0  # points: captions, ticks and notes; nothing is smaller
INK, SOFT, FAINT, PALE = "#222222", "#5F5F5F", "#DDDDDD", "#F4F4F4"
ALERT = "#C2410C"  # flipped labels
COLOURS = 64  # of a PNG

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
    "figure.dpi": 150.0,  # that of the file: hinting makes letters of another size wider, and the layout would not hold
    "savefig.dpi": 150.0,
    "svg.fonttype": "path",  # the letters travel with the file
    "svg.hashsalt": "mulnb",  # the same picture gives the same bytes
}


@dataclass(frozen=True)
class Look:
    """How one strategy, score or stratum is drawn in every figure."""

    color: str
    marker: str
    line: str | tuple = "-"


STRATEGY = {
    "vanilla": Look("#C75B12", "o", (0, (4, 1.5))),
    "repeat": Look("#DDAACC", "v", (0, (3, 1.2, 1, 1.2))),
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
    "cumulative_loss": Look("#5B8DB8", "<"),
    "el2n": Look("#A34E6F", ">"),
    "aum": Look("#6B8E23", "p"),
    "forgetting": Look("#8C8C8C", "*"),
    "learning_time": Look("#4B4B8F", "d"),
}
STRATUM = {
    "low": Look("#AFD5E8", "o"),
    "medium": Look("#E0952A", "s"),
    "high": Look("#9C2F1C", "^"),
}


def style() -> mpl.rc_context:
    """The style of all figures, as a context manager that is also a decorator."""
    return mpl.rc_context(STYLE)


# ---- a figure, and how it is saved


class Picture(Figure):
    """A figure that shows itself as PNG in a notebook when it is a cell's value.

    Pyplot does not know it: otherwise the inline backend would show it a second time.
    """

    saved: bytes | None = None  # what `save` wrote: drawing it again for the notebook would take as long again

    def __init__(self, width: float = WIDTH, height: float = 3.0, **options):
        super().__init__(figsize=(width, height), **{"layout": "constrained", **options})

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        # stale: changed since it was saved
        content = png(self) if self.stale or self.saved is None else self.saved
        return content, {"width": int(110 * self.get_figwidth()), "height": int(110 * self.get_figheight())}


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG, the same bytes every time; a palette makes it a quarter as large without visible loss."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(drawn, format="png", dpi=STYLE["savefig.dpi"], metadata={"Software": None})

    image = with_palette(Image.open(drawn).convert("RGB"))
    image.save(packed, "png", optimize=True, dpi=(STYLE["savefig.dpi"],) * 2)
    return packed.getvalue()


def with_palette(image: Pixels) -> Pixels:
    """An image in `COLOURS` colours.

    The colour of the most pixels comes first; each next one is the colour that those before it miss most: by the square of its
    distance to them, times the root of its number of pixels. So a small marker keeps its hue beside large areas.

    Args:
        image: in RGB.

    Returns:
        The image with a palette; each pixel has the nearest colour of it.
    """
    from PIL import Image

    pixels = np.asarray(image).astype(np.int32)  # [H, W, 3]
    codes, place, count = np.unique(pixels @ (1 << 16, 1 << 8, 1), return_inverse=True, return_counts=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)  # [U, 3]

    chosen = np.zeros(len(colours), dtype=np.uint8)  # [U], each colour's place in the palette
    missed = np.full(len(colours), np.inf)  # [U], squared distance to the nearest colour of the palette
    palette = [int(count.argmax())]

    while True:
        distance = ((colours - colours[palette[-1]]) ** 2).sum(-1)  # [U]
        chosen[distance < missed] = len(palette) - 1
        missed = np.minimum(missed, distance)
        if len(palette) == COLOURS or not missed.any():
            break
        palette.append(int((missed * np.sqrt(count)).argmax()))

    found = Image.fromarray(chosen[place].reshape(pixels.shape[:2]), mode="P")
    found.putpalette(colours[palette].astype(np.uint8).tobytes())
    return found


def svg(figure: Figure) -> bytes:
    """A figure as the content of an SVG, the same bytes every time; dense point clouds are pixels in it."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", dpi=STYLE["savefig.dpi"], metadata={"Date": None, "Creator": "mulnb"})
    return buffer.getvalue()


def save(figure: Figure, profile: Profile | str, name: str) -> Figure:
    """Write a figure under the profile's results.

    Args:
        figure: any matplotlib figure.
        profile: a profile, or the name of a folder of results.
        name: the files' name without its ending.

    Returns:
        The figure, so that a notebook shows it.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = paths.results(profile if isinstance(profile, str) else profile.name)
    for ending, draw in (("png", png), ("svg", svg)):
        content = draw(figure)
        paths.write_file(folder / f"{name}.{ending}", lambda path, content=content: path.write_bytes(content))
        if ending == "png":
            figure.saved = content

    figure.stale = False  # savefig marks it as changed although nothing was
    return figure


def placeholder(profile: Profile, text: str) -> Picture:
    """A figure for results that a profile cannot have; `text` says why."""
    figure = Picture(height=1.2)
    axes = figure.subplots()
    bare(axes)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, linespacing=1.5)
    return finish(figure, f"{captioned(profile)}. n = 0.")


def blocks_of(panels: int, most: int) -> tuple[int, int]:
    """Lines, and panels in each of them, for so many panels of which at most `most` stand beside each other."""
    down = math.ceil(panels / most)
    return down, math.ceil(panels / down)


def bare(axes: Axes) -> None:
    """Remove frame, ticks and grid."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


# ---- caption and headline


def finish(figure: Picture, caption: str) -> Picture:
    """Set the caption below everything and fix the layout, so that every later drawing gives the same picture.

    Args:
        figure: a figure whose panels are drawn.
        caption: the caption; it is wrapped to the figure's width.
    """
    text = wrapped(caption, 70 * figure.get_figwidth() - 10)  # of 72 points an inch: hinting widens letters a little
    figure.supxlabel(text, x=0.008, ha="left", fontsize=SMALL, color=SOFT, linespacing=1.35)
    if layout := figure.get_layout_engine():
        layout.execute(figure)  # what drawing begins with; to draw all of it takes longer
    figure.set_layout_engine("none")
    return figure


def captioned(profile: Profile) -> str:
    """How a caption begins: the profile's title and name."""
    return f"{profile.title} (profile {profile.name})"


def wrapped(caption: str, points: float, size: float = SMALL, weight: str = "normal") -> str:
    """Break a text into lines by measuring its words.

    Args:
        caption: the text.
        points: the longest line.
        size: the font's size in points.
        weight: the font's weight.

    Returns:
        The text with line ends; "n = 3", "95 %" and "3 000" stay on one line.
    """
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)

    def width(text: str) -> float:
        return text_to_path.get_text_width_height_descent(text, font, "$" in text)[0]

    hard = "\N{NO-BREAK SPACE}"
    for held in (" = ", " %", "± "):
        caption = caption.replace(held, held.replace(" ", hard))
    caption = re.sub(r"(?<=\d) (?=\d{3}\b)", hard, caption)

    lines, used, space = [[]], 0.0, width("a b") - width("ab")
    for word in caption.split(" "):
        length = width(word)
        if used + length > points:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += length + space
    return "\n".join(" ".join(line) for line in lines).replace(hard, " ")


def headline(figure: Picture, text: str, handles: Sequence[Artist] = (), columns: int = 7) -> None:
    """Set the sentence above the panels, with the legend in the row below it.

    Args:
        figure: the figure.
        text: the sentence.
        handles: the entries of the legend.
        columns: how many entries a row has at most; more entries are spread evenly over several rows.
    """
    lines = math.ceil(len(handles) / columns) or 1
    bold = {"weight": "bold", "size": 9}
    options = {"loc": "outside upper left", "alignment": "left", "borderpad": 0.1, "borderaxespad": 0.3}
    legend = figure.legend(
        handles=list(handles), title=text, title_fontproperties=bold, ncols=math.ceil(len(handles) / lines) or 1, **options
    )
    legend.set_in_layout(True)
