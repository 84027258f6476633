"""The unlearning runs of a profile: an algorithm, a strategy and its settings, applied to a forget set (METHOD §5, §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb import audit
from mulnb.config import Profile
from mulnb.core.registry import STACKABLE_ALGORITHMS
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import CEILING, FLOOR
from mulnb.forget import Strata
from mulnb.study import diverged
from mulnb.study.oracles import Asked, margins, measure, relearn, without

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from mulnb.rum import Unlearned
    from mulnb.study.jobs import Job
    from mulnb.study.study import Study


@dataclass(frozen=True)
class Run:
    """One unlearning run of a profile.

    The full RUM has `algorithm` = `strategy` = "rum", and its `Rum` as settings. The floor and the ceiling are runs, too: see
    `NOT_UNLEARNED` and `SECOND_ORACLE`.
    """

    algorithm: str
    strategy: str
    score: str  # that its forget set is chosen by
    seed: int
    settings: Any  # of the algorithm, once or for each stage

    @property
    def plan(self) -> dict[str, Any]:
        """Algorithm and settings as arguments of `rum.unlearn`."""
        if self.strategy != "rum":
            return {"algorithm": self.algorithm, "settings": self.settings}

        algorithms, settings = [], []
        for stage in self.settings.stages:
            algorithms.append(stage.algorithm)
            settings.append(stage.settings)
        return {"algorithm": algorithms, "settings": settings}

    @property
    def stages(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Algorithm and settings of every stage in which something is done."""
        if self.strategy == "nothing":
            return []
        if self.strategy == "rum":
            return [(stage.algorithm, stage.settings) for stage in self.settings.stages if stage.algorithm]
        if self.strategy == "vanilla":
            return [(self.algorithm, self.settings)]

        # the other strategies have three stages, with the same settings or with those of each
        each = [self.settings] * 3 if isinstance(self.settings, Mapping) else self.settings
        return [(self.algorithm, settings) for settings in each]

    @property
    def algorithms(self) -> list[str]:
        """The algorithms that take part."""
        return sorted({name for name, _ in self.stages})


def unlearn_together(study: Study, tasks: Sequence[tuple[Job, Run, Strata]]) -> list[Artifact]:
    """Do several runs as one.

    Args:
        study: the profile and the data.
        tasks: the job of the original model, what to do with it, and what to forget.
    """
    from mulnb.training import Diverged

    _, runs, sets = zip(*tasks, strict=True)
    seeds, forgets = [run.seed for run in runs], [chosen.forget for chosen in sets]
    originals = [study.get(original) for original, *_ in tasks]

    try:
        model, facts = apply(study, study.restore(originals), runs, sets)
        logits, test_logits = study.outputs(model)
        epochs = relearn(study, model, originals, forgets, seeds)
    except Diverged as error:  # of a single network; a network of a stack has outputs that are not finite, see below
        return [Artifact(meta={"diverged": str(error)})]

    found = []
    for j, (run, forget) in enumerate(zip(runs, forgets, strict=True)):
        if not logits[j].isfinite().all() or not test_logits[j].isfinite().all():
            found.append(Artifact(meta={"diverged": "the model's logits are not finite: use a smaller lr"}))
            continue

        asked = Asked((forget,), without(len(study.train), forget), run.seed, audit.ATTACKS)
        [outcome] = measure(study, logits[j], test_logits[j], asked)
        own = {name: values[j] for name, values in facts.items()}
        meta = outcome | own | {"relearn_epochs": epochs[j]}
        found.append(Artifact(margins(study, logits[j], test_logits[j]), meta))
    return found


def apply(
    study: Study, model: nn.Module, runs: Sequence[Run], sets: Sequence[Strata], present: np.ndarray | None = None
) -> tuple[nn.Module, dict[str, list[float]]]:
    """Unlearn a forget set from each network of a stack.

    Args:
        study: the profile and the data.
        model: k networks as one, or one network; see `Study.stack`.
        runs: of each network; they differ in their seeds and scores only.
        sets: of each network, what to forget.
        present: bool [k, N], what each network still contains.

    Returns:
        The unlearned networks as one, and for each its `seconds` (its share of the stack's), `passes_retain`, `passes_forget`.
    """
    from mulnb import rum

    if study.together > 1 and set(runs[0].algorithms) <= STACKABLE_ALGORITHMS:
        how = {"seed": [run.seed for run in runs], "present": present} | _how(study, runs[0])
        done = rum.unlearn(model, study.train, sets, **how)
        unlearned = done.model
    else:  # a single network, or an algorithm that takes no stack
        [network] = study.unstack(model)
        done = unlearn_alone(study, network, runs[0], sets[0], None if present is None else present[0])
        unlearned = study.stack([done.model])

    facts = {
        "seconds": [done.seconds / len(runs)] * len(runs),
        "passes_retain": np.atleast_1d(done.passes_retain).tolist(),
        "passes_forget": np.atleast_1d(done.passes_forget).tolist(),
    }
    return unlearned, facts


def unlearn_alone(study: Study, network: nn.Module, run: Run, chosen: Strata, present: np.ndarray | None = None) -> Unlearned:
    """Unlearn a forget set from one network that is no stack.

    Args:
        study: the profile and the data.
        network: is not changed.
        run: what to do.
        chosen: what to forget.
        present: bool [N], what the network still contains.

    Raises:
        Diverged: the training does; it says in which stage, of which stratum.
    """
    from mulnb import rum
    from mulnb.training import Diverged

    try:
        return rum.unlearn(network, study.train, chosen, seed=run.seed, present=present, **_how(study, run))
    except Diverged as error:
        raise Diverged(diverged.with_stratum(str(error), run.strategy)) from None


def _how(study: Study, run: Run) -> dict[str, Any]:
    """The arguments of `rum.unlearn` that are the same for one network and for a stack of them."""
    retain = study.profile.unlearning.retain_later_strata
    return {**run.plan, "strategy": run.strategy, "retain_later_strata": retain, "fresh": study.fresh}


def ways(profile: Profile) -> list[tuple[str, str, Any]]:
    """What a profile does with every forget set.

    Returns:
        Algorithm, strategy and settings of each way; the full RUM last.
    """
    found = []
    for algorithm, strategies in profile.unlearning.algorithms.items():
        for strategy, settings in strategies.items():
            found.append((algorithm, strategy, settings))

    if profile.unlearning.rum:
        found.append(("rum", "rum", profile.unlearning.rum))
    return found


# two more, as in `ways`: an original model that has forgotten nothing, and a second oracle
NOT_UNLEARNED, SECOND_ORACLE = (FLOOR, FLOOR, {}), (CEILING, "vanilla", {})
