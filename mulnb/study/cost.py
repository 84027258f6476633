"""What a profile will cost on this machine, told before anything is run: its trainings counted, a training step timed.

Everything is counted in training steps of one example; a forward pass is a third of one, the gradients of loss curvature are two
of two thirds. The estimate is for a cold start and right to about a factor of 1.5: it says whether to wait or to come back later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mulnb.config import Model, Profile, Recipe
from mulnb.core import workers
from mulnb.core.registry import STACKABLE_ARCHITECTURES
from mulnb.study.runs import Run, ways

FORWARD, CURVATURE = 1 / 3, 4 / 3  # of a training step
SEES_TWICE = {"neg_grad_plus", "scrub"}  # algorithms whose step on R does about as much again on S, or with a teacher
SEES_FORGET_ONLY = {"neg_grad", "influence"}
ATTACK_S = 2e-4  # seconds of the five attacks, for each of |T|: that on the whole probability vector takes nine tenths of it
SIZES = {  # training images, test images, classes, channels, pixels a side of the whole data sets
    "digits": (1437, 360, 10, 1, 8),
    "cifar10": (50_000, 10_000, 10, 3, 32),
    "cifar100": (50_000, 10_000, 100, 3, 32),
    "tiny-imagenet": (100_000, 10_000, 200, 3, 64),
}


@dataclass(frozen=True)
class Item:
    """One kind of work: how many times, and the seconds of all of them together on one worker."""

    what: str
    count: int
    seconds: float


def counts(profile: Profile) -> dict[str, int]:
    """How many trainings and unlearning runs a profile asks for, before anything is run; a step of a chain is one of each."""
    seeds = len(profile.seeds)
    sets = seeds * (1 if profile.forget.file else len(profile.unlearning.scores))  # a given set counts as one score
    chains = len(profile.sequential.strategies) * seeds * profile.sequential.steps
    return {
        "pool trainings": profile.pool.models,
        "original models": seeds,
        "oracles": sets + chains,
        "unlearning runs": len(ways(profile)) * sets,
        "sequential steps": chains,
    }


def estimate(profile: Profile) -> list[Item]:
    """Seconds of every part of the study, from a probe of two training steps of each network, without the images themselves."""
    n, tested, classes, channels, side = _sizes(profile)
    step = _seconds_per_example(profile.model, profile.training, classes, channels, side)
    same = (profile.pool_model, profile.pool_training.batch) == (profile.model, profile.training.batch)
    pool_step = step if same and not _stacks(profile) else _pool_seconds_per_example(profile, classes, channels, side)
    count = counts(profile)
    seeds, chains, size = count["original models"], count["sequential steps"], 3 * profile.forget.size
    evaluation = (n + tested) * FORWARD * step + ATTACK_S * min(n, tested)
    training = profile.training.epochs * n * step
    retraining = profile.proxies.holdout_retraining.epochs * n * profile.dataset.holdout * step + 2 * n * FORWARD * step
    curvature = n * CURVATURE * step * (profile.training.epochs if profile.proxies.loss_curvature.when == "epochs" else 1)
    pool = profile.pool.models * (profile.pool_training.epochs * profile.pool.share + FORWARD) * n * pool_step
    runs = {one[:2]: _seen(Run(*one[:2], "", 0, one[2]), n, size) * step for one in ways(profile)}
    mean_run = sum(runs.values()) / len(runs)
    steps = [runs[profile.sequential.algorithm, strategy] for strategy in profile.sequential.strategies]
    return [
        Item("pool models", profile.pool.models, pool),
        Item("original models and proxies", seeds, seeds * (training + curvature + retraining)),
        Item("oracles", count["oracles"], count["oracles"] * (training + evaluation)),
        Item("unlearning runs", count["unlearning runs"], count["unlearning runs"] * (mean_run + evaluation)),
        Item("sequential steps", chains, sum(steps) * chains / len(steps) + chains * (retraining + 2 * evaluation)),
    ]


def _sizes(profile: Profile) -> tuple[int, int, int, int, int]:
    """Training examples, test examples, classes, channels and pixels a side, known without reading the images where possible."""
    data = profile.dataset
    if data.name not in SIZES:
        from mulnb.study.study import Study

        images = Study.of(profile).splits
        return len(images.train), len(images.test), len(images.train.classes), *images.train.images.shape[1:3]
    train, test, classes, channels, side = SIZES[data.name]
    kept = min(data.classes or classes, classes)
    train, test = (number * kept // classes for number in (train, test))
    train = round(min(data.train_images or train, train) * (1 - data.holdout))
    return train, min(data.test_images or test, test), kept, channels, data.size or side


def _seen(run: Run, n: int, size: int) -> float:
    """Training steps of one example in a run."""
    per_epoch = {name: 2 * n for name in SEES_TWICE} | {name: size / len(run.stages) for name in SEES_FORGET_ONLY}
    return sum(settings.get("epochs", 10) * per_epoch.get(name, n) for name, settings in run.stages)


def _stacks(profile: Profile) -> bool:
    return profile.pool_model.arch in STACKABLE_ARCHITECTURES


def _random(number: int, classes: int, channels: int, side: int) -> Any:
    import torch

    from mulnb import training

    images = torch.randint(0, 256, (number, channels, side, side), dtype=torch.uint8)
    where, half = training.device(), torch.full((channels,), 0.5)
    return training.Examples(images.to(where), torch.randint(0, classes, (number,)).to(where), half, half)


PIXELS = 32 * 32 * 32  # in a probed batch: a large network takes seconds for it on a CPU


def _batch(recipe: Recipe, side: int) -> int:
    """A GPU is probed with the batch it will get; a CPU takes about as long for each example of a smaller one."""
    from mulnb import training

    return recipe.batch if training.device().type == "cuda" else min(recipe.batch, max(8, PIXELS // side**2))


def _seconds_per_example(model: Model, recipe: Recipe, classes: int, channels: int, side: int) -> float:
    from mulnb import models, training

    data = _random(_batch(recipe, side), classes, channels, side)
    spec = {"num_classes": classes, "in_channels": channels, "width": model.width, "stem": model.stem, "seed": 0}
    network = models.build(model.arch, **spec).to(data.device).train()
    return _timed(training.Step(network, data, recipe), (len(data),))


def _pool_seconds_per_example(profile: Profile, classes: int, channels: int, side: int) -> float:
    """Of one model of the pool."""
    model, recipe = profile.pool_model, profile.pool_training
    if not _stacks(profile):
        return _seconds_per_example(model, recipe, classes, channels, side)
    from mulnb import models, pool, training
    from mulnb.fast import stacked

    data = _random(recipe.batch, classes, channels, side)
    k = min(profile.pool.group, profile.pool.models)
    network = [models.build(model.arch, num_classes=classes, in_channels=channels, width=model.width, seed=0) for _ in range(k)]
    step = training.Step(stacked.Stack(network).to(data.device).train(), data, recipe, pool.sum_of_mean_losses)
    return _timed(step, (k, len(data)))


def _timed(step: Any, shape: tuple[int, ...]) -> float:
    """Seconds an example of the second of two steps: the first one also warms up."""
    import torch

    index = torch.arange(shape[-1], device=step.data.device).expand(shape)
    with workers.single_thread():  # as in every task
        for _ in range(2):
            started = time.perf_counter()
            float(step(index, None, 0)[1])  # waits for the device
            seconds = time.perf_counter() - started
    return seconds / index.numel()


def report(items: Iterable[Item]) -> str:
    """The parts of an estimate and their sum, as lines for a terminal."""
    items, together = list(items), workers.count()
    lines = [f"{item.count:6d} {item.what:28}{_duration(item.seconds / together):>10}" for item in items]
    total = _duration(sum(item.seconds for item in items) / together)
    lines.append(f"about {total} in all on {together} worker{'s' * (together > 1)}, from a probe of two training steps")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}" if seconds >= 10 * length else f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
