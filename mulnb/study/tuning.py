"""The recorded grid search behind the settings that a profile pins (METHOD §6)."""

from __future__ import annotations

import itertools
import json

import pandas as pd

from mulnb.config import Profile
from mulnb.errors import UserError
from mulnb.study.runs import Run, outcomes


def tune(profile: Profile) -> pd.DataFrame:
    """The recorded grid search: a row per algorithm × strategy × candidate, means over `tune.seeds` and `tune.scores`.

    Columns `algorithm strategy settings tow tow_mia objective chosen`; `settings` as JSON; `objective` = ToW + ToW-MIA
    (METHOD §6). Every strategy of an algorithm tries the same candidates, and a candidate's settings hold for all of its
    stages.
    """
    if not profile.tune.grid:
        raise UserError(f"profile {profile.name}: tune.grid is empty: list the values to try, by algorithm and setting")
    runs = [
        Run(algorithm, strategy, score, seed, dict(zip(grid, values, strict=True)))
        for algorithm, grid in profile.tune.grid.items()
        for strategy in profile.unlearning.algorithms.get(algorithm, {"vanilla": None})
        for values in itertools.product(*grid.values())
        for score, seed in itertools.product(profile.tune.scores, profile.tune.seeds)
    ]
    frame = outcomes(profile, runs, "grid search").assign(settings=[json.dumps(run.settings) for run in runs])
    frame = frame.groupby(["algorithm", "strategy", "settings"], sort=False)[["tow", "tow_mia"]].mean().reset_index()
    frame["objective"] = frame.tow + frame.tow_mia
    best = frame.groupby(["algorithm", "strategy"], sort=False).objective.idxmax()
    return frame.assign(chosen=frame.index.isin(best))
