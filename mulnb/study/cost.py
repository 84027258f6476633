"""What a profile will cost on this machine, before anything is run: its trainings are counted, and a training step is timed.

The unit is a training step of one example. A forward pass is a third of it; loss curvature takes two gradients of 2/3 step each.
The estimate is for an empty store, on a machine that does nothing else, and right within a factor of 2: enough to decide whether
to wait or to come back later.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from mulnb.config import Model, Profile, Recipe
from mulnb.core import progress, workers
from mulnb.core.registry import STACKABLE_ARCHITECTURES
from mulnb.data.splits import check_sizes
from mulnb.study.runs import Run, ways

FORWARD, CURVATURE = 1 / 3, 4 / 3  # of a training step
SEES_TWICE = {"neg_grad_plus", "scrub"}  # algorithms whose step on R does about as much again on S, or with a teacher
SEES_FORGET_ONLY = {"neg_grad", "influence"}
ATTACK_S = 2e-4  # seconds of the five attacks, for each of |T|: that on the whole probability vector takes nine tenths of it
RELEARN = 0.3  # share of the epochs that relearning may take, on average


@dataclass(frozen=True)
class Published:
    """The sizes of a published data set."""

    train: tuple[int, ...]  # images of each class
    test: int | None  # of each class; None: a share of the training images becomes the test set
    channels: int
    side: int  # pixels


PUBLISHED = {
    "digits": Published((178, 182, 177, 183, 181, 182, 181, 179, 174, 180), None, 1, 8),
    "cifar10": Published((5000,) * 10, 1000, 3, 32),
    "cifar100": Published((500,) * 100, 100, 3, 32),
    "tiny-imagenet": Published((500,) * 200, 50, 3, 64),
}


@dataclass(frozen=True)
class Prices:
    """Seconds of one piece of each kind of work, on one worker."""

    pool_model: float
    original: float  # with the proxies that are read off its training
    holdout: float  # hold-out retraining
    oracle: float
    floor: float  # to measure a network that is there
    runs: dict[tuple[str, str], float]  # by algorithm and strategy
    steps: dict[str, float]  # of a chain, by strategy


@dataclass(frozen=True)
class Item:
    """One kind of work."""

    what: str
    count: int  # how many times
    seconds: float  # of all of them together, on one worker


def counts(profile: Profile) -> dict[str, int]:
    """How many trainings and unlearning runs a profile asks for, before anything is run.

    Returns:
        The number of each kind of work. Every forget set has two oracles (the reference and the ceiling); so has every step of
        the first strategy's chain.
    """
    plan, seeds = profile.unlearning, len(profile.seeds)
    scores = 1 if profile.forget.file else len(plan.scores)  # a forget set from a file counts as one score
    orders = 0 if profile.forget.file else len(plan.scores)
    refined = sum("rum_f" in strategies for strategies in plan.algorithms.values())
    steps = seeds * profile.sequential.steps
    return {
        "pool trainings": 0 if profile.pool.scores else profile.pool.models,
        "original models": seeds,
        "oracles": 2 * scores * seeds + (len(profile.sequential.strategies) + 1) * steps,
        "unlearning runs": len(ways(profile)) * scores * seeds,
        "crossed runs": refined * orders * seeds,
        "sequential steps": len(profile.sequential.strategies) * steps,
    }


def estimate(profile: Profile) -> list[Item]:
    """Seconds of every kind of work of a study, from a probe of some training steps of each network. It needs no images."""
    count, price = counts(profile), prices(profile)
    both = price.original + price.holdout
    mean_run = sum(price.runs.values()) / len(price.runs)
    mean_step = sum(price.steps.values()) / len(price.steps)
    unlearned = count["unlearning runs"] + count["crossed runs"]

    return [
        Item("pool models", count["pool trainings"], count["pool trainings"] * price.pool_model),
        Item("original models and proxies", count["original models"], count["original models"] * both),
        Item("oracles", count["oracles"], count["oracles"] * price.oracle),
        Item("unlearning runs", unlearned, unlearned * mean_run),
        Item("sequential steps", count["sequential steps"], count["sequential steps"] * mean_step),
    ]


def prices(profile: Profile) -> Prices:
    """Seconds of one piece of each kind of work, from the same probe as `estimate`."""
    n, held_out, tested, *shape = _sizes(profile)
    step = _seconds_per_example(profile, profile.model, profile.training, *shape)
    same = (profile.pool_model, profile.pool_training.batch) == (profile.model, profile.training.batch)
    pool_step = step if same else _seconds_per_example(profile, profile.pool_model, profile.pool_training, *shape)

    # seconds of each kind of work, once
    size = 3 * profile.forget.size
    evaluation = (n + tested) * FORWARD * step + ATTACK_S * min(n, tested)
    evaluation += RELEARN * profile.audit.relearn.epochs * size * step
    training = profile.training.epochs * n * step
    retraining = (profile.proxies.holdout_retraining.epochs * held_out + 2 * n * FORWARD) * step

    # loss curvature is measured after every epoch, or once
    looks = profile.training.epochs if profile.proxies.loss_curvature.when == "epochs" else 1
    curvature = looks * n * CURVATURE * step
    pool_model = (profile.pool_training.epochs * profile.pool.share + FORWARD) * n * pool_step

    runs = {}
    for algorithm, strategy, settings in ways(profile):
        runs[algorithm, strategy] = _seen(Run(algorithm, strategy, "", 0, settings), n, size) * step + evaluation
    steps = {}
    for strategy in profile.sequential.strategies:
        steps[strategy] = runs[profile.sequential.algorithm, strategy] + retraining + evaluation

    return Prices(pool_model, training + curvature, retraining, training + evaluation, evaluation, runs, steps)


def check(profile: Profile) -> None:
    """Raises `UserError`, in the words of `data.load_data`, if the data are too small for the profile."""
    sizes = _sizes(profile)
    check_sizes(profile, sizes.train, sizes.holdout, sizes.test, sizes.side)


class _Sizes(NamedTuple):
    """How many examples there are, and of what shape."""

    train: int
    holdout: int
    test: int
    classes: int
    channels: int
    side: int  # pixels


def _sizes(profile: Profile) -> _Sizes:
    """The sizes of a profile's data, known without reading the images where possible."""
    data = profile.dataset
    if data.name not in PUBLISHED:
        from mulnb.study.study import Study

        images = Study.of(profile).splits
        parts = (len(images.train), len(images.holdout), len(images.test))
        return _Sizes(*parts, len(images.train.classes), *images.train.images.shape[1:3])

    # as `data.splits` draws them, class by class
    known = PUBLISHED[data.name]
    train = known.train[: data.classes]
    tested = [round(data.test * n) if known.test is None else known.test for n in train]
    if known.test is None:
        train = [n - part for n, part in zip(train, tested, strict=True)]
    if data.train_images is not None:
        fewest, more = divmod(min(data.train_images, sum(train)), len(train))
        train = [fewest + (place < more) for place in range(len(train))]

    held_out = sum(round(data.holdout * part) for part in train)
    tested_on = min(data.test_images or sum(tested), sum(tested))
    return _Sizes(sum(train) - held_out, held_out, tested_on, len(train), known.channels, data.size or known.side)


def _seen(run: Run, n: int, size: int) -> float:
    """Training steps of one example in a run."""
    total = 0.0
    for algorithm, settings in run.stages:
        passed = n
        if algorithm in SEES_TWICE:
            passed = 2 * n
        elif algorithm in SEES_FORGET_ONLY:
            passed = size / len(run.stages)
        total += settings.get("epochs", 10) * passed
    return total


# ---- the probe

PIXELS = 32 * 32 * 32  # in a probed batch of a large network, which would take seconds for a whole one on a CPU
LARGE_S = 0.2  # seconds of a step with so many pixels; a smaller network is probed with the batch that it will get
PROBE_S = 0.5  # small networks are timed over more than one step


def _seconds_per_example(profile: Profile, model: Model, recipe: Recipe, classes: int, channels: int, side: int) -> float:
    """Of one network, or of each network of a stack where the study trains stacks."""
    from mulnb import models, training
    from mulnb.fast.stacked import Stack

    def build() -> Any:
        return models.build(model.arch, num_classes=classes, in_channels=channels, width=model.width, stem=model.stem, seed=0)

    if model.arch in STACKABLE_ARCHITECTURES:
        data = _random(recipe.batch, classes, channels, side)
        stack = Stack([build() for _ in range(profile.pool.group)]).to(data.device).train()
        return _timed(training.Step(stack, data, recipe), (profile.pool.group, len(data)))

    def timed(batch: int) -> float:
        data = _random(batch, classes, channels, side)
        return _timed(training.Step(build().to(data.device).train(), data, recipe), (batch,))

    if training.device().type == "cuda":
        return timed(recipe.batch)

    # What a step costs whatever its batch (a call for each layer and each parameter) is a large part of a small network's time.
    part = min(recipe.batch, max(8, PIXELS // side**2))
    seconds = timed(part)
    large = part == recipe.batch or seconds * part > LARGE_S
    return seconds if large else timed(recipe.batch)


def _random(number: int, classes: int, channels: int, side: int) -> Any:
    """Examples of the right size: a step takes as long on random images as on real ones."""
    import torch

    from mulnb import training

    images = torch.randint(0, 256, (number, channels, side, side), dtype=torch.uint8)
    labels, half = torch.randint(0, classes, (number,)), torch.full((channels,), 0.5)
    where = training.device()
    return training.Examples(images.to(where), labels.to(where), half, half)


def _timed(step: Any, shape: tuple[int, ...]) -> float:
    """Seconds an example takes: the median step of `PROBE_S` seconds, after one that warms up.

    On a CPU it is the time in which the processor worked for this process: `show` may be asked while a study runs, and then most
    of the time on the clock is spent waiting for a turn. A step waits for a GPU, so there the clock is right.
    """
    import torch

    on_gpu = step.data.device.type == "cuda"
    now = time.perf_counter if on_gpu else time.process_time
    index = torch.arange(shape[-1], device=step.data.device).expand(shape)
    taken = []

    with workers.single_thread():  # as in every task
        while len(taken) < 2 or sum(taken) < PROBE_S:
            started = now()
            float(step(index, None, 0)[1].sum())  # waits for the device
            taken.append(now() - started)

    return statistics.median(taken[1:]) / math.prod(shape)


# ---- in words


def report(items: Iterable[Item]) -> str:
    """The parts of an estimate and their sum, as lines for a terminal."""
    items, together = list(items), workers.count()
    lines = [f"{item.count:6d} {item.what:28}{duration(item.seconds / together):>10}" for item in items]
    total = duration(sum(item.seconds for item in items) / together)
    where = f"{progress.counted(together, 'worker')} of an idle machine"
    lines.append(f"about {total} in all on {where}, from a probe of some training steps")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write a time in a fitting unit: "45 s", "3.5 min", "2.1 days"."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}" if seconds >= 10 * length else f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
