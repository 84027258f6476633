"""`mulnb bench`: what is fast here, side by side with the usual way, in one run.

Both ways run alternately on one core with one thread each, after a warm-up whose results are compared: a faster way that gives
other numbers is an error, not a result. Times are medians with quartiles, ratios are taken repetition by repetition.
"""

from __future__ import annotations

import copy
import functools
import inspect
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import usual
from benchmarks.timing import Figure, Growth, Pair, Spread, Way, alternate, difference_of, growth, pair
from mulnb import audit, config, models, pool, proxies, training, unlearning
from mulnb.config import Recipe
from mulnb.core import paths
from mulnb.core.machine import device_name, git_commit
from mulnb.core.workers import single_thread
from mulnb.data import ImageSet, Splits, load_data
from mulnb.proxies import SignalRecorder
from mulnb.training import Batch, Examples


@dataclass(frozen=True)
class Network:
    """A training step to measure: architecture and width (None: as published), image side and channels, batch, steps a run."""

    arch: str
    width: int | None
    side: int
    channels: int
    batch: int
    steps: int


@dataclass(frozen=True)
class Plan:
    """How much is measured. `FULL` takes a few minutes on two cores, `QUICK` is for tests and says nothing about speed."""

    repeats: int
    networks: tuple[Network, ...]
    models: int  # of the pool that is trained both ways
    epochs: int
    pool_models: tuple[int, ...]  # how its cost grows with M …
    pool_examples: tuple[int, ...]  # … and with N
    record_examples: tuple[int, ...]
    attack_examples: tuple[int, ...]
    peak_models: tuple[int, int]


FULL = Plan(
    repeats=7,
    networks=(
        Network("small_cnn", 8, 8, 1, batch=64, steps=20),
        Network("resnet18", 16, 32, 3, batch=64, steps=2),
        Network("resnet18", None, 32, 3, batch=16, steps=1),
        Network("resnet50", 16, 32, 3, batch=32, steps=2),
        Network("vgg16_bn", 16, 64, 3, batch=32, steps=2),
    ),
    models=25,
    epochs=2,
    pool_models=(25, 50, 100),
    pool_examples=(300, 600, 1200),
    record_examples=(2_000, 8_000, 32_000),
    attack_examples=(360, 1_000, 3_000, 10_000),
    peak_models=(25, 200),
)
QUICK = Plan(
    repeats=2,
    networks=(Network("small_cnn", 4, 8, 1, batch=16, steps=2), Network("resnet18", 4, 16, 3, batch=8, steps=1)),
    models=3,
    epochs=1,
    pool_models=(2, 4),
    pool_examples=(100, 200),
    record_examples=(500, 1_000),
    attack_examples=(50, 100, 200),
    peak_models=(2, 4),
)


@dataclass(frozen=True)
class Report:
    machine: dict[str, Any]
    pairs: list[Pair]
    figures: list[Figure]
    growth: list[Growth]


def run(plan: Plan = FULL, tell: Callable[[str], None] = lambda line: None) -> Report:
    """Measure everything in `plan`; `tell` hears what is being measured. Raises `RuntimeError` if two ways disagree."""
    report = Report(_machine(), [], [], [])
    started = time.perf_counter()
    with single_thread():
        precision = _faster_precision()
        report.machine["precision"] = precision
        for measure in (_steps, _pool, _recording, _curvature, _epochs, _attack, _peak_memory):
            tell(f"{time.perf_counter() - started:4.0f} s  {measure.__doc__.splitlines()[0]}")
            for one in measure(plan, precision):
                {Pair: report.pairs, Figure: report.figures, Growth: report.growth}[type(one)].append(one)
    report.machine["minutes"] = round((time.perf_counter() - started) / 60, 2)
    return report


# --- measuring -----------------------------------------------------------------------------------------------------------


def _faster_precision() -> str:
    """bf16 where a short trial shows that it is the faster one: on a GPU, or a processor with instructions for it."""
    if torch.cuda.is_available():
        return "bf16"
    data = examples_of(random_images(16, 3, 32))

    def trial(precision: str) -> Way:
        recipe = Recipe(epochs=1, batch=16, lr=0.01, precision=precision)
        return lambda: training.fit(models.build("resnet18", num_classes=10, width=8, seed=0), data, recipe, 0)

    seconds, _ = alternate({precision: trial(precision) for precision in ("fp32", "bf16")}, 1)
    return min(seconds, key=lambda precision: seconds[precision])


def _machine() -> dict[str, Any]:
    return {
        "device": device_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": 1,
        "versions": {name: version(name) for name in ("mulnb", "torch", "torchvision", "scikit-learn", "numpy")},
        "python": sys.version.split()[0],
        "git_commit": git_commit(),
    }


def random_images(n: int, channels: int, side: int, classes: int = 10) -> ImageSet:
    """Random images and labels: a step takes as long on them as on real ones."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    return ImageSet(pixels, rng.integers(0, classes, n), tuple(map(str, range(classes))))


def _statistics(images: ImageSet) -> tuple[Tensor, Tensor]:
    splits = Splits(images, images, images, np.zeros(len(images), dtype=bool))
    return torch.from_numpy(splits.mean), torch.from_numpy(splits.std)


def examples_of(images: ImageSet) -> Examples:
    mean, std = _statistics(images)
    where = training.device()
    return Examples(torch.from_numpy(images.images).to(where), torch.from_numpy(images.labels).to(where), mean, std)


def _pil(images: ImageSet) -> usual.PilImages:
    return usual.PilImages(images, *_statistics(images))


@functools.cache
def _digits(n: int | None = None) -> ImageSet:
    """The training images of the profile `digits`, or the first n of them."""
    train = load_data(config.load_profile("digits")).train
    return train if n is None else train.take(np.arange(n))


# --- what is measured ----------------------------------------------------------------------------------------------------


def _steps(plan: Plan, precision: str) -> Iterator[Pair]:
    """(a) a training step of each architecture: data on the device, channels_last / PIL, DataLoader, contiguous float32"""
    for network in plan.networks:
        images = random_images(network.batch * network.steps, network.channels, network.side)
        fast = precision if network.arch != "small_cnn" else "fp32"
        yield pair(
            "a",
            f"training step, {network.arch}"
            + (f" ÷{64 // network.width}" if network.width and network.arch != "small_cnn" else ""),
            *_both_ways(network, images, fast),
            plan.repeats,
            tolerance=1e-2 if fast == "fp32" else 5e-2,
            count=network.steps,
            target=2.0 if network.arch == "resnet18" else None,
        )


def _both_ways(network: Network, images: ImageSet, precision: str) -> tuple[Way, Way]:
    data, pil = examples_of(images), _pil(images)
    recipe = Recipe(epochs=1, batch=network.batch, lr=0.01, precision=precision)
    start = models.build(network.arch, num_classes=10, in_channels=network.channels, width=network.width, seed=0).to(data.device)

    # compared by the loss: the first updates of a fresh ResNet are ill-conditioned, two memory layouts of the same float32
    # arithmetic differ by 2 to 3 % (ResNet-18) and more (ResNet-50) in single weights
    def here() -> list[float]:
        losses: list[float] = []
        training.fit(copy.deepcopy(start), data, recipe, 0, after_epoch=lambda epoch, loss: losses.append(loss))
        return losses

    def the_usual() -> list[float]:
        losses: list[float] = []
        model = copy.deepcopy(start).to(memory_format=torch.contiguous_format)
        usual.train(model, pil, recipe, 0, after_epoch=lambda epoch, loss: losses.append(loss))
        return losses

    return here, the_usual


def _pool(plan: Plan, precision: str) -> Iterator[Pair | Growth]:
    """(b, g) a pool of small models: as one stack / one after another"""
    images = _digits()
    ways = _pool_ways(images, plan.models, plan.epochs)
    yield pair("b", f"pool of {plan.models} models", *ways, plan.repeats, 1e-5, "s", target=6.0, differ=_of_the_median_model)
    few = _digits(min(plan.pool_examples))
    by_models = {m: lambda m=m: _train_pool(few, m, 1) for m in plan.pool_models}
    yield growth("g", "pool", "M", by_models, min(plan.repeats, 3), 1.05)
    by_examples = {n: lambda n=n: _train_pool(_digits(n), min(plan.models, 10), 1) for n in plan.pool_examples}
    yield growth("g", "pool", "N", by_examples, min(plan.repeats, 3), 1.05)


def _of_the_median_model(here: Tensor, the_usual: Tensor) -> float:
    """How far the logits [M, N, K] of two pools are apart, at most, in the median model.

    Not in the worst one: a model or two of 25 turn rounding into a hundredth, also when the usual way is run twice from weights
    that are 1e-7 apart, while the others agree to 1e-6.
    """
    return float(np.median([difference_of(a, b) for a, b in zip(here, the_usual, strict=True)]))


def _pool_setting(
    images: ImageSet, count: int, epochs: int, start: int = 0
) -> tuple[list[nn.Module], list[Tensor], Recipe, range]:
    seeds = range(start, start + count)
    networks = [models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed) for seed in seeds]
    subsets = [torch.from_numpy(np.flatnonzero(row)) for row in pool.membership(seeds, len(images), 0.7, 0)]
    return networks, subsets, Recipe(epochs=epochs, batch=64, lr=0.02), seeds


def _pool_ways(images: ImageSet, count: int, epochs: int) -> tuple[Way, Way]:
    data, pil = examples_of(images), _pil(images)

    def here() -> Tensor:
        networks, *rest = _pool_setting(images, count, epochs)
        return pool.train_stacked(networks, data, *rest)

    def the_usual() -> Tensor:
        networks, *rest = _pool_setting(images, count, epochs)
        contiguous = [network.to(data.device, memory_format=torch.contiguous_format) for network in networks]
        return usual.pool(contiguous, pil, *rest)

    return here, the_usual


def _train_pool(images: ImageSet, count: int, epochs: int, group: int = 25) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pool as the study trains it, group by group; what is kept of each model: correctness as bits, margins as float16."""
    data, kept = examples_of(images), []
    for start in range(0, count, group):
        networks, subsets, recipe, seeds = _pool_setting(images, min(group, count - start), epochs, start)
        logits = pool.train_stacked(networks, data, subsets, recipe, seeds)
        outcome = pool.outcomes(pool.membership(seeds, len(images), 0.7, 0), logits, data.labels)
        kept.append((np.packbits(outcome.correct, axis=1), outcome.margin))
    return kept


def _recording(plan: Plan, precision: str) -> Iterator[Pair | Figure | Growth]:
    """(c, g) the four training signals: laid aside and added up / example by example with .item()"""
    images = _digits()
    data = examples_of(images)
    start = models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=0).to(data.device)
    seen = _outputs(data, start)

    def loop() -> dict[str, np.ndarray]:
        recorder = usual.LoopRecorder(len(data))
        for batch, logits in seen:
            recorder.record(batch.index, batch.labels, logits)
        return recorder.sums

    target = 30.0
    yield pair("c", "recording four signals", lambda: _record(data, seen), loop, plan.repeats, 1e-4, "µs", len(seen), target)
    recipe = Recipe(epochs=1, batch=64, lr=0.01)
    ways = {"record": lambda: _record(data, seen), "train": lambda: training.fit(copy.deepcopy(start), data, recipe, 0)}
    seconds, _ = alternate(ways, plan.repeats)
    share = [100 * a / b for a, b in zip(seconds["record"], seconds["train"], strict=True)]
    yield Figure("c", "recording, share of the training time of the smallest model", "%", Spread.of(share), 2.0)
    sizes = {}
    for n in plan.record_examples:
        many = examples_of(random_images(n, 1, 8))
        sizes[n] = functools.partial(_record, many, _outputs(many, start))
    yield growth("g", "recording", "N", sizes, plan.repeats, 1.05)


@torch.no_grad()
def _outputs(data: Examples, model: nn.Module) -> list[tuple[Batch, Tensor]]:
    pieces = torch.arange(len(data), device=data.device).split(64)
    batches = [Batch(piece, data.inputs(piece), data.labels[piece], 0) for piece in pieces]
    return [(batch, model(batch.inputs)) for batch in batches]


def _record(data: Examples, outputs: Sequence[tuple[Batch, Tensor]]) -> dict[str, np.ndarray]:
    recorder = SignalRecorder(len(data), data.device)
    for batch, logits in outputs:
        recorder.record(batch, logits)
    return recorder.raw()


def _curvature(plan: Plan, precision: str) -> Iterator[Pair]:
    """(d) loss curvature: two gradients of the input / four forward passes and the weights' gradients too"""
    network = plan.networks[1]
    for arch, width, images in (
        ("small_cnn", plan.networks[0].width, _digits(max(plan.pool_examples))),
        (network.arch, network.width, random_images(2 * network.batch, network.channels, network.side)),
    ):
        data = examples_of(images)
        channels = images.images.shape[1]
        model = models.build(arch, num_classes=10, in_channels=channels, width=width, seed=0).to(data.device).eval()
        plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        inputs = data.inputs(torch.arange(len(data), device=data.device)).contiguous()
        here = lambda model=model, data=data: proxies.loss_curvature(model, data, 0.01)  # noqa: E731
        batches = list(zip(inputs.split(512), data.labels.split(512), strict=True))
        the_usual = lambda plain=plain, batches=batches: torch.cat([usual.loss_curvature(plain, *one, 0.01) for one in batches])  # noqa: E731
        yield pair("d", f"loss curvature, {arch}", here, the_usual, plan.repeats, 5e-2, "µs", len(images), 1.8)


def _epochs(plan: Plan, precision: str) -> Iterator[Figure]:
    """(e) an epoch of every unlearning algorithm, in epochs of plain training"""
    images = _digits(min(plan.pool_examples) if plan.repeats < 3 else None)
    data = examples_of(images)

    def fresh(seed: int) -> nn.Module:
        return models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed)

    recipe = {"epochs": 1, "batch": 128, "lr": 1e-3}
    trained = training.fit(fresh(0).to(data.device), data, Recipe(**recipe), 0)
    forget, retain = torch.arange(len(data), device=data.device).split([len(data) // 10, len(data) - len(data) // 10])

    def unlearn(name: str) -> Way:
        algorithm = unlearning.ALGORITHMS[name]
        known = inspect.signature(algorithm).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        settings = {key: value for key, value in recipe.items() if takes_all or key in known}
        settings |= {"msteps": 1} if "msteps" in known else {}  # SCRUB's passes over S: no more than there are epochs
        return lambda: algorithm(copy.deepcopy(trained), data, forget, retain, seed=0, fresh=fresh, **settings)

    ways = {name: unlearn(name) for name in unlearning.ALGORITHMS}
    ways["plain"] = lambda: training.fit(copy.deepcopy(trained), data, Recipe(**recipe), 0, index=retain)
    seconds, _ = alternate(ways, plan.repeats)
    for name in unlearning.ALGORITHMS:
        ratio = [a / b for a, b in zip(seconds[name], seconds["plain"], strict=True)]
        yield Figure("e", f"epoch of {name}", "epochs of training", Spread.of(ratio))


def _attack(plan: Plan, precision: str) -> Iterator[Pair | Growth]:
    """(f, g) the membership attack on one feature: at its optimum by an interior-point method / libsvm"""
    rng = np.random.default_rng(0)

    def confidence(n: int, logit: float) -> np.ndarray:
        return 1 / (1 + np.exp(-rng.normal(logit, 2.5, n)))  # overlapping, many near 1: as of a trained model

    sets = {n: (confidence(n, 4.0), confidence(n, 2.0), confidence(max(n // 3, 10), 3.0)) for n in plan.attack_examples}
    repeats, largest = min(plan.repeats, 3), plan.attack_examples[-1]
    # the efficacy is a share of the forget set: three decisions more or less are within libsvm's own tolerance
    ways = (lambda: audit.mia(*sets[largest]), lambda: usual.mia(*sets[largest]))
    yield pair("f", f"membership attack, {largest} test examples", *ways, repeats, 3.1 / len(sets[largest][2]))
    by_size = {n: lambda n=n: audit.mia(*sets[n]) for n in plan.attack_examples}
    yield growth("g", "attack", "|T|", by_size, plan.repeats, 1.05)


def _peak_memory(plan: Plan, precision: str) -> Iterator[Figure]:
    """(g) the most memory that training a pool takes"""
    few, many = plan.peak_models
    peaks = [(_peak(few), _peak(many)) for _ in range(min(plan.repeats // 2, 3))]
    for count, values in zip(plan.peak_models, zip(*peaks, strict=True), strict=True):
        yield Figure("g", f"peak memory of a process that trains {count} models", "MB", Spread.of(values))
    outputs = (many - few) * len(_digits()) * (2 + 1 / 8) / 1e6  # margins as float16, correctness as bits
    yield Figure("g", "more of it for the larger pool, outputs aside", "MB", Spread.of([b - a - outputs for a, b in peaks]), 16.0)


def _peak(count: int) -> float:
    """Peak resident memory in MB of a process that trains a pool of `count` models and nothing else."""
    program = f"from benchmarks import measures; print(measures.peak_of_a_pool({count}))"
    return float(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=paths.CHECKOUT).stdout
    )


def peak_of_a_pool(count: int) -> float:
    with single_thread():
        _train_pool(_digits(), count, epochs=1)
    try:
        # not getrusage: there, a new process starts with the peak of the one that started it
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
