"""What a task costs more on Ray than in this process: 5 rounds of 50 tasks that do nothing, with results of several sizes.

    python -m benchmarks.cluster [--address HOST:PORT]

Needs the extra [cluster]. Without an address, on a cluster of this machine's cores.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.timing import Spread
from mulnb.core import commands, on_ray, workers

ROUNDS, TASKS = 5, 50
RESULTS = {"nothing": 0, "1 MB": 1_000_000, "45 MB (ResNet-18)": 45_000_000}


def task(number: int, shared: Mapping[str, Any], size: int) -> np.ndarray:
    """Return `size` bytes."""
    return np.zeros(size, dtype=np.uint8)


def alone(number: int) -> np.ndarray:
    """The same for a worker process of this machine."""
    return task(number, {}, 0)


def on_cluster(size: int) -> None:
    """One round."""
    tasks = list(range(TASKS))
    for _ in on_ray.run(functools.partial(task, size=size), tasks, [[] for _ in tasks], lambda name: None):
        pass


def overhead(work: Any) -> Spread:
    """Milliseconds a task, of several rounds after one that is not counted."""
    work()
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - started) / TASKS)
    return Spread.of(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands.add_workers(options)
    given = options.parse_args()
    commands.use_workers(given.workers, "ray", given.address)

    started = time.perf_counter()
    places = on_ray.places()
    print(f"connected after {time.perf_counter() - started:.1f} s; {places} tasks at once; {ROUNDS} rounds of {TASKS} tasks")

    for name, size in RESULTS.items():
        _say(f"Ray, result: {name}", overhead(functools.partial(on_cluster, size)))
    _say("processes of this machine, result: nothing", overhead(lambda: workers.run_all(alone, range(TASKS), "")))


def _say(name: str, spread: Spread) -> None:
    print(f"{name:45} {spread.median:7.1f} ms a task [{spread.low:.1f}, {spread.high:.1f}]", flush=True)


if __name__ == "__main__":
    main()
