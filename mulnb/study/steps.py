"""The steps of a chain of forget sets, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mulnb import forget
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.proxies import centre
from mulnb.study import diverged
from mulnb.study.networks import weights
from mulnb.study.oracles import Asked, measure
from mulnb.study.runs import Run, apply, unlearn_alone
from mulnb.study.scoring import holdout_scores

if TYPE_CHECKING:  # torch takes seconds to import
    from mulnb.rum import Unlearned
    from mulnb.study.jobs import Job
    from mulnb.study.study import Study


class Step(NamedTuple):
    """One step of one chain."""

    strategy: str
    seed: int  # of the chain's original model
    number: int  # 1, 2, …
    before: tuple[Job, ...]  # the step before it; of the first one the original model and its scores

    def start(self, study: Study) -> Artifact:
        """What the step begins with: the weights, `present` bool [N], and the current model's scores `after` [N]."""
        first, *scores = [study.get(job) for job in self.before]
        if not scores:
            return first

        # the original model contains all of D
        everything = np.ones(len(study.train), dtype=bool)
        return Artifact(first.arrays | {"present": everything, "after": scores[0].arrays["holdout_retraining"]}, first.meta)


def take_together(study: Study, steps: Sequence[Step]) -> list[Artifact]:
    """The same step of several chains: choose a forget set by the current model's own scores, unlearn it, score the new model.

    Raises:
        Diverged: a model has no finite outputs, so that no next set can be chosen by it.
    """
    last = [step.start(study) for step in steps]
    present = np.stack([own.arrays["present"] for own in last])  # [k, N]
    runs, sets = _chosen(study, steps, last)

    total = study.profile.sequential.steps
    places = [f"sequential unlearning, {step.strategy}, seed {step.seed}, step {step.number} of {total}" for step in steps]
    with diverged.at(places[0]):
        model, facts = apply(study, study.restore(last), runs, sets, present)
        logits, test_logits = study.outputs(model)

    def again(j: int) -> Unlearned:
        return unlearn_alone(study, study.restore_one(last[j]), runs[j], sets[j], present[j])

    diverged.refuse(logits, places, again)
    seeds = [step.seed for step in steps]
    after = holdout_scores(study, model, seeds, [f"{place}, hold-out retraining" for place in places])  # [k, N]

    found = []
    for j, network in enumerate(study.unstack(model)):
        left = present[j].copy()  # [N], what the network still contains
        left[sets[j].forget] = False

        # measured on the set of this step, and on all sets so far
        asked = Asked((sets[j].forget, np.flatnonzero(~left)), np.flatnonzero(left), seeds[j])
        of_step, of_union = measure(study, logits[j], test_logits[j], asked)

        arrays = {name: getattr(sets[j], name) for name in STRATA}
        arrays |= {"present": left, "before": last[j].arrays["after"], "after": after[j]}
        own = {name: values[j] for name, values in facts.items()}
        found.append(Artifact(weights(network) | arrays, {"step": of_step, "union": of_union} | own))

    return found


def _chosen(study: Study, steps: Sequence[Step], last: Sequence[Artifact]) -> tuple[list[Run], list[Strata]]:
    """The next forget set of each chain, by the scores of its current model, and how it is unlearned."""
    plan = study.profile.sequential
    settings = study.profile.unlearning.algorithms[plan.algorithm][steps[0].strategy]

    runs, sets = [], []
    for step, own in zip(steps, last, strict=True):
        draw = step.seed + step.number
        candidates = np.flatnonzero(own.arrays["present"])
        sets.append(forget.strata(own.arrays["after"], study.profile.forget.size, centre(plan.score), draw, candidates))
        runs.append(Run(plan.algorithm, step.strategy, plan.score, draw, settings))
    return runs, sets


def measure_floors(study: Study, tasks: Sequence[tuple[Job, int, tuple[np.ndarray, ...], np.ndarray]]) -> list[Artifact]:
    """Measure original models on the sets of chains; each of them predicts only once.

    Args:
        study: the data.
        tasks: original model, its seed, the sets to measure it on, and R.
    """
    originals = {seed: original for original, seed, *_ in tasks}
    seeds = sorted(originals)

    outputs = {}  # by seed, logits of D and of T
    for start in range(0, len(seeds), study.together):
        some = seeds[start : start + study.together]
        model = study.restore([study.get(originals[seed]) for seed in some])
        for seed, logits, test_logits in zip(some, *study.outputs(model), strict=True):
            outputs[seed] = (logits, test_logits)

    found = []
    for _, seed, forgets, kept in tasks:
        outcomes = measure(study, *outputs[seed], Asked(forgets, kept, seed))
        meta = {"outcomes": outcomes, "seconds": 0.0, "passes_retain": 0.0, "passes_forget": 0.0}
        found.append(Artifact(meta=meta))
    return found
