"""Where the audits disagree: does the ranking of unlearning methods depend on who is asked?

A method is an algorithm with a strategy. Every audit is first turned into a closeness to the oracle, higher = better, so that
"the best method" means the same to all of them. Agreement is Kendall's τ-b of two rankings: 1 for the same order, 0 for unrelated
ones, −1 for opposite ones (M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.stats import tau_b
from mulnb.core.vocabulary import CEILING, FLOOR

if TYPE_CHECKING:  # pandas takes half a second to import, and audits of stored margins do without it
    import pandas as pd

# Higher is better, as they are.
SIMILARITIES = ("tow", "tow_mia")
# The closer to the oracle's own number, the better.
TO_THE_ORACLE = ("mia", "lira_auc", "lira_tpr01", "rmia_auc")
# Already distances to oracles.
DISTANCES = ("klom_p50", "klom_p95")
RELEARN = "relearn_epochs"
AUDITS = (*SIMILARITIES, *TO_THE_ORACLE, *DISTANCES, RELEARN)

CELL = ["algorithm", "strategy", "score"]
KEYS = [*CELL, "seed"]
DRAWS = 1000


def closeness(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Every audit as a closeness to the oracle: higher = better, 0 = the oracle's own number (ToW: 1).

    Relearn times are compared as speeds 1 / (1 + epochs), so that infinity (never relearned) is a number like any other. A run
    that diverged has no audits and gets the worst value that each audit gave.

    Args:
        unlearning: the frame of that name; audits that are missing or NaN throughout (no pool) are left out.

    Returns:
        `algorithm strategy score seed` and a column for each audit, without the floor and the ceiling.

    Raises:
        UserError: no method is left, or there is no audit.
    """
    # the ends of the scale are no methods, and every audit would agree on them
    methods = unlearning[~unlearning["algorithm"].isin([FLOOR, CEILING])]
    found = methods[KEYS].reset_index(drop=True)

    for name in AUDITS:
        if name not in methods or methods[name].isna().all():
            continue
        found[name] = _oriented(methods, name).to_numpy(dtype=np.float64)

    if len(found) == 0 or len(found.columns) == len(KEYS):
        raise UserError("the audits cannot be compared: no unlearning run has one; run the stage unlearning first")

    diverged = methods["acc_forget"].isna().reset_index(drop=True)
    any_seed = diverged.groupby([found[key] for key in CELL]).transform("any")
    for name in found.columns.drop(KEYS):
        worst = any_seed if name in DISTANCES else diverged  # a distance is one number over all seeds
        found.loc[worst, name] = found[name].min()

    return found


def _oriented(methods: pd.DataFrame, name: str) -> pd.Series:
    """One audit of every row, higher = closer to the oracle."""
    if name in SIMILARITIES:
        return methods[name]
    if name in DISTANCES:
        return -methods[name]
    if name == RELEARN:
        return -(1 / (1 + methods[name]) - 1 / (1 + methods[f"oracle_{name}"])).abs()
    return -(methods[name] - methods[f"oracle_{name}"]).abs()


def ranking(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The place of every method under every audit, from means over scores and seeds.

    Args:
        unlearning: the frame of that name.

    Returns:
        Indexed by `algorithm strategy`: a column for each audit (1 = closest to the oracle, ties share the mean of their places),
        and `spread`, the difference between the method's best and worst place. The most disputed method comes first.
    """
    near = closeness(unlearning)
    means = near.groupby(["algorithm", "strategy"])[list(near.columns.drop(KEYS))].mean()
    places = means.rank(ascending=False)
    places["spread"] = places.max(axis=1) - places.min(axis=1)

    return places.sort_values("spread", ascending=False, kind="stable")


def agreement(unlearning: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Kendall's τ of the rankings by every two audits, with intervals over seeds.

    A method's value is its mean over scores and seeds. The bootstrap draws seeds, the same ones for every method and audit, and
    the interval is its 95 % percentile interval; with one seed there is none.

    An audit is also compared with itself: τ between two random halves of the seeds. Two audits that agree as well as each does
    with itself do not disagree: the rest is noise (a little overstated, with half as many seeds). KLoM is one number for all
    seeds: its τ with itself is NaN, and its intervals come from the other audit's seeds alone.

    Args:
        unlearning: the frame of that name.
        draws: of the bootstrap, and of the halves.
        seed: of both.

    Returns:
        `audit other tau low high n_methods n_seeds`, a row for each two audits in the order of `AUDITS`, and one with
        `audit == other` for each audit with itself.
    """
    import pandas as pd

    near = closeness(unlearning)
    names = list(near.columns.drop(KEYS))
    values = _values(near, names)  # [audits, methods, seeds]
    n_methods, n_seeds = values.shape[1:]
    rng = np.random.default_rng(seed)

    whole = _tau(_mean(values))  # [audits, audits]
    drawn, halves = np.full((draws, *whole.shape), np.nan), np.full((draws, len(names)), np.nan)
    if n_seeds > 1:
        for draw in range(draws):
            drawn[draw] = _tau(_mean(values[:, :, rng.integers(n_seeds, size=n_seeds)]))
            halves[draw] = _self_agreement(values, rng.permutation(n_seeds))

    rows = []
    for i, audit in enumerate(names):
        for j in range(i, len(names)):
            sample = halves[:, i] if i == j else drawn[:, i, j]
            sample = sample[~np.isnan(sample)]
            low, high = np.quantile(sample, [0.025, 0.975]) if len(sample) else (np.nan, np.nan)
            tau = (sample.mean() if len(sample) else np.nan) if i == j else whole[i, j]
            rows.append((audit, names[j], tau, low, high, n_methods, n_seeds))

    return pd.DataFrame(rows, columns=["audit", "other", "tau", "low", "high", "n_methods", "n_seeds"])


def _values(near: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Closeness as an array [audits, methods, seeds], means over scores; NaN where a method has no run with a seed."""
    means = near.groupby(["algorithm", "strategy", "seed"])[names].mean()
    table = means.unstack("seed")  # a row for each method, a column for each audit and seed

    return np.stack([table[name].to_numpy() for name in names])


def _mean(values: np.ndarray) -> np.ndarray:
    """Means over seeds, [audits, methods]; NaN only where a method has no seed at all."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(-1)
    return total / np.where(known.any(-1), known.sum(-1), np.nan)


def _tau(means: np.ndarray) -> np.ndarray:
    """Kendall's τ_b between every two rows of means [audits, methods], [audits, audits]; NaN for a row that is all ties."""
    return tau_b(means[:, None], means[None])


def _self_agreement(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """τ of every audit with itself between two halves of the seeds, [audits]; NaN for an audit that is the same in every seed."""
    half = len(order) // 2
    one_half, other_half = _mean(values[:, :, order[:half]]), _mean(values[:, :, order[half : 2 * half]])

    found = np.full(len(values), np.nan)
    for number in range(len(values)):
        varies = (values[number] != values[number][:, :1]) & ~np.isnan(values[number])  # [methods, seeds]
        if varies.any():
            found[number] = _tau(np.stack([one_half[number], other_half[number]]))[0, 1]

    return found
