"""Small invented frames with the columns of the study's, for tests of tables, figures and claims. No number here is a result.

`old` turns a frame into what profiles published before there were controls, audits and marks: committed results look like that.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
import pandas as pd

from mulnb.config import Profile

ALGORITHMS = ("fine_tune", "neg_grad_plus", "salun")
EVERY = ("fine_tune", "l1_sparse", "neg_grad", "neg_grad_plus", "scrub", "salun", "random_label", "influence")
SCORES = ("memorization", "confidence", "max_confidence", "binary_accuracy", "holdout_retraining")
STRATEGIES = ("vanilla", "shuffle", "rum_f")
CONTROLLED = ("vanilla", "repeat", "shuffle", "rum_f")
PAPER_PROXIES = ("confidence", "max_confidence", "entropy", "binary_accuracy", "holdout_retraining", "loss_curvature")
BEYOND = ("cumulative_loss", "el2n", "aum", "forgetting", "learning_time")
FLOOR, CEILING = 0.45, 0.95  # ToW of `nothing` and of a second oracle
OUTCOMES = ("acc_forget", "acc_retain", "acc_test", "mia")
KLOM = ("klom_p50", "klom_p95", "klom_retain_p50", "klom_retain_p95", "klom_test_p50", "klom_test_p95")
AUDITS = ("lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc", *KLOM, "relearn_epochs")
RANKED = (
    "tow",
    "tow_mia",
    "mia",
    "lira_auc",
    "lira_tpr01",
    "rmia_auc",
    "klom_p50",
    "klom_p95",
    "relearn_epochs",
)  # compare.AUDITS


def plans(algorithms: Iterable[str]) -> dict[str, dict[str, object]]:
    """`unlearning.algorithms` of a profile: the same settings everywhere."""
    return {name: {strategy: {"lr": 0.1, "epochs": 5} for strategy in STRATEGIES} for name in algorithms}


def profile(name: str = "digits", title: str = "Invented digits / small CNN", **changes: object) -> Profile:
    tree = {
        "name": name,
        "title": title,
        "dataset": {"name": "digits"},
        "model": {"arch": "small_cnn"},
        "training": {"epochs": 30, "batch": 64, "lr": 0.1},
        "pool": {"models": 100},
        "forget": {"size": 40},
        "seeds": [0, 1, 2],
        "unlearning": {"scores": list(SCORES), "algorithms": plans(ALGORITHMS)},
    }
    return Profile.model_validate(tree | changes)


def memorization(n: int = 400, flipped: bool = True, models: int = 100, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    noisy = draw.random(n) < 0.1
    mem = np.where(noisy, draw.beta(6, 2, n), draw.beta(0.5, 6, n) - 0.03)
    inside = draw.binomial(models, 0.7, n)
    se = np.sqrt(np.clip(mem * (1 - mem), 0.001, None) * (1 / inside + 1 / (models - inside)))
    frame = pd.DataFrame(
        {
            "example": np.arange(n),
            "label": draw.integers(0, 10, n),
            "memorization": np.round(mem, 3),
            "se": se,
            "n_in": inside,
            "n_out": models - inside,
        }
    )
    return frame.assign(flipped=noisy) if flipped else frame


def strata(frame: pd.DataFrame, size: int = 20) -> SimpleNamespace:
    order = frame.sort_values("memorization")["example"].to_numpy()
    rest = order[size:-size]
    middle = rest[np.argsort(np.abs(frame.set_index("example").loc[rest, "memorization"].to_numpy() - 0.5))[:size]]
    return SimpleNamespace(low=order[:size], medium=middle, high=order[-size:])


def images(n: int = 400, channels: int = 1, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def convergence(repeats: int = 3) -> pd.DataFrame:
    rows = []
    for models in (5, 10, 20, 40, 50):
        for repeat in range(repeats):
            jitter = 0.01 * (repeat - 1)
            rows.append((models, repeat, 1 - 1.6 / models**0.8 + jitter, 1 - 1 / models + jitter, 0.5 / models**0.5))
    return pd.DataFrame(rows, columns=["models", "repeat", "split_half", "spearman_full", "mean_se"])


def costs(n_seeds: int = 3, beyond: bool = True) -> pd.DataFrame:
    rows = [
        ("confidence", 0.02, 2e-4, 0.88),
        ("max_confidence", 0.02, 2e-4, 0.71),
        ("entropy", 0.02, 2e-4, 0.70),
        ("binary_accuracy", 0.02, 2e-4, 0.80),
        ("holdout_retraining", 1.1, 0.011, 0.52),
        ("loss_curvature", 4.5, 0.045, 0.69),
    ]
    if beyond:
        rows += [
            ("cumulative_loss", 0.02, 2e-4, 0.86),
            ("el2n", 0.02, 2e-4, 0.84),
            ("aum", 0.02, 2e-4, 0.83),
            ("forgetting", 0.02, 2e-4, 0.36),
            ("learning_time", 0.02, 2e-4, 0.64),
        ]
    frame = pd.DataFrame(rows, columns=["proxy", "seconds", "share_of_exact", "spearman"])
    frame = frame.assign(ci_low=frame["spearman"] - 0.03, ci_high=frame["spearman"] + 0.02, n_seeds=n_seeds)
    if not beyond:
        return frame

    for new, name in (("disattenuated", "spearman"), ("disattenuated_low", "ci_low"), ("disattenuated_high", "ci_high")):
        frame[new] = frame[name] / RELIABILITY**0.5
    frame["overlap"] = 0.8 * frame["spearman"]
    return frame.assign(
        overlap_low=frame["overlap"] - 0.05, overlap_high=frame["overlap"] + 0.05, paper=frame["proxy"].isin(PAPER_PROXIES)
    )


RELIABILITY = 0.9


def fidelity(seeds: int = 3) -> pd.DataFrame:
    """What each way to rank the examples costs, and how well it does."""
    draw, rows = np.random.default_rng(5), []
    for name, seconds, spearman in costs()[["proxy", "seconds", "spearman"]].itertuples(index=False):
        for seed in range(seeds):
            rows.append(("proxy", name, 1, seed, seconds, spearman + 0.01 * draw.standard_normal()))
    for count, spearman in ((2, 0.90), (3, 0.91), (5, 0.92)):
        for seed in range(seeds):
            rows.append(("mean", "confidence", count, seed, 2.0 * (count - 1) + 0.02, spearman + 0.005 * draw.standard_normal()))
    for count, spearman in ((5, 0.55), (10, 0.68), (20, 0.79), (40, 0.88), (50, 0.90)):
        for repeat in range(3):
            rows.append(("pool", "memorization", count, repeat, 1.0 * count, spearman + 0.01 * draw.standard_normal()))

    frame = pd.DataFrame(rows, columns=["kind", "name", "count", "seed", "seconds", "spearman"])
    return frame.assign(overlap=0.85 * frame["spearman"], reliability=RELIABILITY)


def proxies(truth: pd.DataFrame, seeds: int = 3, names: Iterable[str] = (*PAPER_PROXIES, *BEYOND)) -> pd.DataFrame:
    draw, parts = np.random.default_rng(1), []
    for proxy in names:
        for seed in range(seeds):
            value = 0.7 * truth["memorization"].to_numpy() + 0.1 + 0.08 * draw.standard_normal(len(truth))
            if proxy in {"holdout_retraining", "loss_curvature"}:
                value = np.exp(6 * value)
            parts.append(pd.DataFrame({"example": truth["example"], "proxy": proxy, "seed": seed, "raw": value, "value": value}))
    return pd.concat(parts, ignore_index=True)


def correlations(seeds: int = 3, shift: float = 0.0) -> pd.DataFrame:
    """ρ with memorization per proxy and seed."""
    frame = fidelity(seeds).query("kind == 'proxy'")
    return frame.assign(proxy=frame["name"], spearman=frame["spearman"] + shift)[["proxy", "seed", "spearman"]]


def with_rum(
    name: str = "digits", title: str = "Invented digits / small CNN", algorithms: tuple[str, ...] = ALGORITHMS
) -> Profile:
    """A profile that also runs the full RUM, the authors' mix."""
    plan = {"scores": list(SCORES), "algorithms": plans(algorithms), "rum": {}}
    return profile(name, title, unlearning=plan)


def unlearning(
    gain: float = 0.06,
    seeds: int = 3,
    scores: tuple[str, ...] = SCORES,
    algorithms: tuple[str, ...] = ALGORITHMS,
    rum: float | None = None,
    spread: float = 0.008,
) -> pd.DataFrame:
    """`rum_f` lies `gain` above `vanilla`, `repeat` and `shuffle` a third of that, up to noise of `spread`; the full RUM, if any,
    `rum` above 0.72. With the floor (`nothing`) and the ceiling (a second oracle).
    """
    draw, rows = np.random.default_rng(2), []
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            for seed in range(seeds):
                level = 0.72 + 0.15 * a / len(algorithms) - 0.02 * s + 0.02 * draw.standard_normal()
                for strategy, lift in zip(CONTROLLED, (0, gain / 3, gain / 3, gain), strict=True):
                    tow = level + lift + spread * draw.standard_normal()
                    rows.append(_run(algorithm, strategy, score, seed, tow, tow - 0.05 + 1.25 * spread * draw.standard_normal()))

    for score in scores:
        for seed in range(seeds):
            if rum is not None:
                tow = 0.72 + rum + spread * draw.standard_normal()
                rows.append(_run("rum", "rum", score, seed, tow, tow - 0.05))
            floor, ceiling = FLOOR + 0.01 * draw.standard_normal(), CEILING + 0.01 * draw.standard_normal()
            rows.append(_run("nothing", "nothing", score, seed, floor, floor - 0.05))
            rows.append(_run("retrain", "vanilla", score, seed, ceiling, ceiling - 0.02))
    return pd.DataFrame(rows)


def crossed(shift: float = 0.0, seeds: int = 3, algorithms: tuple[str, ...] = ALGORITHMS, spread: float = 0.008) -> pd.DataFrame:
    """The same forget set in the order of each score; a proxy's order lies `shift` above memorization's."""
    draw, rows = np.random.default_rng(6), []
    for algorithm in algorithms:
        for seed in range(seeds):
            level = 0.8 + 0.02 * draw.standard_normal()
            for order in ("memorization", "confidence", "binary_accuracy", "holdout_retraining"):
                tow = level + (shift if order != "memorization" else 0) + spread * draw.standard_normal()
                run = _run(algorithm, "rum_f", "memorization", seed, tow, tow - 0.05 + spread * draw.standard_normal())
                rows.append({name: value for name, value in run.items() if not name.endswith(AUDITS)} | {"order": order})
    return pd.DataFrame(rows)


def sequential(drop: float = 0.04, seeds: int = 3, steps: int = 5) -> pd.DataFrame:
    """`vanilla` loses `drop` of ToW a step, `rum_f` a quarter of that; with the floor and the ceiling of every step."""
    draw, rows = np.random.default_rng(3), []
    plans = [
        ("neg_grad_plus", "vanilla", 0.9, drop),
        ("neg_grad_plus", "rum_f", 0.9, drop / 4),
        ("neg_grad_plus", "nothing", FLOOR, 0.01),
        ("neg_grad_plus", "retrain", CEILING, 0.0),
    ]
    for algorithm, strategy, first, slope in plans:
        for seed in range(seeds):
            for scope in ("step", "union"):
                for step in range(1, steps + 1):
                    tow = first - slope * (step - 1) + 0.006 * draw.standard_normal()
                    run = _run(algorithm, strategy, "holdout_retraining", seed, tow, tow - 0.03)
                    run = {name: value for name, value in run.items() if not name.endswith(AUDITS)}
                    rows.append({**run, "step": step, "scope": scope})
    return pd.DataFrame(rows)


MOVED = {  # by mistake: item of METHOD §10, and what it does to ToW of the algorithms and strategies that it touches
    "labels_kept": (2, {("salun", "vanilla"): -0.10, ("salun", "rum_f"): -0.20}),
    "mixed_up_indices": (5, {}),
    "original_reloaded": (7, {("fine_tune", "rum_f"): -0.3, ("neg_grad_plus", "rum_f"): -0.3, ("salun", "rum_f"): -0.3}),
    "training_mode": (8, {("fine_tune", "vanilla"): 0.08}),
}


def mistakes(seeds: int = 3, spread: float = 0.008, algorithms: tuple[str, ...] = ALGORITHMS) -> pd.DataFrame:
    """Two ways of each algorithm with and without mistakes, which move ToW as `MOVED` says, up to noise of `spread`; indices that
    are mixed up move ToW-MIA of all by −.05. Without a mistake, the ways are .02 apart.
    """
    draw, out = np.random.default_rng(8), []
    ways = [(algorithm, strategy) for algorithm in algorithms for strategy in ("vanilla", "rum_f")]
    right = {}
    for number, way in enumerate(ways):
        for seed in range(seeds):
            right[way, seed] = 0.9 - 0.02 * number + spread * draw.standard_normal()

    for mistake, (item, moved) in MOVED.items():
        metric = "tow_mia" if mistake == "mixed_up_indices" else "tow"
        moved = dict.fromkeys(ways, -0.05) if metric == "tow_mia" else moved
        for way in ways:
            for seed in range(seeds):
                value = right[way, seed] - (0.1 if metric == "tow_mia" else 0)
                wrong = value + moved[way] + spread * draw.standard_normal() if way in moved else value
                out.append(dict(profile="digits", mistake=mistake, item=item, algorithm=way[0], strategy=way[1],
                                score="binary_accuracy", seed=seed, metric=metric, right=value, wrong=wrong,
                                touched=way in moved))  # fmt: skip
    return pd.DataFrame(out)


def old(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as it was published before: no controls, no floor, an oracle that is 1 by definition, no later columns."""
    later = [name for name in frame if name.endswith(AUDITS) or name in {"passes_retain", "passes_forget", "converged"}]
    kept = frame[~frame["strategy"].isin(["nothing", "repeat", "retrain"])].drop(columns=later)
    oracle = kept["algorithm"] == "retrain"
    return kept.assign(tow=kept["tow"].mask(oracle, 1.0), tow_mia=kept["tow_mia"].mask(oracle, 1.0)).reset_index(drop=True)


def audit_examples(
    seeds: int = 3, forget: int = 60, held_out: int = 60, algorithms: tuple[str, ...] = ALGORITHMS
) -> pd.DataFrame:
    """Margins and membership scores per example: unlearned models still recognise the examples that are hard for an oracle."""
    draw, parts = np.random.default_rng(7), []
    plans = [("nothing", "nothing", 4.0)]
    for a, algorithm in enumerate(algorithms):
        a *= 3 / len(algorithms)
        plans += [(algorithm, "vanilla", 2.0 - 0.5 * a), (algorithm, "rum_f", 0.9 - 0.4 * a)]

    for algorithm, strategy, left in plans:
        for seed in range(seeds):
            for group, n in (("forget", forget), ("test", held_out)):
                oracle = draw.normal(1.0 if group == "forget" else 3.0, 2.5, n)
                excess = left * (oracle < 1.5) if group == "forget" else 0
                margin = oracle + excess + 0.8 * draw.standard_normal(n)
                lira = margin - oracle + 1.0 * draw.standard_normal(n)
                parts.append(pd.DataFrame(dict(
                    algorithm=algorithm, strategy=strategy, score="memorization", seed=seed,
                    example=np.arange(n) + (0 if group == "forget" else 10_000), group=group, margin=margin, lira=lira,
                    rmia=1 / (1 + np.exp(-lira + 0.5 * draw.standard_normal(n))), oracle_margin=oracle,
                    oracle_lira=draw.standard_normal(n), oracle_rmia=draw.random(n),
                )))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def agreement(seeds: int = 3) -> pd.DataFrame:
    """Kendall's τ between audits: close to 1 for those of a kind, near 0 or below for others."""
    names, rows = RANKED, []
    for i, audit in enumerate(names):
        for j, other in enumerate(names[i:], i):
            tau = 0.9 - 0.2 * (j - i) if j > i else 0.8
            half = 0.15 if seeds > 1 else np.nan
            rows.append((audit, other, tau, tau - half, min(tau + half, 1.0), 12, seeds))
    return pd.DataFrame(rows, columns=["audit", "other", "tau", "low", "high", "n_methods", "n_seeds"])


def values(seeds: int = 2, steps: int = 5) -> pd.DataFrame:
    draw, parts = np.random.default_rng(4), []
    for strategy in ("vanilla", "rum_f"):
        for seed in range(seeds):
            for step in range(1, steps + 1):
                for moment in ("before", "after"):
                    for group, n in (("forget", 60), ("retain", 300)):
                        shift = (2.5 if group == "forget" else 0.3) * (moment == "after") + (group == "forget")
                        value = np.exp(draw.normal(-3 + shift, 1.2, n))
                        parts.append(pd.DataFrame(dict(strategy=strategy, seed=seed, step=step, moment=moment, group=group,
                                                       example=np.arange(n), value=value)))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _run(algorithm: str, strategy: str, score: str, seed: int, tow: float, tow_mia: float) -> dict:
    """One row of the frame `unlearning`; the audits follow ToW-MIA, each in its own way."""
    passes = {"vanilla": 5.0, "rum_f": 15.0, "shuffle": 15.0, "repeat": 15.0, "rum": 10.0}.get(strategy, 0.0)
    if algorithm == "retrain":
        passes = 30.0
    wobble = 0.01 * ((seed * 7919 + len(algorithm) * 31 + len(strategy) * 17 + len(score)) % 5 - 2)
    lira, rmia = 0.5 + 0.35 * (1 - tow_mia) + wobble, 0.5 + 0.3 * (1 - tow_mia) - wobble
    return dict(
        profile="digits", algorithm=algorithm, strategy=strategy, score=score, seed=seed, n_forget=120,
        acc_forget=0.8, acc_retain=0.97, acc_test=0.93, mia=0.2, oracle_acc_forget=0.7, oracle_acc_retain=0.98,
        oracle_acc_test=0.94, oracle_mia=0.3, tow=tow, tow_mia=tow_mia, seconds=0.5 + 0.01 * seed, oracle_seconds=5.0,
        passes_retain=passes, passes_forget=passes / 5,
        lira_auc=lira, lira_tpr01=max(0.0, 0.4 * (1 - tow_mia) + wobble), lira_tpr001=max(0.0, 0.1 * (1 - tow_mia) + wobble),
        rmia_auc=rmia, klom_p50=1.2 - tow, klom_p95=3 - 2 * tow,
        klom_retain_p50=0.3, klom_retain_p95=1.0, klom_test_p50=0.4, klom_test_p95=1.1,
        oracle_klom_retain_p50=0.2, oracle_klom_retain_p95=0.8, oracle_klom_test_p50=0.2, oracle_klom_test_p95=0.9,
        relearn_epochs=float(round(10 * tow)), oracle_lira_auc=0.51,
        oracle_lira_tpr01=0.01, oracle_lira_tpr001=0.0, oracle_rmia_auc=0.5,
        oracle_klom_p50=0.2, oracle_klom_p95=0.9, oracle_relearn_epochs=9.0, converged=True,
    )  # fmt: skip
