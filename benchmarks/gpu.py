"""The two speed figures that need a GPU, each against its limit; `gpu.sh` runs it.

epoch    ResNet-18 with the CIFAR stem on 50 000 images of 32×32, batch 512. Forward and backward are 3.33 GFLOP an image.
pool     the authors' exact memorization: 400 ResNet-18 with the ImageNet stem on 32×32 images, 30 epochs of 35 000, batch 512.
stack    the pool of small networks of the profile `digits`, for completeness.

Every variant is timed in blocks of steps, after the steps in which its CUDA graph is recorded, with the device synchronised
around a block. Numbers are medians and quartiles over blocks. The images are random: a step takes as long on them as on real
ones.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.inputs import examples_of, random_images
from benchmarks.timing import Spread
from mulnb import models, pool, training
from mulnb.config import Recipe
from mulnb.core.workers import synchronise
from mulnb.fast import graphs
from mulnb.fast.stacked import Stack
from mulnb.training import Examples

EAGER, GRAPH, FUSED = {"MULNB_GRAPHS": "0"}, {"MULNB_GRAPHS": "1"}, {"MULNB_GRAPHS": "1", "MULNB_COMPILE": "1"}


@dataclass(frozen=True)
class Sizes:
    """How much work is timed."""

    width: int | None = None  # as published
    side: int = 32
    images: int = 50_000
    subset: int = 35_000
    batch: int = 512
    models: int = 400
    epochs: int = 30
    blocks: int = 7
    steps: int = 30  # a block
    flop: float = 3.33e9  # of the CIFAR-stem ResNet-18, an image, forward and backward
    matrix: int = 8192


REHEARSAL = Sizes(width=4, side=8, images=64, subset=48, batch=16, models=4, epochs=1, blocks=2, steps=2, matrix=64)


def main() -> int:
    """Measure what the results file does not have yet.

    Returns:
        0 if everything is measured, 3 if the time was up before, 2 if there is no GPU.
    """
    options = _parser().parse_args()
    if not (torch.cuda.is_available() or options.rehearse):
        print("no CUDA device here; --rehearse tries the script without one", file=sys.stderr)
        return 2

    sizes = REHEARSAL if options.rehearse else Sizes()
    torch.set_num_threads(1)  # the processor only launches
    results = json.loads(options.out.read_text()) if options.out.is_file() else {"machine": _machine(), "parts": {}}
    started, left = time.perf_counter(), []

    for name, measure in _parts(sizes):
        if name in results["parts"]:
            continue
        if time.perf_counter() - started > options.seconds:
            left.append(name)
            continue

        begun = time.perf_counter()
        try:
            results["parts"][name] = measure()
        except RuntimeError as error:  # one variant that does not work here must not cost the others
            results["parts"][name] = {"failed": str(error).splitlines()[0]}
        print(f"{time.perf_counter() - begun:6.1f} s  {name}: {json.dumps(results['parts'][name])}", flush=True)

        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")

    if left:
        print(f"not measured yet, the same command continues: {', '.join(left)}")
    return 3 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = Path("figures/bench/gpu.json")
    parser.add_argument("--out", type=Path, default=out, help="results; what is in it is not measured again")
    parser.add_argument("--seconds", type=float, default=480, help="begin nothing new after this long")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on whatever device there is: tests this script")
    return parser


def _machine() -> dict[str, str]:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {"device": name, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def _parts(sizes: Sizes) -> Iterator[tuple[str, Callable[[], dict]]]:
    """What is measured, the most wanted first."""
    yield "ceiling: bf16 matrix product", functools.partial(_ceiling, sizes)

    variants = {
        "float32, steps launched one by one": ("fp32", EAGER),
        "bf16, launched one by one": ("bf16", EAGER),
        "bf16, replayed": ("bf16", GRAPH),
        "bf16, fused and replayed": ("bf16", FUSED),
    }
    for name in reversed(variants):
        yield f"epoch: {name}", functools.partial(_epoch, sizes, *variants[name])

    for together, settings in ((4, FUSED), (8, FUSED), (1, FUSED), (4, GRAPH), (1, GRAPH), (1, EAGER)):
        how = ", launched one by one" if settings is EAGER else ", fused" if settings is FUSED else ""
        yield f"pool: {together} side by side{how}", functools.partial(_pool, sizes, together, settings)

    yield "pool: 8 models for 2 epochs, in fact", functools.partial(_pool_in_fact, sizes)
    for count in (25, 100):
        yield f"stack: {count} small networks", functools.partial(_stack, sizes, count)


def _ceiling(sizes: Sizes) -> dict:
    """The rate of the largest kind of work there is, on random numbers."""
    where = training.device()
    a, b = (torch.randn(sizes.matrix, sizes.matrix, device=where, dtype=torch.bfloat16) for _ in range(2))
    seconds = _blocks(lambda: a @ b, replace(sizes, steps=10))
    flop = 2 * sizes.matrix**3
    return {"tflops": asdict(Spread.of([flop / block / 1e12 for block in seconds]))}


def _epoch(sizes: Sizes, precision: str, settings: dict[str, str]) -> dict:
    """Seconds for 50 000 images, in full batches; and the share of the arithmetic limit at 790 TFLOP/s."""
    with _environment(settings):
        take = _taker(_data(sizes), sizes, 1, "cifar", precision)
        seconds = _blocks(take, sizes)

    epoch = [step * sizes.images / sizes.batch for step in seconds]
    limit = sizes.images * sizes.flop / 790e12
    return {"epoch_s": asdict(Spread.of(epoch)), "share_of_limit": limit / float(np.median(epoch)), **_memory()}


def _pool(sizes: Sizes, together: int, settings: dict[str, str]) -> dict:
    """Milliseconds a step of one model, when `together` take theirs at once; and the minutes that makes for the whole pool."""
    with _environment(settings):
        blocks = _blocks(_taker(_data(sizes), sizes, together, "imagenet", "bf16"), sizes)

    seconds = [block / together for block in blocks]  # of one step of one model
    steps = sizes.models * sizes.epochs * -(-sizes.subset // sizes.batch)
    return {
        "ms_per_model_step": asdict(Spread.of(seconds).times(1e3)),
        "minutes_for_all": float(np.median(seconds)) * steps / 60,
        **_memory(),
    }


def _pool_in_fact(sizes: Sizes) -> dict:
    """The same through `pool.train_in_turn`, with recordings, last batches and predictions."""
    data = _data(sizes)
    # in bf16, narrow networks become NaN on processors with AMX (seen with torch 2.15); a rehearsal needs no bf16
    precision = "bf16" if torch.cuda.is_available() else "fp32"
    recipe = Recipe(epochs=2, batch=sizes.batch, lr=0.01, precision=precision)
    seeds = range(8)
    member = pool.membership(seeds, len(data), sizes.subset / sizes.images, 0)
    subsets = [torch.from_numpy(np.flatnonzero(row)) for row in member]
    networks = [_network(sizes, "imagenet", seed) for seed in seeds]

    with _environment(FUSED):
        synchronise()
        started = time.perf_counter()
        pool.predict_each(pool.train_in_turn(networks, data, subsets, recipe, seeds), data)
        synchronise()
        seconds = time.perf_counter() - started

    share = len(seeds) * recipe.epochs / (sizes.models * sizes.epochs)
    return {"seconds": seconds, "side_by_side": pool.SIDE_BY_SIDE, "minutes_for_all": seconds / share / 60, **_memory()}


def _stack(sizes: Sizes, count: int) -> dict:
    """The pool of the profile `digits`: milliseconds a step of one of `count` networks that are trained as one."""
    data = examples_of(random_images(1293, 1, 8))
    networks = [models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed) for seed in range(count)]
    stack = Stack(networks).to(data.device).train()
    step = training.Step(stack, data, Recipe(epochs=1, batch=64, lr=0.1))
    pieces = torch.stack([torch.randperm(len(data), device=data.device)[:64] for _ in range(count)])
    seconds = _blocks(lambda: step(pieces, None, 0), sizes)
    return {"ms_per_model_step": asdict(Spread.of(seconds).times(1e3 / count))}


# --- how -----------------------------------------------------------------------------------------------------------------


def _data(sizes: Sizes) -> Examples:
    return examples_of(random_images(sizes.images, 3, sizes.side))


def _network(sizes: Sizes, stem: str, seed: int) -> torch.nn.Module:
    return models.build("resnet18", num_classes=10, width=sizes.width, stem=stem, seed=seed)


def _taker(data: Examples, sizes: Sizes, together: int, stem: str, precision: str) -> Callable[[], object]:
    """A function that takes one step of `together` networks, each time on other examples; its graph is recorded already."""
    recipe = Recipe(epochs=1, batch=sizes.batch, lr=0.01, precision=precision)
    steps = [training.Step(_network(sizes, stem, seed).to(data.device).train(), data, recipe) for seed in range(together)]
    take = graphs.Replayed(steps)
    full = len(data) // sizes.batch * sizes.batch
    pieces = torch.randperm(len(data), device=data.device)[:full].split(sizes.batch)
    turn = 0

    def once() -> None:
        nonlocal turn
        chosen = [pieces[(turn + number) % len(pieces)] for number in range(together)]
        take(chosen, [None] * together, 0)
        turn += 1

    for _ in range(graphs.WARM_UP + 2):
        once()
    return once


def _blocks(work: Callable[[], object], sizes: Sizes) -> list[float]:
    """Seconds of one `work`, once for each block."""
    seconds = []

    for _ in range(sizes.blocks + 1):
        synchronise()
        started = time.perf_counter()
        for _ in range(sizes.steps):
            work()
        synchronise()
        seconds.append((time.perf_counter() - started) / sizes.steps)

    return seconds[1:]  # the first one warms up


def _memory() -> dict[str, float]:
    """The peak of the device's memory since the last call."""
    if not torch.cuda.is_available():
        return {}

    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return {"peak_gb": round(peak, 2)}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while, and a device left as it was found."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
