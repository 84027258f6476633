"""`mulnb bench` compares like with like, says when it does not, and writes what it measured."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from benchmarks import plan
from benchmarks import report as bench_report
from benchmarks import timing as bench_timing
from benchmarks.timing import Spread
from mulnb import models
from mulnb.__main__ import main
from mulnb.core import paths


@pytest.mark.slow
def test_a_quick_bench_writes_its_report_figure_and_page(home, capsys):
    """Every item of the plan is measured; both ways of every pair gave the same numbers, or there would be no report."""
    assert main(["bench", "--quick"]) == 0
    folder = home / "figures" / "bench"
    report = json.loads((folder / "bench.json").read_text())
    assert {pair["item"] for pair in report["pairs"]} == set("abcdf")
    assert {measure["item"] for measure in report["measures"]} == set("ceg")
    assert {growth["name"] for growth in report["growth"]} == {"pool", "recording", "attack"}
    for pair in report["pairs"]:
        assert pair["here"]["n"] == plan.QUICK.repeats and pair["difference"] < 0.05 and pair["ratio"]["median"] > 0
    page = (folder / "bench.md").read_text()
    assert report["machine"]["device"] in page and all(pair["name"] in page for pair in report["pairs"])
    assert page in capsys.readouterr().out
    assert (folder / "bench.png").stat().st_size > 10_000 and (folder / "bench.svg").is_file()


def test_two_ways_that_disagree_are_an_error_not_a_result():
    with pytest.raises(RuntimeError, match="differ by 1"):
        bench_timing.pair("a", "no trick at all", lambda: torch.zeros(3), lambda: torch.ones(3), repeats=1, tolerance=0.01)


def test_ways_are_run_in_turns_after_a_warm_up():
    order = []
    bench_timing.alternate({"one": lambda: order.append(1), "two": lambda: order.append(2)}, repeats=2)
    assert order == [1, 2, 1, 2, 1, 2]


def test_growth_is_the_slope_of_log_time_on_log_size(monkeypatch):
    monkeypatch.setattr(bench_timing, "alternate", lambda works, repeats: ({name: [int(name) ** 2 / 7] for name in works}, {}))
    growth = bench_timing.growth("g", "quadratic", "N", {n: None for n in (10, 40, 90)}, 1)
    assert growth.slope == pytest.approx(2)


def test_a_spread_is_a_median_with_quartiles():
    spread = Spread.of([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (spread.median, spread.low, spread.high, spread.n) == (3.0, 2.0, 4.0, 5)


@pytest.mark.parametrize(("value", "text"), [(0.012345, "0.0123"), (1.2345, "1.23"), (123.45, "123"), (4567.0, "4567"), (0, "0")])
def test_numbers_are_written_with_three_digits_and_no_exponent(value, text):
    assert bench_report.number(value) == text
    assert bench_report.number(math.nan) == "nan"


def test_narrow_resnets_stride_by_pooling():
    """oneDNN issue 6035: a strided 1×1 convolution with few channels crashes the process; the way round it changes no number."""
    model = models.build("resnet18", num_classes=3, width=4, seed=0).eval()
    x = torch.randn(2, 3, 16, 16)
    logits = model(x)
    for module in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        if isinstance(module[0], nn.Sequential) and isinstance(module[0][0], nn.AvgPool2d):
            conv = module[0][1]
            assert conv.in_channels < 16 and conv.stride == (1, 1)
            conv.stride, module[0] = (2, 2), conv
    assert torch.allclose(model(x), logits, atol=1e-5)
    wide = models.build("resnet18", num_classes=3, width=16, seed=0)
    assert not any(isinstance(module, nn.AvgPool2d) for module in wide.modules())


def test_what_the_readme_says_of_streaming():
    """The committed table: the peak does not grow with the number of images, and the README has its numbers."""
    lines = (paths.CHECKOUT / "figures/bench/streaming.md").read_text().splitlines()
    table = [line.split("|")[1:-1] for line in lines if line.startswith("|")]
    rows = [[float(cell) for cell in cells] for cells in table[2:]]
    few, many = rows[0], rows[-1]
    assert many[0] == 25 * few[0] and many[5] < 1.1 * few[5]

    words = " ".join((paths.CHECKOUT / "README.md").read_text().split())
    assert f"peaks at {many[5]:.0f} MiB, with 2 000 of them at {few[5]:.0f}; a plainly written loop at {many[3]:.0f}." in words
    assert f"It takes {many[4]:.0f} s instead of the loop's {many[2]:.0f}," in words
