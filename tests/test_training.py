"""The one loop: what it tells its callers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import models, training
from mulnb.config import Recipe
from mulnb.training import Examples


def test_an_epochs_loss_is_the_mean_over_its_batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 1, 8, 8), dtype=torch.uint8, generator=generator)
    data = Examples(images, torch.arange(200) % 4, torch.tensor([0.5]), torch.tensor([0.25]))
    losses, told = [], []

    def objective(model, batch):
        found = training.cross_entropy(model, batch)
        losses.append(found[0].item())
        return found

    def after_epoch(epoch, loss):
        told.append(loss)

    model = models.build("small_cnn", num_classes=4, in_channels=1, width=4, seed=0)
    training.fit(model, data, Recipe(epochs=1, batch=50, lr=0.01), 0, objective=objective, after_epoch=after_epoch)
    assert len(losses) == 4 and told == [pytest.approx(np.mean(losses), rel=1e-5)]
