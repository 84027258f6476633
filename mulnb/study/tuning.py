"""The recorded grid search behind the settings that a profile pins (METHOD §6)."""

from __future__ import annotations

import itertools
import json

import pandas as pd

from mulnb.config import STRATEGIES, Profile
from mulnb.core.errors import UserError
from mulnb.study.runs import Run, outcomes
from mulnb.study.study import Study


def tune(study: Study) -> pd.DataFrame:
    """The recorded grid search: a row per algorithm × strategy × candidate, means over `tune.seeds` and `tune.scores`.

    Every strategy of an algorithm tries the same candidates, and a candidate's settings hold for all of its stages. The full RUM
    has no search: its stages use what was found for their algorithms.

    Returns:
        Columns `algorithm strategy settings tow tow_mia objective chosen seeds scores`; `settings` as JSON, `objective` = ToW +
        ToW-MIA (METHOD §6).

    Raises:
        UserError: the profile has no grid.
    """
    profile, plan = study.profile, study.profile.tune
    if not plan.grid:
        raise UserError(f"profile {profile.name}: tune.grid is empty: list the values to try, by algorithm and setting")

    runs = []
    for algorithm, grid in plan.grid.items():
        candidates = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
        places = itertools.product(_strategies(profile, algorithm), candidates, plan.scores, plan.seeds)
        runs += [Run(algorithm, strategy, score, seed, settings) for strategy, settings, score, seed in places]

    frame = outcomes(study, runs, "grid search").assign(settings=[json.dumps(run.settings) for run in runs])
    frame = frame.groupby(["algorithm", "strategy", "settings"], sort=False)[["tow", "tow_mia"]].mean().reset_index()
    frame["objective"] = frame.tow + frame.tow_mia
    best = frame.groupby(["algorithm", "strategy"], sort=False).objective.idxmax()
    found = frame.assign(chosen=frame.index.isin(best))
    return found.assign(seeds=" ".join(map(str, plan.seeds)), scores=" ".join(plan.scores))


def _strategies(profile: Profile, algorithm: str) -> list[str]:
    """The algorithm's strategies; if it has none in the profile, all strategies in use."""
    plan = profile.unlearning.algorithms
    if algorithm in plan:
        return [*plan[algorithm]]
    return [name for name in STRATEGIES if any(name in strategies for strategies in plan.values())]
