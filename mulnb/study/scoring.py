"""Which examples are memorized: the pool, the original models, the proxies, and what they cost (METHOD §2, §3)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mulnb import memorization as exact
from mulnb.core import store
from mulnb.core.registry import PROXIES
from mulnb.core.stats import Interval, t_interval
from mulnb.core.store import Artifact
from mulnb.memorization import Pool
from mulnb.proxies import orient
from mulnb.study.jobs import Job

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn

    from mulnb.study.study import Study

# ---- the pool


def pool_jobs(study: Study) -> list[Job]:
    """The pool in groups of `pool.group` models, which train as one network where the architecture allows it."""
    plan, profile = study.profile.pool, study.profile
    recipe = {
        **study.key("pool", "fast.stacked"),
        "model": profile.pool_model,
        "recipe": profile.pool_training,
        "share": plan.share,
        "seed": plan.seed,
    }
    found = []
    for start in range(0, plan.models, plan.group):
        stop = min(start + plan.group, plan.models)
        found.append(Job("pool", recipe | {"numbers": [start, stop]}, _train_pool, (start, stop)))
    return found


def _train_pool(study: Study, start: int, stop: int) -> Artifact:
    from mulnb.pool import train_group

    trained = train_group(study.profile, study.train, range(start, stop), len(study.splits.train.classes))
    bits = {"member": np.packbits(trained.member, axis=1), "correct": np.packbits(trained.correct, axis=1)}
    return Artifact(bits | {"margin": trained.margin})


def load_pool(study: Study) -> Pool:
    """The profile's pool of models, trained where it is missing; `Pool.seconds` sums what training took over the workers."""
    groups = study.gather(pool_jobs(study), f"pool of {study.profile.pool.models} models")
    n = len(study.splits.train)

    def bits(name: str) -> np.ndarray:
        return np.concatenate([np.unpackbits(group.arrays[name], axis=1, count=n).astype(bool) for group in groups])

    margin = np.concatenate([group.arrays["margin"] for group in groups])
    return Pool(bits("member"), bits("correct"), margin, sum(group.meta["wall_s"] for group in groups))


def exact_scores(study: Study) -> pd.DataFrame:
    """Columns `example label memorization se n_in n_out flipped` (METHOD §2); `flipped` marks label noise."""
    frame = exact.estimate(study.pool.correct, study.pool.member)
    frame.insert(1, "label", study.splits.train.labels)
    return frame.assign(flipped=study.splits.flipped)


def convergence(study: Study, repeats: int = 5) -> pd.DataFrame:
    """How the scores settle as the pool grows; columns as `memorization.convergence`."""
    pool = study.pool
    sizes = sorted({round(len(pool) * share) for share in (0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0)})
    return exact.convergence(pool.correct, pool.member, tuple(sizes), repeats, seed=study.profile.pool.seed)


# ---- the original models and their proxies


def original_job(study: Study, seed: int) -> Job:
    """θ_o of one seed, and the proxies that are read off its training."""
    parts = {
        **study.key("proxies"),
        "recipe": study.profile.training,
        "curvature": study.profile.proxies.loss_curvature,
        "seed": seed,
    }
    return Job("original", parts, _train_original, (seed,))


def _train_original(study: Study, seed: int) -> Artifact:
    """θ_o with what training tells about each example; times are seconds of each signal alone."""
    from mulnb import proxies, training
    from mulnb.study.study import weights

    settings = study.profile.proxies.loss_curvature
    model = study.fresh(seed).to(study.train.device)
    recorder = proxies.SignalRecorder(len(study.train), study.train.device)
    trace = proxies.CurvatureTrace(model, study.train, settings.h)

    started = time.perf_counter()
    hook = trace.after_epoch if settings.when == "epochs" else None
    training.fit(model, study.train, study.profile.training, seed, recorder=recorder, after_epoch=hook)
    if settings.when == "end":
        trace.after_epoch(0, 0.0)
    seconds = recorder.seconds | {"loss_curvature": trace.seconds}
    training_s = time.perf_counter() - started - sum(seconds.values())

    signals = recorder.raw() | {"loss_curvature": trace.mean()}
    return Artifact(weights(model) | signals, {"seconds": seconds, "training_s": training_s})


def holdout_job(study: Study, seed: int) -> Job:
    """Hold-out retraining of the original model of one seed."""
    parts = {
        "original": original_job(study, seed).parts,
        "settings": study.profile.proxies.holdout_retraining,
        "seed": seed,
    }
    return Job("holdout_retraining", parts, _score_by_holdout, (seed,))


def _score_by_holdout(study: Study, seed: int) -> Artifact:
    model = study.restore(study.get(original_job(study, seed)))
    return Artifact({"holdout_retraining": holdout_scores(study, model, seed)})


def holdout_scores(study: Study, model: nn.Module, seed: int) -> np.ndarray:
    """Hold-out retraining scores [N] of any model of the study."""
    from mulnb import proxies

    settings = study.profile.proxies.holdout_retraining
    unseen = study.holdout if settings.holdout == "holdout" else study.test
    return proxies.holdout_retraining(model, study.train, unseen, settings, seed)


@dataclass(frozen=True)
class Scored:
    """The proxies of one seed: `raw` by name [N], and the `seconds` that each one costs."""

    raw: dict[str, np.ndarray]
    seconds: dict[str, float]


def score_seeds(study: Study, seeds: Iterable[int]) -> None:
    """Compute what is missing of the proxies of several seeds, together."""
    wanted = list(seeds)
    study.gather([original_job(study, seed) for seed in wanted], "original models")
    study.gather([holdout_job(study, seed) for seed in wanted], "hold-out retraining")


def load_scored(study: Study, seed: int) -> Scored:
    """The proxies of one seed, from the store or computed here and now."""
    original, tuned = study.get(original_job(study, seed)), study.get(holdout_job(study, seed))
    raw = {name: value for name, value in original.arrays.items() if not name.startswith("weights/")}
    seconds = original.meta["seconds"] | {"holdout_retraining": tuned.meta["wall_s"]}
    return Scored(raw | tuned.arrays, seconds)


def stored(study: Study) -> bool:
    """Whether memorization and proxies can be read without training anything."""
    seeds = study.profile.seeds
    wanted = [
        *pool_jobs(study),
        *(original_job(study, seed) for seed in seeds),
        *(holdout_job(study, seed) for seed in seeds),
    ]
    return all(store.folder(job.kind, job.parts).is_dir() for job in wanted)


# ---- frames


def proxies(study: Study) -> pd.DataFrame:
    """Columns `example proxy seed raw value` (METHOD §3); `value` rises with memorization."""
    score_seeds(study, study.profile.seeds)
    frames = []
    for seed in study.profile.seeds:
        for name in PROXIES.names:
            raw = study.scored(seed).raw[name]
            columns = {"example": np.arange(len(raw)), "proxy": name, "seed": seed, "raw": raw, "value": orient(name, raw)}
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def proxy_costs(study: Study) -> pd.DataFrame:
    """Table 1. Columns `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`.

    `spearman`: ρ between the oriented proxy and memorization, mean over seeds with its 95 % t interval; `seconds`: mean over
    seeds of what the proxy costs on top of training; `share_of_exact`: relative to training the pool.
    """
    truth = study.memorization.memorization.to_numpy()
    score_seeds(study, study.profile.seeds)
    scored = [study.scored(seed) for seed in study.profile.seeds]

    rows = []
    for name in PROXIES.names:
        rho = _interval([exact.agreement(orient(name, of_seed.raw[name]), truth) for of_seed in scored])
        seconds = float(np.mean([of_seed.seconds[name] for of_seed in scored]))
        rows.append((name, seconds, seconds / study.pool.seconds, rho.mean, rho.low, rho.high, rho.n))
    return pd.DataFrame(rows, columns=["proxy", "seconds", "share_of_exact", "spearman", "ci_low", "ci_high", "n_seeds"])


def _interval(values: Sequence[float]) -> Interval:
    """The t interval of correlations; unknown if one of them is."""
    if np.isfinite(values).all():
        return t_interval(values)
    return Interval(np.nan, np.nan, np.nan, len(values))


def training_seconds(study: Study) -> float:
    """Seconds of training the original models, signals left out, summed over seeds."""
    return sum(study.get(original_job(study, seed)).meta["training_s"] for seed in study.profile.seeds)
