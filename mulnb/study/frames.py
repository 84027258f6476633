"""The tidy frames of unlearning: every run beside its oracle (METHOD §5–§7)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mulnb import audit, forget
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study import audits
from mulnb.study.jobs import Job
from mulnb.study.oracles import converged, oracle_job
from mulnb.study.runs import FLOOR, Run, unlearning_job, ways
from mulnb.study.scoring import score_seeds
from mulnb.study.study import Study

OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")
OTHER_ATTACKS = tuple(f"mia_{name}" for name in audit.ATTACKS[1:])


def unlearning(study: Study) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed against its oracle, with the floor and the ceiling; columns as in DESIGN.

    The floor is the original model (algorithm and strategy `nothing`). The ceiling is a second oracle (algorithm `retrain`,
    strategy `vanilla`), compared with the first one as everything else is.
    """
    return outcomes(study, planned(study), "unlearning", audited=True, ceiling=True)


def planned(study: Study) -> list[Run]:
    """The runs behind `unlearning`; those of the floor come last."""
    runs = []
    for algorithm, strategy, settings in [*ways(study.profile), FLOOR]:
        for score, seed in itertools.product(study.refining_scores, study.profile.seeds):
            runs.append(Run(algorithm, strategy, score, seed, settings))
    return runs


def crossed(study: Study) -> pd.DataFrame:
    """The same S, the memorization set, refined in the order of each score (METHOD §7c). Columns of `unlearning` and `order`.

    Only the order differs, so a difference says something about the order and not about which examples are forgotten.
    """
    runs, orders, sets = planned_orders(study)
    if not runs:
        return pd.DataFrame()
    return outcomes(study, runs, "one forget set in several orders", sets).assign(order=orders)


def planned_orders(study: Study) -> tuple[list[Run], list[str], list[Strata]]:
    """The runs behind `crossed`, the score that each is in the order of, and its strata."""
    scores, seeds = study.profile.unlearning.scores, study.profile.seeds
    runs, orders = [], []
    for algorithm, strategies in study.profile.unlearning.algorithms.items():
        if "rum_f" not in strategies or study.given is not None:
            continue  # a forget set from a file has its own order
        for order, seed in itertools.product(scores, seeds):
            runs.append(Run(algorithm, "rum_f", "memorization", seed, strategies["rum_f"]))
            orders.append(order)

    score_seeds(study, seeds)
    refined = {}
    for order, seed in itertools.product(scores, seeds):
        members = study.strata("memorization", seed).forget
        refined[order, seed] = forget.split(members, study.scores(order, seed), seed)

    return runs, orders, [refined[order, run.seed] for order, run in zip(orders, runs, strict=True)]


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
        study: the profile and its store.
        runs: what to do.
        label: of the progress bar.
        sets: what each run forgets; by default the strata of its score and seed.
        audited: with the audits beyond the paper.
        ceiling: with a row for the second oracle of every forget set.
    """
    score_seeds(study, sorted({run.seed for run in runs}))
    sets = strata_of(study, runs) if sets is None else list(sets)

    # the first oracles of all forget sets, then the second ones
    keys, wanted = _forget_sets(runs, sets)
    jobs = oracle_jobs(study, wanted.values())
    if ceiling:
        jobs += oracle_jobs(study, wanted.values(), number=1)
    trained = study.gather(jobs, "oracles, retrained from scratch")
    oracles = dict(zip(wanted, trained[: len(wanted)], strict=True))

    unlearning_jobs = [unlearning_job(study, run, chosen) for run, chosen in zip(runs, sets, strict=True)]
    done = study.gather(unlearning_jobs, label)

    if ceiling:  # the second oracles as runs of their own
        runs = list(runs)
        for key, second in zip(wanted, trained[len(wanted) :], strict=True):
            run, chosen = wanted[key]
            runs.append(Run("retrain", "vanilla", run.score, run.seed, {}))
            sets.append(chosen)
            keys.append(key)
            done.append(_as_run(study, second))

    seeds = [key[1] for key in oracles]
    fitted = dict(zip(oracles, converged(study, seeds, list(oracles.values())), strict=True))
    rows = []
    for run, chosen, key, unlearned in zip(runs, sets, keys, done, strict=True):
        rows.append(_row(study, run, chosen, unlearned, oracles[key]) | {"converged": fitted[key]})
    frame = pd.DataFrame(rows)
    if not audited:
        return frame

    for name in OTHER_ATTACKS:
        frame[name] = [artifact.meta.get(name, np.nan) for artifact in done]
    return audits.columns(study, frame, sets, done, [oracles[key] for key in keys])


def oracle_jobs(study: Study, forgotten: Iterable[tuple[Run, Strata]], number: int = 0) -> list[Job]:
    """The first (`number` 0) or the second oracle of each run's forget set; one that serves several runs comes several times."""
    return [oracle_job(study, chosen.forget, [chosen.forget], run.seed, number) for run, chosen in forgotten]


def strata_of(study: Study, runs: Sequence[Run]) -> list[Strata]:
    """What each run forgets: the strata of its score and seed."""
    known: dict[tuple[str, int], Strata] = {}
    found = []
    for run in runs:
        place = (run.score, run.seed)
        if place not in known:
            known[place] = study.strata(*place)
        found.append(known[place])
    return found


def _forget_sets(runs: Sequence[Run], sets: Sequence[Strata]) -> tuple[list[tuple], dict[tuple, tuple[Run, Strata]]]:
    """The forget set of each run as a key, and for each key the first run and strata: its oracle serves every algorithm."""
    keys: list[tuple] = []
    first: dict[tuple, tuple[Run, Strata]] = {}
    for run, chosen in zip(runs, sets, strict=True):
        key = (run.score, run.seed, chosen.forget.tobytes())
        keys.append(key)
        first.setdefault(key, (run, chosen))
    return keys, first


def _as_run(study: Study, oracle: Artifact) -> Artifact:
    """An oracle in the form of an unlearning run."""
    passes = {"passes_retain": study.profile.training.epochs, "passes_forget": 0}
    return Artifact(oracle.arrays, _flat(oracle) | passes)


def _flat(oracle: Artifact) -> dict[str, Any]:
    """An oracle's outcome on its own forget set, as a flat mapping."""
    facts = {"seconds": oracle.meta["seconds"], "relearn_epochs": oracle.meta["relearn_epochs"]}
    return oracle.meta["outcomes"][0] | facts


def outcome(study: Study, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed in this process unless it is stored.

    Args:
        study: the profile and its store.
        run: what to do; its score is only a name here.
        chosen: what to forget.
    """
    oracle = study.get(oracle_job(study, chosen.forget, [chosen.forget], run.seed))
    return _row(study, run, chosen, study.get(unlearning_job(study, run, chosen)), oracle)


def _row(study: Study, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    """One row of `outcomes`."""
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

    Args:
        unlearned: outcome, `seconds` and passes of an unlearned model. One that diverged gets NaN for its own numbers, and 0 for
            ToW and ToW-MIA.
        oracle: outcome and `seconds` of the oracle.
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
