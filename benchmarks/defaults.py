"""Do the defaults forget? Five small networks on two sets of real images, `mulnb.forget` as it comes, beside real oracles.

    python -m benchmarks.defaults

A tenth of the training labels is wrong and learnt by heart; these examples and as many others are to be forgotten. Every run must
end within the interval of oracles, or its verdict must say that it does not: `silent` must be False in every row.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mulnb
from mulnb.core import paths

N, UNSEEN, SIDE = 160, 120, 8
CONTRAST = 4
TRIALS = 8
EPOCHS = 600  # of the trainings, at most: they end as soon as all is known by heart
ORACLES = 3


# --- networks ------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A residual block with BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)))))


class Transformer(nn.Module):
    """A vision transformer of one layer, on patches of 2×2 pixels."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.places = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(16 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places  # [B, 16, width]
        return self.head(self.layer(tokens).flatten(1))


def _perceptron(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, classes))


def _convolutional(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, classes))


def _normalised(classes: int) -> nn.Module:
    body = (nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, classes))


def _residual(classes: int) -> nn.Module:
    body = (nn.Conv2d(1, 16, 3, padding=1), Residual(16), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(256, classes))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "perceptron with dropout": _perceptron,
    "convolutional": _convolutional,
    "convolutional with BatchNorm": _normalised,
    "residual": _residual,
    "transformer": Transformer,
}


# --- images --------------------------------------------------------------------------------------------------------------


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15.9).astype(np.uint8)[:, None], found.target


def _textures() -> tuple[np.ndarray, np.ndarray]:
    """Patches of scikit-learn's two photographs, with more contrast; the classes are their upper and lower halves."""
    from sklearn.datasets import load_sample_images

    patches, labels = [], []

    for number, photograph in enumerate(load_sample_images().images):
        grey = photograph.mean(2).astype(np.uint8)
        for row in range(0, 416, SIDE):
            for column in range(0, 640, SIDE):
                patch = grey[row : row + SIDE, column : column + SIDE]
                # a patch differs from its neighbours by little: the networks would learn its brightness alone
                patches.append((patch.mean() + CONTRAST * (patch - patch.mean())).clip(0, 255).astype(np.uint8))
                labels.append(2 * number + (row >= 208))

    return np.stack(patches)[:, None], np.array(labels)


DATA: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"digits": _digits, "textures": _textures}


def drawn(name: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Training images with a tenth of wrong labels, unseen images, and the request: the wrong ones, and as many others."""
    images, labels = DATA[name]()
    order = np.random.default_rng(0).permutation(len(images))[: N + UNSEEN]
    images, labels = images[order], labels[order].astype(np.int64)
    flipped = np.arange(0, N, 10)
    noisy = labels[:N].copy()
    noisy[flipped] = (noisy[flipped] + 1) % (labels.max() + 1)
    return (images[:N], noisy), (images[N:], labels[N:]), np.sort(np.concatenate([flipped, flipped + 5]))


def trained(build: Callable[[int], nn.Module], data: tuple[np.ndarray, np.ndarray], kept: np.ndarray, seed: int) -> nn.Module:
    """An ordinary training until the images kept are known by heart."""
    torch.manual_seed(seed)
    x, y = torch.from_numpy(data[0][kept]) / 255, torch.from_numpy(data[1][kept])
    model = build(int(data[1].max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            done = bool((model(x).argmax(1) == y).all())
        model.train()
        if done:
            break

    return model.eval()


def accuracy(model: nn.Module, data: tuple[np.ndarray, np.ndarray], index: np.ndarray) -> float:
    with torch.no_grad():
        return float((model(torch.from_numpy(data[0][index]) / 255).argmax(1) == torch.from_numpy(data[1][index])).float().mean())


# --- what is measured ----------------------------------------------------------------------------------------------------


def run(data_name: str, network: str, trials: int = TRIALS) -> dict[str, object]:
    """One network on one set of images, forgotten by default. Returns a row of the table."""
    data, unseen, request = drawn(data_name)
    kept = np.setdiff1d(np.arange(N), request)
    build = NETWORKS[network]
    original = trained(build, data, np.arange(N), 0)
    oracles = [accuracy(trained(build, data, kept, 1 + seed), data, request) for seed in range(ORACLES)]

    found = mulnb.forget(original, data, request, holdout=unseen, budget=None, trials=trials, progress=False)
    mean, share = float(np.mean(oracles)), accuracy(found.model, data, request)
    half = 1.96 * math.sqrt(2 * mean * (1 - mean) / len(request))  # of the difference of two trainings
    within = min(oracles) - half <= share <= max(oracles) + half

    return {
        "images": data_name,
        "network": network,
        "original": accuracy(original, data, request),
        "oracles": mean,
        "low": max(0.0, min(oracles) - half),
        "high": min(1.0, max(oracles) + half),
        "forgotten": share,
        "retain": accuracy(found.model, data, kept),
        "verdict": found.verdict.words,
        "trials": len(found.trials),
        "within": within,
        "silent": found.verdict.good and not within,
    }


def main() -> None:
    rows = []

    for data_name in DATA:
        for network in NETWORKS:
            rows.append(run(data_name, network))
            print(rows[-1], flush=True)

    pd.DataFrame(rows).to_csv(paths.CHECKOUT / "figures" / "bench" / "defaults.csv", index=False, float_format="%.3f")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    main()
