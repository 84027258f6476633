"""The experiments: a profile in, tidy frames out, every expensive step stored and never done twice.

Each step is a `Job`: what it is made from (its key), and a function that computes it. `gather` runs the missing ones on the
workers. An interrupted study goes on where it stopped; a finished one only reads.
"""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mulnb import audit, cluster, forget, paths, store
from mulnb import memorization as exact
from mulnb.config import Profile
from mulnb.data import Splits, load_data
from mulnb.errors import UserError
from mulnb.forget import Strata
from mulnb.memorization import Pool
from mulnb.scores import PROXIES, centre, orient
from mulnb.stats import spearman, t_interval
from mulnb.store import Artifact

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import nn

    from mulnb.training import Examples

ORACLE_SEED = 10_000  # added to a seed for its oracle, which must not share the original model's initialisation


@dataclass(frozen=True)
class Job:
    kind: str
    parts: Mapping[str, Any]
    compute: Callable[..., Artifact]
    args: tuple


def gather(profile: Profile, jobs: Sequence[Job], label: str) -> list[Artifact]:
    """The artefact of every job, in this order; the missing ones are computed on the workers first."""
    found = [store.get(job.kind, job.parts) for job in jobs]
    missing = {store.digest(job.parts): job for job, artifact in zip(jobs, found, strict=True) if artifact is None}
    if missing:
        check(profile)  # a mistake is told before the first training, not after the last
        cluster.map(run_job, list(missing.values()), label)
    return [artifact or run_job(job) for job, artifact in zip(jobs, found, strict=True)]


def run_job(job: Job) -> Artifact:
    return store.get_or_compute(job.kind, job.parts, functools.partial(job.compute, *job.args))


# --- what all experiments of a profile share -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """A profile's data on the device, and how to make an untrained network for them."""

    splits: Splits
    train: Examples
    holdout: Examples
    test: Examples
    fresh: Callable[[int], nn.Module]


def _once(function: Callable) -> Callable:
    """Remember the result for a profile (profiles hold dicts, so they are compared by their JSON) and the store in use."""
    memory: dict[tuple, Any] = {}

    @functools.wraps(function)
    def remembered(profile: Profile, *args: Any) -> Any:
        key = (profile.model_dump_json(), paths.home(), args)
        if key not in memory:
            memory[key] = function(profile, *args)
        return memory[key]

    return remembered


@_once
def splits(profile: Profile) -> Splits:
    """The profile's data, loaded once a process."""
    return load_data(profile)


@_once
def bench(profile: Profile) -> Bench:
    """The profile's data on the device, once a process."""
    from mulnb import models, training

    data = splits(profile)
    spec = {"num_classes": len(data.train.classes), "in_channels": data.train.images.shape[1]}

    def fresh(seed: int) -> nn.Module:
        return models.build(profile.model.arch, width=profile.model.width, stem=profile.model.stem, seed=seed, **spec)

    return Bench(data, *(training.examples(part, data) for part in (data.train, data.holdout, data.test)), fresh)


def _base(profile: Profile, *modules: str) -> dict[str, Any]:
    """The part of a key that says which data, which network, and which code."""
    return {
        "data": splits(profile).fingerprint,
        "model": profile.model,
        "code": store.code_version("data", "models", "training", *modules),
    }


def _weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {f"weights/{name}": value.cpu().numpy() for name, value in model.state_dict().items()}


def _restore(profile: Profile, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    import torch

    here = bench(profile)
    model = here.fresh(0).to(here.train.device)
    prefix = "weights/"
    model.load_state_dict(
        {key[len(prefix) :]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith(prefix)}
    )
    return model


# --- memorization --------------------------------------------------------------------------------------------------------


def _pool_job(profile: Profile, start: int) -> Job:
    numbers = range(start, min(start + profile.pool.group, profile.pool.models))
    parts = _base(profile, "pool", "stacked") | {
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


@_once
def pool(profile: Profile) -> tuple[Pool, float]:
    """The profile's pool of models, and the seconds that training it took (the sum over workers)."""
    starts = range(0, profile.pool.models, profile.pool.group)
    groups = gather(profile, [_pool_job(profile, start) for start in starts], f"pool of {profile.pool.models} models")
    n = len(splits(profile).train)

    def bits(name: str) -> np.ndarray:
        return np.concatenate([np.unpackbits(group.arrays[name], axis=1, count=n).astype(bool) for group in groups])

    whole = Pool(bits("member"), bits("correct"), np.concatenate([group.arrays["margin"] for group in groups]))
    return whole, sum(group.meta["wall_s"] for group in groups)


@_once
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


# --- original models and proxies -----------------------------------------------------------------------------------------


def _original_job(profile: Profile, seed: int) -> Job:
    curvature = profile.proxies.loss_curvature
    parts = _base(profile, "proxies") | {"recipe": profile.training, "curvature": curvature, "seed": seed}
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
    return Artifact(_weights(model) | signals, {"seconds": seconds, "training_s": total - sum(seconds.values())})


def _holdout_job(profile: Profile, seed: int) -> Job:
    parts = {"original": _original_job(profile, seed).parts, "settings": profile.proxies.holdout_retraining, "seed": seed}
    return Job("holdout_retraining", parts, _score_by_holdout, (profile, seed))


def _score_by_holdout(profile: Profile, seed: int) -> Artifact:
    model = _restore(profile, run_job(_original_job(profile, seed)).arrays)
    return Artifact({"holdout_retraining": _holdout_scores(profile, model, seed)})


def _holdout_scores(profile: Profile, model: nn.Module, seed: int) -> np.ndarray:
    from mulnb import proxies

    here, settings = bench(profile), profile.proxies.holdout_retraining
    held_out = here.holdout if settings.holdout == "holdout" else here.test
    return proxies.holdout_retraining(model, here.train, held_out, settings, seed)


@dataclass(frozen=True)
class Scored:
    """The proxies of one seed: `raw` by name [N], and the `seconds` that each one costs."""

    raw: dict[str, np.ndarray]
    seconds: dict[str, float]


def _scored(profile: Profile, seeds: Sequence[int]) -> dict[int, Scored]:
    """The proxies of several seeds; the missing ones are computed together."""
    gather(profile, [_original_job(profile, seed) for seed in seeds], "original models")
    gather(profile, [_holdout_job(profile, seed) for seed in seeds], "hold-out retraining")
    return {seed: _scored_one(profile, seed) for seed in seeds}


@_once
def _scored_one(profile: Profile, seed: int) -> Scored:
    original, tuned = run_job(_original_job(profile, seed)), run_job(_holdout_job(profile, seed))
    raw = {name: value for name, value in original.arrays.items() if not name.startswith("weights/")}
    return Scored(raw | tuned.arrays, original.meta["seconds"] | {"holdout_retraining": tuned.meta["wall_s"]})


def proxies(profile: Profile) -> pd.DataFrame:
    """Columns `example proxy seed raw value` (METHOD §3); `value` rises with memorization."""
    frames = [
        pd.DataFrame({"example": np.arange(len(one.raw[name])), "proxy": name, "seed": seed, "raw": one.raw[name]}).assign(
            value=orient(name, one.raw[name])
        )
        for seed, one in _scored(profile, profile.seeds).items()
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
    scored = _scored(profile, profile.seeds)
    rows = []
    for name in PROXIES:
        rho = t_interval([spearman(orient(name, one.raw[name]), truth).mean for one in scored.values()])
        seconds = float(np.mean([one.seconds[name] for one in scored.values()]))
        rows.append((name, seconds, seconds / pool_seconds, rho.mean, rho.low, rho.high, rho.n))
    return pd.DataFrame(rows, columns=["proxy", "seconds", "share_of_exact", "spearman", "ci_low", "ci_high", "n_seeds"])


def training_seconds(profile: Profile) -> float:
    """Seconds of training the original models, signals left out, summed over seeds."""
    return sum(run_job(_original_job(profile, seed)).meta["training_s"] for seed in profile.seeds)


def scores(profile: Profile, score: str, seed: int) -> np.ndarray:
    """The oriented score [N] that the forget sets of `seed` are chosen by."""
    if score == "memorization":
        return memorization(profile).memorization.to_numpy()
    return orient(score, _scored_one(profile, seed).raw[score])


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


def _refining_scores(profile: Profile) -> tuple[str, ...]:
    """What the column `score` says, one forget set each: a given set is one, whatever chose it."""
    if (given := _given(profile)) is None:
        return profile.unlearning.scores
    return (str(given.settings.get("score", "forget_file")),)


# --- unlearning ----------------------------------------------------------------------------------------------------------


def _oracle_job(profile: Profile, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Job:
    """θ_r trained without `forgotten`, and its outcome on each of the sets `evaluated` ⊆ forgotten."""
    parts = _base(profile, "unlearning/", "audit") | {
        "recipe": profile.training,
        "forgotten": forgotten,
        "evaluated": list(evaluated),
        "seed": seed,
    }
    return Job("oracle", parts, _retrain, (profile, forgotten, evaluated, seed))


def _retrain(profile: Profile, forgotten: np.ndarray, evaluated: Sequence[np.ndarray], seed: int) -> Artifact:
    import torch

    from mulnb.unlearning import ALGORITHMS

    here = bench(profile)
    kept = _without(len(here.train), forgotten)
    gone, rest = (torch.from_numpy(index).to(here.train.device) for index in (forgotten, kept))
    recipe = profile.training.model_dump()
    started = time.perf_counter()
    model = ALGORITHMS["retrain"](None, here.train, gone, rest, seed=seed + ORACLE_SEED, fresh=here.fresh, **recipe)
    seconds = time.perf_counter() - started
    outcomes = [audit.evaluate(model, here.train, here.test, one, kept, seed) for one in evaluated]
    return Artifact(meta={"outcomes": outcomes, "seconds": seconds})


def _without(n: int, gone: np.ndarray) -> np.ndarray:
    kept = np.ones(n, dtype=bool)
    kept[gone] = False
    return np.flatnonzero(kept)


@dataclass(frozen=True)
class Run:
    """One unlearning run of a profile."""

    algorithm: str
    strategy: str
    score: str
    seed: int
    settings: Any


def _run_job(profile: Profile, run: Run, chosen: Strata) -> Job:
    parts = _base(profile, "unlearning/", "rum", "audit") | {
        "original": _original_job(profile, run.seed).parts,
        "strata": list(chosen),
        "run": [run.algorithm, run.strategy, run.settings, run.seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
    }
    return Job("unlearned", parts, _unlearn, (profile, run, chosen))


def _unlearn(profile: Profile, run: Run, chosen: Strata) -> Artifact:
    from mulnb.training import Diverged

    here = bench(profile)
    model = _restore(profile, run_job(_original_job(profile, run.seed)).arrays)
    try:
        model, seconds = _apply(profile, model, run, chosen)
        kept = _without(len(here.train), chosen.forget)
        outcome = audit.evaluate(model, here.train, here.test, chosen.forget, kept, run.seed)
    except Diverged as error:
        return Artifact(meta={"diverged": str(error)})
    return Artifact(meta=outcome | {"seconds": seconds})


def _apply(
    profile: Profile, model: nn.Module, run: Run, chosen: Strata, present: np.ndarray | None = None
) -> tuple[nn.Module, float]:
    from mulnb import rum

    here = bench(profile)
    unlearned = rum.unlearn(
        model,
        here.train,
        chosen,
        algorithm=run.algorithm,
        strategy=run.strategy,
        settings=run.settings,
        seed=run.seed,
        fresh=here.fresh,
        present=present,
        retain_later_strata=profile.unlearning.retain_later_strata,
    )
    return unlearned.model, unlearned.seconds


def _outcomes(profile: Profile, runs: Sequence[Run], label: str) -> pd.DataFrame:
    """A tidy row per run: the unlearned model's outcome, its oracle's, and the two compared."""
    _scored(profile, sorted({run.seed for run in runs}))
    chosen = {(run.score, run.seed): strata(profile, run.score, run.seed) for run in runs}
    jobs = [_oracle_job(profile, s.forget, [s.forget], seed) for (_, seed), s in chosen.items()]
    oracles = dict(zip(chosen, gather(profile, jobs, "oracles, retrained from scratch"), strict=True))
    done = gather(profile, [_run_job(profile, run, chosen[run.score, run.seed]) for run in runs], label)
    rows = [
        _row(profile, run, chosen[run.score, run.seed], unlearned, oracles[run.score, run.seed])
        for run, unlearned in zip(runs, done, strict=True)
    ]
    return pd.DataFrame(rows)


def _row(profile: Profile, run: Run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, Any]:
    own = {"profile": profile.name, "algorithm": run.algorithm, "strategy": run.strategy, "score": run.score, "seed": run.seed}
    reference = oracle.meta["outcomes"][0] | {"seconds": oracle.meta["seconds"]}
    return own | {"n_forget": len(chosen.forget)} | _compare(unlearned.meta, reference)


def outcome(profile: Profile, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, computed here and now unless it is stored."""
    oracle = run_job(_oracle_job(profile, chosen.forget, [chosen.forget], run.seed))
    return _row(profile, run, chosen, run_job(_run_job(profile, run, chosen)), oracle)


def stored(profile: Profile) -> bool:
    """Whether memorization and proxies can be read without training anything."""
    starts = range(0, profile.pool.models, profile.pool.group)
    jobs = [_pool_job(profile, start) for start in starts]
    jobs += [job(profile, seed) for job in (_original_job, _holdout_job) for seed in profile.seeds]
    return all(store.folder(job.kind, job.parts).is_dir() for job in jobs)


OUTCOME = ("acc_forget", "acc_retain", "acc_test", "mia")


def _compare(unlearned: Mapping[str, Any], oracle: Mapping[str, Any]) -> dict[str, float]:
    """The columns of an outcome beside its oracle's. A run that diverged has NaN for its own numbers and 0 for ToW and
    ToW-MIA.
    """
    own = {key: unlearned.get(key, np.nan) for key in OUTCOME}
    diverged = "diverged" in unlearned
    return {
        **own,
        **{f"oracle_{key}": oracle[key] for key in OUTCOME},
        "tow": 0.0 if diverged else audit.tow(own, oracle),
        "tow_mia": 0.0 if diverged else audit.tow_mia(own, oracle),
        "seconds": unlearned.get("seconds", np.nan),
        "oracle_seconds": oracle["seconds"],
    }


def unlearning(profile: Profile) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed of the profile against its oracle (METHOD §5–§7), columns as in DESIGN.

    The oracle itself is the algorithm `retrain` (strategy `vanilla`): ToW = ToW-MIA = 1 by definition.
    """
    runs = [
        Run(algorithm, strategy, score, seed, settings)
        for algorithm, strategies in profile.unlearning.algorithms.items()
        for strategy, settings in strategies.items()
        for score, seed in itertools.product(_refining_scores(profile), profile.seeds)
    ]
    frame = _outcomes(profile, runs, "unlearning")
    oracle = frame.drop_duplicates(["score", "seed"]).assign(algorithm="retrain", strategy="vanilla", tow=1.0, tow_mia=1.0)
    for key in (*OUTCOME, "seconds"):
        oracle[key] = oracle[f"oracle_{key}"]
    return pd.concat([frame, oracle], ignore_index=True)


def check(profile: Profile) -> None:
    """Raises `UserError` if an algorithm or one of its settings is unknown: before anything is trained."""
    from mulnb import unlearning

    stages = [
        (name, one)
        for name, strategies in profile.unlearning.algorithms.items()
        for settings in strategies.values()
        for one in ([settings] if isinstance(settings, dict) else settings)
    ]
    candidates = [(name, dict.fromkeys(grid)) for name, grid in profile.tune.grid.items()]
    for name, settings in stages + candidates:
        unlearning.check(name, settings)


# --- sequential unlearning -----------------------------------------------------------------------------------------------


def _step_job(profile: Profile, strategy: str, seed: int, step: int) -> Job:
    """Step `step` = 1, 2, … of a chain; computing it computes what is missing of the steps before."""
    plan = profile.sequential
    parts = _base(profile, "unlearning/", "rum", "audit", "proxies", "forget") | {
        "original": _original_job(profile, seed).parts,
        "holdout": profile.proxies.holdout_retraining,
        "size": profile.forget.size,
        "run": [plan.algorithm, strategy, profile.unlearning.algorithms[plan.algorithm].get(strategy), seed],
        "retain_later_strata": profile.unlearning.retain_later_strata,
        "step": step,
    }
    return Job("sequential", parts, _take_step, (profile, strategy, seed, step))


def _take_step(profile: Profile, strategy: str, seed: int, step: int) -> Artifact:
    """Choose a forget set by the current model's own hold-out retraining scores, unlearn it, and score the new model."""
    here, plan = bench(profile), profile.sequential
    if step == 1:
        model = _restore(profile, run_job(_original_job(profile, seed)).arrays)
        before = run_job(_holdout_job(profile, seed)).arrays["holdout_retraining"]
        present = np.ones(len(here.train), dtype=bool)
    else:
        last = run_job(_step_job(profile, strategy, seed, step - 1)).arrays
        model, before, present = _restore(profile, last), last["after"], last["present"]
    candidates = np.flatnonzero(present)
    chosen = forget.strata(before, profile.forget.size, centre(plan.score), seed + step, candidates)
    settings = profile.unlearning.algorithms[plan.algorithm][strategy]
    run = Run(plan.algorithm, strategy, plan.score, seed + step, settings)
    model, seconds = _apply(profile, model, run, chosen, present)
    present = present.copy()
    present[chosen.forget] = False
    kept, gone = np.flatnonzero(present), np.flatnonzero(~present)
    step_outcome, union_outcome = (audit.evaluate(model, here.train, here.test, one, kept, seed) for one in (chosen.forget, gone))
    arrays = {"low": chosen.low, "medium": chosen.medium, "high": chosen.high, "present": present}
    arrays |= {"before": before, "after": _holdout_scores(profile, model, seed)}
    return Artifact(_weights(model) | arrays, {"step": step_outcome, "union": union_outcome, "seconds": seconds})


def _chains(profile: Profile) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    plan = profile.sequential
    _scored(profile, profile.seeds)
    keys = list(itertools.product(plan.strategies, profile.seeds))
    gather(profile, [_step_job(profile, *key, plan.steps) for key in keys], "sequential unlearning")
    return {key: [run_job(_step_job(profile, *key, step)) for step in range(1, plan.steps + 1)] for key in keys}


def sequential(profile: Profile) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope` (`step`: that step's set, `union`: all sets so
    far).
    """
    plan, chains = profile.sequential, _chains(profile)
    places, jobs = [], []
    for (strategy, seed), chain in chains.items():
        for step, artifact in enumerate(chain, start=1):
            gone = np.flatnonzero(~artifact.arrays["present"])
            own = np.sort(np.concatenate([artifact.arrays[name] for name in forget.NAMES]))
            places.append((strategy, seed, step, artifact, {"step": own, "union": gone}))
            jobs.append(_oracle_job(profile, gone, [own, gone], seed))
    rows = []
    for (strategy, seed, step, artifact, sets), oracle in zip(places, gather(profile, jobs, "oracles of the steps"), strict=True):
        for number, (scope, members) in enumerate(sets.items()):
            row = {"profile": profile.name, "algorithm": plan.algorithm, "strategy": strategy, "score": plan.score, "seed": seed}
            row |= {"step": step, "scope": scope, "n_forget": len(members)}
            own = artifact.meta[scope] | {"seconds": artifact.meta["seconds"]}
            rows.append(row | _compare(own, oracle.meta["outcomes"][number] | {"seconds": oracle.meta["seconds"]}))
    return pd.DataFrame(rows)


def sequential_scores(profile: Profile) -> pd.DataFrame:
    """Figure 7: the proxy before and after each step. Columns `strategy seed step moment group example value`.

    `group` is `forget` (the step's set) or `retain` (what is still present after the step).
    """
    frames = []
    for (strategy, seed), chain in _chains(profile).items():
        for step, artifact in enumerate(chain, start=1):
            groups = {
                "forget": np.sort(np.concatenate([artifact.arrays[name] for name in forget.NAMES])),
                "retain": np.flatnonzero(artifact.arrays["present"]),
            }
            for moment, (group, members) in itertools.product(("before", "after"), groups.items()):
                head = {"strategy": strategy, "seed": seed, "step": step, "moment": moment, "group": group}
                frames.append(pd.DataFrame(head | {"example": members, "value": artifact.arrays[moment][members]}))
    return pd.concat(frames, ignore_index=True)


# --- hyper-parameters ----------------------------------------------------------------------------------------------------


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
    frame = _outcomes(profile, runs, "grid search").assign(settings=[json.dumps(run.settings) for run in runs])
    frame = frame.groupby(["algorithm", "strategy", "settings"], sort=False)[["tow", "tow_mia"]].mean().reset_index()
    frame["objective"] = frame.tow + frame.tow_mia
    best = frame.groupby(["algorithm", "strategy"], sort=False).objective.idxmax()
    return frame.assign(chosen=frame.index.isin(best))
