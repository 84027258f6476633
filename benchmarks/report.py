"""What `mulnb bench` leaves behind under `figures/bench/`: `bench.json`, a Markdown page and a figure."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.measures import Report
from benchmarks.timing import Growth, Pair, Spread
from mulnb.core import paths
from mulnb.figures import plotting
from mulnb.figures.plotting import INK, SOFT

NAME = "bench"  # the folder under `figures/`, and the files in it
HERE, THERE = "#0B4F8A", "#C75B12"
LINES = ("o", "s", "D", "^", "v")


def write(report: Report) -> Path:
    """Write the three files and return their folder. Raises `UserError` if it cannot be written."""
    folder = paths.results(NAME)
    paths.write_text(folder / f"{NAME}.json", to_json(report))
    paths.write_text(folder / f"{NAME}.md", markdown(report))
    plotting.save(draw(report), NAME, NAME)
    return folder


def to_json(report: Report) -> str:
    """The report as JSON; what is not known is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return (
            float(f"{value:.6g}")
            if isinstance(value, float) and math.isfinite(value)
            else None
            if isinstance(value, float)
            else value
        )

    return json.dumps(plain(asdict(report)), indent=1, ensure_ascii=False) + "\n"


# --- the page ------------------------------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """The report as a page: what was compared, what was measured alone, how costs grow, on which machine."""
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        "# Speed, beside the usual way",
        f"{machine['device']} ({machine['instructions']}), one core, one thread; networks in {machine['precision']}; {versions}. "
        "Medians with quartiles of n alternating repetitions, after a warm-up in which both ways gave the same numbers to "
        "rounding. Ratios are taken repetition by repetition; `mulnb bench` makes this page anew.",
        _table(
            ["", "work", "here", "usual way", "unit", "ratio", "target", "n", "difference"],
            [
                [
                    p.item,
                    p.name,
                    _spread(p.here),
                    _spread(p.usual),
                    p.unit,
                    _spread(p.ratio, "×"),
                    _goal(p),
                    p.ratio.n,
                    f"{p.difference:.0e}",
                ]
                for p in report.pairs
            ],
        ),
        _table(
            ["", "quantity", "value", "unit", "at most", "n"],
            [[f.item, f.name, _spread(f.value), f.unit, _limit(f.value.median, f.limit), f.value.n] for f in report.figures],
        ),
        _table(
            ["", "cost of", "in", "sizes", "seconds", "log-log slope", "at most"],
            [
                [g.item, g.name, g.size, _list(g.sizes), _list(g.seconds), f"{g.slope:.2f}", _limit(g.slope, g.limit)]
                for g in report.growth
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _spread(value: Spread, unit: str = "") -> str:
    around = "" if math.isnan(value.low) else f" [{number(value.low)}, {number(value.high)}]"
    return f"{number(value.median)}{unit}{around}"


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values)


def _goal(pair: Pair) -> str:
    if pair.target is None:
        return ""
    return f"≥ {pair.target:g}× {'met' if pair.ratio.median >= pair.target else '**missed**'}"


def _limit(value: float, limit: float | None) -> str:
    return "" if limit is None else f"{limit:g} {'met' if value <= limit else '**missed**'}"


# --- the figure ----------------------------------------------------------------------------------------------------------


def draw(report: Report) -> Figure:
    """Speed-ups with their targets, an epoch of every algorithm, and how costs grow."""
    with plotting.style():
        figure = plotting.Picture(height=0.9 + 0.26 * max(len(report.pairs), 9))
        ratios, epochs, growth = figure.subplots(1, 3, width_ratios=(1.3, 0.75, 1.35))
        _draw_ratios(ratios, report.pairs)
        _draw_epochs(epochs, report)
        _draw_growth(growth, report.growth)
        plotting.headline(figure, "The same numbers, sooner")
        machine = report.machine
        counts = sorted({pair.ratio.n for pair in report.pairs})
        n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        return plotting.finish(
            figure,
            f"{machine['device']} ({machine['instructions']}), one core, one thread; networks in {machine['precision']}. "
            f"Points are medians, bars quartiles of n = {n} alternating repetitions; upright: target (hollow: missed). "
            "÷4: a quarter of the width. Epochs: the network and the images of the profile digits. Dashed: linear growth.",
        )


def _draw_ratios(axes: Axes, pairs: list[Pair]) -> None:
    axes.set_title("Times faster than the usual way")
    for row, pair in enumerate(pairs):
        met = pair.target is None or pair.ratio.median >= pair.target
        axes.plot([pair.ratio.low, pair.ratio.high], [row, row], color=HERE, linewidth=1.6)
        axes.plot(pair.ratio.median, row, "o", color=HERE, markerfacecolor=HERE if met else "white", markersize=4.5)
        axes.annotate(
            f"{pair.ratio.median:.1f}×",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=plotting.SMALL,
            color=INK,
        )
        if pair.target is not None:
            axes.plot(pair.target, row, "|", color=THERE, markersize=9, markeredgewidth=1.6)
    largest = max(max(pair.ratio.high, pair.target or 0) for pair in pairs)
    axes.set(xscale="log", xlim=(0.8, largest * 1.4), ylim=(len(pairs) - 0.5, -0.5))
    axes.set_yticks(
        range(len(pairs)), [pair.name.replace("training step", "step").removesuffix(" test examples") for pair in pairs]
    )
    axes.axvline(1, color=SOFT, linewidth=0.8)
    _plain_ticks(axes.xaxis, [one for one in (1, 2, 5, 10, 30, 100, 300) if one < largest * 1.4])
    axes.grid(False, axis="y")


def _draw_epochs(axes: Axes, report: Report) -> None:
    axes.set_title("Unlearning epoch")
    rows = [figure for figure in report.figures if figure.item == "e"]
    for row, figure in enumerate(rows):
        axes.plot([figure.value.low, figure.value.high], [row, row], color=HERE, linewidth=1.6)
        axes.plot(figure.value.median, row, "s", color=HERE, markersize=4)
    axes.set_yticks(range(len(rows)), [figure.name.removeprefix("epoch of ") for figure in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(figure.value.high for figure in rows) * 1.1)
    axes.axvline(1, color=SOFT, linewidth=0.8)
    axes.set_xlabel("epochs of plain training")
    axes.grid(False, axis="y")


def _draw_growth(axes: Axes, growth: list[Growth]) -> None:
    axes.set_title("Cost against size")
    colors = ("#0B4F8A", "#2DB898", "#D55E00", "#7A4A1E", "#8E5BA6")
    handles = []
    for one, marker, color in zip(growth, LINES, colors, strict=False):
        x = [size / one.sizes[0] for size in one.sizes]
        y = [seconds / one.seconds[0] for seconds in one.seconds]
        axes.plot(x, y, marker=marker, color=color)
        label = f"{one.name}: ∝ {one.size}$^{{{one.slope:.2f}}}$"
        handles.append(Line2D([], [], color=color, marker=marker, label=label))
    most = max(one.sizes[-1] / one.sizes[0] for one in growth)
    axes.plot([1, most], [1, most], color=SOFT, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
    axes.set(xscale="log", yscale="log", xlabel="size, relative to the smallest", ylabel="time, relative to the smallest")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis, [1, 3, 10, 30, 100, 300, 1000])
    top = max(max(one.seconds) / one.seconds[0] for one in growth)
    axes.set_ylim(0.7, top**1.6)  # the legend gets the room above the lines
    axes.legend(handles=handles, loc="upper left", fontsize=plotting.SMALL, borderaxespad=0, labelspacing=0.3)


def _plain_ticks(axis, ticks: list[float]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
