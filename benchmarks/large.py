"""Many examples: how the memory and the time of scores, figures and explorer grow with N, up to ImageNet's 1.28 million.

    python -m benchmarks.large [N …]

The outcomes of the pool are synthetic. Each part runs in a process of its own, since a process's peak memory rarely falls; what
its imports take is not counted. Writes `large.csv` and `large.png` beside the other results of the bench.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mulnb.core import memory, paths

SIZES = (80_000, 320_000, 1_280_000)
MODELS = 400
GROUP = 25  # models that the study stores together
Work = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """What a part took: seconds, and the growth of its process in MB at the peak."""

    seconds: float
    megabytes: float


# ---- the parts. Each makes what it needs and returns the work that is measured


def scores(n: int, models: int) -> Work:
    """Memorization of N examples from a stored pool."""
    from mulnb import study

    profile = _stored_pool(n, models)
    return lambda: study.memorization(profile)


def figures(n: int, models: int) -> Work:
    """Strata of a tenth, and the figures that show every example."""
    from mulnb import figures, forget

    profile = _profile(models)
    exact = _invented(n, models)
    value = 0.7 * exact["memorization"] + 0.1 * np.random.default_rng(1).standard_normal(n)
    facts = {"example": exact["example"], "proxy": "confidence", "seed": 0}
    proxies = pd.DataFrame(facts | {"raw": value, "value": value})

    def work() -> None:
        chosen = forget.strata(exact["memorization"].to_numpy(), n // 30, 0.5, seed=0)
        for name, figure in {
            "memorization": figures.memorization_profile(profile, exact, chosen),
            "proxies": figures.proxy_profiles(profile, proxies, exact),
        }.items():
            figures.save(figure, profile, name)

    return work


def explorer(n: int, models: int) -> Work:
    """The explorer opened, and a threshold dragged."""
    from mulnb.explorer import Explorer, stock

    draw, exact = np.random.default_rng(2), _invented(n, models)["memorization"].to_numpy()
    images = draw.integers(0, 256, (n, 1, 2, 2), dtype=np.uint8)
    noisy = exact + 0.1 * draw.standard_normal(n)

    def work() -> None:
        shown = Explorer(None, stock.of_arrays(images, draw.integers(0, 1000, n), {"confidence": noisy}, exact))
        shown.distribution.act("drag:high", x=400.0)

    return work


PARTS = {"scores": scores, "figures": figures, "explorer": explorer}


# ---- what they work on


def _profile(models: int, seed: int = 0):
    from mulnb import config

    changed = {"pool.models": models, "pool.group": GROUP, "pool.seed": seed, "audit.membership": False}
    return config.load_profile("smoke", changed)


def _stored_pool(n: int, models: int):
    """A profile whose pool lies in the store: half of the models saw an example, and they are right about it more often."""
    from mulnb.core import store
    from mulnb.data import ImageSet, Splits
    from mulnb.study import Study, recipes

    draw = np.random.default_rng(0)
    few = ImageSet(np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 1]), ("a", "b"))
    train = ImageSet(draw.integers(0, 256, (n, 1, 1, 1), dtype=np.uint8), draw.integers(0, 2, n), ("a", "b"))

    study = Study.of(_profile(models, seed=n))  # a study of its own for every N
    study.splits = Splits(train, few, few, np.zeros(n, bool))
    for job in recipes.pool_jobs(study):
        member, right, hard = draw.integers(0, 256, (3, len(job.task), -(-n // 8)), dtype=np.uint8)
        bits = {"member": member, "correct": right | member & hard}
        store.put(job.kind, job.parts, store.Artifact(bits, {"wall_s": 0.0}))

    return study.profile


def _invented(n: int, models: int) -> pd.DataFrame:
    """Scores such as a pool gives: many examples near 0, and a long tail."""
    draw = np.random.default_rng(0)
    exact = np.clip(draw.beta(0.4, 1.6, n) + 0.02 * draw.standard_normal(n), -0.2, 1)
    n_in = draw.binomial(models, 0.7, n)
    facts = {"memorization": exact, "se": 0.02 + 0.03 * draw.random(n), "n_in": n_in, "n_out": models - n_in}
    return pd.DataFrame({"example": np.arange(n)} | facts | {"label": 0, "flipped": False})


# ---- measuring


def measure(part: str, n: int, models: int = MODELS) -> Cost:
    """Run one part in a fresh process with an empty home.

    Args:
        part: a key of `PARTS`.
        n: examples.
        models: of the pool.
    """
    with tempfile.TemporaryDirectory(prefix="mulnb-large-") as home:
        environment = os.environ | {"MULNB_HOME": home, "MULNB_WORKERS": "1", "MULNB_PROGRESS": ""}
        environment.pop("MULNB_FIGURES", None)
        command = [sys.executable, "-P", "-c", f"from benchmarks import large; large.report({part!r}, {n}, {models})"]
        environment["PYTHONPATH"] = os.pathsep.join([str(paths.CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)

    seconds, megabytes = map(float, done.stdout.split()[-2:])
    return Cost(seconds, megabytes)


def report(part: str, n: int, models: int) -> None:
    """Run a part here, and print its seconds and the growth of this process in MB."""
    PARTS[part](1000, models)()  # imports, and whatever else is done once

    work = PARTS[part](n, models)
    memory.forget_peak()
    before, started = memory.now_mb(), time.perf_counter()
    work()
    print(time.perf_counter() - started, memory.peak_mb() - before)


def main(sizes: list[int]) -> None:
    """Measure every part at every size; write the table and a figure of it."""
    rows = []
    for part in PARTS:
        for n in sizes:
            cost = measure(part, n)
            rows.append({"part": part, "n": n, "models": MODELS, "seconds": cost.seconds, "megabytes": cost.megabytes})
            print(f"{part:10} N = {n:9,d}  {cost.seconds:7.1f} s  {cost.megabytes:7.0f} MB", flush=True)

    frame, folder = pd.DataFrame(rows).round(2), paths.results("bench")
    paths.write_text(folder / "large.csv", frame.to_csv(index=False))
    _picture(frame).savefig(folder / "large.png", dpi=150)
    print(f"written to {folder}")


def _picture(frame: pd.DataFrame):
    """Seconds and memory against N, a line for each part."""
    from mulnb.figures.plotting import Picture, style

    with style():
        figure = Picture(height=2.8)
        titles = {"seconds": "Time", "megabytes": "Memory"}
        for axes, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            for (part, rows), marker in zip(frame.groupby("part", sort=False), "osD", strict=True):
                axes.plot(rows["n"], rows[column], marker=marker, label=part)
            axes.set(xscale="log", yscale="log", xlabel="examples N", ylabel=column, title=title)
        axes.legend()
    return figure


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="numbers of examples")
    main(arguments.parse_args().sizes)
