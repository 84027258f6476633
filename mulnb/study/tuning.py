"""The recorded search behind the settings that a profile pins (METHOD §6).

Every strategy of an algorithm tries the same grid, on seeds that no result uses. A winner on the edge of its grid says that the
grid is too small: it is then extended there, for all strategies of the algorithm, and searched again, up to the ends that the
profile declares in `tune.extend`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mulnb.config import STRATEGIES, Axis, Profile
from mulnb.core.errors import UserError
from mulnb.core.registry import ALGORITHMS
from mulnb.core.validation import WHOLE, wrong_setting
from mulnb.study.frames import outcomes
from mulnb.study.runs import Run
from mulnb.study.study import Study

Grid = dict[str, tuple[float | int, ...]]
ROUNDS = 6  # extensions at most; the declared ends are usually met before


def tune(study: Study) -> pd.DataFrame:
    """The recorded search: a row per algorithm × strategy × candidate, means over `tune.seeds` and `tune.scores`.

    A candidate's settings are those of every stage of a strategy, except that the stages share its epochs (`of_stage`). The full
    RUM is not searched: its stages use what was found for their algorithms.

    Args:
        study: its profile has the grid.

    Returns:
        Columns `algorithm strategy settings tow tow_mia objective passes_retain se n unconverged chosen edge round seeds scores`.
        `settings` are those of each stage, as JSON; `objective` is ToW + ToW-MIA (METHOD §6) and `se` its standard error over the
        n = seeds × scores, of which `unconverged` have an original or an oracle that did not fit; `edge` names the settings of a
        winner that lie on an end of the grid; `round` is 0 for the declared grid and 1, 2, … for its extensions.

    Raises:
        UserError: the profile has no grid.
    """
    profile, plan = study.profile, study.profile.tune
    if not plan.grid:
        raise UserError(f"profile {profile.name}: tune.grid is empty: list the values to try, by algorithm and setting")

    _check(profile)

    frames = []
    for algorithm, grid in plan.grid.items():
        frames.append(_search(study, algorithm, dict(grid)))
    found = pd.concat(frames, ignore_index=True)
    return found.assign(seeds=" ".join(map(str, plan.seeds)), scores=" ".join(plan.scores))


def _check(profile: Profile) -> None:
    """Raises `UserError` for a grid that cannot be searched or extended, before any training."""
    plan = profile.tune
    for key, axis in plan.extend.items():
        for algorithm, grid in plan.grid.items():
            values, where = grid.get(key, ()), f"tune.grid.{algorithm}.{key}"
            if axis.factor is not None and any(value <= 0 for value in values):
                raise UserError(f"{where} = {list(values)}: a factor extends positive values only, use a step")
    for algorithm, grid in plan.grid.items():
        for strategy, candidate in itertools.product(_strategies(profile, algorithm), _candidates(grid)):
            # together, values may be wrong that are right one by one
            if wrong := wrong_setting(algorithm, of_stage(candidate, strategy), ALGORITHMS.get(algorithm)):
                raise UserError(f"tune.grid.{algorithm}, {strategy}: {wrong}")


def _search(study: Study, algorithm: str, grid: Grid) -> pd.DataFrame:
    """Search the grid of one algorithm, extended until no winner stands on an edge that may still move."""
    rounds: dict[str, int] = {}  # candidate → the round in which it was first tried
    for number in range(ROUNDS + 1):
        candidates = _candidates(grid)
        for candidate in candidates:
            rounds.setdefault(json.dumps(candidate), number)

        table = _tried(study, algorithm, candidates)
        winners = [json.loads(text) for text in table.candidate[table.chosen]]
        wider = extended(grid, winners, study.profile.tune.extend)
        if wider == grid or number == ROUNDS:
            break  # no winner stands on an edge that may still move, or it was extended often enough
        grid = wider

    edges = []
    for candidate, chosen in zip(table.candidate, table.chosen, strict=True):
        edges.append(", ".join(on_edge(grid, json.loads(candidate))) if chosen else "")
    return table.assign(edge=edges, round=table.candidate.map(rounds)).drop(columns="candidate")


def _candidates(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of the grid's values."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _tried(study: Study, algorithm: str, candidates: list[dict[str, Any]]) -> pd.DataFrame:
    """Run every strategy with every candidate; the best of each strategy is `chosen`."""
    plan = study.profile.tune

    runs, tried = [], []
    for strategy, candidate in itertools.product(_strategies(study.profile, algorithm), candidates):
        settings = of_stage(candidate, strategy)
        for score, seed in itertools.product(plan.scores, plan.seeds):
            runs.append(Run(algorithm, strategy, score, seed, settings))
            tried.append(json.dumps(candidate))

    frame = outcomes(study, runs, f"search of {algorithm}")
    frame = frame.assign(settings=[json.dumps(run.settings, separators=(",", ":")) for run in runs], candidate=tried)
    frame["objective"] = frame.tow + frame.tow_mia

    # means over scores and seeds
    groups = frame.groupby(["algorithm", "strategy", "settings", "candidate"], sort=False)
    table = groups[["tow", "tow_mia", "objective", "passes_retain"]].mean()
    table["se"] = groups.objective.sem()
    table["n"] = groups.size()
    table["unconverged"] = groups.size() - groups.converged.sum()
    table = table.reset_index()

    best = table.groupby(["algorithm", "strategy"], sort=False).objective.idxmax()
    return table.assign(chosen=table.index.isin(best))


def of_stage(candidate: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """The settings of each stage: the epochs of a candidate are shared by the three stages of a strategy that has three.

    This way all strategies make the same number of passes over R (METHOD §6).

    Args:
        candidate: settings as the grid lists them.
        strategy: a strategy of one algorithm.

    Raises:
        UserError: three stages cannot share the epochs.
    """
    settings = dict(candidate)
    if strategy == "vanilla" or "epochs" not in settings:
        return settings

    if settings["epochs"] % 3:
        raise UserError(f"tune.grid: epochs = {settings['epochs']}: three stages cannot share them, give multiples of 3")
    settings["epochs"] //= 3
    return settings


def on_edge(grid: Grid, settings: Mapping[str, Any]) -> list[str]:
    """The settings whose value is the smallest or the largest of its axis; an axis with one value has no edge."""
    found = []
    for key, values in grid.items():
        if len(values) > 1 and settings[key] in (min(values), max(values)):
            found.append(key)
    return found


def extended(grid: Grid, winners: Iterable[Mapping[str, Any]], how: Mapping[str, Axis]) -> Grid:
    """The grid with one more value beyond every edge that a winner stands on, unless the axis has met its declared end."""
    wider = dict(grid)
    for settings in winners:
        for key in on_edge(grid, settings):
            if key in how:
                wider[key] = _with_next(key, wider[key], settings[key], grid[key], how[key])
    return wider


def _with_next(key: str, values: tuple, winner: float, before: tuple, axis: Axis) -> tuple:
    """`values` with the value beyond `winner`, which stands on an edge of `before`. Epochs stay multiples of 3."""
    upwards = winner == max(before)
    end = axis.high if upwards else axis.low
    if end is None or (winner >= end if upwards else winner <= end):
        return values  # the declared end is reached

    if axis.step is not None:
        new = winner + axis.step if upwards else winner - axis.step
    else:
        new = winner * axis.factor if upwards else winner / axis.factor
    new = min(new, end) if upwards else max(new, end)

    if key == "epochs":  # of three stages; never past the end
        near = 3 * round(new / 3)
        if upwards:
            new = min(max(near, 3 * (winner // 3) + 3), 3 * math.floor(end / 3))
        else:
            new = max(min(near, 3 * math.ceil(winner / 3) - 3), 3 * math.ceil(end / 3))
    else:
        new = round(new) if key in WHOLE else float(f"{new:.4g}")
    return tuple(sorted({*values, new}))


def _strategies(profile: Profile, algorithm: str) -> list[str]:
    """The algorithm's strategies; if it has none in the profile, all strategies in use."""
    plan = profile.unlearning.algorithms
    if algorithm in plan:
        return [*plan[algorithm]]

    used = set().union(*plan.values())
    return [name for name in STRATEGIES if name in used]
