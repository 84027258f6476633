"""What a model that never saw the forget set would do on it: found out by training a few stand-ins for an oracle.

A stand-in is the user's own network with its weights drawn anew, trained without the forget set until it fits as well as the
original does. Where that is not affordable, stand-ins are trained on a part of the retain set: they are weaker, but how much less
often they are right about the forget set than about unseen images still shows how hard the set is, and that ratio is taken over.
Where not even this works, the hold-out is the only reference, and the verdict says so.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mulnb import training
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.core.whole import is_whole
from mulnb.training import Batch, clone
from mulnb.your_model.adapt import Adapted, Factory, first_floating, predicted
from mulnb.your_model.checks import SAMPLE, chances
from mulnb.your_model.outcome import Outcome, Setting, outcome
from mulnb.your_model.probe import untrained_beside
from mulnb.your_model.progress import Progress
from mulnb.your_model.recipe import Training, batch_of, trained_by
from mulnb.your_model.verdict import Reference, near_chance

COUNT = 3  # stand-ins, whose disagreement gives the interval
EPOCHS = 60  # at most
ENOUGH = 15  # epochs: where fewer are affordable, a part of the retain set must do
FEWEST = 60  # examples of that part
NEAR = 0.08  # a stand-in that is so much less accurate than the original is a weak one
WEAKEST = 0.3  # share of the way from chance to the original's accuracy on unseen images that a weak one must reach
DIVERGED = "the stand-ins for an oracle diverged"
KNOWS = "drawn anew, the network still knows the images, from what is not trained (buffers, a frozen copy): give fresh="
DRAWS = 8  # untrained networks, all of which must know the images: one may do so by luck
WIDTH, WEAK_WIDTH = 0.05, 0.08  # the interval reaches at least so far to both sides


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
) -> tuple[Reference | None, str]:
    """A reference from up to `COUNT` stand-ins; None where none can be had, and why.

    Args:
        network: the original.
        setting: data, strata and what is retained.
        original: what the original does there.
        budget: seconds, at most.
        seed: of the first stand-in; the others follow.
        shown: hears every step.
        own: the user's recipe; its optimizer, transform, precision and batch are used, its schedule beside an optimizer only.
        fresh: builds an untrained network. Without it, a copy of the network has its weights drawn anew.
    """
    started = time.monotonic()
    build = untrained_beside(fresh, network, setting.data) if fresh is not None else _drawn_anew(network)
    if build is None:
        return None, "parts of the network cannot be drawn anew: give fresh="
    if fresh is None and _still_knows(build, setting, original.row["acc_retain"], seed):
        return None, KNOWS

    batch = batch_of(own, max(8, min(64, len(setting.retain) // 8)))
    try:
        rate = _seconds_per_step(build, setting, own, batch, seed)
    except training.Diverged:
        return None, DIVERGED

    affordable = int(min(budget, 1e6) / COUNT / max(rate, 1e-6))  # steps of one stand-in
    part = _affordable_part(setting.retain, affordable, batch, seed)
    if len(part) < min(FEWEST, len(setting.retain)):
        needed = rate * ENOUGH * COUNT * FEWEST / batch
        return None, f"even stand-ins that are trained on few images take longer than the budget (about {needed:.0f} s)"

    steps = -(-len(part) // batch)  # of an epoch
    recipe = Recipe(epochs=max(1, min(EPOCHS, affordable // steps)), batch=batch, lr=1e-3)
    found: list[Outcome] = []
    for number in range(COUNT):
        shown.part(f"stand-in for an oracle, {number + 1} of {COUNT}", recipe.epochs * steps)
        try:
            model = build(seed + number)
            _train(model, setting, own, recipe, seed + number, part, original.row["acc_retain"], shown)
            found.append(outcome(model, setting))
        except training.Diverged:
            continue
        if time.monotonic() - started > 1.5 * budget and len(found) >= 2:
            break

    if len(found) < 2:
        return None, DIVERGED

    frozen = fresh is None and any(not value.requires_grad and value.ndim > 1 for value in network.parameters())
    kept = "; its frozen weights are the model's: if they were trained on it, give fresh=" if frozen else ""
    if all(_near(outcome.row, original.row) for outcome in found):
        return summary(found, kept), ""

    reference = scaled(found, original, setting, kept)
    return reference, "" if reference else "stand-ins for an oracle, trained from nothing, learn too little here"


def _affordable_part(retain: np.ndarray, steps: int, batch: int, seed: int) -> np.ndarray:
    """The retain set, or a random part of it on which so many steps are enough epochs; it may be too small."""
    if steps >= ENOUGH * -(-len(retain) // batch):
        return retain
    return np.random.default_rng(seed).permutation(retain)[: max(steps // ENOUGH * batch, 0)]


def summary(found: list[Outcome], kept: str = "") -> Reference:
    """The mean of some stand-ins, and an interval in which the accuracy of one more should lie."""
    mean, noise = _share(found)
    half = max(WIDTH, noise)
    means = {key: float(np.mean([outcome.row[key] for outcome in found])) for key in ("auc", "acc_test")}
    source = f"of {len(found)} stand-ins that were trained without it{kept}"
    p = float(np.mean([outcome.p.mean() for outcome in found]))

    return Reference(mean, max(0.0, mean - half), min(1.0, mean + half), means["auc"], means["acc_test"], True, source, p)


def scaled(found: list[Outcome], original: Outcome, setting: Setting, kept: str = "") -> Reference | None:
    """A reference from stand-ins that are weaker than an oracle: their accuracy on the forget set, relative to unseen images.

    None if they hardly know more than chance.
    """
    unseen = float(np.mean([outcome.row["acc_test"] for outcome in found]))
    chance, _ = chances(setting.tested.labels)
    if unseen - chance < WEAKEST * (original.row["acc_test"] - chance):
        return None

    mean, noise = _share(found)
    factor = max(1.0, original.row["acc_test"] / unseen)  # they are weaker: one that is right more often scales nothing down
    mean, half = min(1.0, mean * factor), max(WEAK_WIDTH, noise * factor)
    auc = float(np.mean([outcome.row["auc"] for outcome in found]))
    source = f"of {len(found)} weak stand-ins that were trained without it on a part of the images, scaled to the original{kept}"

    return Reference(mean, max(0.0, mean - half), min(1.0, mean + half), auc, float("nan"), True, source)


def _share(found: list[Outcome]) -> tuple[float, float]:
    """Mean accuracy on the forget set, and 1.96 standard errors of that of one more stand-in."""
    right = np.stack([outcome.right for outcome in found])  # [stand-ins, n]
    n = right.shape[1]

    # the next one may be wrong even where these few are all right: half a success and half a failure are added
    share = (right.sum(0) + 0.5) / (len(found) + 1)
    one_more = math.sqrt(float((share * (1 - share)).sum())) / n
    return float(right.mean()), max(1 / n, 1.96 * one_more * math.sqrt(1 + 1 / len(found)))


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
    model: Adapted,
    setting: Setting,
    own: Training | None,
    recipe: Recipe,
    seed: int,
    part: np.ndarray,
    accuracy: float,
    shown: Progress,
) -> None:
    """Train on a part of the retain set until it is fitted with this accuracy, or the epochs are over."""
    fit = _Fit()
    place = next(model.parameters())
    index = torch.from_numpy(part).to(place.device)
    target = min(accuracy, 0.998)

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


def _near(row: Mapping[str, float], original: Mapping[str, float]) -> bool:
    """Whether a stand-in is as good as the original, or almost."""
    return all(original[key] - row[key] <= NEAR for key in ("acc_retain", "acc_test"))


def _seconds_per_step(build: Callable[[int], Adapted], setting: Setting, own: Training | None, batch: int, seed: int) -> float:
    """Seconds a training step takes here."""
    model = build(seed)
    index = torch.from_numpy(setting.retain[: 4 * batch]).to(next(model.parameters()).device)
    recipe = Recipe(epochs=1, batch=batch, lr=1e-4)

    with trained_by(_adaptive(own), setting.data):
        training.fit(model, setting.data, recipe, seed, index=index[:batch])  # the first step is slow
        started = time.monotonic()
        training.fit(model, setting.data, recipe, seed, index=index)

    return (time.monotonic() - started) / max(1, -(-len(index) // batch))


def _still_knows(build: Callable[[int], Adapted], setting: Setting, accuracy: float, seed: int) -> bool:
    """Whether networks that were just drawn anew know the retained images, of which the original knows a share `accuracy`.

    Such a network is no stand-in, whatever it is trained on: it computes with something that has seen the forget set.
    """
    index = np.random.default_rng(seed).permutation(setting.retain)[:SAMPLE]
    labels = setting.data.labels.cpu()[index]
    chance, _ = chances(labels)

    for number in range(DRAWS):
        model = build(seed + number)
        chosen = torch.from_numpy(index).to(first_floating(model).device)
        try:
            known = float((predicted(model, setting.data, chosen).argmax(1).cpu() == labels).float().mean())
        except training.Diverged:
            return False
        if known - chance < WEAKEST * (accuracy - chance) or near_chance(known, chance, len(index), ""):
            return False

    return True


def _drawn_anew(network: Adapted) -> Callable[[int], Adapted] | None:
    """seed -> a copy of the network with the weights of its trained parts drawn anew; None where that cannot be done.

    What is frozen stays as it is, also where the user's own `_init_weights` draws it.
    """
    covered: set[int] = set()  # ids of the parameters that their layers can draw
    for layer in network.module.modules():
        if _reset(layer) is not None:
            covered |= {id(parameter) for parameter in layer.parameters(recurse=False)}

    own = _initialiser(network.module) is not None
    loose = [parameter for parameter in network.parameters() if id(parameter) not in covered and parameter.requires_grad]
    total = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if not own and sum(parameter.numel() for parameter in loose) > 0.1 * total:
        return None

    def make(seed: int) -> Adapted:
        torch.manual_seed(seed)
        model = clone(network)
        with torch.no_grad():
            _draw(model, network, covered)
        return model

    # with pruning or the old weight_norm, what is drawn anew is computed from the trained weights again in every forward pass
    try:
        with torch.random.fork_rng(devices=[]):
            drawn = make(0)
    except Exception:  # the user's own way to draw weights may want what is not there any more
        return None
    pairs = zip(drawn.parameters(), network.parameters(), strict=True)
    kept = sum(known.numel() for new, known in pairs if known.requires_grad and known.ndim > 1 and torch.equal(new, known))

    return make if kept <= 0.1 * total else None


def _draw(model: Adapted, network: Adapted, covered: set[int]) -> None:
    """Draw the trained weights of `model`, a copy of `network`: by their layers, at random, and by the user's own function."""
    for layer in model.module.modules():
        trained = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        reset = _reset(layer)
        if trained and reset is not None:
            reset()

    pairs = list(zip(model.parameters(), network.parameters(), strict=True))
    for parameter, known in pairs:
        if id(known) not in covered and known.requires_grad and parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)  # tokens and position embeddings

    if (initialise := _initialiser(model.module)) is not None:
        initialise()
    for parameter, known in pairs:
        if not known.requires_grad:
            parameter.copy_(known)


def _initialiser(module: nn.Module) -> Callable[[], Any] | None:
    """What calls a network's own `_init_weights`: for every part of it, as in Hugging Face's models, or once for all."""
    found = getattr(module, "_init_weights", None)
    if _takes(found, module):
        return lambda: module.apply(found)
    return found if _takes(found) else None


def _takes(function: Any, *given: Any) -> bool:
    """Whether a function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*given)
    except (TypeError, ValueError):
        return False
    return True


def _reset(layer: nn.Module) -> Callable[[], None] | None:
    """What draws a layer's weights anew, if it needs no argument; torch's attention has it under a private name."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer._reset_parameters
    found = getattr(layer, "reset_parameters", None)
    return found if _takes(found) else None


def check_budget(budget: float | None, trials: int | None) -> None:
    """Raises `UserError` unless a budget is a positive number of seconds, and trials a whole number of at least 1."""
    number = isinstance(budget, (int, float, np.integer, np.floating)) and not isinstance(budget, bool)
    if budget is not None and not (number and 0 < budget < math.inf):
        raise UserError(f"budget = {budget!r}: should be a positive number of seconds")
    if trials is not None and (not is_whole(trials) or trials < 1):
        raise UserError(f"trials = {trials!r}: should be a whole number of at least 1")
