"""One network, or an oracle, that is made with a mistake of `study.mistaken`, and what is measured of it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from mulnb.core.registry import STACKABLE_ALGORITHMS
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study import diverged
from mulnb.study.jobs import Job
from mulnb.study.mistaken import MISTAKES, Trained, measured_right
from mulnb.study.recipes import algorithm_version, made_from, original_job, same_settings
from mulnb.study.runs import Run, apply
from mulnb.study.study import Study

MEASURED = "measured"  # a network that is trained without a mistake, and measured with each one of measuring
RIGHT = "right"  # the key of an outcome that is measured without a mistake


@dataclass(frozen=True)
class Task:
    """One network to be made and measured."""

    mistake: str  # a name of `MISTAKES`, or `MEASURED`
    run: Run  # an oracle is a run, too, of the algorithm `retrain`
    chosen: Strata
    seed: int  # of the original model


def job(study: Study, mistake: str, run: Run, chosen: Strata, seed: int) -> Job:
    """One network that is made and measured with a mistake.

    Args:
        study: the profile and the original models.
        mistake: a name of `MISTAKES`, or `MEASURED`.
        run: what to do; an oracle is a run of the algorithm `retrain`.
        chosen: the forget set.
        seed: of the original model.

    Returns:
        The job. Its artefact's `outcomes` are by name: `RIGHT`, or for `MEASURED` every mistake of measuring.
    """
    original = original_job(study, seed).with_weights
    parts = {
        **made_from(study, "rum", "audit.evaluation", "audit.attack", "fast.svc", "study.mistaken", "study.mistaken_jobs"),
        "mistake": mistake,
        "algorithm": [algorithm_version(name) for name in run.algorithms],
        "original": original.parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": study.profile.unlearning.retain_later_strata,
    }
    stacks = set(run.algorithms) <= STACKABLE_ALGORITHMS
    group = same_settings([mistake, run.plan, run.strategy, [len(part) for part in chosen]]) if stacks else ""
    return Job("mistaken", parts, _make, Task(mistake, run, chosen, seed), group, needs=(original,))


def _make(study: Study, tasks: list[Task]) -> list[Artifact]:
    """Make several networks as one, with the mistake that they share, and measure each."""
    from mulnb.training import Diverged

    during = MISTAKES[tasks[0].mistake].during if tasks[0].mistake in MISTAKES else nullcontext
    originals = [study.get(original_job(study, task.seed).with_weights) for task in tasks]
    try:
        with during():
            model, facts = apply(study, study.restore(originals), [task.run for task in tasks], [task.chosen for task in tasks])
        logits, test_logits = study.outputs(model)
    except Diverged as error:  # of a single network; one of a stack has outputs that are not finite
        return [Artifact(meta={"diverged": str(error)})]

    if tasks[0].run.algorithm == "retrain":
        places = [f"oracle of seed {task.seed} with the mistake {task.mistake}" for task in tasks]
        diverged.refuse(logits, places, lambda number: None)  # where it happened does not matter here

    found = []
    for j, (task, network) in enumerate(zip(tasks, study.unstack(model), strict=True)):
        if not logits[j].isfinite().all() or not test_logits[j].isfinite().all():
            found.append(Artifact(meta={"diverged": "the model's logits are not finite: use a smaller lr"}))
            continue
        trained = Trained(network, logits[j], test_logits[j], task.chosen.forget, task.seed, task.run.seed)
        found.append(Artifact(meta={"outcomes": _measured(study, trained, task.mistake), "seconds": facts["seconds"][j]}))
    return found


def _measured(study: Study, trained: Trained, mistake: str) -> dict[str, dict[str, float]]:
    """The outcomes of a network: measured right, or with every mistake of measuring."""
    if mistake != MEASURED:
        return {RIGHT: measured_right(study, trained)}
    return {name: other.measure(study, trained) for name, other in MISTAKES.items() if other.measure}
