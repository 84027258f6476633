"""The usual way to do what this package does: what `mulnb bench` measures against. No result is made with it.

Written as most public code of the field is: PIL images behind a `DataLoader`, one model after another in float32, per-example
loops with `.item()`, curvature with every pass spelt out. Each function gives the same numbers as its counterpart here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mulnb.config import Recipe
from mulnb.data import ImageSet


class PilImages(Dataset):
    """An `ImageSet` as PIL images that are converted and normalised one by one, each time they are read."""

    def __init__(self, images: ImageSet, mean: Tensor, std: Tensor) -> None:
        self.images = []
        for pixels in images.images.transpose(0, 2, 3, 1):  # [H, W, C]
            grey = pixels.shape[-1] == 1
            self.images.append(Image.fromarray(pixels.squeeze(-1) if grey else pixels))

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
    """SGD at a constant rate, in the order and the batches of `training.fit`, so that both can be compared.

    Args:
        model: trained in place.
        data: all images.
        recipe: epochs, batch, rate, momentum and weight decay.
        seed: of the order of the images.
        index: the images to train on; all if None.
        after_epoch: is given the number of every epoch and its mean loss.
    """
    where = next(model.parameters()).device
    index = torch.arange(len(data)) if index is None else index
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    criterion = nn.CrossEntropyLoss()
    model.train()

    for epoch in range(recipe.epochs):
        order = index[torch.randperm(len(index), generator=generator)]
        losses = []
        sampler = [piece.tolist() for piece in torch.tensor_split(order, math.ceil(len(order) / recipe.batch))]
        for inputs, labels in DataLoader(data, batch_sampler=sampler):
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
    logits = []
    for network, subset, seed in zip(networks, subsets, seeds, strict=True):
        trained = train(network, data, recipe, seed, subset)
        logits.append(predict(trained, data))
    return torch.stack(logits)


class LoopRecorder:
    """The nine training signals of `proxies.SignalRecorder`, example by example."""

    MEANS = ("confidence", "max_confidence", "entropy", "binary_accuracy", "cumulative_loss", "el2n", "aum")

    def __init__(self, n: int) -> None:
        self.sums = {name: np.zeros(n) for name in self.MEANS}
        self.correct: list[list[bool]] = [[] for _ in range(n)]  # by example, one value an epoch

    def record(self, index: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Add a batch: `logits` [B, K] of the examples `index` [B]."""
        probabilities = F.softmax(logits, dim=1)

        for j in range(len(index)):
            i, label, z, p = index[j].item(), labels[j].item(), logits[j], probabilities[j]
            correct = p.argmax().item() == label
            self.sums["confidence"][i] += p[label].item()
            self.sums["max_confidence"][i] += p.max().item()
            self.sums["entropy"][i] += -(p * torch.log(p + 1e-12)).sum().item()
            self.sums["binary_accuracy"][i] += float(correct)
            self.sums["cumulative_loss"][i] += F.cross_entropy(z, labels[j]).item()

            error = p.clone()
            error[label] -= 1
            self.sums["el2n"][i] += error.norm().item()

            others = z.clone()
            others[label] = -torch.inf
            self.sums["aum"][i] += (z[label] - others.max()).item()

            self.correct[i].append(correct)

    def raw(self) -> dict[str, np.ndarray]:
        """The raw signals [N]; every example must have been seen once an epoch."""
        found = {name: total / len(self.correct[0]) for name, total in self.sums.items()}
        found["forgetting"] = np.array([self._forgotten(history) for history in self.correct])
        found["learning_time"] = np.array([self._late(history) for history in self.correct])
        return found

    @staticmethod
    def _forgotten(history: list[bool]) -> int:
        """How often right was followed by wrong; all epochs for an example that was never right."""
        if not any(history):
            return len(history)

        events = 0
        for before, after in itertools.pairwise(history):
            if before and not after:
                events += 1
        return events

    @staticmethod
    def _late(history: list[bool]) -> float:
        """The share of the epochs before the example is right for good."""
        right_at_the_end = 0
        for right in reversed(history):
            if not right:
                break
            right_at_the_end += 1
        return 1 - right_at_the_end / len(history)


def loss_curvature(model: nn.Module, inputs: Tensor, labels: Tensor, h: float) -> Tensor:
    """‖∇ₓℓ(x + z) − ∇ₓℓ(x)‖₂ per example, [B], as CURE does it (Moosavi-Dezfooli et al. 2019, arXiv 1811.09716).

    It takes four forward passes, and a backward pass that also computes the weights' gradients.

    Args:
        model: put into eval mode.
        inputs: [B, C, H, W].
        labels: [B].
        h: the length of the step z.
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
