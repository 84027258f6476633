"""The trainings that scores are read off: the pool, the original models and their proxies (METHOD §2, §3)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.store import Artifact
from mulnb.study import diverged
from mulnb.study.networks import weights

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from mulnb.config import Profile
    from mulnb.study.jobs import Job
    from mulnb.study.study import Study
    from mulnb.training import Diverged


# ---- the pool


def train_pool(study: Study, groups: list[range]) -> list[Artifact]:
    """Train the models of several groups; membership and correctness are stored as bits."""
    from mulnb.pool import train_group
    from mulnb.training import Diverged

    found = []
    for numbers in groups:
        try:
            trained = train_group(study.profile, study.train, study.test, numbers, len(study.splits.train.classes))
        except Diverged as error:
            raise _diverged_in_pool(study, numbers) or error from None
        bits = {"member": np.packbits(trained.member, axis=1), "correct": np.packbits(trained.correct, axis=1)}
        found.append(Artifact(bits | {"margin": trained.margin, "margin_test": trained.margin_test}))
    return found


def _diverged_in_pool(study: Study, numbers: range) -> Diverged | None:
    """Which model of a group diverged, and when; None if none does when it is trained by itself."""
    import torch

    from mulnb import training
    from mulnb.memorization import membership

    plan, n = study.profile.pool, len(study.splits.train)
    for number in numbers:
        seed = plan.seed * 1_000_003 + number  # as `pool.train_group` has it
        network = study._build(seed, study.profile.pool_model).to(study.train.device)
        [member] = membership(range(number, number + 1), n, plan.share, plan.seed)
        index = torch.from_numpy(np.flatnonzero(member))
        try:
            training.fit(network, study.train, study.profile.pool_training, seed, index=index)
        except training.Diverged as error:
            return training.Diverged(f"pool, model {number + 1} of {plan.models}: {error}")
    return None


def check_pool(profile: Profile, n: int) -> None:
    """Check that the pool can score every example, and leaves it out often enough for the membership audits.

    Raises:
        UserError: too few models, or subsets that nothing can be trained on.
    """
    from mulnb.audit import lira
    from mulnb.memorization import membership

    plan = profile.pool
    size = round(plan.share * n)
    if not 2 <= size < n:
        told = f"{size} of {n} examples in a subset; at least 2, and at least one must be left out"
        raise UserError(f"profile {profile.name}: pool.share = {plan.share:g}: {told}")

    n_in = np.zeros(n, dtype=np.int64)
    for model in range(plan.models):
        n_in += membership(range(model, model + 1), n, plan.share, plan.seed)[0]
        if min(n_in.min(), model + 1 - n_in.max()) >= lira.FEWEST:
            return  # more models can only add to the counts

    never = np.flatnonzero((n_in == 0) | (n_in == plan.models))
    if len(never):
        # so many that an example is missed with a probability of less than one in a hundred
        enough = max(plan.models + 1, math.ceil(math.log(0.01 / n) / math.log(max(plan.share, 1 - plan.share))))
        raise UserError(
            f"profile {profile.name}: pool.models = {plan.models}, pool.share = {plan.share:g}: {len(never)} of {n} examples "
            f"would be in all subsets or in none, example {never[0]} for one, and have no score: raise pool.models, to {enough} "
            "for example"
        )
    if not profile.audit.membership:
        return

    try:
        lira.check_counts(n_in, plan.models)
    except UserError as error:
        raise UserError(f"profile {profile.name}: {error}, or set audit.membership: false") from None


# ---- the original models and their proxies


def train_originals(study: Study, seeds: list[int]) -> list[Artifact]:
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
    places = [f"original model of seed {seed}" for seed in seeds]
    with diverged.at(places[0]):
        training.fit(model, study.train, study.profile.training, order, recorder=recorder, after_epoch=hook)
    if settings.when == "end":
        trace.after_epoch(0, 0.0)

    # seconds of the signals are taken off those of the training; a little too much: each has the softmax that all share
    seconds = {}
    for name, value in (recorder.seconds | {"loss_curvature": trace.seconds}).items():
        seconds[name] = value / k
    training_s = (time.perf_counter() - started) / k - sum(seconds.values())

    logits, test_logits = study.outputs(model)  # [k, N, K], [k, |T|, K]
    diverged.refuse(logits, places, lambda j: train_alone(study, seeds[j]))
    correct = (logits.argmax(2) == study.train.labels).cpu().numpy()  # [k, N]
    margins, test_margins = log_odds(logits, study.train.labels), log_odds(test_logits, study.test.labels)
    signals = recorder.raw() | {"loss_curvature": trace.mean()}

    found = []
    for j, network in enumerate(study.unstack(model)):
        arrays = weights(network)
        for name, raw in signals.items():
            arrays[name] = raw[j] if stacked else raw
        arrays |= {"margin": margins[j], "margin_test": test_margins[j], "correct": correct[j]}

        meta = {"seconds": seconds, "training_s": training_s, "acc_train": float(correct[j].mean())}
        found.append(Artifact(arrays, meta))
    return found


def train_alone(study: Study, seed: int, index: Tensor | None = None) -> nn.Module:
    """A network with the recipe of the original models, trained on all of D or on the examples of `index`; no stack."""
    from mulnb import training

    model = study.fresh(seed).to(study.train.device)
    return training.fit(model, study.train, study.profile.training, seed, index=index)


def score_by_holdout(study: Study, tasks: Sequence[tuple[Job, int]]) -> list[Artifact]:
    """Hold-out retraining of several original models as one; a task is the job of an original model, and its seed."""
    model = study.restore([study.get(original) for original, _ in tasks])
    seeds = [seed for _, seed in tasks]
    places = [f"hold-out retraining of seed {seed}" for seed in seeds]
    return [Artifact({"holdout_retraining": scores}) for scores in holdout_scores(study, model, seeds, places)]


def holdout_scores(study: Study, model: nn.Module, seeds: Sequence[int], places: Sequence[str]) -> np.ndarray:
    """Hold-out retraining scores of any networks of the study.

    Args:
        study: the data, and the settings of its profile.
        model: k networks as one, or one network; see `Study.stack`.
        seeds: k seeds of the order of examples.
        places: what each network is, for the message if its fine-tuning diverges.

    Returns:
        float32 [k, N], in nats.

    Raises:
        Diverged: the fine-tuning of one of them does.
    """
    import torch

    from mulnb import proxies

    settings = study.profile.proxies.holdout_retraining
    unseen = study.holdout if settings.holdout == "holdout" else study.test

    def score(network: nn.Module, seed: int | list[int]) -> np.ndarray:
        return proxies.holdout_retraining(network, study.train, unseen, settings, seed)

    if study.together == 1:
        with diverged.at(places[0]):
            return score(model, seeds[0])[None]

    scores = score(model, list(seeds))
    diverged.refuse(torch.from_numpy(scores), places, lambda j: score(study.unstack(model)[j], seeds[j]))
    return scores
