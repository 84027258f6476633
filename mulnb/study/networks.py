"""`Networks`: a profile's data on the device, and its networks, one by one or as a stack."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mulnb.config import Profile
from mulnb.core.registry import STACKABLE_ARCHITECTURES
from mulnb.core.store import Artifact
from mulnb.data import Splits, load_data

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from mulnb.config import Model
    from mulnb.study.batches import Activations
    from mulnb.training import Examples

WEIGHTS = "weights/"  # before the names of a network's weights among the arrays of an artefact


class Networks:
    """What is trained on what. Data are loaded, and moved to the device, when first asked for."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    # ---- data

    @cached_property
    def splits(self) -> Splits:
        """The images, split into D, H and T."""
        return load_data(self.profile)

    @cached_property
    def train(self) -> Examples:
        """D on the device."""
        return self._on_device("train")

    @cached_property
    def holdout(self) -> Examples:
        """H on the device."""
        return self._on_device("holdout")

    @cached_property
    def test(self) -> Examples:
        """T on the device."""
        return self._on_device("test")

    def _on_device(self, part: str) -> Examples:
        from mulnb import training

        found = training.examples(getattr(self.splits, part), self.splits)
        if self.together == 1:  # the networks of a stack are small, and see 64 examples at a time
            found.largest_batch = min(network.predicted for network in self.activations)
        return found

    @cached_property
    def activations(self) -> list[Activations]:
        """What the study's network and the pool's compute for one example."""
        import torch

        from mulnb import training
        from mulnb.study.batches import Activations

        x = torch.zeros(1, *self.splits.train.images.shape[1:], device=training.device())
        models = {spec.model_dump_json(): spec for spec in (self.profile.model, self.profile.pool_model)}
        return [Activations.of(self._build(0, spec).to(x.device), x) for spec in models.values()]

    # ---- networks

    @cached_property
    def together(self) -> int:
        """How many networks are trained as one stack: `pool.group` where the architecture allows it, else 1."""
        return self.profile.pool.group if self.profile.model.arch in STACKABLE_ARCHITECTURES else 1

    def fresh(self, seed: int | Sequence[int]) -> nn.Module:
        """An untrained network.

        Args:
            seed: draws the weights; several seeds give a stack of as many networks.
        """
        if not isinstance(seed, int):
            return self.stack([self._build(own) for own in seed])
        return self._build(seed)

    def _build(self, seed: int, model: Model | None = None) -> nn.Module:
        """One untrained network that is no stack; of the profile's `model` if no other is given."""
        from mulnb import models

        train, model = self.splits.train, model or self.profile.model
        return models.build(
            model.arch,
            num_classes=len(train.classes),
            in_channels=train.images.shape[1],
            width=model.width,
            stem=model.stem,
            seed=seed,
        )

    def _blank(self) -> nn.Module:
        """A network on the device whose weights will be replaced: a copy, since drawing weights takes as long as a step."""
        return copy.deepcopy(self._drawn).to(self.train.device)

    @cached_property
    def _drawn(self) -> nn.Module:
        """The network that `_blank` copies."""
        return self._build(0)

    def stack(self, networks: Sequence[nn.Module]) -> nn.Module:
        """The networks as one `Stack`, where the architecture allows it; else the only network, as it is.

        A single network becomes a stack, too, so that its numbers are those it has in any other stack.
        """
        from mulnb.fast.stacked import Stack

        if self.together == 1:
            [network] = networks
            return network
        return Stack(networks).to(self.train.device)

    def unstack(self, model: nn.Module) -> list[nn.Module]:
        """The networks of a stack, each for itself."""
        if self.together == 1:
            return [model]

        networks = [self._blank() for _ in range(model.size)]
        model.copy_to(networks)
        return networks

    def restore(self, artifacts: Sequence[Artifact]) -> nn.Module:
        """The networks whose weights the artefacts hold, on the device and as one; see `stack`."""
        return self.stack([self.restore_one(artifact) for artifact in artifacts])

    def restore_one(self, artifact: Artifact) -> nn.Module:
        """The network whose weights an artefact holds, on the device."""
        import torch

        state = {}
        for name, values in artifact.arrays.items():
            if name.startswith(WEIGHTS):
                state[name.removeprefix(WEIGHTS)] = torch.from_numpy(values)

        model = self._blank()
        model.load_state_dict(state)
        return model

    def outputs(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits [k, N, K] of D and [k, |T|, K] of T, for one network or a stack; NaN for a network that diverged."""
        import torch

        from mulnb import training

        both = []
        for data in (self.train, self.test):
            try:
                logits = training.predict(model, data)
            except training.Diverged:
                logits = torch.full((len(data), len(self.splits.train.classes)), torch.nan, device=data.device)
            both.append(logits if logits.dim() == 3 else logits[None])  # [k, n, K]

        return both[0], both[1]


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """The weights of one network, not of a stack, as arrays of an artefact; `Networks.restore` reads them."""
    return {WEIGHTS + name: value.cpu().numpy() for name, value in model.state_dict().items()}
