"""The explorer's pictures as SVG and HTML text: drawn in milliseconds, sharp at any size, coloured by the reader's theme.

Matplotlib would take a second for such a page; a slider needs an answer while it moves. A stratum has a colour, a shape and a
name everywhere, so that no picture is read by its colours alone.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mulnb.core.vocabulary import STRATA, label
from mulnb.explorer import svg
from mulnb.explorer.selection import Ranking, Stock, sample
from mulnb.forget import Strata
from mulnb.proxies import unit

SHAPES = {"low": "circle", "medium": "square", "high": "triangle", "vanilla": "circle", "rum_f": "square", "shuffle": "triangle"}
TILES = 12  # pictures per stratum


# --- the strata of a score -----------------------------------------------------------------------------------------------


def histogram(ranking: Ranking, chosen: Strata) -> str:
    """The distribution of the score; below it, and shaded through it, where the strata lie."""
    width, left, right, top, bottom, row = 560, 62, 542, 26, 150, 15
    edges, counts, x = _bins(ranking, left, right)
    y = svg.Axis(0.7, max(counts.max(), 2) * 1.2, bottom, top, log=True)
    parts = [svg.text(left - 54, 14, f"Distribution of {label(ranking.score)}", kind="title")]
    for tick in y.ticks():
        parts += [svg.line(left, y(tick), right, y(tick), "grid"), svg.text(left - 6, y(tick) + 4, f"{tick:g}", "end", "soft")]
    for stratum, part in zip(STRATA, chosen, strict=True):
        start, stop = _span(x, ranking.values[part])
        parts.append(svg.rect(start, top, stop - start, bottom - top, f"var(--{stratum})", 0.3))
    for start, stop, count in zip(x(edges[:-1]), x(edges[1:]), counts, strict=True):
        if count:
            parts.append(svg.rect(start + 0.5, y(count), stop - start - 1, bottom - y(count), "var(--bar)"))
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        start, stop = _span(x, ranking.values[part])
        level = bottom + 4 + place * row
        parts += [svg.text(left - 6, level + 11, stratum, "end"), svg.line(left, level + row / 2, right, level + row / 2, "grid")]
        parts.append(svg.rect(start, level + 2, stop - start, row - 4, f"var(--{stratum})"))
    floor = bottom + 4 + 3 * row
    parts.append(svg.line(left, floor, right, floor))
    for tick in x.ticks(6):
        parts += [svg.line(x(tick), floor, x(tick), floor + 4), svg.text(x(tick), floor + 17, svg.number(tick), "middle", "soft")]
    title = f"{label(ranking.score)} ({unit(ranking.score)}) → more memorized"
    parts += [svg.text((left + right) / 2, floor + 34, title, "middle"), svg.text(14, 90, "examples (log)", "middle", turn=True)]
    return svg.drawing(width, floor + 42, f"Distribution of {label(ranking.score)} with the three strata", *parts)


def _span(x: svg.Axis, values: np.ndarray, least: float = 4.0) -> tuple[float, float]:
    """From the smallest to the largest value in pixels, wide enough to be seen."""
    start, stop = float(x(values.min())), float(x(values.max()))
    missing = max(0.0, least - (stop - start)) / 2
    return start - missing, stop + missing


def _bins(ranking: Ranking, left: float, right: float) -> tuple[np.ndarray, np.ndarray, svg.Axis]:
    low, high = ranking.sorted[0], ranking.sorted[-1]
    if ranking.skewed:
        low = max(low, np.quantile(ranking.sorted, 0.02), high * 1e-7)
        edges = np.geomspace(low, high, 41)
        return edges, np.histogram(np.clip(ranking.sorted, low, high), edges)[0], svg.Axis(low, high, left, right, log=True)
    high = high if high > low else low + 1
    return *np.histogram(ranking.sorted, 40, (low, high))[::-1], svg.Axis(low, high, left, right)


def growth(sizes: np.ndarray, curves: np.ndarray, chosen: Strata, means: np.ndarray) -> str:
    """Mean memorization of each stratum against its size, and where the choice lies on it: why thresholds matter."""
    width, left, right, top, bottom = 400, 52, 338, 26, 195
    x, y = svg.Axis(sizes[0], sizes[-1], left, right, log=True), svg.Axis(min(0.0, curves.min()), 1.0, bottom, top)
    parts = [svg.text(8, 14, "Why thresholds matter: wide strata mix", kind="title")]
    for tick in y.ticks(4):
        parts += [
            svg.line(left, y(tick), right, y(tick), "grid"),
            svg.text(left - 6, y(tick) + 4, svg.number(tick), "end", "soft"),
        ]
    for tick in _size_ticks(sizes):
        parts += [svg.line(x(tick), bottom, x(tick), bottom + 4), svg.text(x(tick), bottom + 17, f"{tick}", "middle", "soft")]
    ends = _spread([float(y(curve[-1])) for curve in curves], 15)
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        color = f"var(--{stratum})"
        points = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in zip(sizes, curves[place], strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(svg.text(right + 8, ends[place] + 4, stratum))
        at = float(x(len(part)))
        parts += [svg.line(at, y(means[place, 0]), at, bottom, "axis", 'stroke-dasharray="2 3"')]
        parts.append(svg.mark(at, float(y(means[place, 0])), SHAPES[stratum], color, r=6))
    parts += [
        svg.line(left, bottom, right, bottom),
        svg.text((left + right) / 2, bottom + 34, "examples per stratum (log)", "middle"),
    ]
    parts.append(svg.text(14, (top + bottom) / 2, "mean memorization", "middle", turn=True))
    return svg.drawing(width, bottom + 42, "Mean memorization of each stratum by its size; marks show the choice", *parts)


def _size_ticks(sizes: np.ndarray) -> list[int]:
    steps = [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
    fit = [step for step in steps if sizes[0] <= step <= sizes[-1]]
    return fit[:: math.ceil(len(fit) / 6) or 1]


def _spread(places: Sequence[float], apart: float) -> list[float]:
    """Labels at these heights, moved so that none covers another."""
    order, moved = np.argsort(places), list(places)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + apart)
    return moved


def agreement(counts: np.ndarray, means: np.ndarray, score: str) -> str:
    """Overlap of the chosen strata with those of exact memorization, and the mean memorization of each with its error."""
    width, left, cell, top, height = 560, 62, 58, 50, 34
    axis = svg.Axis(min(0.0, (means[:, 0] - 2 * means[:, 1]).min()), 1.0, left + 4 * cell + 30, width - 98)
    parts = [svg.text(8, 14, f"Are these the memorized ones? Chosen by {label(score)}, and the truth", kind="title")]
    parts.append(svg.text(left, top - 19, "of these, by exact memorization:", kind="soft"))
    parts.append(svg.text(axis.start, top - 19, "mean memorization ± standard error:", kind="soft"))
    for column, name in enumerate((*STRATA, "none")):
        parts.append(svg.text(left + (column + 0.5) * cell, top - 5, name, "middle"))
    for tick in axis.ticks(4):
        at = axis(tick)
        parts += [
            svg.line(at, top, at, top + 3 * height, "grid"),
            svg.text(at, top + 3 * height + 14, svg.number(tick), "middle", "soft"),
        ]
    for row, stratum in enumerate(STRATA):
        middle = top + (row + 0.5) * height
        parts.append(svg.text(left - 8, middle + 4, stratum, "end"))
        for column, count in enumerate(counts[row]):
            fill = f"var(--{stratum})" if column == row else "var(--bar)"
            box = (left + column * cell + 1, top + row * height + 1, cell - 2, height - 2)
            parts.append(svg.rect(*box, fill, 0.7 * count / counts[row].sum(), 'stroke="var(--faint)"'))
            parts.append(svg.text(left + (column + 0.5) * cell, middle + 4, f"{count}", "middle"))
        mean, error = means[row]
        ends = float(axis(mean - error)), float(axis(mean + error))
        parts.append(svg.line(ends[0], middle, ends[1], middle, "axis", 'stroke-width="2"'))
        parts.append(svg.mark(float(axis(mean)), middle, SHAPES[stratum], f"var(--{stratum})"))
        parts.append(svg.text(width - 2, middle + 4, f"{mean:.3f} ± {error:.3f}".replace("-", "−"), "end"))
    return svg.drawing(width, top + 3 * height + 22, "Overlap with the strata of exact memorization", *parts)


def class_balance(counts: np.ndarray, everywhere: np.ndarray, classes: Sequence[str]) -> str:
    """Examples of each class in each stratum; the line: a balanced draw. `everywhere`: examples of each class in D."""
    width, left, right, top, height = 400, 58, 392, 28, 36
    slot = (right - left) / len(classes)
    parts = [svg.text(8, 14, "Classes in each stratum (line: a balanced draw)", kind="title")]
    for row, stratum in enumerate(STRATA):
        floor = top + (row + 1) * height - 4
        fair = everywhere / everywhere.sum() * counts[row].sum()
        y = svg.Axis(0, max(counts[row].max(), fair.max()), floor, floor - height + 8)
        parts += [svg.text(left - 6, floor - 8, stratum, "end"), svg.line(left, floor, right, floor)]
        for place, count in enumerate(counts[row]):
            start, stop = left + place * slot, left + (place + 1) * slot
            gap = 1.5 if slot > 6 else 0
            parts.append(svg.rect(start + gap, y(count), slot - 2 * gap, floor - y(count), f"var(--{stratum})"))
            parts.append(svg.line(start, y(fair[place]), stop, y(fair[place])))
    if len(classes) <= 20:
        for place, name in enumerate(classes):
            short = name[: max(1, int(slot / 7))]
            parts.append(svg.text(left + (place + 0.5) * slot, top + 3 * height + 12, short, "middle", "soft"))
    else:
        parts.append(
            svg.text((left + right) / 2, top + 3 * height + 12, f"{len(classes)} classes, in their order", "middle", "soft")
        )
    return svg.drawing(width, top + 3 * height + 22, "Class balance of the strata", *parts)


# --- pictures ------------------------------------------------------------------------------------------------------------


def contact_sheets(stock: Stock, ranking: Ranking, chosen: Strata, means: np.ndarray) -> str:
    """Examples of each stratum with label and score, from the most typical to the one at the threshold."""
    sheets = []
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        shown = sample(ranking.values, part, stratum, ranking.middle, TILES)
        tiles = "".join(_tile(stock, ranking, int(example)) for example in shown)
        about = f"<b>{stratum}</b>: memorization <b>{means[place, 0]:.2f}</b>"
        if stock.flipped.any():
            about += f", {stock.flipped[part].mean():.0%} flipped"
        sheets.append(f'<div class="sheet" style="border-color:var(--{stratum})">{about}<div class="tiles">{tiles}</div></div>')
    note = "Left to right: from the most typical example to the one at the threshold. Below each: its label and its score."
    if stock.flipped.any():
        note += ' <span class="bad">✗ dashed</span>: label flipped by the profile.'
    return svg.page(f'<div class="sheets">{"".join(sheets)}</div><p class="note">{note}</p>')


def _tile(stock: Stock, ranking: Ranking, example: int) -> str:
    name, flipped = html.escape(stock.classes[stock.labels[example]]), bool(stock.flipped[example])
    exact = f"{stock.memorization[example]:.2f} ± {stock.se[example]:.2f}"
    about = f"example {example}, label {name}, memorization {exact}{', label flipped' if flipped else ''}"
    source = _png(stock.images[example].tobytes(), stock.images[example].shape)
    words = f"<span>{'✗ ' if flipped else ''}{name}</span>{svg.number(ranking.values[example])}"
    kind = ' class="flipped"' if flipped else ""
    return f'<figure{kind} title="{about}"><img src="{source}" alt="{about}">{words}</figure>'


@functools.lru_cache(maxsize=4096)
def _png(pixels: bytes, shape: tuple[int, int, int]) -> str:
    from PIL import Image

    array = np.frombuffer(pixels, np.uint8).reshape(shape)
    image = Image.fromarray(array[0] if shape[0] == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1)))
    packed = io.BytesIO()
    image.save(packed, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


# --- live results --------------------------------------------------------------------------------------------------------


def tow_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """ToW against ToW-MIA of every live run, numbered as in the table; dashes lead from vanilla to other runs on its set."""
    width, left, right, top, bottom = 400, 52, 384, 44, 260
    values = np.array([(row["tow"], row["tow_mia"]) for row in rows]) if rows else np.array([[0.6, 0.6]])
    floor = max(0.0, math.floor((values.min() - 0.04) * 10) / 10)
    x, y = svg.Axis(floor, 1.0, left, right), svg.Axis(floor, 1.0, bottom, top)
    parts = [svg.text(8, 14, "ToW and ToW-MIA (1: as if retrained)", kind="title")]
    parts += _strategy_key({row["strategy"] for row in rows})
    for tick in x.ticks(5):
        parts += [svg.line(x(tick), top, x(tick), bottom, "grid"), svg.line(left, y(tick), right, y(tick), "grid")]
        parts.append(svg.text(x(tick), bottom + 16, svg.number(tick), "middle", "soft"))
        parts.append(svg.text(left - 6, y(tick) + 4, svg.number(tick), "end", "soft"))
    parts += [svg.line(left, bottom, right, bottom), svg.line(left, top, left, bottom), svg.plus(x(1), y(1))]
    parts.append(svg.text((left + right) / 2, bottom + 33, "ToW → better", "middle"))
    parts.append(svg.text(14, (top + bottom) / 2, "ToW-MIA → better", "middle", turn=True))
    for row in rows:
        if (reference := _vanilla_of(row, rows)) is not None:
            ends = float(x(reference["tow"])), float(y(reference["tow_mia"])), float(x(row["tow"])), float(y(row["tow_mia"]))
            parts.append(svg.line(*ends, "axis", 'stroke-dasharray="4 3"'))
    for row in rows:
        at = float(x(row["tow"])), float(y(row["tow_mia"]))
        parts += [_strategy_mark(*at, row["strategy"]), svg.text(at[0] + 9, at[1] - 7, str(row["number"]))]
    if not rows:
        parts.append(svg.text((left + right) / 2, (top + bottom) / 2, "press “Unlearn this”", "middle", "soft"))
    return svg.drawing(width, bottom + 40, "ToW against ToW-MIA of the live runs", *parts)


def outcome(rows: Sequence[Mapping[str, Any]]) -> str:
    """What ToW is made of, for the newest run and vanilla on its set: how far accuracies and MIA are from the oracle's."""
    width, left, right, top, height = 560, 150, 540, 50, 42
    measures = {
        "acc_forget": "accuracy, forget set",
        "acc_retain": "accuracy, retain set",
        "acc_test": "accuracy, test set",
        "mia": "MIA efficacy",
    }
    if not rows:
        return ""
    newest = rows[-1]
    reference = _vanilla_of(newest, rows)
    shown = [newest] if reference is None else [reference, newest]
    x = svg.Axis(0.0, 1.0, left, right)
    title = f"Run {newest['number']}: the closer to the oracle (+), the better"
    parts = [svg.text(8, 14, title, kind="title"), svg.text(right, 14, f"{label(newest['algorithm'])}", "end", "soft")]
    floor = top + len(measures) * height - 12
    for tick in x.ticks(5):
        parts += [
            svg.line(x(tick), top - 18, x(tick), floor, "grid"),
            svg.text(x(tick), floor + 15, svg.number(tick), "middle", "soft"),
        ]
    for place, (key, about) in enumerate(measures.items()):
        level, ideal = top + place * height, float(x(newest[f"oracle_{key}"]))
        parts += [svg.text(left - 12, level + 4, about, "end"), svg.line(left, level, right, level, "grid")]
        for row in shown:
            if not math.isnan(row[key]):
                parts.append(svg.line(ideal, level, float(x(row[key])), level, "axis", 'stroke-width="2"'))
        for row in shown:
            if not math.isnan(row[key]):
                parts.append(_strategy_mark(float(x(row[key])), level, row["strategy"]))
        parts.append(svg.plus(ideal, level))
    return svg.drawing(width, floor + 22, "Accuracies and MIA efficacy beside the oracle's", *parts)


def _strategy_mark(x: float, y: float, strategy: str) -> str:
    color = f"var(--{strategy}, var(--other))"
    return svg.mark(x, y, SHAPES.get(strategy, "diamond"), color, filled=strategy != "vanilla", r=6)


def _strategy_key(strategies: set[str]) -> list[str]:
    parts, at = [svg.plus(332, 28), svg.text(344, 32, "oracle")], 14.0
    for name in ("vanilla", "shuffle", "rum_f", *sorted(strategies - {"vanilla", "shuffle", "rum_f"})):
        parts += [_strategy_mark(at, 28, name), svg.text(at + 11, 32, label(name))]
        at += 32 + 7 * len(label(name))
    return parts


def same_set(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("algorithm", "set", "seed"))


def _vanilla_of(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The reference of a run: vanilla, by the same algorithm, on the same set."""
    if row["strategy"] == "vanilla":
        return None
    return next((one for one in rows if one["strategy"] == "vanilla" and same_set(one, row)), None)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The live runs, the newest last; Δ is the difference to vanilla by the same algorithm on the same set."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "#": lambda row: str(row["number"]),
        "score": lambda row: label(row["score"]),
        "sizes": lambda row: " / ".join(map(str, row["sizes"])),
        "seed": lambda row: str(row["seed"]),
        "algorithm": lambda row: label(row["algorithm"]),
        "strategy": lambda row: label(row["strategy"]),
        "ToW": lambda row: f"{row['tow']:.3f}",
        "Δ": lambda row: _difference(row, rows, "tow"),
        "ToW-MIA": lambda row: f"{row['tow_mia']:.3f}",
        "Δ ": lambda row: _difference(row, rows, "tow_mia"),
        "sec.": lambda row: f"{row['seconds']:.1f}",
        "× oracle": lambda row: f"{row['seconds'] / row['oracle_seconds']:.2f}",
    }
    words = {"score", "algorithm", "strategy"}
    head = "".join(f"<th>{name}</th>" for name in columns)
    lines = []
    for row in rows:
        cells = (f"<td{' class=word' if name in words else ''}>{html.escape(write(row))}</td>" for name, write in columns.items())
        lines.append(f"<tr{' class=last' if row is rows[-1] else ''}>{''.join(cells)}</tr>")
    note = "Δ: difference to vanilla on the same set; × oracle: share of the time of retraining. One run each: try other seeds."
    if not rows:
        return ""
    return svg.page(f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div><p class="note">{note}</p>')


def _difference(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], key: str) -> str:
    reference = _vanilla_of(row, rows)
    return "" if reference is None else f"{row[key] - reference[key]:+.3f}".replace("-", "−")
