"""`mulnb bench`: what is fast here, side by side with the usual way, in one run.

Both ways run alternately on one core with one thread each, after a warm-up whose results are compared: a faster way that gives
other numbers is an error, not a result. Times are medians with quartiles, ratios are taken repetition by repetition.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import pools, usual
from benchmarks.inputs import digits, examples_of, pil, random_images
from benchmarks.plan import FULL, Network, Plan
from benchmarks.timing import Growth, Measure, Pair, Way, alternate, growth, pair, ratios
from mulnb import audit, models, proxies, training, unlearning
from mulnb.config import Recipe
from mulnb.core.machine import device_name, git_commit
from mulnb.core.workers import single_thread
from mulnb.data import ImageSet
from mulnb.training import Batch, Examples


@dataclass(frozen=True)
class Measurements:
    """Everything that a run of the bench found, and the machine that it ran on."""

    machine: dict[str, Any]
    pairs: list[Pair] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)

    def add(self, found: Pair | Measure | Growth) -> None:
        """Put a measurement into the list of its kind."""
        kinds = {Pair: self.pairs, Measure: self.measures, Growth: self.growth}
        kinds[type(found)].append(found)


def run(plan: Plan = FULL, tell: Callable[[str], None] = lambda line: None) -> Measurements:
    """Measure everything.

    Args:
        plan: the sizes and repetitions.
        tell: is told what is being measured, a line each.

    Raises:
        RuntimeError: two ways gave different results.
    """
    found = Measurements(_machine())
    started = time.perf_counter()

    with single_thread():
        precision = _faster_precision()
        found.machine["precision"] = precision
        for part in (_steps, pools.speed, _recording, _curvature, _epochs, _attack, pools.memory):
            tell(f"{time.perf_counter() - started:4.0f} s  {part.__doc__.splitlines()[0]}")
            for measurement in part(plan, precision):
                found.add(measurement)

    found.machine["minutes"] = round((time.perf_counter() - started) / 60, 2)
    return found


def _machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "device": device_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": 1,
        "versions": {name: version(name) for name in ("mulnb", "torch", "torchvision", "scikit-learn", "numpy")},
        "python": sys.version.split()[0],
        "git_commit": git_commit(),
    }


def _faster_precision() -> str:
    """bf16 where a short trial shows that it is the faster one: on a GPU, or a processor with instructions for it."""
    if torch.cuda.is_available():
        return "bf16"

    data = examples_of(random_images(16, 3, 32))

    def trial(precision: str) -> None:
        recipe = Recipe(epochs=1, batch=16, lr=0.01, precision=precision)
        training.fit(models.build("resnet18", num_classes=10, width=8, seed=0), data, recipe, 0)

    seconds, _ = alternate({"fp32": functools.partial(trial, "fp32"), "bf16": functools.partial(trial, "bf16")}, 1)
    return "bf16" if seconds["bf16"] < seconds["fp32"] else "fp32"


# --- training ------------------------------------------------------------------------------------------------------------


def _steps(plan: Plan, precision: str) -> Iterator[Pair]:
    """(a) a training step of each architecture: data on the device, channels_last / PIL, DataLoader, contiguous float32"""
    for network in plan.networks:
        images = random_images(network.batch * network.steps, network.channels, network.side)
        fast = precision if network.arch != "small_cnn" else "fp32"
        here, the_usual = _both_ways(network, images, fast)
        yield pair(
            "a",
            f"training step, {network.name}",
            here,
            the_usual,
            plan.repeats,
            tolerance=1e-2 if fast == "fp32" else 5e-2,
            count=network.steps,
            target=2.0 if network.arch == "resnet18" else None,
        )


def _both_ways(network: Network, images: ImageSet, precision: str) -> tuple[Way, Way]:
    """Training from the same weights here and the usual way.

    Both return the loss, which is what is compared: the first updates of a fresh ResNet are ill-conditioned, and two memory
    layouts of the same float32 arithmetic differ by 2 to 3 % (ResNet-18) and more (ResNet-50) in single weights.
    """
    data, as_pil = examples_of(images), pil(images)
    recipe = Recipe(epochs=1, batch=network.batch, lr=0.01, precision=precision)
    start = models.build(network.arch, num_classes=10, in_channels=network.channels, width=network.width, seed=0).to(data.device)

    def here() -> list[float]:
        losses: list[float] = []
        training.fit(copy.deepcopy(start), data, recipe, 0, after_epoch=lambda epoch, loss: losses.append(loss))
        return losses

    def the_usual() -> list[float]:
        losses: list[float] = []
        model = copy.deepcopy(start).to(memory_format=torch.contiguous_format)
        usual.train(model, as_pil, recipe, 0, after_epoch=lambda epoch, loss: losses.append(loss))
        return losses

    return here, the_usual


# --- proxies -------------------------------------------------------------------------------------------------------------


def _recording(plan: Plan, precision: str) -> Iterator[Pair | Measure | Growth]:
    """(c, g) the training signals: laid aside and added up / example by example with .item()"""
    data = examples_of(digits())
    start = models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=0).to(data.device)
    seen = _outputs(data, start)
    here = functools.partial(_record, data, seen)

    def loop() -> dict[str, np.ndarray]:
        recorder = usual.LoopRecorder(len(data))
        for batch, logits in seen:
            recorder.record(batch.index, batch.labels, logits)
        return recorder.raw()

    yield pair("c", "recording nine signals", here, loop, plan.repeats, 1e-4, unit="µs", count=len(seen), target=30.0)

    recipe = Recipe(epochs=1, batch=64, lr=0.01)
    ways = {"record": here, "train": lambda: training.fit(copy.deepcopy(start), data, recipe, 0)}
    seconds, _ = alternate(ways, plan.repeats)
    share = ratios(seconds["record"], seconds["train"]).times(100)
    yield Measure("c", "recording, share of the training time of the smallest model", "%", share, 2.0)

    sizes = {}
    for n in plan.record_examples:
        many = examples_of(random_images(n, 1, 8))
        sizes[n] = functools.partial(_record, many, _outputs(many, start))
    yield growth("g", "recording", "N", sizes, plan.repeats, 1.05)


@torch.no_grad()
def _outputs(data: Examples, model: nn.Module) -> list[tuple[Batch, Tensor]]:
    """Every batch with the model's logits [B, K]: what a recorder is given in training."""
    seen = []
    for piece in torch.arange(len(data), device=data.device).split(64):
        batch = Batch(piece, data.inputs(piece), data.labels[piece], 0)
        seen.append((batch, model(batch.inputs)))
    return seen


def _record(data: Examples, seen: Sequence[tuple[Batch, Tensor]]) -> dict[str, np.ndarray]:
    recorder = proxies.SignalRecorder(len(data), data.device)
    for batch, logits in seen:
        recorder.record(batch, logits)
    return recorder.raw()


def _curvature(plan: Plan, precision: str) -> Iterator[Pair]:
    """(d) loss curvature: two gradients of the input / four forward passes and the weights' gradients too"""
    small, larger = plan.networks[:2]
    works = [
        (small.arch, small.width, digits(max(plan.pool_examples))),
        (larger.arch, larger.width, random_images(2 * larger.batch, larger.channels, larger.side)),
    ]

    for arch, width, images in works:
        data = examples_of(images)
        channels = images.images.shape[1]
        model = models.build(arch, num_classes=10, in_channels=channels, width=width, seed=0).to(data.device).eval()
        here = functools.partial(proxies.loss_curvature, model, data, 0.01)
        the_usual = functools.partial(_usual_curvature, data, copy.deepcopy(model).to(memory_format=torch.contiguous_format))
        name = f"loss curvature, {arch}"
        yield pair("d", name, here, the_usual, plan.repeats, 5e-2, unit="µs", count=len(images), target=1.8)


def _usual_curvature(data: Examples, model: nn.Module) -> Tensor:
    """[N], in batches of 512."""
    inputs = data.inputs(torch.arange(len(data), device=data.device)).contiguous()
    batches = zip(inputs.split(512), data.labels.split(512), strict=True)
    return torch.cat([usual.loss_curvature(model, *batch, 0.01) for batch in batches])


# --- unlearning and its audit ---------------------------------------------------------------------------------------------


def _epochs(plan: Plan, precision: str) -> Iterator[Measure]:
    """(e) an epoch of every unlearning algorithm, in epochs of plain training"""
    data = examples_of(digits(min(plan.pool_examples) if plan.repeats < 3 else None))
    recipe = {"epochs": 1, "batch": 128, "lr": 1e-3}

    def fresh(seed: int) -> nn.Module:
        return models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed)

    trained = training.fit(fresh(0).to(data.device), data, Recipe(**recipe), 0)
    forgotten = len(data) // 10
    forget, retain = torch.arange(len(data), device=data.device).split([forgotten, len(data) - forgotten])

    def unlearn(name: str) -> Way:
        algorithm = unlearning.ALGORITHMS[name]
        known = inspect.signature(algorithm).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())

        settings = {key: value for key, value in recipe.items() if takes_all or key in known}
        if "msteps" in known:
            settings["msteps"] = 1  # SCRUB's passes over S: no more than there are epochs
        return lambda: algorithm(copy.deepcopy(trained), data, forget, retain, seed=0, fresh=fresh, **settings)

    ways = {name: unlearn(name) for name in unlearning.ALGORITHMS}
    ways["plain"] = lambda: training.fit(copy.deepcopy(trained), data, Recipe(**recipe), 0, index=retain)
    seconds, _ = alternate(ways, plan.repeats)
    for name in unlearning.ALGORITHMS:
        yield Measure("e", f"epoch of {name}", "epochs of training", ratios(seconds[name], seconds["plain"]))


def _attack(plan: Plan, precision: str) -> Iterator[Pair | Growth]:
    """(f, g) the membership attack on one feature: at its optimum by an interior-point method / libsvm"""
    rng = np.random.default_rng(0)

    def confidence(n: int, logit: float) -> np.ndarray:
        return 1 / (1 + np.exp(-rng.normal(logit, 2.5, n)))  # overlapping, many near 1: as of a trained model

    sets = {}
    for n in plan.attack_examples:
        sets[n] = (confidence(n, 4.0), confidence(n, 2.0), confidence(max(n // 3, 10), 3.0))

    largest = plan.attack_examples[-1]
    here, the_usual = functools.partial(audit.mia, *sets[largest]), functools.partial(usual.mia, *sets[largest])
    # the efficacy is a share of the forget set: three decisions more or less are within libsvm's own tolerance
    tolerance = 3.1 / len(sets[largest][2])
    yield pair("f", f"membership attack, {largest} test examples", here, the_usual, min(plan.repeats, 3), tolerance)

    by_size = {n: functools.partial(audit.mia, *sets[n]) for n in plan.attack_examples}
    yield growth("g", "attack", "|T|", by_size, plan.repeats, 1.05)
