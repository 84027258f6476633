"""What `mulnb bench` leaves behind in the folder `bench` of the results: `bench.json`, a Markdown page and a figure."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.measures import Measurements
from benchmarks.timing import Growth, Measure, Pair, Spread
from mulnb.core import paths
from mulnb.core.vocabulary import label
from mulnb.figures import plotting
from mulnb.figures.plotting import INK, SOFT
from mulnb.results.markdown import grid

NAME = "bench"  # the folder of the results, and the files in it
HERE, THERE = "#0B4F8A", "#C75B12"
MARKERS = ("o", "s", "D", "^", "v")
COLORS = ("#0B4F8A", "#2DB898", "#D55E00", "#7A4A1E", "#8E5BA6")


def write(found: Measurements) -> Path:
    """Write the three files.

    Returns:
        Their folder.

    Raises:
        UserError: it cannot be written.
    """
    folder = paths.results(NAME)
    paths.write_text(folder / f"{NAME}.json", to_json(found))
    paths.write_text(folder / f"{NAME}.md", markdown(found))
    plotting.save(draw(found), NAME, NAME)
    return folder


def to_json(found: Measurements) -> str:
    """The measurements as JSON, with six digits; what is not known is null."""
    return json.dumps(_plain(asdict(found)), indent=1, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


# --- the page ------------------------------------------------------------------------------------------------------------


def markdown(found: Measurements) -> str:
    """The measurements as a page: what was compared, what was measured alone, how costs grow, on which machine."""
    machine = found.machine
    versions = ", ".join(map(" ".join, machine["versions"].items()))
    parts = [
        "# Speed, beside the usual way",
        f"{machine['device']} ({machine['instructions']}), one core, one thread; networks in {machine['precision']}; {versions}. "
        "Medians with quartiles of n alternating repetitions, after a warm-up in which both ways gave the same numbers to "
        "rounding. Ratios are taken repetition by repetition; `mulnb bench` makes this page anew.",
        grid(pd.DataFrame(map(_pair_row, found.pairs))),
        grid(pd.DataFrame(map(_measure_row, found.measures))),
        grid(pd.DataFrame(map(_growth_row, found.growth))),
    ]
    return "\n\n".join(parts) + "\n"


def _pair_row(pair: Pair) -> dict[str, str]:
    return {
        "item": pair.item,
        "work": pair.name,
        "here": _spread(pair.here),
        "usual way": _spread(pair.usual),
        "unit": pair.unit,
        "ratio": _spread(pair.ratio, "×"),
        "target": _target(pair),
        "n": str(pair.ratio.n),
        "difference": f"{pair.difference:.0e}",
    }


def _measure_row(measure: Measure) -> dict[str, str]:
    return {
        "item": measure.item,
        "quantity": measure.name,
        "value": _spread(measure.value),
        "unit": measure.unit,
        "at most": _limit(measure.value.median, measure.limit),
        "n": str(measure.value.n),
    }


def _growth_row(growth: Growth) -> dict[str, str]:
    return {
        "item": growth.item,
        "cost of": growth.name,
        "in": growth.size,
        "sizes": _list(growth.sizes),
        "seconds": _list(growth.seconds),
        "log-log slope": f"{growth.slope:.2f}",
        "at most": _limit(growth.slope, growth.limit),
    }


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _spread(value: Spread, unit: str = "") -> str:
    """`1.96× [1.90, 1.99]`"""
    around = "" if math.isnan(value.low) else f" [{number(value.low)}, {number(value.high)}]"
    return f"{number(value.median)}{unit}{around}"


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values)


def _target(pair: Pair) -> str:
    if pair.target is None:
        return ""
    return f"≥ {pair.target:g}× {'met' if pair.ratio.median >= pair.target else '**missed**'}"


def _limit(value: float, limit: float | None) -> str:
    if limit is None:
        return ""
    return f"{limit:g} {'met' if value <= limit else '**missed**'}"


# --- the figure ----------------------------------------------------------------------------------------------------------


def draw(found: Measurements) -> Figure:
    """Speed-ups with their targets, an epoch of every algorithm, and how costs grow."""
    machine = found.machine
    counts = sorted({pair.ratio.n for pair in found.pairs})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    caption = (
        f"{machine['device']} ({machine['instructions']}), one core, one thread; networks in {machine['precision']}. "
        f"Points are medians, bars quartiles of n = {n} alternating repetitions; upright: target (hollow: missed). "
        "÷4: a quarter of the width. Epochs: the network and the images of the profile digits. Dashed: linear growth."
    )

    with plotting.style():
        figure = plotting.Picture(height=0.9 + 0.26 * max(len(found.pairs), 9))
        ratios, epochs, growth = figure.subplots(1, 3, width_ratios=(1.3, 0.75, 1.35))
        _draw_ratios(ratios, found.pairs)
        _draw_epochs(epochs, [measure for measure in found.measures if measure.item == "e"])
        _draw_growth(growth, found.growth)
        plotting.headline(figure, "The same numbers, sooner")
        return plotting.finish(figure, caption)


def _draw_ratios(axes: Axes, pairs: list[Pair]) -> None:
    """How many times faster than the usual way, a row each."""
    for row, pair in enumerate(pairs):
        met = pair.target is None or pair.ratio.median >= pair.target
        axes.plot([pair.ratio.low, pair.ratio.high], [row, row], color=HERE, linewidth=1.6)
        axes.plot(pair.ratio.median, row, "o", color=HERE, markerfacecolor=HERE if met else "white", markersize=4.5)
        if pair.target is not None:
            axes.plot(pair.target, row, "|", color=THERE, markersize=9, markeredgewidth=1.6)

        # the number stands right of the axes, where no bar reaches
        text, place = f"{pair.ratio.median:.1f}×", (1.02, row)
        axes.annotate(text, place, xycoords=("axes fraction", "data"), va="center", fontsize=plotting.SMALL, color=INK)

    names = [pair.name.replace("training step", "step").removesuffix(" test examples") for pair in pairs]
    largest = max(max(pair.ratio.high, pair.target or 0) for pair in pairs)
    axes.set_title("Times faster than the usual way")
    axes.set(xscale="log", xlim=(0.8, largest * 1.4), ylim=(len(pairs) - 0.5, -0.5))
    axes.set_yticks(range(len(pairs)), names)
    axes.axvline(1, color=SOFT, linewidth=0.8)
    axes.grid(False, axis="y")
    _plain_ticks(axes.xaxis, [tick for tick in (1, 2, 5, 10, 30, 100, 300) if tick < largest * 1.4])


def _draw_epochs(axes: Axes, measures: list[Measure]) -> None:
    """What an epoch of every unlearning algorithm costs, in epochs of training."""
    for row, measure in enumerate(measures):
        axes.plot([measure.value.low, measure.value.high], [row, row], color=HERE, linewidth=1.6)
        axes.plot(measure.value.median, row, "s", color=HERE, markersize=4)

    axes.set_title("Unlearning epoch")
    axes.set_yticks(range(len(measures)), [label(measure.name.removeprefix("epoch of ")) for measure in measures])
    axes.set_ylim(len(measures) - 0.5, -0.5)
    axes.set_xlim(0, max(measure.value.high for measure in measures) * 1.1)
    axes.set_xlabel("epochs of plain training")
    axes.axvline(1, color=SOFT, linewidth=0.8)
    axes.grid(False, axis="y")


def _draw_growth(axes: Axes, costs: list[Growth]) -> None:
    """Time against size, both relative to the smallest; a line for each cost, and linear growth dashed."""
    handles = []
    for cost, marker, color in zip(costs, MARKERS, COLORS, strict=False):
        x = [size / cost.sizes[0] for size in cost.sizes]
        y = [seconds / cost.seconds[0] for seconds in cost.seconds]
        axes.plot(x, y, marker=marker, color=color)
        text = f"{cost.name}: ∝ {cost.size}$^{{{cost.slope:.2f}}}$"
        handles.append(Line2D([], [], color=color, marker=marker, label=text))

    most = max(cost.sizes[-1] / cost.sizes[0] for cost in costs)
    axes.plot([1, most], [1, most], color=SOFT, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)

    axes.set_title("Cost against size")
    axes.set(xscale="log", yscale="log", xlabel="size, relative to the smallest", ylabel="time, relative to the smallest")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis, [1, 3, 10, 30, 100, 300, 1000])

    top = max(max(cost.seconds) / cost.seconds[0] for cost in costs)
    axes.set_ylim(0.7, top**1.6)  # the legend gets the room above the lines
    axes.legend(handles=handles, loc="upper left", fontsize=plotting.SMALL, borderaxespad=0, labelspacing=0.3)


def _plain_ticks(axis: Axis, ticks: list[float]) -> None:
    """Ticks at `ticks` only, written as plain numbers on a logarithmic axis."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
