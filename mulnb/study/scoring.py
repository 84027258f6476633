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
from mulnb.core.bits import Bits
from mulnb.core.errors import UserError
from mulnb.core.registry import PROXIES
from mulnb.core.store import Artifact
from mulnb.memorization import Pool
from mulnb.study.jobs import Job

if TYPE_CHECKING:  # torch takes seconds to import: a study that finds everything stored does without it
    from torch import Tensor, nn

    from mulnb.study.study import Study

# ---- the pool


def pool_jobs(study: Study) -> list[Job]:
    """The pool in groups of `pool.group` models, which train as one network where the architecture allows it."""
    profile = study.profile
    plan = profile.pool
    recipe = {
        **study.key("pool", "audit.margins"),
        "model": profile.pool_model,
        "recipe": profile.pool_training,
        "share": plan.share,
        "seed": plan.seed,
    }

    found = []
    for start in range(0, plan.models, plan.group):
        stop = min(start + plan.group, plan.models)
        found.append(Job("pool", recipe | {"numbers": [start, stop]}, _train_pool, range(start, stop)))
    return found


def _train_pool(study: Study, groups: list[range]) -> list[Artifact]:
    """Train the models of several groups; membership and correctness are stored as bits."""
    from mulnb.pool import train_group

    found = []
    for numbers in groups:
        trained = train_group(study.profile, study.train, study.test, numbers, len(study.splits.train.classes))
        bits = {"member": np.packbits(trained.member, axis=1), "correct": np.packbits(trained.correct, axis=1)}
        found.append(Artifact(bits | {"margin": trained.margin, "margin_test": trained.margin_test}))
    return found


def load_pool(study: Study) -> Pool:
    """The profile's pool of models without their margins, trained where it is missing. What is stored as bits stays bits.

    Raises:
        UserError: the pool is too small for the membership audits that the profile asks for; before any training.
    """
    if study.profile.audit.membership:
        _check_shadows(study)
    groups = _groups(study, "member", "correct")

    n = len(study.splits.train)
    member, correct = (Bits(_joined(groups, name), n) for name in ("member", "correct"))
    return Pool(member, correct, seconds=sum(group.meta["wall_s"] for group in groups))


def pool_margins(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """The margins of the pool's models on D, float16 [M, N], and on T, float16 [M, |T|]: sixteen times what the bits need."""
    groups = _groups(study, "margin", "margin_test")
    return _joined(groups, "margin"), _joined(groups, "margin_test")


def _groups(study: Study, *names: str) -> list[Artifact]:
    """Some arrays of all groups of the pool."""
    return study.gather(pool_jobs(study), f"pool of {study.profile.pool.models} models", names)


def _joined(groups: Sequence[Artifact], name: str) -> np.ndarray:
    """The rows of all groups, [M, …]."""
    return np.concatenate([group.arrays[name] for group in groups])


def _check_shadows(study: Study) -> None:
    """Reject a pool in which an example is left out by too few models for the membership audits."""
    from mulnb.audit import lira
    from mulnb.memorization import membership

    plan, n = study.profile.pool, len(study.splits.train)
    n_in = np.zeros(n, dtype=np.int64)
    for model in range(plan.models):
        n_in += membership(range(model, model + 1), n, plan.share, plan.seed)[0]

    try:
        lira.check_counts(n_in, plan.models)
    except UserError as error:
        raise UserError(f"profile {study.profile.name}: {error}, or set audit.membership: false") from None


def exact_scores(study: Study) -> pd.DataFrame:
    """Columns `example label memorization se n_in n_out flipped` (METHOD §2); `flipped` marks label noise.

    Scores from a file have no standard error and no models: NaN and 0.
    """
    data = study.splits.train
    if study.pool is None:
        columns = {"example": np.arange(len(data)), "memorization": imported_scores(study), "se": np.nan, "n_in": 0, "n_out": 0}
        frame = pd.DataFrame(columns)
    else:
        frame = exact.estimate(study.pool.correct, study.pool.member)
    frame.insert(1, "label", data.labels)
    return frame.assign(flipped=study.splits.flipped)


def imported_scores(study: Study) -> np.ndarray:
    """The scores of the profile's `pool.scores`, [N]."""
    from mulnb.data.scores import load_scores

    given = study.profile.pool.scores
    return load_scores(given.file, key=given.key, index=given.index, orientation=given.orientation, data=study.splits.train)


# ---- the original models and their proxies


def original_job(study: Study, seed: int) -> Job:
    """θ_o of one seed: its weights, and the proxies that are read off its training."""
    parts = {
        **study.key("proxies", "recording", "audit.margins"),
        "recipe": study.profile.training,
        "curvature": study.profile.proxies.loss_curvature,
        "seed": seed,
    }
    return Job("original", parts, _train_originals, seed, group="original")


def _train_originals(study: Study, seeds: list[int]) -> list[Artifact]:
    """θ_o with what training tells about each example; times are seconds of each signal alone, and of one network."""
    from mulnb import proxies, training
    from mulnb.audit.margins import log_odds
    from mulnb.study import batches

    settings, k = study.profile.proxies.loss_curvature, len(seeds)
    stacked = study.together > 1
    order = seeds if stacked else seeds[0]
    model = study.fresh(order).to(study.train.device)

    # what each step and each epoch is shown to
    recorder = proxies.SignalRecorder(len(study.train), study.train.device, k if stacked else None)
    batch = batches.CURVATURE if stacked else study.activations[0].differentiated
    trace = batches.CurvatureInParts(model, study.train, settings.h, batch)

    started = time.perf_counter()
    hook = trace.after_epoch if settings.when == "epochs" else None
    training.fit(model, study.train, study.profile.training, order, recorder=recorder, after_epoch=hook)
    if settings.when == "end":
        trace.after_epoch(0, 0.0)

    # seconds of the signals are taken off those of the training
    seconds = {}
    for name, value in (recorder.seconds | {"loss_curvature": trace.seconds}).items():
        seconds[name] = value / k
    training_s = (time.perf_counter() - started) / k - sum(seconds.values())

    logits, test_logits = study.outputs(model)  # [k, N, K], [k, |T|, K]
    finite(logits, seeds, "original model")
    correct = (logits.argmax(2) == study.train.labels).cpu().numpy()  # [k, N]
    margins, test_margins = log_odds(logits, study.train.labels), log_odds(test_logits, study.test.labels)
    signals = recorder.raw() | {"loss_curvature": trace.mean()}

    found = []
    for j, network in enumerate(study.unstack(model)):
        arrays = _weights(network)
        for name, raw in signals.items():
            arrays[name] = raw[j] if stacked else raw
        arrays |= {"margin": margins[j], "margin_test": test_margins[j], "correct": correct[j]}

        meta = {"seconds": seconds, "training_s": training_s, "acc_train": float(correct[j].mean())}
        found.append(Artifact(arrays, meta))
    return found


def finite(logits: Tensor, seeds: Sequence[int], what: str) -> None:
    """Check the outputs of trained networks.

    Args:
        logits: [k, N, K].
        seeds: of the networks.
        what: what the networks are, for the message.

    Raises:
        Diverged: a network's logits are not finite: no later step could use it.
    """
    from mulnb.training import Diverged

    for own, seed in zip(logits, seeds, strict=True):
        if not own.isfinite().all():
            raise Diverged(f"the {what} of seed {seed} diverged: use a smaller training.lr")


def _weights(model: nn.Module) -> dict[str, np.ndarray]:
    """As `study.weights`; that module imports this one."""
    from mulnb.study.study import weights

    return weights(model)


def holdout_job(study: Study, seed: int) -> Job:
    """Hold-out retraining of the original model of one seed."""
    original = original_job(study, seed)
    parts = {
        "original": original.parts,
        "settings": study.profile.proxies.holdout_retraining,
        "seed": seed,
    }
    return Job("holdout_retraining", parts, _score_by_holdout, seed, group="holdout", needs=(original.with_weights,))


def _score_by_holdout(study: Study, seeds: list[int]) -> list[Artifact]:
    """Hold-out retraining of several original models as one."""
    model = study.restore([study.get(original_job(study, seed).with_weights) for seed in seeds])
    return [Artifact({"holdout_retraining": scores}) for scores in holdout_scores(study, model, seeds)]


def holdout_scores(study: Study, model: nn.Module, seeds: Sequence[int]) -> np.ndarray:
    """Hold-out retraining scores of any networks of the study.

    Args:
        study: the data, and the settings of its profile.
        model: k networks as one, or one network; see `Study.stack`.
        seeds: k seeds of the order of examples.

    Returns:
        float32 [k, N], in nats.
    """
    from mulnb import proxies

    settings = study.profile.proxies.holdout_retraining
    unseen = study.holdout if settings.holdout == "holdout" else study.test
    if study.together > 1:
        return proxies.holdout_retraining(model, study.train, unseen, settings, list(seeds))
    return proxies.holdout_retraining(model, study.train, unseen, settings, seeds[0])[None]


@dataclass(frozen=True)
class Scored:
    """The proxies of one seed."""

    raw: dict[str, np.ndarray]  # by name, [N] each
    seconds: dict[str, float]  # what each proxy costs on top of training


def score_seeds(study: Study, seeds: Iterable[int]) -> None:
    """Compute the missing proxies of several seeds on the workers."""
    wanted = list(seeds)
    study.gather([original_job(study, seed) for seed in wanted], "original models")
    study.gather([holdout_job(study, seed) for seed in wanted], "hold-out retraining")


def load_scored(study: Study, seed: int) -> Scored:
    """The proxies of one seed, from the store or computed in this process."""
    original, tuned = study.get(original_job(study, seed)), study.get(holdout_job(study, seed))
    raw = {name: value for name, value in original.arrays.items() if name in PROXIES}
    seconds = original.meta["seconds"] | {"holdout_retraining": tuned.meta["wall_s"]}
    return Scored(raw | tuned.arrays, seconds)


def stored(study: Study) -> bool:
    """Whether memorization and proxies can be read without training anything."""
    wanted = pool_jobs(study)
    for seed in study.profile.seeds:
        wanted += [original_job(study, seed), holdout_job(study, seed)]
    return all(store.folder(job.kind, job.parts).is_dir() for job in wanted)
