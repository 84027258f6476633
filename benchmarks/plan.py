"""How much is measured: the full plan of `mulnb bench`, and a short one that only tests it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A training step to measure: architecture and width (None: as published), image side and channels, batch, steps a run."""

    arch: str
    width: int | None
    side: int
    channels: int
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """`resnet18 ÷4` for a quarter of the published width."""
        reduced = self.width and self.arch != "small_cnn"
        return f"{self.arch} ÷{64 // self.width}" if reduced else self.arch


@dataclass(frozen=True)
class Plan:
    """The sizes and repetitions of a run. `FULL` takes a few minutes on two cores, `QUICK` says nothing about speed."""

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
    networks=(
        Network("small_cnn", 4, 8, 1, batch=16, steps=2),
        Network("resnet18", 4, 16, 3, batch=8, steps=1),
    ),
    models=3,
    epochs=1,
    pool_models=(2, 4),
    pool_examples=(100, 200),
    record_examples=(500, 1_000),
    attack_examples=(50, 100, 200),
    peak_models=(2, 4),
)
