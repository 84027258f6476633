"""What a pool of small models costs: beside the usual way, with its size, and in memory."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import usual
from benchmarks.inputs import digits, examples_of, pil
from benchmarks.plan import Plan
from benchmarks.timing import Growth, Measure, Pair, Spread, Way, difference_of, growth, pair
from mulnb import models, pool
from mulnb.config import Recipe
from mulnb.core import paths
from mulnb.core.memory import peak_mb
from mulnb.core.workers import single_thread
from mulnb.data import ImageSet

GROUP = 25  # models that the study trains as one
SHARE = 0.7  # of the images, in the subset of each model


def speed(plan: Plan, precision: str) -> Iterator[Pair | Growth]:
    """(b, g) a pool of small models: as one stack / one after another"""
    here, the_usual = _both_ways(digits(), plan.models, plan.epochs)
    name = f"pool of {plan.models} models"
    yield pair("b", name, here, the_usual, plan.repeats, 1e-5, unit="s", target=6.0, differ=_of_the_median_model)

    repeats = min(plan.repeats, 3)
    few = digits(min(plan.pool_examples))
    by_models = {count: functools.partial(_train, few, count) for count in plan.pool_models}
    yield growth("g", "pool", "M", by_models, repeats, 1.05)

    count = min(plan.models, 10)
    by_examples = {n: functools.partial(_train, digits(n), count) for n in plan.pool_examples}
    yield growth("g", "pool", "N", by_examples, repeats, 1.05)


def _of_the_median_model(here: Tensor, the_usual: Tensor) -> float:
    """How far the logits [M, N, K] of two pools are apart, at most, in the median model.

    Not in the worst one: a model or two of 25 turn rounding into a hundredth, also when the usual way is run twice from weights
    that are 1e-7 apart, while the others agree to 1e-6.
    """
    by_model = list(map(difference_of, here, the_usual))
    return float(np.median(by_model))


def _setting(images: ImageSet, count: int, epochs: int, start: int = 0) -> tuple[list[nn.Module], list[Tensor], Recipe, range]:
    """Networks, subsets, recipe and seeds of the models `start` to `start + count` of a pool."""
    seeds = range(start, start + count)
    networks, subsets = [], []
    for seed, row in zip(seeds, pool.membership(seeds, len(images), SHARE, 0), strict=True):
        networks.append(models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed))
        subsets.append(torch.from_numpy(np.flatnonzero(row)))

    return networks, subsets, Recipe(epochs=epochs, batch=64, lr=0.02), seeds


def _both_ways(images: ImageSet, count: int, epochs: int) -> tuple[Way, Way]:
    data, as_pil = examples_of(images), pil(images)

    def here() -> Tensor:
        networks, *rest = _setting(images, count, epochs)
        return pool.predict_each(pool.train_stacked(networks, data, *rest), data)

    def the_usual() -> Tensor:
        networks, *rest = _setting(images, count, epochs)
        contiguous = [network.to(data.device, memory_format=torch.contiguous_format) for network in networks]
        return usual.pool(contiguous, as_pil, *rest)

    return here, the_usual


def _train(images: ImageSet, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pool as the study trains it, group by group; what is kept of each model: correctness as bits, margins as float16."""
    data, kept = examples_of(images), []

    for start in range(0, count, GROUP):
        networks, subsets, recipe, seeds = _setting(images, min(GROUP, count - start), 1, start)
        logits = pool.predict_each(pool.train_stacked(networks, data, subsets, recipe, seeds), data)  # [M, N, K]
        outcome = pool.outcomes(pool.membership(seeds, len(images), SHARE, 0), logits, data.labels)
        kept.append((np.packbits(outcome.correct, axis=1), outcome.margin))

    return kept


def memory(plan: Plan, precision: str) -> Iterator[Measure]:
    """(g) the most memory that training a pool takes"""
    few, many = plan.peak_models
    smaller, larger = [], []
    for _ in range(min(plan.repeats // 2, 3)):  # in turns, as everything here is measured
        smaller.append(_peak(few))
        larger.append(_peak(many))

    for count, peaks in ((few, smaller), (many, larger)):
        yield Measure("g", f"peak memory of a process that trains {count} models", "MB", Spread.of(peaks))

    outputs = (many - few) * len(digits()) * (2 + 1 / 8) / 1e6  # margins as float16, correctness as bits
    more = Spread.of(np.subtract(larger, smaller) - outputs)
    yield Measure("g", "more of it for the larger pool, outputs aside", "MB", more, 16.0)


def _peak(count: int) -> float:
    """Peak resident memory in MB of a process that trains a pool of `count` models and nothing else."""
    program = f"from benchmarks import pools; print(pools.peak_of_training({count}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=paths.CHECKOUT)
    return float(done.stdout)


def peak_of_training(count: int) -> float:
    """Train a pool in this process, and return the peak of its resident memory in MB."""
    with single_thread():
        _train(digits(), count)

    return peak_mb()
