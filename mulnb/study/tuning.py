"""The recorded grid search behind the settings that a profile pins (METHOD §6)."""

from __future__ import annotations

import itertools
import json

import pandas as pd

from mulnb.config import STRATEGIES, Profile
from mulnb.core.errors import UserError
from mulnb.study.runs import Run, outcomes


def tune(profile: Profile) -> pd.DataFrame:
    """The recorded grid search: a row per algorithm × strategy × candidate, means over `tune.seeds` and `tune.scores`.

    Columns `algorithm strategy settings tow tow_mia objective chosen seeds scores`; `settings` as JSON; `objective` = ToW +
    ToW-MIA (METHOD §6). Every strategy of an algorithm tries the same candidates, and a candidate's settings hold for all of its
    stages. The full RUM has no search: its stages use what was found for their algorithms.
    """
    plan = profile.tune
    if not plan.grid:
        raise UserError(f"profile {profile.name}: tune.grid is empty: list the values to try, by algorithm and setting")
    runs = [
        Run(algorithm, strategy, score, seed, dict(zip(grid, values, strict=True)))
        for algorithm, grid in plan.grid.items()
        for strategy in _strategies(profile, algorithm)
        for values in itertools.product(*grid.values())
        for score, seed in itertools.product(plan.scores, plan.seeds)
    ]
    frame = outcomes(profile, runs, "grid search").assign(settings=[json.dumps(run.settings) for run in runs])
    frame = frame.groupby(["algorithm", "strategy", "settings"], sort=False)[["tow", "tow_mia"]].mean().reset_index()
    frame["objective"] = frame.tow + frame.tow_mia
    best = frame.groupby(["algorithm", "strategy"], sort=False).objective.idxmax()
    found = frame.assign(chosen=frame.index.isin(best))
    return found.assign(seeds=" ".join(map(str, plan.seeds)), scores=" ".join(plan.scores))


def _strategies(profile: Profile, algorithm: str) -> list[str]:
    """Those that the profile runs the algorithm with; for one that it does not run yet, those that it runs any with."""
    plan = profile.unlearning.algorithms
    return [*plan[algorithm]] if algorithm in plan else [one for one in STRATEGIES if any(one in ways for ways in plan.values())]
