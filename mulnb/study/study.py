"""`Study`: one object that holds what all experiments of a profile share.

It has the data on the device, untrained networks, the pool, the scores and the strata, and it reads and writes the store. The
experiments themselves are functions of a `Study`: `scoring`, `frames`, `chains`, `tuning`.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb import forget
from mulnb.config import Profile
from mulnb.core import paths, store
from mulnb.core.registry import ALGORITHMS, ARCHITECTURES, PROXIES, STACKABLE_ARCHITECTURES
from mulnb.core.store import Artifact
from mulnb.data import Splits, forget_file, load_data
from mulnb.forget import ForgetSet, Strata
from mulnb.proxies import centre, orient
from mulnb.study import jobs, scoring
from mulnb.study.jobs import Job

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    import pandas as pd
    from torch import Tensor, nn

    from mulnb.audit.membership import Shadow
    from mulnb.config import Model
    from mulnb.memorization import Pool
    from mulnb.study.batches import Activations
    from mulnb.study.scoring import Scored
    from mulnb.training import Examples

SHOWN_SEEDS = 3  # of the frames that have a row for every example and run

_open: dict[tuple[str, Path], Study] = {}


class Study:
    """A profile with everything that is made from it, loaded or computed when first asked for.

    `Study.of(profile)` gives the same object again in the same process; nothing is computed by opening one.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._scored: dict[int, Scored] = {}
        self.worker_peak_mb = 0.0  # memory of the worker that took the most; whoever measures sets it to 0 first

    @classmethod
    def of(cls, profile: Profile) -> Study:
        """The study of `profile` with the current store. Equal profiles share one study."""
        key = (profile.model_dump_json(), paths.home())
        if key not in _open:
            _open[key] = cls(profile)
        return _open[key]

    # ---- data and networks

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
            found.largest_batch = min(one.predicted for one in self.activations)
        return found

    @cached_property
    def activations(self) -> list[Activations]:
        """What the study's network and the pool's compute of one example."""
        import torch

        from mulnb import training
        from mulnb.study.batches import Activations

        x = torch.zeros(1, *self.splits.train.images.shape[1:], device=training.device())
        models = {spec.model_dump_json(): spec for spec in (self.profile.model, self.profile.pool_model)}
        return [Activations.of(self._build(0, spec).to(x.device), x) for spec in models.values()]

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
        """One untrained network, of the profile's `model` if no other is given."""
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

        networks = [self._build(0).to(self.train.device) for _ in range(model.size)]
        model.copy_to(networks)
        return networks

    def restore(self, artifacts: Sequence[Artifact]) -> nn.Module:
        """The networks whose weights the artefacts hold, on the device and as one; see `stack`."""
        return self.stack([self.restore_one(artifact) for artifact in artifacts])

    def restore_one(self, artifact: Artifact) -> nn.Module:
        """The network whose weights an artefact holds, on the device."""
        import torch

        prefix = "weights/"
        state = {}
        for name, values in artifact.arrays.items():
            if name.startswith(prefix):
                state[name.removeprefix(prefix)] = torch.from_numpy(values)

        model = self._build(0).to(self.train.device)
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

    # ---- the store

    def key(self, *modules: str) -> dict[str, Any]:
        """The part of a key that says which data, which network, and which code.

        Args:
            modules: names below `mulnb` of the code that the result depends on, besides models and training.
        """
        key = {
            "data": [self.splits.fingerprint, self.splits.mean, self.splits.std],
            "model": self.profile.model,
            "code": store.code_version("examples", "fast.graphs", "fast.stacked", "models", "training", *modules),
        }

        # entries from outside the package are not in its code
        if added := ARCHITECTURES.version(self.profile.model.arch):
            key["architecture"] = added
        if PROXIES.added and "proxies" in modules:
            key["proxies"] = {name: PROXIES.version(name) for name in PROXIES.added}
        return key

    def gather(self, wanted: Sequence[Job], label: str, only: Collection[str] | None = None) -> list[Artifact]:
        """The artefacts of jobs, or `only` some arrays of each; the missing ones are computed on the workers."""
        return jobs.gather(self, wanted, label, only)

    def get(self, job: Job) -> Artifact:
        """The artefact of one job, computed in this process if it is missing."""
        return jobs.run_job(self, job)

    # ---- scores and strata

    @cached_property
    def pool(self) -> Pool | None:
        """The models on random subsets, as what they left behind (METHOD §2) but for their margins, which only `shadow` needs.

        None where scores come from a file.
        """
        return None if self.profile.pool.scores else scoring.load_pool(self)

    @cached_property
    def shadow(self) -> Shadow | None:
        """Margins of the pool's models on examples that they were not trained on, for LiRA and RMIA.

        None where there is no pool, or where `audit.membership` is off.
        """
        from mulnb.audit.membership import Shadow

        if self.pool is None or not self.profile.audit.membership:
            return None
        margin, margin_test = scoring.pool_margins(self)
        return Shadow.of(margin, self.pool.member, margin_test)

    @cached_property
    def memorization(self) -> pd.DataFrame:
        """The exact scores; columns `example label memorization se n_in n_out flipped`."""
        return scoring.exact_scores(self)

    def scored(self, seed: int) -> Scored:
        """The proxies of one seed."""
        if seed not in self._scored:
            self._scored[seed] = scoring.load_scored(self, seed)
        return self._scored[seed]

    def scores(self, score: str, seed: int) -> np.ndarray:
        """The oriented score [N] that the forget sets of `seed` are chosen by."""
        if score == "memorization":
            return self.memorization.memorization.to_numpy()
        return orient(score, self.scored(seed).raw[score])

    def strata(self, score: str, seed: int) -> Strata:
        """The three strata of `score` for `seed`, which also draws ties; those of the file, where the profile names one."""
        if self.given is not None:
            return self.given.strata
        return forget.strata(self.scores(score, seed), self.profile.forget.size, centre(score), seed)

    @cached_property
    def given(self) -> ForgetSet | None:
        """The forget set of the profile's `forget.file`, if it names one. Raises `UserError` if it does not fit these data."""
        if self.profile.forget.file is None:
            return None
        return forget_file.load(self.profile.forget.file, self.splits.fingerprint, len(self.splits.train))

    @property
    def refining_scores(self) -> tuple[str, ...]:
        """The values of the column `score`. A forget set from a file counts as one score."""
        if self.given is None:
            return self.profile.unlearning.scores

        return (str(self.given.settings.get("score", "forget_file")),)


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """A network's weights as arrays of an artefact; `Study.restore` reads them.

    Args:
        model: one network, not a stack.
    """
    return {f"weights/{name}": value.cpu().numpy() for name, value in model.state_dict().items()}


def without(n: int, gone: np.ndarray) -> np.ndarray:
    """The indices 0 … n − 1 without those in `gone`, int64, in ascending order."""
    kept = np.ones(n, dtype=bool)
    kept[gone] = False
    return np.flatnonzero(kept)


# ---- which code an unlearning algorithm is

ALGORITHM_FILES = Path(__file__).parents[1] / "unlearning"


def algorithm_version(name: str) -> str:
    """A hash of what an unlearning algorithm does. It is part of the results' keys: only an edited algorithm runs again.

    Args:
        name: an algorithm of the package or one from outside.
    """
    if (ALGORITHM_FILES / f"{name}.py").is_file():  # read from its file: torch takes seconds to import
        return store.code_version(*(f"unlearning.{file}" for file in _with_imports(name)))
    ALGORITHMS.check(name)
    return ALGORITHMS.version(name) or ""


def _with_imports(name: str) -> set[str]:
    """An algorithm's file and the files of the same folder that it imports."""
    found = {name}
    for node in ast.walk(ast.parse((ALGORITHM_FILES / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mulnb.unlearning."):
            found |= _with_imports(node.module.rsplit(".", 1)[1])
    return found
