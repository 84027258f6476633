"""A run once more, with somebody watching: the probability of every forgotten example's label after each epoch.

The study's runs record nothing on the way, and what they compute may not change. So the run is repeated, to the bit, on examples
that tell when an epoch begins (`training.announce`), by networks that tell when they are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mulnb import study
from mulnb.config import Profile
from mulnb.core import store
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study.jobs import Job
from mulnb.study.recipes import original_job, unlearning_job
from mulnb.study.runs import apply


class Epochs(NamedTuple):
    """The way of a run."""

    probability: np.ndarray  # [E + 1, |S|]: before, and after each pass, of the examples `Strata.forget`
    stages: list[int]  # the epochs at which a stage begins, without 0; empty where that is not known


def watch(profile: Profile, run: study.Run, chosen: Strata) -> Epochs:
    """The probabilities of a run after each epoch; repeated now unless they are stored."""
    here = study.Study.of(profile)
    parts = {
        "run": unlearning_job(here, run, chosen).parts,
        "code": store.code_version("explorer.replay", "study.runs"),
    }
    found = here.get(Job("epochs", parts, _repeat, (run, chosen)))
    return Epochs(found.arrays["probability"], begins(run, len(found.arrays["probability"]) - 1))


def begins(run: study.Run, epochs: int) -> list[int]:
    """At which epochs the stages after the first one begin, if the settings account for all `epochs`."""
    lengths = [settings.get("epochs", 0) for _, settings in run.stages]
    return np.cumsum(lengths)[:-1].tolist() if sum(lengths) == epochs else []


def _repeat(here: study.Study, tasks: Sequence[tuple[study.Run, Strata]]) -> list[Artifact]:
    """Do the run of the only task."""
    import torch

    from mulnb import training

    [(run, chosen)] = tasks
    watched, forget = _Watched(here), torch.from_numpy(chosen.forget).to(here.train.device)
    labels = here.train.labels[forget]
    said: list[np.ndarray] = []

    def look(model: Any) -> None:
        logits = training.predict(model, here.train, forget)
        p = torch.softmax(logits.reshape(len(forget), -1).double(), 1)  # a stack has a leading axis of 1
        said.append(p.gather(1, labels[:, None])[:, 0].cpu().numpy())

    def began() -> None:
        if watched.training is not None:  # before the first epoch nothing has been trained
            look(watched.training)

    watched.listen(began)
    model = watched.restore([here.get(original_job(here, run.seed).with_weights)])
    look(model)
    unlearned, _ = apply(watched, model, [run], [chosen])
    look(unlearned)
    return [Artifact({"probability": np.stack(said).astype(np.float32)})]


class _Watched(study.Study):
    """A study whose training examples tell when an epoch begins, and which knows the network that was trained last."""

    def __init__(self, other: study.Study) -> None:
        super().__init__(other.profile)
        self.__dict__.update(other.__dict__)  # its data, networks and scores
        self.training: Any = None

    def listen(self, began: Callable[[], None]) -> None:
        """Call `began` at the beginning of every epoch of a training."""
        self.__dict__["train"] = _Telling(self.train, began)

    def stack(self, networks: Sequence[Any]) -> Any:
        return self._hooked(super().stack(networks))

    def unstack(self, model: Any) -> list[Any]:
        return [self._hooked(network) for network in super().unstack(model)]

    def fresh(self, seed: int | Sequence[int]) -> Any:
        return self._hooked(super().fresh(seed))

    def _hooked(self, model: Any) -> Any:
        """The network, which from now on says when it computes a training step. Its copies say so, too."""
        import torch

        def seen(module: Any, _: Any) -> None:
            if module.training and torch.is_grad_enabled():
                self.training = module

        model.register_forward_pre_hook(seen)
        return model


class _Telling:
    """Training examples; `began` is called when a training announces the batches of an epoch."""

    def __init__(self, data: Any, began: Callable[[], None]) -> None:
        self._data, self._began = data, began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def announce(self, pieces: Sequence[Any]) -> None:
        """What `training.rounds` calls for every epoch; `training.predict` calls it, too, without gradients."""
        import torch

        ahead = getattr(self._data, "announce", None)
        if ahead is not None:
            ahead(pieces)
        if torch.is_grad_enabled():
            self._began()
