"""Small invented frames with the columns of DESIGN, for tests of tables, figures and claims. No number here is a result."""

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


def costs(n_seeds: int = 3) -> pd.DataFrame:
    rows = [
        ("confidence", 0.02, 2e-4, 0.88),
        ("max_confidence", 0.02, 2e-4, 0.71),
        ("entropy", 0.02, 2e-4, 0.70),
        ("binary_accuracy", 0.02, 2e-4, 0.80),
        ("holdout_retraining", 1.1, 0.011, 0.52),
        ("loss_curvature", 4.5, 0.045, 0.69),
    ]
    frame = pd.DataFrame(rows, columns=["proxy", "seconds", "share_of_exact", "spearman"])
    return frame.assign(ci_low=frame["spearman"] - 0.03, ci_high=frame["spearman"] + 0.02, n_seeds=n_seeds)


def proxies(truth: pd.DataFrame, seeds: int = 3) -> pd.DataFrame:
    draw, parts = np.random.default_rng(1), []
    for proxy in costs()["proxy"]:
        for seed in range(seeds):
            value = 0.7 * truth["memorization"].to_numpy() + 0.1 + 0.08 * draw.standard_normal(len(truth))
            if proxy in {"holdout_retraining", "loss_curvature"}:
                value = np.exp(6 * value)
            parts.append(pd.DataFrame({"example": truth["example"], "proxy": proxy, "seed": seed, "raw": value, "value": value}))
    return pd.concat(parts, ignore_index=True)


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
    oracle: bool = True,
    algorithms: tuple[str, ...] = ALGORITHMS,
    rum: float | None = None,
) -> pd.DataFrame:
    """`rum_f` lies `gain` above `vanilla` and `shuffle` a third of that, up to noise of about 0.01; the full RUM, if any, `rum`
    above 0.72.
    """
    draw, rows = np.random.default_rng(2), []
    for a, algorithm in enumerate(algorithms):
        for s, score in enumerate(scores):
            for seed in range(seeds):
                level = 0.72 + 0.15 * a / len(algorithms) - 0.02 * s + 0.02 * draw.standard_normal()
                for strategy, lift in zip(STRATEGIES, (0, gain / 3, gain), strict=True):
                    tow = level + lift + 0.008 * draw.standard_normal()
                    rows.append(_run(algorithm, strategy, score, seed, tow, tow - 0.05 + 0.01 * draw.standard_normal()))
    if rum is not None:
        cells = [(score, seed, 0.72 + rum + 0.008 * draw.standard_normal()) for score in scores for seed in range(seeds)]
        rows += [_run("rum", "rum", score, seed, tow, tow - 0.05) for score, seed, tow in cells]
    if oracle:
        rows += [_run("retrain", "vanilla", score, seed, 1.0, 1.0) for score in scores for seed in range(seeds)]
    return pd.DataFrame(rows)


def sequential(drop: float = 0.04, seeds: int = 3, steps: int = 5) -> pd.DataFrame:
    """`vanilla` loses `drop` of ToW a step, `rum_f` a quarter of that."""
    draw, rows = np.random.default_rng(3), []
    for strategy, slope in (("vanilla", drop), ("rum_f", drop / 4)):
        for seed in range(seeds):
            for scope in ("step", "union"):
                for step in range(1, steps + 1):
                    tow = 0.9 - slope * (step - 1) + 0.006 * draw.standard_normal()
                    run = _run("neg_grad_plus", strategy, "holdout_retraining", seed, tow, tow - 0.03)
                    rows.append({**run, "step": step, "scope": scope})
    return pd.DataFrame(rows)


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
    return dict(
        profile="digits", algorithm=algorithm, strategy=strategy, score=score, seed=seed, n_forget=120,
        acc_forget=0.8, acc_retain=0.97, acc_test=0.93, mia=0.2, oracle_acc_forget=0.7, oracle_acc_retain=0.98,
        oracle_acc_test=0.94, oracle_mia=0.3, tow=tow, tow_mia=tow_mia, seconds=0.5 + 0.01 * seed, oracle_seconds=5.0,
    )  # fmt: skip
