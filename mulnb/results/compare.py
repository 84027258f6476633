"""Means with intervals over seeds, differences paired by seed, and the two ends of the scale: tidy frame in, tidy frame out.

The scale has a floor (`nothing`: the original model as it is) and a ceiling (`retrain`: a second oracle, measured against the
first). Frames of before there was a second oracle have the first one's row, which is 1 by definition: it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mulnb.core import stats, vocabulary
from mulnb.core.stats import Interval
from mulnb.core.vocabulary import CEILING, FLOOR, METRICS

RUN = ["algorithm", "strategy", "score"]  # what identifies a run, apart from its seed


def end_of(frame: pd.DataFrame) -> pd.Series:
    """Which end of the scale each row of a tidy frame is: `FLOOR`, `CEILING`, or NaN for the runs of algorithms."""
    known = [FLOOR, CEILING]
    by_algorithm = frame["algorithm"].where(frame["algorithm"].isin(known))
    return by_algorithm.fillna(frame["strategy"].where(frame["strategy"].isin(known)))


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame without the rows of an oracle that was only compared with itself, whose ToW is 1 by definition."""
    oracle = end_of(frame) == CEILING
    by_definition = oracle.any() and (frame.loc[oracle, list(METRICS)] == 1).all(axis=None)
    return frame[~oracle] if by_definition else frame


def unlearned(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of unlearning algorithms in a tidy frame: without the floor and the ceiling."""
    return frame[end_of(frame).isna()]


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """The floor and the ceiling of the scale, averaged over the scores within a seed.

    Returns:
        A row per end that was measured: `algorithm` (`FLOOR` or `CEILING`), `n`, and each metric with its interval.
    """
    rows = measured(frame)
    rows = rows.assign(algorithm=end_of(rows)).dropna(subset="algorithm")
    per_seed = rows.groupby(["algorithm", "seed"], as_index=False, observed=True)[list(METRICS)].mean()
    return intervals(per_seed, ["algorithm"], METRICS)


def intervals(frame: pd.DataFrame, by: Sequence[str], columns: Iterable[str]) -> pd.DataFrame:
    """Mean and 95 % t interval of columns, per group.

    Args:
        frame: one row per run.
        by: the columns that identify a group; the rows of a group differ in their seed only.
        columns: the columns to average.

    Returns:
        One row per group in the order of `vocabulary`: `by`, the count `n`, and `x x_low x_high` for each column x. The bounds
        are NaN where n = 1; all three are NaN where a run diverged. If the frame says which runs converged, `unconverged` counts
        those of the group that did not.
    """
    columns = list(columns)
    counted = ["unconverged"] if "converged" in frame else []
    rows = []

    for key, group in frame.groupby(list(by), sort=False, observed=True):
        row = {**dict(zip(by, key, strict=True)), "n": len(group)}
        if counted:
            row["unconverged"] = int((~group["converged"].astype(bool)).sum())
        for name in columns:
            interval = interval_over_runs(group[name].to_numpy())
            row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        rows.append(row)

    header = [*by, "n", *counted]
    for name in columns:
        header += [name, f"{name}_low", f"{name}_high"]
    return in_order(pd.DataFrame(rows, columns=header), by)


def interval_over_runs(values: np.ndarray) -> Interval:
    """The t interval over runs.

    Args:
        values: one value per run [n]; NaN where a run diverged.

    Returns:
        The interval; NaN throughout if a run diverged, because the other runs alone would look better than the method is. An
        infinite value (a limit that was met) leaves an infinite mean without bounds.
    """
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        return Interval(float(values.mean()), math.nan, math.nan, len(values))
    return stats.t_interval(values)


def differences(frame: pd.DataFrame, strategy: str, against: str, by: Sequence[str] = ("algorithm", "score")) -> pd.DataFrame:
    """One strategy minus another, paired by seed: the mean of `paired` over the seeds that both have; arguments as there.

    Returns:
        One row per group of `by`: `by`, `strategy against n`, and each metric with its interval.
    """
    table = intervals(paired(frame, strategy, against, by), by, METRICS)
    table.insert(len(by), "strategy", strategy)
    table.insert(len(by) + 1, "against", against)
    return table


def paired(frame: pd.DataFrame, strategy: str, against: str, by: Sequence[str] = ("algorithm", "score")) -> pd.DataFrame:
    """One strategy minus another, seed by seed.

    Args:
        frame: one row per run.
        strategy: the strategy in question.
        against: the strategy that is subtracted from it.
        by: the columns that both runs of a pair share, besides the seed.

    Returns:
        One row per pair: `by`, `seed`, the difference of each metric, and `converged` (of both) if the frame has it.

    Raises:
        ValueError: a run appears twice.
    """
    ours, theirs = (frame[frame["strategy"] == name] for name in (strategy, against))
    return subtract(ours, theirs, [*by, "seed"])


def order_differences(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Each score minus memorization, for the same algorithm and seed.

    Args:
        runs: one row per run.
        by: the column with the scores: `order` of crossed runs, or the `score` that chose the forget set.

    Returns:
        One row per run of another score, in the order of `vocabulary`: `algorithm seed`, `by`, and as `subtract`.
    """
    exact = runs[by] == "memorization"
    others = in_order(runs[~exact], [by])
    return subtract(others, runs[exact], ["algorithm", "seed"], kept=[by])


def rum_differences(runs: pd.DataFrame, algorithms: Iterable[str]) -> pd.DataFrame:
    """The full RUM minus vanilla of each of some algorithms, on the same forget sets, seed by seed.

    Args:
        runs: one row per run.
        algorithms: those that the full RUM is made of.

    Returns:
        One row per pair: `score seed`, the `algorithm`, and as `subtract`.
    """
    full = runs[runs["strategy"] == "rum"]
    parts = []
    for name in algorithms:
        alone = runs[(runs["algorithm"] == name) & (runs["strategy"] == "vanilla")]
        parts.append(subtract(full, alone, ["score", "seed"]).assign(algorithm=name))
    return pd.concat(parts, ignore_index=True)


def subtract(ours: pd.DataFrame, theirs: pd.DataFrame, keys: Sequence[str], kept: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of one frame minus those of another that have the same keys.

    Args:
        ours: one row per run.
        theirs: one row per key.
        keys: the columns that a pair shares.
        kept: further columns of `ours`; several of its rows may then have one key.

    Returns:
        One row per pair: `keys`, `kept`, the difference of each metric, and `converged` (of both) if the frames have it.

    Raises:
        ValueError: a run appears twice.
    """
    marked = [name for name in ("converged",) if name in ours and name in theirs]
    ours, theirs = ours[[*keys, *kept, *METRICS, *marked]], theirs[[*keys, *METRICS, *marked]]
    if ours.duplicated([*keys, *kept]).any():
        raise ValueError(f"a run appears twice: {', '.join([*keys, *kept])} should identify it")
    pairs = ours.merge(theirs, on=list(keys), suffixes=("", "_other"), validate="many_to_one")

    difference = pairs[[*keys, *kept]].copy()
    for name in METRICS:
        difference[name] = pairs[name] - pairs[f"{name}_other"]
    for name in marked:
        difference[name] = pairs[name].astype(bool) & pairs[f"{name}_other"].astype(bool)
    return difference


def changes(sequential: pd.DataFrame) -> pd.DataFrame:
    """The frame of sequential unlearning with what changed since the first step (Figure 3's vertical axis).

    Returns:
        The frame with a column `x_change` for each metric x: minus its value at step 1 of the same strategy, scope and seed.
    """
    keys = ["strategy", "scope", "seed"]
    first = sequential.loc[sequential["step"] == 1, [*keys, *METRICS]]
    pairs = measured(sequential).merge(first, on=keys, suffixes=("", "_first"), validate="many_to_one")

    for name in METRICS:
        pairs[f"{name}_change"] = pairs[name] - pairs[f"{name}_first"]
    return pairs.drop(columns=[f"{name}_first" for name in METRICS])


def in_order(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A table sorted by some columns, names in the order of `vocabulary` and numbers by size, with a new index."""

    def place(column: pd.Series) -> pd.Series:
        if column.dtype.kind in "if" or column.empty:
            return column
        rank = {name: k for k, name in enumerate(vocabulary.ordered(column))}
        return column.map(rank)

    return table.sort_values(list(by), key=place, ignore_index=True, kind="stable")
