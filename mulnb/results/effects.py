"""What common mistakes do to the results (METHOD §10): how far ToW moves, and whether the methods are still ranked alike.

`mistakes` is the frame of `study.mistakes`. A *method* is an algorithm with a strategy. Differences are paired by seed. Two
rankings of the methods, by their means over seeds, are compared by Kendall's τ_b: 1 for the same order, 0 for unrelated ones, −1
for opposite ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mulnb.core import vocabulary
from mulnb.core.stats import tau_b
from mulnb.core.vocabulary import label
from mulnb.results import compare
from mulnb.results.verdicts import MARGIN

ONE_SEED = "one_seed"  # the mistake that needs no run: item 9 of METHOD §10
DRAWS = 1000  # of the bootstrap over seeds, and of halves of the seeds


def shifts(mistakes: pd.DataFrame) -> pd.DataFrame:
    """How far each mistake moves ToW of each algorithm.

    Args:
        mistakes: the frame of that name: `mistake item algorithm strategy seed metric right wrong touched`.

    Returns:
        A row per mistake and algorithm that it can touch: `mistake algorithm n moved moved_low moved_high`, the mean over seeds
        of `wrong − right` with its 95 % t interval. Within a seed, it is the mean over the strategies that the mistake touches.
    """
    touched = mistakes[mistakes["touched"]]
    moved = touched.assign(moved=touched["wrong"] - touched["right"])
    per_seed = moved.groupby(["mistake", "algorithm", "seed"], as_index=False, sort=False, observed=True)["moved"].mean()
    return compare.intervals(per_seed, ["mistake", "algorithm"], ["moved"])


def rankings(mistakes: pd.DataFrame) -> pd.DataFrame:
    """Whether the methods are ranked alike with and without each mistake.

    Args:
        mistakes: as for `shifts`.

    Returns:
        `mistake item tau low high best_right best_wrong n_methods n_seeds`, in the order of the items; `low` and `high` are the
        95 % percentile interval of a bootstrap that draws the same seeds for both rankings, NaN with one seed. Where there are
        several seeds, the mistake `one_seed` has a row, too: the mean τ between the ranking by one seed and that by all others,
        the span over the seeds, and what most seeds put first.
    """
    rows = []
    for name in vocabulary.ordered(mistakes["mistake"]):
        group = mistakes[mistakes["mistake"] == name]
        right, wrong = _table(group, "right"), _table(group, "wrong")
        low, high = _bootstrap(right.to_numpy(), wrong.to_numpy())
        best = {"best_right": _best(right), "best_wrong": _best(wrong)}
        tau = float(tau_b(right.mean(axis=1).to_numpy(), wrong.mean(axis=1).to_numpy()))
        rows.append({"mistake": name, "item": group["item"].iloc[0], "tau": tau, "low": low, "high": high, **best})

    right = _table(without(mistakes), "right")
    if right.shape[1] > 1:
        taus = [tau_b(right[own].to_numpy(), right.drop(columns=own).mean(axis=1).to_numpy()) for own in right]
        alone = pd.Series([_best(right[[own]]) for own in right])
        best = {"best_right": _best(right), "best_wrong": alone.mode()[0]}
        rows.append({"mistake": ONE_SEED, "item": 9, "tau": np.mean(taus), "low": min(taus), "high": max(taus), **best})

    table = pd.DataFrame(rows).assign(n_methods=right.shape[0], n_seeds=right.shape[1])
    return compare.in_order(table, ["mistake"])


def without(mistakes: pd.DataFrame) -> pd.DataFrame:
    """The runs without a mistake, once: the rows of one mistake whose `right` is ToW."""
    plain = mistakes[mistakes["metric"] == "tow"]
    return plain[plain["mistake"] == plain["mistake"].iloc[0]]


def spread(mistakes: pd.DataFrame) -> float:
    """How far ToW of a single seed is from the mean over seeds: its SD, the root mean square over the methods.

    NaN with one seed.
    """
    values = _table(without(mistakes), "right")
    return float(np.sqrt(values.var(axis=1, ddof=1).mean())) if values.shape[1] > 1 else np.nan


def halves(mistakes: pd.DataFrame) -> float:
    """The mean τ between the rankings by two random halves of the seeds, without any mistake: what noise alone leaves of it.

    NaN with fewer than four seeds.
    """
    values = _table(without(mistakes), "right").to_numpy()
    n = values.shape[1]
    if n < 4:
        return np.nan

    orders = np.argsort(np.random.default_rng(0).random((DRAWS, n)), axis=1)  # a permutation of the seeds in each row
    one, other = (values[:, part].mean(2).T for part in (orders[:, : n // 2], orders[:, n // 2 : 2 * (n // 2)]))
    return float(np.nanmean(tau_b(one, other)))


def _table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One value per method (down) and seed (across)."""
    return rows.pivot(index=["algorithm", "strategy"], columns="seed", values=column)


def _bootstrap(right: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of τ between two rankings of methods, [methods, seeds] each."""
    n = right.shape[1]
    if n == 1:
        return np.nan, np.nan

    drawn = np.random.default_rng(0).integers(n, size=(DRAWS, n))
    taus = tau_b(right[:, drawn].mean(2).T, wrong[:, drawn].mean(2).T)  # [DRAWS]
    low, high = np.nanquantile(taus, [0.025, 0.975]) if np.isfinite(taus).any() else (np.nan, np.nan)
    return float(low), float(high)


def _best(table: pd.DataFrame) -> str:
    """The method with the highest mean, in words."""
    algorithm, strategy = table.mean(axis=1).idxmax()
    return f"{label(algorithm)} {label(strategy)}"


# ---- in words


def found(mistakes: pd.DataFrame) -> str:
    """What the mistakes did here, in sentences for a caption: every claim is computed."""
    table, ranked = shifts(mistakes), rankings(mistakes)
    sentences = [_moved(table)] if table["moved_low"].notna().any() else []

    made = ranked[ranked["mistake"] != ONE_SEED]
    other = made[made["best_right"] != made["best_wrong"]]
    if other.empty:
        sentences.append("None puts another method first.")
    else:
        names = ", ".join(label(name) for name in other["mistake"])
        sentences.append(f"Another method comes first with {len(other)} of {len(made)}: {names}.")
    return " ".join(sentences)


def _moved(table: pd.DataFrame) -> str:
    """How many mistakes certainly matter, in which direction, and the largest effect."""
    raised = table.loc[table["moved_low"] > MARGIN, "mistake"].nunique()
    lowered = table.loc[table["moved_high"] < -MARGIN, "mistake"].nunique()

    largest = table.loc[table["moved"].abs().idxmax()]
    size = f"{largest['moved']:+.2f}".replace("-", "−")
    return (
        f"Of {table['mistake'].nunique()} mistakes, {lowered} lower and {raised} raise the value of some algorithm by "
        f"more than {MARGIN} with the whole interval; the largest difference is {size} ({label(largest['algorithm'])}, "
        f"{label(largest['mistake'])})."
    )
