"""What the paper published, as far as it could be read, and which profiles stand for its experiments.

Source: K. Zhao and P. Triantafillou, "Scalability of memorization-based machine unlearning", arXiv 2410.16516. The paper's own
Table 1 could not be read; its numbers are here as later work cites them. No other published number is known to this project.
"""

from __future__ import annotations

#: Spearman ρ with memorization, lowest and highest of the paper's pairs. The signs are turned as the proxies are here: higher =
#: more memorized.
PUBLISHED_RHO = {
    "confidence": (0.80, 0.91),
    "binary_accuracy": (0.71, 0.89),
    "loss_curvature": (0.69, 0.70),
    "holdout_retraining": (0.62, 0.67),
}

#: Cost of a proxy as a share of the cost of exact memorization scores.
PUBLISHED_SHARE = {"confidence": 2e-5, "holdout_retraining": 1e-5, "loss_curvature": 7.4e-4}

#: The proxies of the paper; the others in the tables are this project's additions.
PAPER_PROXIES = ("confidence", "max_confidence", "entropy", "binary_accuracy", "holdout_retraining", "loss_curvature")

_EVERYWHERE = {"of width": 64, "stem": "cifar", "epochs": 30, "examples a stratum": 1000}
_CIFAR = {"training and hold-out images": 50_000, "test images": 10_000, "pixels a side": 32, **_EVERYWHERE, "pool share": 0.7}

#: The paper's pairs of data set and architecture (`dataset.name` and `model.arch` of a profile), and their sizes. Tiny-ImageNet
#: has no exact scores in the paper, so there is no pool to compare with; those of CIFAR-100 are Feldman and Zhang's release.
SIZES = {
    ("cifar10", "resnet18"): {"classes": 10, **_CIFAR, "pool models": 400},
    ("cifar100", "resnet50"): {"classes": 100, **_CIFAR, "pool models": 4000},
    ("tiny-imagenet", "vgg16_bn"): {
        "classes": 200,
        "training and hold-out images": 100_000,
        "test images": 10_000,
        "pixels a side": 64,
        **_EVERYWHERE,
    },
}
PAPER_PAIRS = frozenset(SIZES)

#: The profiles that can stand for each pair, best first: a reduced profile is shown until the full one has results.
PAIRS = {
    "cifar10": ("cifar10", "cifar10-small"),
    "cifar100": ("cifar100", "cifar100-mini"),
    "tiny-imagenet": ("tiny-imagenet", "tiny-imagenet-mini"),
}
