"""See the forgetting: how sure the model is of each label before, while and after it unlearns, beside the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mulnb.core.vocabulary import STRATA
from mulnb.explorer import images, svg
from mulnb.explorer.outcomes import describe
from mulnb.explorer.replay import Epochs
from mulnb.explorer.stock import Stock
from mulnb.forget import Strata

SHOWN = 4  # failures of each stratum
ROW, TOP, BOX, HIGH = 56, 52, 56, 38  # pixels: rows of the picture, and the small curves in it


def picture(
    row: Mapping[str, Any] | None, stock: Stock, chosen: Strata | None, probability: images.Probability, epochs: Epochs | None
) -> str:
    """The mean of each stratum, then the examples that end furthest from the oracle, as curves over the epochs.

    Args:
        row: the run that is explained.
        stock: its images.
        chosen: its forget set.
        probability: of every label, by the original and the unlearned model and the oracle; empty for a run that diverged.
        epochs: the way between; None: only the two ends are known.
    """
    if row is None or not probability:
        return (
            '<p><b>See the forgetting</b></p><p class="note empty">How sure the model is of each forgotten label: before '
            "unlearning, after it, and what the oracle says, which never saw the image. It appears here after a run.</p>"
        )
    order = chosen.forget  # sorted: the columns of `epochs`
    ends = np.stack([probability["original"][order], probability["unlearned"][order]])
    way = ends if epochs is None else epochs.probability  # [E + 1, |S|]
    stages = [] if epochs is None else epochs.stages

    parts = [
        svg.text(8, 13, f"See the forgetting. Run {row['number']}: {describe(row)}", kind="title"),
        *_key(len(way) - 1),
    ]
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        top, columns = TOP + place * ROW, np.searchsorted(order, part)
        parts.append(svg.text(8, top + HIGH / 2 + 4, stratum))
        parts += _curve(70, top, way[:, columns].mean(1), probability["oracle"][part].mean(), stratum, stages)
        for number, example in enumerate(images.furthest(probability, part)[:SHOWN].tolist()):
            column = int(np.searchsorted(order, example))
            parts.append(_example(146 + number * 104, top, stock, example, way[:, column], probability, stratum, stages))
    drawn = svg.drawing(560, TOP + 3 * ROW, "Probability of the label over the epochs of unlearning", *parts)
    return drawn + _note(row, epochs)


def _note(row: Mapping[str, Any], epochs: Epochs | None) -> str:
    if epochs is not None:
        begins = " A vertical line: a stage begins." if epochs.stages else ""
        return f'<p class="note">From 0 to 1: the probability of the label. Click a curve to see its image.{begins}</p>'
    watch = f'<button data-act="watch:{row["number"]}">Watch every epoch</button>'
    return f'<p class="note">Only before and after are known; the run is repeated to see the way between. {watch}</p>'


def _key(epochs: int) -> list[str]:
    """What the lines mean, and what the columns are."""
    dashes = 'stroke-dasharray="4 3" style="stroke:var(--ink)" stroke-width="1.6"'
    over = f"over {epochs} epochs" if epochs > 1 else "before and after"
    return [
        svg.text(8, 31, f"unlearned model: {over}"),
        svg.line(300, 27, 324, 27, "axis", dashes),
        svg.text(330, 31, "oracle"),
        svg.text(70, TOP - 6, "mean", kind="soft"),
        svg.text(146, TOP - 6, "furthest from the oracle first", kind="soft"),
    ]


def _example(
    left: float,
    top: float,
    stock: Stock,
    example: int,
    values: np.ndarray,
    said: images.Probability,
    stratum: str,
    stages: list[int],
) -> str:
    """An image beside its curve, with before → after; a click enlarges it."""
    oracle = float(said["oracle"][example])
    name = stock.classes[stock.labels[example]]
    body = f'<image href="{images.png(stock, example)}" x="{left}" y="{top}" width="34" height="34" class="pixels"/>'
    body += svg.text(left + 17, top + HIGH + 10, name[:6], "middle", "small")
    body += "".join(_curve(left + 38, top, values, oracle, stratum, stages))
    body += svg.text(left + 38, top + HIGH + 10, f"{values[0]:.2f}→{values[-1]:.2f}", kind="small")
    words = f"example {example}, label {name}: {values[0]:.2f} before, {values[-1]:.2f} after, oracle {oracle:.2f}"
    return svg.button(body, f"image:{example}", words)


def _curve(left: float, top: float, values: np.ndarray, oracle: float, stratum: str, stages: list[int]) -> list[str]:
    """A small curve from 0 to 1 with the oracle's value as a dashed line, and where stages begin."""
    x, y = svg.Axis(0, len(values) - 1, left, left + BOX), svg.Axis(0, 1, top + HIGH, top)
    parts = [svg.rect(left, top, BOX, HIGH, "transparent", extra='stroke="var(--faint)"')]
    parts += [svg.line(x(stage), top, x(stage), top + HIGH, "grid") for stage in stages]
    parts.append(svg.line(left, y(oracle), left + BOX, y(oracle), "axis", 'stroke-dasharray="4 3" style="stroke:var(--ink)"'))
    parts.append(svg.polyline(x(np.arange(len(values))), y(values), f"var(--{stratum})"))
    return [*parts, f'<circle cx="{left + BOX:.1f}" cy="{y(values[-1]):.1f}" r="2.6" fill="var(--{stratum})"/>']
