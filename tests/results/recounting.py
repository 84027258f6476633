"""Every published number once more, from the tidy frames alone: numpy, pandas and scipy, and nothing of mulnb.

The formulas are METHOD's, written down a second time on purpose: a mistake in `mulnb/results` cannot hide behind itself. The
tests beside this file hold the committed tables against what is computed here.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats

FIGURES = Path(__file__).resolve().parents[2] / "figures"
PROFILES = sorted(folder.parent.name for folder in FIGURES.glob("*/data"))

METRICS = ("tow", "tow_mia")
RUN = ["algorithm", "strategy", "score"]
ENDS = ("nothing", "retrain")
MARGIN = 0.03
FIGURE_2 = ("memorization", "confidence", "binary_accuracy", "holdout_retraining")
PAPER = ("confidence", "max_confidence", "entropy", "binary_accuracy", "holdout_retraining", "loss_curvature")
AUDITS = ("lira_auc", "lira_tpr01", "rmia_auc", "klom_p50", "klom_p95", "relearn_epochs")  # those that rank the methods
TABLED = ("lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc", "relearn_epochs")
KLOM = ("klom_p50", "klom_p95", "klom_retain_p50", "klom_retain_p95", "klom_test_p50", "klom_test_p95")
SIX_DIGITS = 6e-6  # what `%.6g` leaves of a number
LOW_END = {"confidence": 0.80, "binary_accuracy": 0.71, "loss_curvature": 0.69, "holdout_retraining": 0.62}
CHEAP = 0.10
SHARE = {"confidence": 2e-5, "holdout_retraining": 1e-5, "loss_curvature": 7.4e-4}


@lru_cache
def frame(profile: str, name: str) -> pd.DataFrame | None:
    """A committed frame; None where the profile has none. Nobody writes into it."""
    path = FIGURES / profile / "data" / f"{name}.parquet"
    return pd.read_parquet(path) if path.is_file() else None


def table(profile: str, name: str) -> pd.DataFrame | None:
    """A committed table; None where the profile has none."""
    path = FIGURES / profile / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else None


# ---- statistics


def interval(values, level: float = 0.05) -> tuple[float, float, float]:
    """The mean and its two-sided t interval; NaN bounds for one value, or where one is not finite (a run that diverged)."""
    x = np.asarray(values, dtype=float)
    mean = float(x.mean())
    if len(x) == 1 or not np.isfinite(x).all():
        return mean, math.nan, math.nan

    half = scipy.stats.t.ppf(1 - level / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return mean, mean - half, mean + half


def half(values) -> float:
    """Half the width of the 95 % t interval."""
    _, low, high = interval(values)
    return (high - low) / 2


def paired(ours: pd.DataFrame, theirs: pd.DataFrame, keys: list[str], columns=METRICS) -> pd.DataFrame:
    """Row minus row, for the keys that both have; a key that stands twice in one of them is an error."""
    a, b = ours.set_index(keys), theirs.set_index(keys)
    assert a.index.is_unique and b.index.is_unique
    common = a.index.intersection(b.index)
    difference = a.loc[common, list(columns)] - b.loc[common, list(columns)]
    if "converged" in a:
        difference["converged"] = a.loc[common, "converged"].astype(bool) & b.loc[common, "converged"].astype(bool)
    return difference.reset_index()


def spearman(x, y) -> float:
    """Pearson's correlation of mid-ranks."""
    return float(np.corrcoef(scipy.stats.rankdata(x), scipy.stats.rankdata(y))[0, 1])


def auc(members, others) -> float:
    """The share of pairs in which the member has the higher score, a tie counting half."""
    a, b = np.asarray(members, dtype=float), np.sort(np.asarray(others, dtype=float))
    below = np.searchsorted(b, a, side="left") + np.searchsorted(b, a, side="right")
    return float(below.mean() / (2 * len(b)))


def tpr(members, others, fpr: float) -> float:
    """The share of members above the lowest threshold that at most a share `fpr` of the others exceeds."""
    b = np.sort(np.asarray(others, dtype=float))[::-1]
    return float((np.asarray(members, dtype=float) > b[math.floor(fpr * len(b) + 1e-9)]).mean())


def equal(stated: float, computed: float) -> bool:
    """Whether a number of a CSV file is the one that was computed."""
    if pd.isna(stated) or pd.isna(computed):
        return bool(pd.isna(stated) and pd.isna(computed))
    if math.isinf(stated) or math.isinf(computed):
        return stated == computed
    return abs(stated - computed) <= SIX_DIGITS * abs(computed) + 1e-12


# ---- ToW


def tow(row: pd.DataFrame, first: str) -> pd.Series:
    """METHOD §7: the product over S, R and T of 1 − the distance to the oracle."""
    product = 1.0
    for name in (first, "acc_retain", "acc_test"):
        product = product * (1 - (row[name] - row[f"oracle_{name}"]).abs())
    return product


def by_definition(runs: pd.DataFrame) -> bool:
    """Whether the `retrain` rows are an oracle that was compared with itself: those say nothing and are left out."""
    ceiling = runs[runs["algorithm"] == "retrain"]
    return len(ceiling) > 0 and bool((ceiling[list(METRICS)] == 1).all(axis=None))


def measured(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["algorithm"] != "retrain"] if by_definition(runs) else runs


def methods(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of algorithms, without floor and ceiling."""
    return runs[~runs["algorithm"].isin(ENDS) & ~runs["strategy"].isin(ENDS)]


# ---- Table 1


@lru_cache
def correlations(profile: str) -> pd.DataFrame:
    """ρ with memorization of each proxy and seed: `proxy seed rho`."""
    truth = frame(profile, "memorization").set_index("example")["memorization"]
    rows = []
    for (proxy, seed), group in frame(profile, "proxies").groupby(["proxy", "seed"], observed=True):
        group = group.sort_values("example")
        rows.append((proxy, seed, spearman(group["value"], truth.loc[group["example"]])))
    return pd.DataFrame(rows, columns=["proxy", "seed", "rho"])


def reliability(profile: str) -> float:
    """Spearman-Brown of the mean ρ between two halves of the pool."""
    grown = frame(profile, "convergence").dropna(subset="split_half")
    r = grown.loc[grown["models"] == grown["models"].max(), "split_half"].mean()
    return 2 * r / (1 + r)


# ---- claims: what each is judged by


def evidence(profile: str) -> dict[str, tuple[pd.DataFrame, float, float | None]]:
    """Per claim: `metric algorithm score seed value`, the threshold, and the margin of equivalence."""
    found = {}

    if frame(profile, "proxies") is not None:
        rho = correlations(profile).rename(columns={"proxy": "score", "rho": "value"}).assign(metric="ρ", algorithm="")
        rho = rho[rho["score"].isin(PAPER)]
        found["proxy-sign"] = rho, 0.0, None
        known = rho[rho["score"].isin(LOW_END)]
        found["proxy-range"] = known.assign(value=known["value"] - known["score"].map(LOW_END)), 0.0, None

    runs = frame(profile, "unlearning")
    if runs is not None:
        found |= _refinement(runs[runs["score"].isin(FIGURE_2)])

    crossed = frame(profile, "crossed")
    if crossed is not None and crossed["order"].nunique() > 1:
        exact = crossed[crossed["order"] == "memorization"]
        others = crossed[crossed["order"].isin(FIGURE_2[1:])]
        parts = []
        for order, group in others.groupby("order", observed=True):
            parts.append(paired(group, exact, ["algorithm", "seed"]).assign(score=order))
        found["proxy-as-good"] = _long(pd.concat(parts)), -MARGIN, None

    chains = frame(profile, "sequential")
    if chains is not None:
        last = chains[(chains["scope"] == "union") & (chains["step"] == chains["step"].max())]
        ours = last[last["strategy"] == "rum_f"]
        for claim, other in (("sequential-better", "vanilla"), ("sequential-floor", "nothing")):
            theirs = last[last["strategy"] == other]
            found[claim] = (
                _long(paired(ours, theirs, ["seed"]).assign(algorithm=ours["algorithm"].iloc[0], score="")),
                0.0,
                MARGIN,
            )
    return found


def _refinement(runs: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, float, float | None]]:
    """RUM^F against vanilla and against the two controls."""
    found = {}
    alone = methods(runs)
    for other in ("vanilla", "repeat", "shuffle"):
        ours, theirs = (alone[alone["strategy"] == name] for name in ("rum_f", other))
        difference = paired(ours, theirs, ["algorithm", "score", "seed"])
        if len(difference):
            found[f"refine-{other}"] = _long(difference), 0.0, MARGIN
    return found


def _long(difference: pd.DataFrame) -> pd.DataFrame:
    parts = [difference.drop(columns=list(METRICS)).assign(metric=name, value=difference[name]) for name in METRICS]
    return pd.concat(parts, ignore_index=True)


# ---- claims: how they are decided (METHOD §7c)


def decide(values: np.ndarray, seeds: np.ndarray, threshold: float, margin: float | None, level: float, p_same: float) -> dict:
    """The verdict of one estimate: its side of the threshold, then equivalence, then whether the halves allow it."""
    mean, low, high = interval(values, level)
    verdict = side(values, threshold, level)
    if verdict == "undecided" and p_same < 0.05:
        verdict = "equivalent"

    halves = []
    for odd in (0, 1):
        part = values[seeds % 2 == odd]
        if len(part) < 2:
            halves = ["undecided", "undecided"]
            break
        alone = side(part, threshold, 0.05)
        if alone == "undecided" and margin is not None and same(part, margin) < 0.05:
            alone = "equivalent"
        halves.append(alone)

    replicates = "open"
    if set(halves) == {"shown", "contradicted"}:
        replicates, verdict = "disagree", "undecided"
    elif halves[0] == halves[1] != "undecided":
        replicates = "agree"
    return {
        "estimate": mean, "low": low, "high": high, "n": len(values),
        "verdict": verdict, "halves": replicates, "within": p_same < 0.05, "level": level,
    }  # fmt: skip


def side(values: np.ndarray, threshold: float, level: float) -> str:
    """On which side of the threshold the whole interval lies."""
    _, low, high = interval(values, level)
    if low > threshold:
        return "shown"
    return "contradicted" if high < threshold else "undecided"


def same(values: np.ndarray, margin: float | None) -> float:
    """p of two one-sided t tests for a mean within ± margin; 1 where equivalence is not asked for."""
    if margin is None or len(values) == 1:
        return 1.0
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Holm's step-down procedure, literally: the level at which each test is made, and its adjusted p."""
    m, levels, adjusted = len(p), np.empty(len(p)), np.empty(len(p))
    stopped, largest = None, 0.0
    for place, which in enumerate(sorted(range(m), key=lambda i: p[i])):
        level = 0.05 / (m - place)
        if stopped is None and p[which] > level:
            stopped = level
        levels[which] = level if stopped is None else stopped
        largest = max(largest, min(1.0, p[which] * (m - place)))
        adjusted[which] = largest
    return levels, adjusted


@lru_cache
def decided(profile: str) -> pd.DataFrame:
    """Every estimate of every claim with an interval, as `claim kind metric algorithm score`, and what `decide` says."""
    rows = []
    for claim, (values, threshold, margin) in evidence(profile).items():
        for metric, of_metric in values.groupby("metric", sort=False):
            names = list(of_metric["algorithm"].unique())
            for name in names + (["all"] if len(names) > 1 else []):
                group = of_metric if name == "all" else of_metric[of_metric["algorithm"] == name]
                # the mean over scores within a seed, then over algorithms
                per_seed = group.groupby(["seed", "algorithm"])["value"].mean().groupby("seed").mean()
                x, seeds = per_seed.to_numpy(), per_seed.index.to_numpy()
                found = decide(x, seeds, threshold, margin, 0.05, same(x, margin))
                key = {"claim": claim, "kind": "primary", "metric": metric, "algorithm": name, "score": ""}
                rows.append(key | found | {"values": x, "threshold": threshold, "margin": margin, "margin_level": 0.05})

        if values["score"].nunique() == 1:
            continue
        cases = [(key, group.sort_values("seed")) for key, group in values.groupby(["metric", "algorithm", "score"])]
        samples = [group["value"].to_numpy(float) for _, group in cases]
        tests = [scipy.stats.ttest_1samp(x, threshold).pvalue if len(x) > 1 else 1.0 for x in samples]
        levels, _ = holm(tests)
        margin_levels, equivalent = holm([same(x, margin) for x in samples])  # a second family
        for (key, group), x, level, own, p_same in zip(cases, samples, levels, margin_levels, equivalent, strict=True):
            found = decide(x, group["seed"].to_numpy(), threshold, margin, level, p_same)
            key = {"claim": claim, "kind": "secondary"} | dict(zip(("metric", "algorithm", "score"), key, strict=True))
            rows.append(key | found | {"values": x, "threshold": threshold, "margin": margin, "margin_level": own})
    return pd.DataFrame(rows)


def power(values: np.ndarray, threshold: float, level: float, margin: float | None, margin_level: float, n: int) -> float:
    """The chance that n seeds decide, with mean and spread as in `values`: exact, by integrating over the estimated spread."""
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    shift = abs(mean - threshold) * math.sqrt(n) / spread
    t = scipy.stats.t.ppf(1 - level / 2, n - 1)
    chance = scipy.stats.nct.sf(t, n - 1, shift) if shift < 30 else float(shift > t)
    if margin is None:
        return float(chance)

    # two one-sided tests: the mean must lie within margin − t·s/√n, for every s that may be estimated
    grid = (np.arange(2000) + 0.5) / 2000
    s = spread * np.sqrt(scipy.stats.chi2.ppf(grid, n - 1) / (n - 1))
    room = np.maximum(margin - scipy.stats.t.ppf(1 - margin_level, n - 1) * s / math.sqrt(n), 0)
    error = spread / math.sqrt(n)
    within = scipy.stats.norm.cdf((room - mean) / error) - scipy.stats.norm.cdf((-room - mean) / error)
    return float(max(chance, within.mean()))


def replication(profile: str) -> tuple[int, int, int]:
    """Of how many estimates odd and even seeds decide alike, and in opposite ways."""
    found = decided(profile)
    found = found[found["low"].notna()]
    return len(found), int((found["halves"] == "agree").sum()), int((found["halves"] == "disagree").sum())


# ---- common mistakes


def tau_b(x, y) -> float:
    """Kendall's τ_b, pair by pair."""
    score = ties_x = ties_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        score += a * b
        ties_x += a**2
        ties_y += b**2
    return float(score / math.sqrt(ties_x * ties_y))
