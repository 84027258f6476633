"""Which examples are memorized: the pool, the original models, the proxies, and the strata chosen by them (METHOD §2–§4)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mulnb import forget
from mulnb import memorization as exact
from mulnb.config import Profile
from mulnb.core import store
from mulnb.core.stats import Interval, t_interval
from mulnb.core.store import Artifact
from mulnb.core.vocabulary import PROXIES, centre, orient
from mulnb.forget import Strata
from mulnb.memorization import Pool
from mulnb.study.jobs import Job, gather, once, run_job
from mulnb.study.setup import bench, key_parts, restore, splits, weights

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn


def _pool_job(profile: Profile, start: int) -> Job:
    numbers = range(start, min(start + profile.pool.group, profile.pool.models))
    parts = key_parts(profile, "pool", "audit.margins", "fast.stacked") | {
        "model": profile.pool_model,
        "recipe": profile.pool_training,
        "share": profile.pool.share,
        "seed": profile.pool.seed,
        "numbers": [numbers.start, numbers.stop],
    }
    return Job("pool", parts, _train_pool, (profile, numbers.start, numbers.stop))


def _train_pool(profile: Profile, start: int, stop: int) -> Artifact:
    from mulnb.pool import train_group

    here = bench(profile)
    trained = train_group(profile, here.train, range(start, stop), len(here.splits.train.classes))
    bits = {"member": np.packbits(trained.member, axis=1), "correct": np.packbits(trained.correct, axis=1)}
    return Artifact(bits | {"margin": trained.margin})


@once
def pool(profile: Profile) -> tuple[Pool, float]:
    """The profile's pool of models, and the seconds that training it took (the sum over workers)."""
    starts = range(0, profile.pool.models, profile.pool.group)
    groups = gather(profile, [_pool_job(profile, start) for start in starts], f"pool of {profile.pool.models} models")
    n = len(splits(profile).train)

    def bits(name: str) -> np.ndarray:
        return np.concatenate([np.unpackbits(group.arrays[name], axis=1, count=n).astype(bool) for group in groups])

    whole = Pool(bits("member"), bits("correct"), np.concatenate([group.arrays["margin"] for group in groups]))
    return whole, sum(group.meta["wall_s"] for group in groups)


@once
def memorization(profile: Profile) -> pd.DataFrame:
    """Columns `example label memorization se n_in n_out flipped` (METHOD §2); `flipped` marks label noise."""
    trained, _ = pool(profile)
    frame = exact.estimate(trained.correct, trained.member)
    frame.insert(1, "label", splits(profile).train.labels)
    return frame.assign(flipped=splits(profile).flipped)


def convergence(profile: Profile, repeats: int = 5) -> pd.DataFrame:
    """How the scores settle as the pool grows; see `memorization.convergence`."""
    trained, _ = pool(profile)
    sizes = sorted({round(len(trained) * share) for share in (0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0)})
    return exact.convergence(trained.correct, trained.member, tuple(sizes), repeats, seed=profile.pool.seed)


def original_job(profile: Profile, seed: int) -> Job:
    curvature = profile.proxies.loss_curvature
    parts = key_parts(profile, "proxies") | {"recipe": profile.training, "curvature": curvature, "seed": seed}
    return Job("original", parts, _train_original, (profile, seed))


def _train_original(profile: Profile, seed: int) -> Artifact:
    """θ_o with what training tells about each example; times are seconds of each signal alone."""
    from mulnb import proxies, training

    here, settings = bench(profile), profile.proxies.loss_curvature
    model = here.fresh(seed).to(here.train.device)
    recorder = training.SignalRecorder(len(here.train), here.train.device)
    trace = proxies.CurvatureTrace(model, here.train, settings.h)
    started = time.perf_counter()
    hook = trace.after_epoch if settings.when == "epochs" else None
    training.fit(model, here.train, profile.training, seed, recorder=recorder, after_epoch=hook)
    if settings.when == "end":
        trace.after_epoch(0, 0.0)
    seconds = recorder.seconds | {"loss_curvature": trace.seconds}
    total = time.perf_counter() - started
    signals = recorder.means() | {"loss_curvature": trace.mean()}
    return Artifact(weights(model) | signals, {"seconds": seconds, "training_s": total - sum(seconds.values())})


def holdout_job(profile: Profile, seed: int) -> Job:
    parts = {"original": original_job(profile, seed).parts, "settings": profile.proxies.holdout_retraining, "seed": seed}
    return Job("holdout_retraining", parts, _score_by_holdout, (profile, seed))


def _score_by_holdout(profile: Profile, seed: int) -> Artifact:
    model = restore(profile, run_job(original_job(profile, seed)).arrays)
    return Artifact({"holdout_retraining": holdout_scores(profile, model, seed)})


def holdout_scores(profile: Profile, model: nn.Module, seed: int) -> np.ndarray:
    from mulnb import proxies

    here, settings = bench(profile), profile.proxies.holdout_retraining
    held_out = here.holdout if settings.holdout == "holdout" else here.test
    return proxies.holdout_retraining(model, here.train, held_out, settings, seed)


@dataclass(frozen=True)
class Scored:
    """The proxies of one seed: `raw` by name [N], and the `seconds` that each one costs."""

    raw: dict[str, np.ndarray]
    seconds: dict[str, float]


def score_seeds(profile: Profile, seeds: Sequence[int]) -> dict[int, Scored]:
    """The proxies of several seeds; the missing ones are computed together."""
    gather(profile, [original_job(profile, seed) for seed in seeds], "original models")
    gather(profile, [holdout_job(profile, seed) for seed in seeds], "hold-out retraining")
    return {seed: scored_one(profile, seed) for seed in seeds}


@once
def scored_one(profile: Profile, seed: int) -> Scored:
    original, tuned = run_job(original_job(profile, seed)), run_job(holdout_job(profile, seed))
    raw = {name: value for name, value in original.arrays.items() if not name.startswith("weights/")}
    return Scored(raw | tuned.arrays, original.meta["seconds"] | {"holdout_retraining": tuned.meta["wall_s"]})


def proxies(profile: Profile) -> pd.DataFrame:
    """Columns `example proxy seed raw value` (METHOD §3); `value` rises with memorization."""
    frames = [
        pd.DataFrame({"example": np.arange(len(one.raw[name])), "proxy": name, "seed": seed, "raw": one.raw[name]}).assign(
            value=orient(name, one.raw[name])
        )
        for seed, one in score_seeds(profile, profile.seeds).items()
        for name in PROXIES
    ]
    return pd.concat(frames, ignore_index=True)


def proxy_costs(profile: Profile) -> pd.DataFrame:
    """Table 1. Columns `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`.

    `spearman`: ρ between the oriented proxy and memorization, mean over seeds with its 95 % t interval; `seconds`: mean over
    seeds of what the proxy costs on top of training; `share_of_exact`: relative to training the pool.
    """
    _, pool_seconds = pool(profile)
    truth = memorization(profile).memorization.to_numpy()
    scored = score_seeds(profile, profile.seeds)
    rows = []
    for name in PROXIES:
        each = [exact.agreement(orient(name, one.raw[name]), truth) for one in scored.values()]
        rho = t_interval(each) if np.isfinite(each).all() else Interval(np.nan, np.nan, np.nan, len(each))
        seconds = float(np.mean([one.seconds[name] for one in scored.values()]))
        rows.append((name, seconds, seconds / pool_seconds, rho.mean, rho.low, rho.high, rho.n))
    return pd.DataFrame(rows, columns=["proxy", "seconds", "share_of_exact", "spearman", "ci_low", "ci_high", "n_seeds"])


def training_seconds(profile: Profile) -> float:
    """Seconds of training the original models, signals left out, summed over seeds."""
    return sum(run_job(original_job(profile, seed)).meta["training_s"] for seed in profile.seeds)


def scores(profile: Profile, score: str, seed: int) -> np.ndarray:
    """The oriented score [N] that the forget sets of `seed` are chosen by."""
    if score == "memorization":
        return memorization(profile).memorization.to_numpy()
    return orient(score, scored_one(profile, seed).raw[score])


def strata(profile: Profile, score: str, seed: int) -> Strata:
    """The three strata of `score` for `seed`, which also draws ties; those of the file, where the profile names one."""
    if (given := _given(profile)) is not None:
        return given.strata
    return forget.strata(scores(profile, score, seed), profile.forget.size, centre(score), seed)


def _given(profile: Profile) -> forget.ForgetSet | None:
    """The forget set of the profile's `forget.file`, if it names one. Raises `UserError` if it does not fit these data."""
    if profile.forget.file is None:
        return None
    data = splits(profile)
    return forget.load(profile.forget.file, data.fingerprint, len(data.train))


def refining_scores(profile: Profile) -> tuple[str, ...]:
    """What the column `score` says, one forget set each: a given set is one, whatever chose it."""
    if (given := _given(profile)) is None:
        return profile.unlearning.scores
    return (str(given.settings.get("score", "forget_file")),)


def stored(profile: Profile) -> bool:
    """Whether memorization and proxies can be read without training anything."""
    starts = range(0, profile.pool.models, profile.pool.group)
    jobs = [_pool_job(profile, start) for start in starts]
    jobs += [job(profile, seed) for job in (original_job, holdout_job) for seed in profile.seeds]
    return all(store.folder(job.kind, job.parts).is_dir() for job in jobs)
