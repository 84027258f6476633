"""Unlearning from a Dataset: does the peak memory grow with the number of images, and what does it cost over a plain loop?

    python -m benchmarks.streaming

Each size runs in a process of its own, since a process's peak memory never falls. The images are synthetic, 3×224×224 uint8,
made when they are asked for: reading costs next to nothing, so what is measured is the cost of `mulnb` itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import mulnb
from mulnb.core import memory, paths

SIZES = (2_000, 10_000, 50_000)
BATCH = 64
WAYS = ("plain loop", "mulnb.unlearn")


class Synthetic(Dataset):
    """Images that differ, and are nowhere kept."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.full((3, 224, 224), index % 251, dtype=torch.uint8)
        image[:, index % 224] = index // 251 % 251
        return image, index % 10


def network() -> nn.Module:
    """Small, so that reading and moving the images is most of the work."""
    return nn.Sequential(nn.Conv2d(3, 8, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def plain_loop(n: int) -> None:
    """An epoch of fine-tuning as anybody writes it."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for images, labels in DataLoader(Synthetic(n), BATCH, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images.float() / 255), labels).backward()
        optimizer.step()


def unlearn(n: int) -> None:
    """The same epoch by `mulnb.unlearn`, with one image to forget and the gates before it (every image is read once for them)."""
    settings = {"epochs": 1, "batch": BATCH}
    how = {"algorithm": "fine_tune", "settings": settings, "duplicates": "keep", "progress": False}
    mulnb.unlearn(network(), Synthetic(n), None, [5], **how)


def measure(way: str, n: int) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in MiB, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streaming", way, str(n)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=paths.CHECKOUT).stdout.split()
    return float(found[0]), float(found[1])


def main() -> None:
    rows = []
    for n in SIZES:
        row: dict[str, float] = {"images": n, "GiB as uint8": n * 3 * 224 * 224 / 2**30}
        for way in WAYS:
            row[f"{way}, s"], row[f"{way}, peak MiB"] = measure(way, n)
        rows.append(row)

    table = pd.DataFrame(rows).round(1)
    text = f"# Unlearning from a Dataset\n\n{(__doc__ or '').strip()}\n\n{table.to_markdown(index=False)}\n\nn = 1 each.\n"
    print(table.to_string(index=False))
    print(f"written to {paths.write_text(paths.figures() / 'bench' / 'streaming.md', text)}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        started = time.perf_counter()
        {"plain loop": plain_loop, "mulnb.unlearn": unlearn}[sys.argv[1]](int(sys.argv[2]))
        print(time.perf_counter() - started, memory.peak_mb() * 1e6 / 2**20)
    else:
        argparse.ArgumentParser(description=__doc__).parse_args()
        main()
