"""Every algorithm, strategy, score and seed of a profile, each against its oracle (METHOD §5–§7)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mulnb import audit
from mulnb.config import Profile
from mulnb.core.registry import STACKABLE_ALGORITHMS
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study.jobs import Job, same_settings
from mulnb.study.scoring import finite, original_job, score_seeds
from mulnb.study.study import Study, algorithm_version, without

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import Tensor, nn

# Added to a seed for its oracles, which must not share the original model's initialisation. The second one is the ceiling: how
# near to an oracle another oracle comes.
ORACLE_SEEDS = (10_000, 20_000)
OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")
OTHER_ATTACKS = tuple(f"mia_{name}" for name in audit.ATTACKS[1:])
AUDITS = ("lira_auc", "lira_tpr01", "rmia_auc", "klom_p50", "klom_p95", "relearn_epochs")
FAR_BELOW = 0.03  # a model whose accuracy on R is so far below the median of its like did not converge (METHOD §6)


# ---- what is measured of a trained network


@dataclass(frozen=True)
class Asked:
    """What to ask of one trained network: its outcome on each of the sets `forgets`, with `kept` as R."""

    forgets: tuple[np.ndarray, ...]
    kept: np.ndarray
    seed: int  # draws the retain examples that the membership attack sees
    attacks: tuple[str, ...] = ("confidence",)  # the headline attack, or all of them


def measure(study: Study, logits: Tensor, test_logits: Tensor, asked: Asked) -> list[dict[str, float]]:
    """The outcome of one network on each set, from its logits [N, K] of D and [|T|, K] of T."""
    data = (logits, study.train.labels, test_logits, study.test.labels)
    outcomes = []
    for forget in asked.forgets:
        outcomes.append(audit.evaluate_outputs(*data, forget, asked.kept, asked.seed, asked.attacks))
    return outcomes


def margins(study: Study, logits: Tensor, test_logits: Tensor) -> dict[str, np.ndarray]:
    """What every audit reads: the margins of one network on D and on T, float16."""
    return {
        "margin": audit.margins.log_odds(logits, study.train.labels),
        "margin_test": audit.margins.log_odds(test_logits, study.test.labels),
    }


def relearn(study: Study, model: nn.Module, forgets: Sequence[np.ndarray], seeds: Sequence[int]) -> list[float]:
    """Epochs until each network knows S again as well as .9 of its original did (METHOD §7b)."""
    targets = []
    for forget, seed in zip(forgets, seeds, strict=True):
        correct = study.get(original_job(study, seed)).arrays["correct"]
        targets.append(float(correct[forget].mean()))
    recipe = study.profile.audit.relearn
    if study.together > 1:
        return audit.relearn.relearn_epochs(model, study.train, np.stack(forgets), recipe, targets, list(seeds))
    return [audit.relearn.relearn_epochs(model, study.train, forgets[0], recipe, targets[0], seeds[0])]


# ---- oracles


def oracle_job(
    study: Study, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int, number: int = 0, relearns: bool = True
) -> Job:
    """θ_r trained without `forgotten`, and its outcome on each of the sets `evaluated` ⊆ forgotten.

    Args:
        number: 0, or 1 for the second oracle of the same seed.
        relearns: whether relearn time of `forgotten` and the other attacks are measured, too.
    """
    parts = {
        **study.key("audit.evaluation", "audit.attack", "audit.margins", "audit.relearn", "fast.svc"),
        "algorithm": algorithm_version("retrain"),
        "recipe": study.profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
        "number": number,
        "relearn": [study.profile.audit.relearn, original_job(study, seed).parts] if relearns else None,
    }
    task = (forgotten, tuple(evaluated), seed, number, relearns)
    return Job("oracle", parts, _retrain, task, group=f"{len(forgotten)} {relearns}")


def _retrain(study: Study, tasks: list[tuple]) -> list[Artifact]:
    import torch

    from mulnb.unlearning import ALGORITHMS

    n, where = len(study.train), study.train.device
    forgets, seeds = [task[0] for task in tasks], [task[2] for task in tasks]
    kept = [without(n, forgotten) for forgotten in forgets]
    shifted = [seed + ORACLE_SEEDS[task[3]] for seed, task in zip(seeds, tasks, strict=True)]
    stacked = study.together > 1

    started = time.perf_counter()
    model = ALGORITHMS["retrain"](
        None,
        study.train,
        torch.from_numpy(np.stack(forgets) if stacked else forgets[0]).to(where),
        torch.from_numpy(np.stack(kept) if stacked else kept[0]).to(where),
        seed=shifted if stacked else shifted[0],
        fresh=study.fresh,
        **study.profile.training.model_dump(),
    )
    seconds = (time.perf_counter() - started) / len(tasks)
    logits, test_logits = study.outputs(model)
    finite(logits, seeds, "oracle")
    epochs = relearn(study, model, forgets, seeds) if tasks[0][4] else [np.nan] * len(tasks)

    found = []
    for j, (_, evaluated, seed, _, relearns) in enumerate(tasks):
        attacks = audit.ATTACKS if relearns else audit.ATTACKS[:1]
        outcomes = measure(study, logits[j], test_logits[j], Asked(evaluated, kept[j], seed, attacks))
        meta = {"outcomes": outcomes, "seconds": seconds, "relearn_epochs": epochs[j]}
        found.append(Artifact(margins(study, logits[j], test_logits[j]), meta))
    return found


# ---- unlearning runs


@dataclass(frozen=True)
class Run:
    """One unlearning run of a profile.

    The full RUM has `algorithm` = `strategy` = "rum", and its `Rum` as settings. The floor, an original model that has forgotten
    nothing, has `algorithm` = `strategy` = "nothing".
    """

    algorithm: str
    strategy: str
    score: str
    seed: int
    settings: Any

    @property
    def plan(self) -> dict[str, Any]:
        """What `rum.unlearn` is to do."""
        if self.strategy != "rum":
            return {"algorithm": self.algorithm, "settings": self.settings}
        stages = self.settings.stages
        return {"algorithm": [stage.algorithm for stage in stages], "settings": [stage.settings for stage in stages]}

    @property
    def stages(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Algorithm and settings of every stage in which something is done."""
        if self.strategy == "nothing":
            return []
        if self.strategy == "rum":
            return [(stage.algorithm, stage.settings) for stage in self.settings.stages if stage.algorithm]
        if self.strategy == "vanilla":
            return [(self.algorithm, self.settings)]
        each = [self.settings] * 3 if isinstance(self.settings, Mapping) else self.settings
        return [(self.algorithm, settings) for settings in each]

    @property
    def algorithms(self) -> list[str]:
        """The algorithms that take part."""
        return sorted({name for name, _ in self.stages})


def unlearning_job(study: Study, run: Run, chosen: Strata) -> Job:
    """The unlearning run `run` on the strata `chosen`."""
    profile = study.profile
    parts = {
        **study.key("rum", "audit.evaluation", "audit.attack", "audit.margins", "audit.relearn", "fast.svc"),
        "algorithm": [algorithm_version(name) for name in run.algorithms],
        "original": original_job(study, run.seed).parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "relearn": profile.audit.relearn,
    }
    stacks = set(run.algorithms) <= STACKABLE_ALGORITHMS
    group = same_settings([run.plan, run.strategy, [len(part) for part in chosen]]) if stacks else ""
    return Job("unlearned", parts, _unlearn, (run, chosen), group)


def _unlearn(study: Study, tasks: list[tuple[Run, Strata]]) -> list[Artifact]:
    from mulnb.training import Diverged

    runs, sets = [run for run, _ in tasks], [chosen for _, chosen in tasks]
    seeds, forgets = [run.seed for run in runs], [chosen.forget for chosen in sets]
    originals = [study.get(original_job(study, seed)) for seed in seeds]
    try:
        model, facts = apply(study, study.restore(originals), runs, sets)
        logits, test_logits = study.outputs(model)
        epochs = relearn(study, model, forgets, seeds)
    except Diverged as error:  # of a network alone; one of a stack has outputs that are not finite
        return [Artifact(meta={"diverged": str(error)})]

    found = []
    for j, (run, forget) in enumerate(zip(runs, forgets, strict=True)):
        if not logits[j].isfinite().all() or not test_logits[j].isfinite().all():
            found.append(Artifact(meta={"diverged": "the model's logits are not finite: use a smaller lr"}))
            continue
        asked = Asked((forget,), without(len(study.train), forget), run.seed, audit.ATTACKS)
        [outcome] = measure(study, logits[j], test_logits[j], asked)
        meta = outcome | {name: values[j] for name, values in facts.items()} | {"relearn_epochs": epochs[j]}
        found.append(Artifact(margins(study, logits[j], test_logits[j]), meta))
    return found


def apply(
    study: Study, model: nn.Module, runs: Sequence[Run], sets: Sequence[Strata], present: np.ndarray | None = None
) -> tuple[nn.Module, dict[str, list[float]]]:
    """Unlearn one set from each network of `model` (see `Study.stack`); the runs differ in their seeds and scores only.

    Args:
        present: bool [k, N], what each network still contains.

    Returns:
        The unlearned networks as one, and for each its `seconds` (its share of the stack's), `passes_retain`, `passes_forget`.
    """
    from mulnb import rum

    first, seeds = runs[0], [run.seed for run in runs]
    how = {
        **first.plan,
        "strategy": first.strategy,
        "retain_later_strata": study.profile.unlearning.retain_later_strata,
    }
    if study.together > 1 and set(first.algorithms) <= STACKABLE_ALGORITHMS:
        how |= {"seed": seeds, "present": present, "fresh": study.fresh}
        done = rum.unlearn(model, study.train, sets, **how)
        unlearned = done.model
    else:  # one network
        how |= {"seed": seeds[0], "present": None if present is None else present[0], "fresh": study.fresh}
        [network] = study.unstack(model)
        done = rum.unlearn(network, study.train, sets[0], **how)
        unlearned = study.stack([done.model])
    facts = {
        "seconds": [done.seconds / len(runs)] * len(runs),
        "passes_retain": np.atleast_1d(done.passes_retain).tolist(),
        "passes_forget": np.atleast_1d(done.passes_forget).tolist(),
    }
    return unlearned, facts


# ---- frames


def ways(profile: Profile) -> list[tuple[str, str, Any]]:
    """Algorithm, strategy and settings of what a profile does with every forget set; the full RUM last."""
    found = []
    for algorithm, strategies in profile.unlearning.algorithms.items():
        found += [(algorithm, strategy, settings) for strategy, settings in strategies.items()]
    if profile.unlearning.rum:
        found.append(("rum", "rum", profile.unlearning.rum))
    return found


FLOOR = ("nothing", "nothing", {})


def unlearning(study: Study) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed against its oracle, with the floor and the ceiling; columns as in DESIGN.

    The floor is the original model (algorithm and strategy `nothing`). The ceiling is a second oracle (algorithm `retrain`,
    strategy `vanilla`), compared with the first one as everything else is.
    """
    runs = []
    for algorithm, strategy, settings in [*ways(study.profile), FLOOR]:
        for score, seed in itertools.product(study.refining_scores, study.profile.seeds):
            runs.append(Run(algorithm, strategy, score, seed, settings))
    return outcomes(study, runs, "unlearning", audited=True, ceiling=True)


def crossed(study: Study) -> pd.DataFrame:
    """The same S, the memorization set, refined in the order of each score (METHOD §7c). Columns of `unlearning` and `order`.

    Only the order differs, so a difference says something about the order and not about which examples are forgotten.
    """
    runs, places = [], []
    for algorithm, strategies in study.profile.unlearning.algorithms.items():
        if "rum_f" not in strategies or study.given is not None:
            continue
        for order, seed in itertools.product(study.profile.unlearning.scores, study.profile.seeds):
            runs.append(Run(algorithm, "rum_f", "memorization", seed, strategies["rum_f"]))
            places.append(order)

    score_seeds(study, study.profile.seeds)
    sets = {}
    for order, seed in itertools.product(study.profile.unlearning.scores, study.profile.seeds):
        chosen = study.strata("memorization", seed).forget
        sets[order, seed] = in_order(chosen, study.scores(order, seed), seed)
    chosen = [sets[order, run.seed] for order, run in zip(places, runs, strict=True)]
    if not runs:
        return pd.DataFrame()
    return outcomes(study, runs, "one forget set in several orders", chosen).assign(order=places)


def in_order(members: np.ndarray, scores: np.ndarray, seed: int) -> Strata:
    """A given set in three parts of nearly equal size by its own scores, ties by `seed`."""
    mixed = np.random.default_rng(seed).permutation(np.sort(members))
    ordered = mixed[np.argsort(scores[mixed], kind="stable")]
    return Strata(*(np.sort(part) for part in np.array_split(ordered, 3)))


def outcomes(
    study: Study,
    runs: Sequence[Run],
    label: str,
    sets: Sequence[Strata] | None = None,
    audited: bool = False,
    ceiling: bool = False,
) -> pd.DataFrame:
    """A tidy row per run: the unlearned model's outcome, its oracle's, and the two compared.

    Args:
        sets: what each run forgets; by default the strata of its score and seed.
        audited: with the audits beyond the paper.
        ceiling: with a row for the second oracle of every forget set.
    """
    score_seeds(study, sorted({run.seed for run in runs}))
    if sets is None:
        by_place = {(run.score, run.seed): study.strata(run.score, run.seed) for run in runs}
        sets = [by_place[run.score, run.seed] for run in runs]

    # one oracle for each forget set and seed, shared by every algorithm
    wanted = {}
    for run, chosen in zip(runs, sets, strict=True):
        wanted.setdefault((run.score, run.seed, chosen.forget.tobytes()), (run, chosen))
    keys = [(run.score, run.seed, chosen.forget.tobytes()) for run, chosen in zip(runs, sets, strict=True)]
    numbers = (0, 1) if ceiling else (0,)
    oracle_jobs = []
    for number, (run, chosen) in itertools.product(numbers, wanted.values()):
        oracle_jobs.append(oracle_job(study, chosen.forget, [chosen.forget], run.seed, number))
    trained = study.gather(oracle_jobs, "oracles, retrained from scratch")
    oracles = dict(zip(wanted, trained, strict=False))
    done = study.gather([unlearning_job(study, run, chosen) for run, chosen in zip(runs, sets, strict=True)], label)

    converged = _converged(study, oracles)
    rows = []
    for run, chosen, key, unlearned in zip(runs, sets, keys, done, strict=True):
        rows.append(_row(study, run, chosen, unlearned, oracles[key]) | {"converged": converged[key]})
    if ceiling:
        for key, second in zip(wanted, trained[len(wanted) :], strict=True):
            run, chosen = wanted[key]
            as_run = Run("retrain", "vanilla", run.score, run.seed, {})
            again = Artifact(second.arrays, _flat(second) | {"passes_retain": study.profile.training.epochs, "passes_forget": 0})
            rows.append(_row(study, as_run, chosen, again, oracles[key]) | {"converged": converged[key]})
            done.append(again)
            sets, keys = [*sets, chosen], [*keys, key]

    frame = pd.DataFrame(rows)
    if audited:
        from mulnb.study.audits import columns

        for name in OTHER_ATTACKS:
            frame[name] = [artifact.meta.get(name, np.nan) for artifact in done]
        frame = columns(study, frame, sets, done, [oracles[key] for key in keys])
    return frame


def _flat(oracle: Artifact) -> dict[str, Any]:
    """An oracle's facts in the form of an unlearning run's."""
    return oracle.meta["outcomes"][0] | {name: oracle.meta[name] for name in ("seconds", "relearn_epochs")}


def _converged(study: Study, oracles: Mapping[tuple, Artifact]) -> dict[tuple, bool]:
    """For each oracle, whether it and its seed's original model fitted R as well as their like (METHOD §6)."""
    seeds = {key[1] for key in oracles}
    originals = {seed: study.get(original_job(study, seed)).meta["acc_train"] for seed in seeds}
    fitted = {key: oracle.meta["outcomes"][0]["acc_retain"] for key, oracle in oracles.items()}
    low_original = np.median([*originals.values()]) - FAR_BELOW
    low_oracle = np.median([*fitted.values()]) - FAR_BELOW
    return {key: bool(fitted[key] >= low_oracle and originals[key[1]] >= low_original) for key in oracles}


def outcome(study: Study, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed here and now unless it is stored."""
    oracle = study.get(oracle_job(study, chosen.forget, [chosen.forget], run.seed))
    return _row(study, run, chosen, study.get(unlearning_job(study, run, chosen)), oracle)


def _row(study: Study, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    return {
        "profile": study.profile.name,
        "algorithm": run.algorithm,
        "strategy": run.strategy,
        "score": run.score,
        "seed": run.seed,
        "n_forget": len(chosen.forget),
        **compare(unlearned.meta, _flat(oracle)),
    }


def compare(unlearned: Mapping[str, Any], oracle: Mapping[str, Any]) -> dict[str, float]:
    """The columns of an outcome beside its oracle's.

    A run that diverged has NaN for its own numbers and 0 for ToW and ToW-MIA.
    """
    own = {key: unlearned.get(key, np.nan) for key in OUTCOME}
    diverged = "diverged" in unlearned
    return {
        **own,
        **{f"oracle_{key}": oracle[key] for key in OUTCOME},
        "tow": 0.0 if diverged else audit.tow(own, oracle),
        "tow_mia": 0.0 if diverged else audit.tow_mia(own, oracle),
        "seconds": unlearned.get("seconds", np.nan),
        "oracle_seconds": oracle["seconds"],
        "passes_retain": unlearned.get("passes_retain", np.nan),
        "passes_forget": unlearned.get("passes_forget", np.nan),
    }
