"""`mulnb.tune`: settings for your own model, searched under a budget, against an oracle where there is one."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mulnb.config import STRATEGIES
from mulnb.core.errors import UserError, notice
from mulnb.data.request import Request
from mulnb.forget import Strata
from mulnb.your_model import api, checks
from mulnb.your_model.adapt import Adapted, Factory, Model, adapt, protected
from mulnb.your_model.inputs import Normalize
from mulnb.your_model.outcome import Outcome, Setting, outcome
from mulnb.your_model.probe import check_oracle, check_trainable, first_inputs, usable
from mulnb.your_model.progress import Callback, Progress
from mulnb.your_model.recipe import Training, batch_of, check_training
from mulnb.your_model.report import class_reference, holdout_reference, oracle_reference, setting_of
from mulnb.your_model.search import LADDERS, TRIALS, Search, search
from mulnb.your_model.stand_in import check_budget, stand_ins
from mulnb.your_model.verdict import Reference

BUDGET = 300.0  # seconds, by default
FOR_REFERENCE = 0.4  # share of the budget that stand-ins for an oracle may take
ALGORITHMS = ("neg_grad_plus", "scrub", "salun")


@dataclass(frozen=True)
class Tuned:
    """What a search found: pass `algorithm`, `strategy` and `settings` to `mulnb.unlearn`.

    `trials`: a frame with one row per trial. `reference`: what they were compared with; None is each model's own hold-out.
    `why`: why there is no better reference, or "". `unlearned`: the model of the best trial on the request itself; None if the
    search was done on a stand-in request.
    """

    algorithm: str
    strategy: str
    settings: Mapping[str, Any]
    objective: float
    trials: pd.DataFrame = field(repr=False)
    reference: Reference | None
    why: str = ""
    seconds: float = 0.0
    unlearned: api.Unlearned | None = field(repr=False, default=None)


def tune(
    model: Model,
    images: Any,
    labels: Any,
    strata: Strata | Request,
    *,
    holdout: Any,
    budget: float | None = BUDGET,
    trials: int | None = None,
    algorithm: str | Sequence[str] = ALGORITHMS,
    strategy: str | Sequence[str] | None = None,
    oracle: Model | None = None,
    fresh: Factory | None = None,
    on: str = "request",
    scores: Any = None,
    seed: int = 0,
    normalize: Normalize = None,
    factory: Factory | None = None,
    training: Training | None = None,
    already_forgotten: Request | None = None,
    progress: Callback | bool | None = None,
) -> Tuned:
    """Search for the settings that leave a model most like one that never saw the request.

    Args:
        model, images, labels, normalize, factory, training, already_forgotten: as for `mulnb.unlearn`.
        strata: what is to be forgotten.
        holdout: images and labels that the model was never trained on.
        budget: seconds, at most (the trial that runs then is finished). None: only `trials` counts, however long they take.
        trials: how many candidates, at most.
        algorithm, strategy: what may be used; by default several algorithms, and `rum_f` where the request is split into strata.
        oracle: a model retrained without the request. Without it, stand-ins are trained where the budget allows it; else the
            hold-out is the reference.
        fresh: builds an untrained network for stand-ins (default: a copy of the network with its weights drawn anew).
        on: "request", or "stand-in": the search is done on retained examples with the same scores, so that the request is
            unlearned once only, with settings that were not chosen on it.
        scores: [N], which a stand-in request needs.
        seed: of every draw.
        progress: a callback (`progress.State` -> False to stop), or False for silence.

    Raises:
        UserError: something does not fit, no candidate worked, or the search was cancelled.
    """
    seed = checks.seed_of(seed)
    check_budget(budget, trials)
    check_training(training)
    names, ways = names_of(algorithm), ways_of(strategy)
    checks.one_of("tune: on", on, ("request", "stand-in"))

    with protected(api.place_of(model), seed):
        network = adapt(model, factory)
        check_trainable(network)
        given = {"images": images, "labels": labels, "holdout": holdout, "test": None, "normalize": normalize}
        setting, overlap = setting_of(network, given, strata, already_forgotten, seed)
        if overlap:
            raise UserError(overlap)

        check_accuracy(network, setting)
        if on == "stand-in":
            setting = _another_request(setting, scores, seed)

        # an oracle knows what stand-ins can only approximate
        judge = judge_of(oracle, factory, network, setting)
        shown = Progress(progress)
        limits = {"budget": budget, "trials": trials, "algorithms": names, "strategies": ways}
        found = tuned(network, setting, judge, **limits, fresh=fresh, seed=seed, own=training, shown=shown)
        shown.close()

    if on == "stand-in":
        found = dataclasses.replace(found, unlearned=None)

    return found


def tuned(
    network: Adapted,
    setting: Setting,
    oracle: Outcome | None,
    *,
    budget: float | None,
    trials: int | None,
    algorithms: Sequence[str],
    strategies: Sequence[str],
    fresh: Factory | None,
    seed: int,
    own: Training | None,
    shown: Progress,
) -> Tuned:
    """The search itself, on what was checked before."""
    started = time.monotonic()
    ways = strategies or (("rum_f", "vanilla") if checks.is_split(setting.strata) else ("vanilla",))
    for name in ways:
        checks.check_strategy(name, setting.strata)

    algorithms = usable(algorithms, network, first_inputs(setting.data))
    seconds = budget if budget is not None else float("inf")
    original = outcome(network, setting)
    reference, why = None, ""
    if oracle is not None:
        reference = oracle_reference(oracle)
    elif not setting.gone:  # a model that never saw a class never predicts it: that needs no training
        # without a budget nothing depends on how fast this machine is
        part = min(seconds, BUDGET) * FOR_REFERENCE if math.isfinite(seconds) else seconds
        reference, why = stand_ins(network, setting, original, budget=part, seed=seed, shown=shown, own=own, fresh=fresh)

    judged = functools.partial(_judged, setting, reference)
    present = np.zeros(len(setting.data), dtype=bool)
    present[setting.retain] = present[setting.strata.forget] = True
    batch = batch_of(own, max(8, min(128, len(setting.retain) // 8)))
    task = Search(
        network,
        setting,
        original,
        reference=judged,  # of a trial's row
        present=present,
        seed=seed,
        own=own,
        shown=shown,
        deadline=started + seconds,
        limit=trials or TRIALS,
    )
    search(task, algorithms, ways, batch)

    best = task.best
    if best is None:
        raise UserError("tune: every trial diverged: give a larger budget, or Training(optimizer=…) that fits the model")

    how = best.candidate
    return Tuned(
        how.algorithm,
        how.strategy,
        how.settings,
        best.objective,
        trials=task.frame(),
        reference=reference or (judged(best.row) if setting.gone else None),
        why=why,
        seconds=time.monotonic() - started,
        unlearned=best.unlearned,
    )


def _judged(setting: Setting, known: Reference | None, row: Mapping[str, float]) -> Reference:
    """What a trial with this row is compared with: what is known, or else its own hold-out."""
    n = len(setting.strata.forget)
    if setting.gone:
        return class_reference(row, n)
    return known or holdout_reference(row, n, len(setting.tested))


def names_of(algorithm: str | Sequence[str]) -> tuple[str, ...]:
    """The algorithms to search among. Raises `UserError` if there is none, or one whose strength is not known how to vary."""
    names = tuple(checks.algorithm_names(algorithm))
    unknown = [name for name in names if name not in LADDERS]
    if unknown or not names:
        what = f"algorithm '{unknown[0]}' has no ladder of strengths" if unknown else "algorithm is an empty list"
        raise UserError(f"tune: {what}: known are {', '.join(LADDERS)}")
    return names


def ways_of(strategy: str | Sequence[str] | None) -> tuple[str, ...]:
    """The strategies to search among, () where that is left to the search. Raises `UserError` for one that is unknown."""
    ways = (strategy,) if isinstance(strategy, str) else strategy or ()
    if not isinstance(ways, (list, tuple)):
        raise UserError(f"strategy = {strategy!r}: expected a name or a list of names: known are {', '.join(STRATEGIES)}")
    for name in ways:
        if name not in STRATEGIES:
            raise UserError(f"unknown strategy {name!r}: known are {', '.join(STRATEGIES)}")
    return tuple(ways)


def judge_of(oracle: Model | None, factory: Factory | None, original: Adapted, setting: Setting) -> Outcome | None:
    """What an oracle does, if there is one. Raises `UserError` if it is the original, of another kind, or hardly trained."""
    if oracle is None:
        return None

    network = adapt(oracle, factory)
    check_oracle(network, original, setting.data)
    checks.check_knows(network, original, setting.data, setting.retain)
    return outcome(network, setting)


def check_accuracy(network: Adapted, setting: Setting) -> None:
    """Raises `UserError` if the model is near chance on what it is to keep; a notice tells of a hold-out at chance."""
    of_retained, of_unseen = checks.at_chance(network, setting.data, setting.retain, setting.unseen)
    if of_retained:
        raise UserError(of_retained)
    if of_unseen:
        notice(of_unseen)


def _another_request(setting: Setting, scores: Any, seed: int) -> Setting:
    """Retained examples whose scores are those of the request, in its place."""
    if scores is None:
        raise UserError("tune: on='stand-in' needs scores=, to choose retained examples with the scores of the request")

    values = checks.scores_of(scores, len(setting.data), "tune: ")
    free = list(np.random.default_rng(seed).permutation(setting.retain))
    parts = []

    for part in setting.strata:
        chosen = []
        for example in part:
            if not free:
                raise UserError("tune: on='stand-in': fewer examples are retained than are to be forgotten")
            nearest = int(np.argmin(np.abs(values[free] - values[example])))
            chosen.append(free.pop(nearest))
        parts.append(np.sort(np.array(chosen, dtype=np.int64)))

    strata = Strata(*parts)
    # the real request stays in the model meanwhile: it is neither retained nor unlearned
    retain = np.setdiff1d(setting.retain, strata.forget)

    return Setting(setting.data, setting.unseen, setting.tested, strata, retain, (), seed)
