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
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study.jobs import Job
from mulnb.study.scoring import original_job, score_seeds
from mulnb.study.study import Study, algorithm_version, without

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn

ORACLE_SEED = 10_000  # added to a seed for its oracle, which must not share the original model's initialisation
OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")


# ---- oracles


def oracle_job(study: Study, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Job:
    """θ_r trained without `forgotten`, and its outcome on each of the sets `evaluated` ⊆ forgotten."""
    parts = {
        **study.key("audit", "fast.svc"),
        "algorithm": algorithm_version("retrain"),
        "recipe": study.profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
    }
    return Job("oracle", parts, _retrain, (forgotten, evaluated, seed))


def _retrain(study: Study, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Artifact:
    import torch

    from mulnb.unlearning import ALGORITHMS

    kept = without(len(study.train), forgotten)
    gone, rest = (torch.from_numpy(index).to(study.train.device) for index in (forgotten, kept))
    recipe = study.profile.training.model_dump()

    started = time.perf_counter()
    model = ALGORITHMS["retrain"](None, study.train, gone, rest, seed=seed + ORACLE_SEED, fresh=study.fresh, **recipe)
    seconds = time.perf_counter() - started

    outcomes = [audit.evaluate(model, study.train, study.test, members, kept, seed) for members in evaluated]
    return Artifact(meta={"outcomes": outcomes, "seconds": seconds})


# ---- unlearning runs


@dataclass(frozen=True)
class Run:
    """One unlearning run of a profile. That of the full RUM has `algorithm` = `strategy` = "rum", and its `Rum` as settings."""

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
        if self.strategy == "rum":
            return [(stage.algorithm, stage.settings) for stage in self.settings.stages if stage.algorithm]
        if self.strategy == "vanilla":
            return [(self.algorithm, self.settings)]
        each = [self.settings] * 3 if isinstance(self.settings, Mapping) else self.settings
        return [(self.algorithm, settings) for settings in each]

    @property
    def versions(self) -> list[str]:
        """The code behind it, for keys."""
        names = self.plan["algorithm"]
        return [algorithm_version(name) for name in ([names] if isinstance(names, str) else names) if name]


def unlearning_job(study: Study, run: Run, chosen: Strata) -> Job:
    """The unlearning run `run` on the strata `chosen`."""
    parts = {
        **study.key("rum", "audit", "fast.svc"),
        "algorithm": run.versions,
        "original": original_job(study, run.seed).parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": study.profile.unlearning.retain_later_strata,
    }
    return Job("unlearned", parts, _unlearn, (run, chosen))


def _unlearn(study: Study, run: Run, chosen: Strata) -> Artifact:
    from mulnb.training import Diverged

    original = study.restore(study.get(original_job(study, run.seed)))
    kept = without(len(study.train), chosen.forget)
    try:
        model, seconds = apply(study, original, run, chosen)
        outcome = audit.evaluate(model, study.train, study.test, chosen.forget, kept, run.seed)
    except Diverged as error:
        return Artifact(meta={"diverged": str(error)})
    return Artifact(meta=outcome | {"seconds": seconds})


def apply(study: Study, model: nn.Module, run: Run, chosen: Strata, present: np.ndarray | None = None) -> tuple[nn.Module, float]:
    """The model that has unlearned `chosen` as `run` says, and the seconds that it took."""
    from mulnb import rum

    unlearned = rum.unlearn(
        model,
        study.train,
        chosen,
        **run.plan,
        strategy=run.strategy,
        seed=run.seed,
        fresh=study.fresh,
        present=present,
        retain_later_strata=study.profile.unlearning.retain_later_strata,
    )
    return unlearned.model, unlearned.seconds


# ---- frames


def ways(profile: Profile) -> list[tuple[str, str, Any]]:
    """Algorithm, strategy and settings of what a profile does with every forget set; the full RUM last."""
    found = []
    for algorithm, strategies in profile.unlearning.algorithms.items():
        found += [(algorithm, strategy, settings) for strategy, settings in strategies.items()]
    if profile.unlearning.rum:
        found.append(("rum", "rum", profile.unlearning.rum))
    return found


def unlearning(study: Study) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed of the profile against its oracle; columns as in DESIGN.

    The oracle itself is the algorithm `retrain` (strategy `vanilla`): ToW = ToW-MIA = 1 by definition.
    """
    runs = []
    for algorithm, strategy, settings in ways(study.profile):
        for score, seed in itertools.product(study.refining_scores, study.profile.seeds):
            runs.append(Run(algorithm, strategy, score, seed, settings))

    frame = outcomes(study, runs, "unlearning")
    oracle = frame.drop_duplicates(["score", "seed"]).assign(algorithm="retrain", strategy="vanilla", tow=1.0, tow_mia=1.0)
    for key in (*OUTCOME, "seconds"):
        oracle[key] = oracle[f"oracle_{key}"]
    return pd.concat([frame, oracle], ignore_index=True)


def outcomes(study: Study, runs: Sequence[Run], label: str) -> pd.DataFrame:
    """A tidy row per run: the unlearned model's outcome, its oracle's, and the two compared."""
    score_seeds(study, sorted({run.seed for run in runs}))
    chosen = {(run.score, run.seed): study.strata(run.score, run.seed) for run in runs}

    oracle_jobs = [oracle_job(study, strata.forget, [strata.forget], seed) for (_, seed), strata in chosen.items()]
    oracles = dict(zip(chosen, study.gather(oracle_jobs, "oracles, retrained from scratch"), strict=True))
    done = study.gather([unlearning_job(study, run, chosen[run.score, run.seed]) for run in runs], label)

    rows = []
    for run, unlearned in zip(runs, done, strict=True):
        place = (run.score, run.seed)
        rows.append(_row(study.profile, run, chosen[place], unlearned, oracles[place]))
    return pd.DataFrame(rows)


def outcome(study: Study, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed here and now unless it is stored."""
    oracle = study.get(oracle_job(study, chosen.forget, [chosen.forget], run.seed))
    return _row(study.profile, run, chosen, study.get(unlearning_job(study, run, chosen)), oracle)


def _row(profile: Profile, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    reference = oracle.meta["outcomes"][0] | {"seconds": oracle.meta["seconds"]}
    return {
        "profile": profile.name,
        "algorithm": run.algorithm,
        "strategy": run.strategy,
        "score": run.score,
        "seed": run.seed,
        "n_forget": len(chosen.forget),
        **compare(unlearned.meta, reference),
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
    }
