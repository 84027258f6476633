"""The tidy frames of unlearning: every run beside its oracle (METHOD §5–§7)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mulnb import audit, forget
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import CEILING
from mulnb.forget import Strata
from mulnb.study import audits
from mulnb.study.recipes import job_of, oracle_of
from mulnb.study.runs import Run
from mulnb.study.study import Scored, Study

OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")
FAR_BELOW = 0.03  # a model whose accuracy on R is so far below the median of its like did not converge (METHOD §6)
OTHER_ATTACKS = tuple(f"mia_{name}" for name in audit.ATTACKS[1:])


def unlearning(study: Study) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed against its oracle, with floor and ceiling; columns in figures/README.md."""
    return outcomes(study, study.runs, "unlearning", audited=True)


def crossed(study: Study) -> pd.DataFrame:
    """The same S, the memorization set, refined in the order of each score (METHOD §7c). Columns of `unlearning` and `order`.

    Only the order differs, so a difference says something about the order and not about which examples are forgotten.
    """
    runs, orders, sets = orders_of(study)
    if not runs:
        return pd.DataFrame()
    return outcomes(study, runs, "one forget set in several orders", sets).assign(order=orders)


def orders_of(study: Study) -> tuple[list[Run], list[str], list[Strata]]:
    """The runs behind `crossed`, the score that each is in the order of, and its strata."""
    if study.profile.forget.file is not None:
        return [], [], []  # a forget set from a file has its own order

    plan, seeds = study.profile.unlearning, study.profile.seeds
    study.score_seeds(seeds)
    runs, orders, sets = [], [], []
    for algorithm, strategies in plan.algorithms.items():
        if "rum_f" not in strategies:
            continue
        for order, seed in itertools.product(plan.scores, seeds):
            members = study.strata("memorization", seed).forget
            runs.append(Run(algorithm, "rum_f", "memorization", seed, strategies["rum_f"]))
            orders.append(order)
            sets.append(forget.split(members, study.scores(order, seed), seed))
    return runs, orders, sets


def outcomes(
    study: Study, runs: Sequence[Run], label: str, sets: Sequence[Strata] | None = None, audited: bool = False
) -> pd.DataFrame:
    """A tidy row per run: the unlearned model's outcome, its oracle's, and the two compared.

    Args:
        study: the profile and its store.
        runs: what to do.
        label: of the progress bar.
        sets: what each run forgets; by default the strata of its score and seed.
        audited: with the audits beyond the paper.
    """
    scored = study.score_seeds(sorted({run.seed for run in runs}))
    if sets is None:
        sets = [study.strata(run.score, run.seed) for run in runs]

    # an oracle serves every run on its forget set
    wanted = [oracle_of(study, chosen, run.seed) for run, chosen in zip(runs, sets, strict=True)]
    oracles = study.gather(wanted, "oracles, retrained from scratch")
    done = study.gather([job_of(study, run, chosen) for run, chosen in zip(runs, sets, strict=True)], label)

    fitted = converged(scored, [run.seed for run in runs], oracles)
    rows = []
    for run, chosen, unlearned, oracle, trusted in zip(runs, sets, done, oracles, fitted, strict=True):
        rows.append(_row(study, run, chosen, unlearned, oracle) | {"converged": trusted})
    frame = pd.DataFrame(rows)
    if rows:
        frame["converged"] &= second_oracles_fitted(frame)
    if not audited:
        return frame

    for name in OTHER_ATTACKS:
        frame[name] = [_facts(study, artifact).get(name, np.nan) for artifact in done]
    return audits.columns(study, frame, sets, done, oracles)


def outcome(study: Study, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed in this process unless it is stored.

    Args:
        study: the profile and its store.
        run: what to do; its score is only a name here.
        chosen: what to forget.
    """
    oracle = study.get(oracle_of(study, chosen, run.seed))
    return _row(study, run, chosen, study.get(job_of(study, run, chosen)), oracle)


def _facts(study: Study, artifact: Artifact) -> Mapping[str, Any]:
    """What is known of an unlearned or retrained network, as a flat mapping: outcome on its forget set, seconds, passes."""
    if "outcomes" not in artifact.meta:
        return artifact.meta

    # an oracle was trained from scratch
    facts = {name: artifact.meta[name] for name in ("seconds", "relearn_epochs")}
    facts |= {"passes_retain": study.profile.training.epochs, "passes_forget": 0}
    return artifact.meta["outcomes"][0] | facts


def _row(study: Study, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    """One row of `outcomes`."""
    return {
        "profile": study.profile.name,
        "algorithm": run.algorithm,
        "strategy": run.strategy,
        "score": run.score,
        "seed": run.seed,
        "n_forget": len(chosen.forget),
        **compare(_facts(study, unlearned), _facts(study, oracle)),
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


def converged(scored: Mapping[int, Scored], seeds: Sequence[int], oracles: Sequence[Artifact]) -> list[bool]:
    """Whether each oracle, and the original model of its seed, fitted its training set as well as the others (METHOD §6).

    A model counts as not converged if its accuracy on what it was trained on is `FAR_BELOW` below the median of its kind.

    Args:
        scored: the original models, by seed.
        seeds: of each oracle.
        oracles: the artefacts of their jobs.
    """
    learned = {seed: original.acc_train for seed, original in scored.items()}
    fitted = [oracle.meta["outcomes"][0]["acc_retain"] for oracle in oracles]

    low_original = np.median([*learned.values()]) - FAR_BELOW
    low_oracle = np.median(fitted) - FAR_BELOW

    found = []
    for seed, accuracy in zip(seeds, fitted, strict=True):
        found.append(bool(accuracy >= low_oracle and learned[seed] >= low_original))
    return found


def second_oracles_fitted(frame: pd.DataFrame) -> pd.Series:
    """False for a ceiling whose network, a second oracle, did not fit what it was trained on.

    It is then more than `FAR_BELOW` below the median of its kind.
    """
    second = (frame["algorithm"] == CEILING) | (frame["strategy"] == CEILING)  # of sequential unlearning: by strategy
    low = frame.loc[second, "acc_retain"].median() - FAR_BELOW
    return ~(second & (frame["acc_retain"] < low))
