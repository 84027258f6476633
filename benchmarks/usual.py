"""The usual way to do what this package does: what `mulnb bench` measures against. No result is made with it.

Written as most public code of the field is: PIL images behind a `DataLoader`, one model after another in float32, per-example
loops with `.item()`, curvature with every pass spelt out. Each function gives the same numbers as its counterpart here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from mulnb.config import Recipe
from mulnb.data import ImageSet


class PilImages(Dataset):
    """An `ImageSet` as PIL images that are converted and normalised one by one, each time they are read."""

    def __init__(self, images: ImageSet, mean: Tensor, std: Tensor) -> None:
        pixels = images.images.transpose(0, 2, 3, 1)  # [N, H, W, C]
        self.images = [Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one) for one in pixels]
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


def train(
    model: nn.Module,
    data: PilImages,
    recipe: Recipe,
    seed: int,
    index: Tensor | None = None,
    after_epoch: Callable[[int, float], object] = lambda epoch, loss: None,
) -> nn.Module:
    """SGD at a constant rate, in the order of `training.fit`, so that both can be compared."""
    where = next(model.parameters()).device
    index = torch.arange(len(data)) if index is None else index
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(recipe.epochs):
        order = index[torch.randperm(len(index), generator=generator)]
        losses = []
        for inputs, labels in DataLoader(Subset(data, order.tolist()), batch_size=recipe.batch):
            inputs, labels = inputs.to(where), labels.to(where)
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        after_epoch(epoch, float(np.mean(losses)))
    return model


@torch.no_grad()
def predict(model: nn.Module, data: PilImages, batch: int = 256) -> Tensor:
    """Logits [N, K] in eval mode."""
    where = next(model.parameters()).device
    model.eval()
    return torch.cat([model(inputs.to(where)) for inputs, _ in DataLoader(data, batch_size=batch)])


def pool(
    networks: Sequence[nn.Module], data: PilImages, subsets: Sequence[Tensor], recipe: Recipe, seeds: Sequence[int]
) -> Tensor:
    """Logits [M, N, K] of M networks, each trained on its own subset, one after another."""
    trained = [train(*task) for task in zip(networks, [data] * len(seeds), [recipe] * len(seeds), seeds, subsets, strict=True)]
    return torch.stack([predict(network, data) for network in trained])


class LoopRecorder:
    """The four training signals, example by example."""

    def __init__(self, n: int) -> None:
        self.sums = {name: np.zeros(n) for name in ("confidence", "max_confidence", "entropy", "binary_accuracy")}

    def record(self, index: Tensor, labels: Tensor, logits: Tensor) -> None:
        probabilities = F.softmax(logits, dim=1)
        for j in range(len(index)):
            i, label, p = index[j].item(), labels[j].item(), probabilities[j]
            self.sums["confidence"][i] += p[label].item()
            self.sums["max_confidence"][i] += p.max().item()
            self.sums["entropy"][i] += -(p * torch.log(p + 1e-12)).sum().item()
            self.sums["binary_accuracy"][i] += float(p.argmax().item() == label)


def loss_curvature(model: nn.Module, inputs: Tensor, labels: Tensor, h: float) -> Tensor:
    """‖∇ₓℓ(x + z) − ∇ₓℓ(x)‖₂ per example, [B], as CURE does it (Moosavi-Dezfooli et al. 2019, arXiv 1811.09716): four forward
    passes, and a backward pass that also computes the weights' gradients.
    """
    criterion = nn.CrossEntropyLoss(reduction="sum")
    model.eval()
    inputs = inputs.clone().requires_grad_()
    model(inputs).argmax(1)  # the predictions, which such code reports beside the curvature
    criterion(model(inputs), labels).backward()
    z = inputs.grad.sign()
    z = h * z / z.flatten(1).norm(dim=1).clamp(min=1).view(-1, 1, 1, 1)
    model.zero_grad()
    inputs = inputs.detach().requires_grad_()
    moved, still = criterion(model(inputs + z), labels), criterion(model(inputs), labels)
    return torch.autograd.grad(moved - still, inputs)[0].flatten(1).norm(dim=1)


def mia(member: np.ndarray, non_member: np.ndarray, forget: np.ndarray) -> float:
    """The share of `forget` [m] that libsvm's classifier, told `member` [n] from `non_member` [n], takes for non-members."""
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    features = np.concatenate([member, non_member])[:, None]
    attack.fit(features, np.r_[np.ones(len(member)), np.zeros(len(non_member))])
    return float((attack.predict(forget[:, None]) == 0).mean())
