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
from mulnb.study.jobs import Job, gather, run_job
from mulnb.study.scoring import original_job, refining_scores, score_seeds, strata
from mulnb.study.setup import algorithm_version, bench, key_parts, restore

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn

ORACLE_SEED = 10_000  # added to a seed for its oracle, which must not share the original model's initialisation


def oracle_job(profile: Profile, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Job:
    """θ_r trained without `forgotten`, and its outcome on each of the sets `evaluated` ⊆ forgotten."""
    parts = key_parts(profile, "audit", "fast.svc") | {
        "algorithm": algorithm_version("retrain"),
        "recipe": profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
    }
    return Job("oracle", parts, _retrain, (profile, forgotten, evaluated, seed))


def _retrain(profile: Profile, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Artifact:
    import torch

    from mulnb.unlearning import ALGORITHMS

    here = bench(profile)
    kept = without(len(here.train), forgotten)
    gone, rest = (torch.from_numpy(index).to(here.train.device) for index in (forgotten, kept))
    recipe = profile.training.model_dump()
    started = time.perf_counter()
    model = ALGORITHMS["retrain"](None, here.train, gone, rest, seed=seed + ORACLE_SEED, fresh=here.fresh, **recipe)
    seconds = time.perf_counter() - started
    found = [audit.evaluate(model, here.train, here.test, one, kept, seed) for one in evaluated]
    return Artifact(meta={"outcomes": found, "seconds": seconds})


def without(n: int, gone: np.ndarray) -> np.ndarray:
    kept = np.ones(n, dtype=bool)
    kept[gone] = False
    return np.flatnonzero(kept)


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
        count = 1 if self.strategy == "vanilla" else 3
        each = [self.settings] * count if isinstance(self.settings, Mapping) else self.settings
        return [(self.algorithm, one) for one in each]

    @property
    def versions(self) -> list[str]:
        """The code behind it, for keys."""
        names = self.plan["algorithm"]
        return [algorithm_version(name) for name in ([names] if isinstance(names, str) else names) if name]


def _run_job(profile: Profile, run: Run, chosen: Strata) -> Job:
    parts = key_parts(profile, "rum", "audit", "fast.svc") | {
        "algorithm": run.versions,
        "original": original_job(profile, run.seed).parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
    }
    return Job("unlearned", parts, _unlearn, (profile, run, chosen))


def _unlearn(profile: Profile, run: Run, chosen: Strata) -> Artifact:
    from mulnb.training import Diverged

    here = bench(profile)
    model = restore(profile, run_job(original_job(profile, run.seed)).arrays)
    try:
        model, seconds = apply(profile, model, run, chosen)
        kept = without(len(here.train), chosen.forget)
        outcome = audit.evaluate(model, here.train, here.test, chosen.forget, kept, run.seed)
    except Diverged as error:
        return Artifact(meta={"diverged": str(error)})
    return Artifact(meta=outcome | {"seconds": seconds})


def apply(
    profile: Profile, model: nn.Module, run: Run, chosen: Strata, present: np.ndarray | None = None
) -> tuple[nn.Module, float]:
    from mulnb import rum

    here = bench(profile)
    unlearned = rum.unlearn(
        model,
        here.train,
        chosen,
        **run.plan,
        strategy=run.strategy,
        seed=run.seed,
        fresh=here.fresh,
        present=present,
        retain_later_strata=profile.unlearning.retain_later_strata,
    )
    return unlearned.model, unlearned.seconds


def outcomes(profile: Profile, runs: Sequence[Run], label: str) -> pd.DataFrame:
    """A tidy row per run: the unlearned model's outcome, its oracle's, and the two compared."""
    score_seeds(profile, sorted({run.seed for run in runs}))
    chosen = {(run.score, run.seed): strata(profile, run.score, run.seed) for run in runs}
    jobs = [oracle_job(profile, s.forget, [s.forget], seed) for (_, seed), s in chosen.items()]
    oracles = dict(zip(chosen, gather(profile, jobs, "oracles, retrained from scratch"), strict=True))
    done = gather(profile, [_run_job(profile, run, chosen[run.score, run.seed]) for run in runs], label)
    rows = [
        _row(profile, run, chosen[run.score, run.seed], unlearned, oracles[run.score, run.seed])
        for run, unlearned in zip(runs, done, strict=True)
    ]
    return pd.DataFrame(rows)


def _row(profile: Profile, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    own = {"profile": profile.name, "algorithm": run.algorithm, "strategy": run.strategy, "score": run.score, "seed": run.seed}
    reference = oracle.meta["outcomes"][0] | {"seconds": oracle.meta["seconds"]}
    return own | {"n_forget": len(chosen.forget)} | compare(unlearned.meta, reference)


def outcome(profile: Profile, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed here and now unless it is stored."""
    oracle = run_job(oracle_job(profile, chosen.forget, [chosen.forget], run.seed))
    return _row(profile, run, chosen, run_job(_run_job(profile, run, chosen)), oracle)


OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")


def compare(unlearned: Mapping[str, Any], oracle: Mapping[str, Any]) -> dict[str, float]:
    """The columns of an outcome beside its oracle's. A run that diverged has NaN for its own numbers and 0 for ToW and
    ToW-MIA.
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


def ways(profile: Profile) -> list[tuple[str, str, Any]]:
    """Algorithm, strategy and settings of what a profile does with every forget set; the full RUM last."""
    plan = profile.unlearning
    found = [(name, *one) for name, strategies in plan.algorithms.items() for one in strategies.items()]
    return found + ([("rum", "rum", plan.rum)] if plan.rum else [])


def unlearning(profile: Profile) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed of the profile against its oracle (METHOD §5–§7), columns as in DESIGN.

    The oracle itself is the algorithm `retrain` (strategy `vanilla`): ToW = ToW-MIA = 1 by definition.
    """
    runs = [
        Run(algorithm, strategy, score, seed, settings)
        for algorithm, strategy, settings in ways(profile)
        for score, seed in itertools.product(refining_scores(profile), profile.seeds)
    ]
    frame = outcomes(profile, runs, "unlearning")
    oracle = frame.drop_duplicates(["score", "seed"]).assign(algorithm="retrain", strategy="vanilla", tow=1.0, tow_mia=1.0)
    for key in (*OUTCOME, "seconds"):
        oracle[key] = oracle[f"oracle_{key}"]
    return pd.concat([frame, oracle], ignore_index=True)
