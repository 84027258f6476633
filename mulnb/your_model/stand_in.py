"""What a model that never saw the forget set would do on it: found out by training a few small stand-ins for an oracle.

A stand-in is the user's own network with its weights drawn anew, trained without the forget set until it fits the retain set as
well as the original does. It need not be as good as a real oracle: only its accuracy on the forget set and on unseen images, and
what the attack makes of it, are read. Where such a training is not affordable, or does not get near the original, there is no
reference but the hold-out, and the verdict says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mulnb import training
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, clone
from mulnb.your_model.adapt import Adapted, Factory, untrained
from mulnb.your_model.outcome import Outcome, Setting, outcome
from mulnb.your_model.progress import Progress
from mulnb.your_model.recipe import Training, trained_by
from mulnb.your_model.verdict import Reference

COUNT = 3  # stand-ins, whose disagreement gives the interval
EPOCHS = 60  # at most
FEWEST = 5  # epochs: if not even these are affordable, no stand-in is trained
NEAR = 0.08  # so much less accurate than the original a stand-in may be
WIDTH = 0.04  # the interval reaches at least so far to both sides


@dataclass(frozen=True)
class StandIns:
    """`reference` is None where none could be had; `why` says so in words. `seconds`: what it took."""

    reference: Reference | None
    why: str
    seconds: float


def stand_ins(
    network: Adapted,
    setting: Setting,
    original: Outcome,
    *,
    budget: float,
    seed: int,
    shown: Progress,
    own: Training | None = None,
    fresh: Factory | None = None,
) -> StandIns:
    """A reference from up to `COUNT` stand-ins.

    Args:
        network: the original.
        setting: data, strata and what is retained.
        original: what the original does there.
        budget: seconds, at most.
        seed: of the first stand-in; the others follow.
        shown: hears every step.
        own: the user's recipe; its optimizer, transform and precision are used.
        fresh: builds an untrained network. Without it, a copy of the network has its weights drawn anew.
    """
    started = time.monotonic()
    build = untrained(fresh, network) if fresh is not None else _drawn_anew(network)
    if build is None:
        return StandIns(None, "parts of the network cannot be drawn anew: give fresh=", 0.0)
    batch = own.batch if own is not None and own.batch else max(8, min(64, len(setting.retain) // 8))
    rate = _affordable_rate(build, setting, own, batch, seed)
    steps = -(-len(setting.retain) // batch)
    epochs = int(min(EPOCHS, budget / COUNT / max(rate * steps, 1e-9)))
    if epochs < FEWEST:
        needed = rate * steps * FEWEST * COUNT
        return StandIns(
            None, f"a stand-in for an oracle takes longer than the budget ({needed:.0f} s)", time.monotonic() - started
        )

    found: list[Outcome] = []
    for number in range(COUNT):
        shown.part(f"stand-in for an oracle, {number + 1} of {COUNT}", epochs * steps)
        try:
            model = build(seed + number)
            _train(model, setting, own, Recipe(epochs=epochs, batch=batch, lr=1e-3), seed + number, original, shown)
            found.append(outcome(model, setting))
        except training.Diverged:
            continue
        if len(found) == 1 and (reason := _not_near(found[0], original)):
            return StandIns(None, reason, time.monotonic() - started)
        if time.monotonic() - started > budget and len(found) >= 2:
            break
    if len(found) < 2:
        return StandIns(None, "the stand-ins for an oracle diverged", time.monotonic() - started)
    return StandIns(summary(found), "", time.monotonic() - started)


def summary(found: list[Outcome]) -> Reference:
    """The mean of some stand-ins, and an interval in which the accuracy of one more should lie."""
    right = np.stack([outcome.right for outcome in found])  # [stand-ins, n]
    share = right.mean(0)
    n = right.shape[1]
    # an example on which they disagree is right or wrong by chance in the next one
    noise = math.sqrt(float((share * (1 - share)).sum()) * len(found) / (len(found) - 1)) / n
    half = max(WIDTH, 1 / n, 1.96 * noise * math.sqrt(1 + 1 / len(found)))
    mean = float(right.mean())
    means = {key: float(np.mean([outcome.row[key] for outcome in found])) for key in ("auc", "acc_test")}
    source = f"of {len(found)} stand-ins that were trained without it"
    p = float(np.mean([outcome.p.mean() for outcome in found]))
    return Reference(mean, max(0.0, mean - half), min(1.0, mean + half), means["auc"], means["acc_test"], True, source, p)


class _Fit:
    """Counts how many examples of an epoch were right in training."""

    def __init__(self) -> None:
        self.right, self.seen = 0, 0

    def record(self, batch: Batch, logits: Tensor) -> None:
        self.right += int((logits.argmax(1) == batch.labels).sum())
        self.seen += len(logits)

    def share(self) -> float:
        """Of the epoch that ended."""
        found = self.right / max(self.seen, 1)
        self.right, self.seen = 0, 0
        return found


def _train(
    model: Adapted, setting: Setting, own: Training | None, recipe: Recipe, seed: int, original: Outcome, shown: Progress
) -> None:
    """Train until the retain set is fitted as well as by the original, or the epochs are over."""
    fit = _Fit()
    place = next(model.parameters())
    index = torch.from_numpy(setting.retain).to(place.device)
    target = min(original.row["acc_retain"], 0.998)

    def fitted(epoch: int, loss: float) -> bool:
        if fit.share() < target - 0.05:
            return False
        # outputs in training mode understate the fit (dropout): look at the network as it predicts
        found = training.predict(model, setting.data, index).argmax(1) == setting.data.labels[index]
        return float(found.float().mean()) >= target

    with trained_by(_adaptive(own), setting.data, shown.step):
        training.fit(model, setting.data, recipe, seed, index=index, recorder=fit, after_epoch=fitted)


def _adaptive(own: Training | None) -> Training:
    """The user's recipe; by default AdamW, whose one learning rate fits most networks."""
    own = own or Training()
    if own.optimizer is not None:
        return own
    return Training(
        optimizer=lambda what, lr: torch.optim.AdamW(what, lr=lr, weight_decay=0.01),
        groups=own.groups,
        transform=own.transform,
        precision=own.precision,
    )


def _not_near(found: Outcome, original: Outcome) -> str:
    """Why a stand-in says nothing about an oracle, or ""."""
    for key, words in (("acc_retain", "retained"), ("acc_test", "unseen")):
        lost = original.row[key] - found.row[key]
        if lost > NEAR:
            return (
                f"a stand-in that was trained from nothing is right about {found.row[key]:.2f} of {words} images, "
                f"the original about {original.row[key]:.2f}: it says nothing about an oracle"
            )
    return ""


def _affordable_rate(build: Callable[[int], Adapted], setting: Setting, own: Training | None, batch: int, seed: int) -> float:
    """Seconds a training step takes here."""
    model = build(seed)
    index = torch.from_numpy(setting.retain[: 4 * batch]).to(next(model.parameters()).device)
    recipe = Recipe(epochs=1, batch=batch, lr=1e-4)
    with trained_by(_adaptive(own), setting.data):
        training.fit(model, setting.data, recipe, seed, index=index[:batch])  # the first step is slow
        started = time.monotonic()
        training.fit(model, setting.data, recipe, seed, index=index)
    return (time.monotonic() - started) / max(1, -(-len(index) // batch))


def _drawn_anew(network: Adapted) -> Callable[[int], Adapted] | None:
    """seed -> a copy of the network with the weights of its trained parts drawn anew; None where that cannot be done."""
    covered: set[int] = set()
    for layer in network.module.modules():
        if hasattr(layer, "reset_parameters"):
            covered |= {id(parameter) for parameter in layer.parameters(recurse=False)}
    initialise = getattr(network.module, "_init_weights", None)  # of Hugging Face's models
    loose = [parameter for parameter in network.parameters() if id(parameter) not in covered and parameter.requires_grad]
    total = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if initialise is None and sum(parameter.numel() for parameter in loose) > 0.1 * total:
        return None

    def make(seed: int) -> Adapted:
        torch.manual_seed(seed)
        model = clone(network)
        with torch.no_grad():
            for layer in model.module.modules():
                trained = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
                if trained and hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
            for parameter, known in zip(model.parameters(), network.parameters(), strict=True):
                if id(known) not in covered and known.requires_grad and parameter.ndim > 1:
                    nn.init.normal_(parameter, std=0.02)  # tokens and position embeddings
            if initialise is not None:
                model.module.apply(model.module._init_weights)
        return model

    return make


def check_budget(budget: float | None, trials: int | None) -> None:
    """Raises `UserError` unless a budget is a positive number of seconds, and trials a whole number of at least 1."""
    if budget is not None and not (isinstance(budget, (int, float)) and not isinstance(budget, bool) and 0 < budget < math.inf):
        raise UserError(f"budget = {budget!r}: should be a positive number of seconds")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise UserError(f"trials = {trials!r}: should be a whole number of at least 1")
