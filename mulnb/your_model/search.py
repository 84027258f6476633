"""The search for settings that forget: trials under a budget, each judged against a reference (`mulnb.tune`, `mulnb.forget`).

First the learning rate: the largest at which an epoch of plain fine-tuning leaves the model as good as it was. Then, family by
family, the strength: too little was forgotten, so the next trial is stronger; too much, so it is weaker. Which trial wins is in
`Search.best`, how like the reference it is in `objective`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mulnb.core.errors import UserError
from mulnb.training import Diverged
from mulnb.your_model import api
from mulnb.your_model.adapt import Adapted
from mulnb.your_model.outcome import Outcome, Setting, alike, outcome
from mulnb.your_model.progress import Progress
from mulnb.your_model.recipe import Training
from mulnb.your_model.verdict import APART, LOST, SAME, Reference, auc_noise, has_power, knows

RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)
KEPT = 0.02  # accuracy on the retain set that an epoch of fine-tuning may cost at the learning rate that is used
GOOD = 0.9  # objective at which the search ends
TRIALS = 60  # at most, where only seconds are limited


@dataclass(frozen=True)
class Candidate:
    """One way to unlearn."""

    algorithm: str
    strategy: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A candidate, what its model does, and how like the reference that is.

    `side`: -1 if it forgot too little, 1 if too much or what it should keep, 0 if neither. `seconds`: of the unlearning alone.
    """

    candidate: Candidate
    row: Mapping[str, float]
    objective: float
    side: int
    seconds: float
    unlearned: api.Unlearned | None = field(repr=False, default=None)


@dataclass
class Search:
    """The trials so far, and what they share.

    Attributes:
        network, setting: the original, and what is measured on.
        original: what the original does there.
        reference: a trial's row -> what a model without the forget set does.
        present: bool [N], what the model still contains.
        seed: of every trial.
        own: the user's recipe of training, or None.
        shown: hears of every trial.
        deadline: when to stop, in seconds of `time.monotonic`; `limit`: trials at most.
    """

    network: Adapted
    setting: Setting
    original: Outcome
    reference: Callable[[Mapping[str, float]], Reference]
    present: np.ndarray
    seed: int
    own: Training | None
    shown: Progress
    deadline: float
    limit: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """Of the trials that forgot neither too little nor too much, or else of all, the one most like the reference.

        One that damages the model comes after all others of its kind.
        """
        good = [trial for trial in self.trials if trial.unlearned is not None]
        return max(good, key=lambda trial: (trial.side == 0, not _damaged(self, trial), trial.objective), default=None)

    def over(self) -> bool:
        """Whether the budget is used up, or the best trial good enough."""
        if not self.trials:
            return False  # one is tried, whatever the budget

        best = self.best
        enough = best is not None and best.side == 0 and best.objective >= GOOD
        return enough or len(self.trials) >= self.limit or time.monotonic() > self.deadline

    def forgets_nothing(self, reference: Reference, noise: float) -> bool:
        """Whether the original may stay as it is: it does not know the forget set better, and the reference can tell."""
        return reference.exact and not knows(self.original.row, reference, noise) and has_power(self.original.row)

    def run(self, candidate: Candidate) -> Trial:
        """Try a candidate. A training that diverges is a trial that forgot too much."""
        number = len(self.trials) + 1
        told = "" if self.best is None else f", best so far {self.best.objective:.2f}"
        self.shown.part(f"trial {number}: {candidate.algorithm}, {candidate.strategy}{told}", 0)
        started = time.monotonic()

        try:
            unlearned = api.run(
                self.network,
                self.setting.data,
                self.setting.strata,
                algorithm=candidate.algorithm,
                strategy=candidate.strategy,
                settings=dict(candidate.settings),
                seed=self.seed,
                fresh=None,
                training=self.own,
                present=self.present,
                shown=self.shown,
            )
            network = api.adapt(unlearned.model)
            found = outcome(network, self.setting)
        except UserError as error:
            if not isinstance(error, Diverged) and "not finite" not in str(error):
                raise
            trial = Trial(candidate, {}, 0.0, 1, time.monotonic() - started)
        else:
            value, side = self._judged(found)
            trial = Trial(candidate, found.row, value, side, unlearned.seconds, unlearned)

        # let go of the models that are not the best
        self.trials.append(trial)
        best = self.best
        self.trials = [other if other is best else replace(other, unlearned=None) for other in self.trials]
        return trial

    def _judged(self, found: Outcome) -> tuple[float, int]:
        """`objective` and `side` of a trial's model."""
        reference = self.reference(found.row)
        noise = max(APART, auc_noise(len(found.right), int(alike(self.setting).sum())))
        value, side = objective(found.row, self.original.row, reference, noise)

        unchanged = float(np.abs(found.p - self.original.p).mean()) < SAME
        if unchanged and not self.forgets_nothing(reference, noise):
            side = -1
        return value, side

    def frame(self) -> pd.DataFrame:
        """One row per trial: `trial algorithm strategy settings acc_forget acc_retain acc_test auc objective side seconds`."""
        rows = []
        for number, trial in enumerate(self.trials, start=1):
            known = {key: trial.row.get(key, float("nan")) for key in ("acc_forget", "acc_retain", "acc_test", "auc")}
            how = trial.candidate
            settings = ", ".join(f"{name} {value:g}" for name, value in how.settings.items())
            rows.append({"trial": number, "algorithm": how.algorithm, "strategy": how.strategy, "settings": settings, **known})
            rows[-1] |= {"objective": trial.objective, "side": trial.side, "seconds": trial.seconds}
        return pd.DataFrame(rows)


def objective(row: Mapping[str, float], original: Mapping[str, float], reference: Reference, noise: float) -> tuple[float, int]:
    """How like the reference a model is, in [0, 1], and on which side of it the forget set lies.

    ToW's product (METHOD §7) with the reference in place of the oracle, times a factor for the attack: accuracy on the
    forget set and the attack's AUC should be those of the reference; accuracy on retained and unseen images should not fall.
    Differences of the AUC within `noise` do not count for the side.
    """
    unseen = original["acc_test"] if np.isnan(reference.acc_test) else min(original["acc_test"], reference.acc_test)
    lost_retain = max(0.0, original["acc_retain"] - row["acc_retain"])
    lost_unseen = max(0.0, unseen - row["acc_test"])
    product = (1 - abs(row["acc_forget"] - reference.acc_forget)) * (1 - lost_retain) * (1 - lost_unseen)
    product *= 1 - abs(row["auc"] - reference.auc)

    if max(lost_retain, lost_unseen) > LOST:
        return product, 1
    if row["acc_forget"] > reference.high or row["auc"] > reference.auc + noise:
        return product, -1

    too_much = row["acc_forget"] < reference.low or (reference.exact and row["auc"] < reference.auc - noise)
    return product, int(too_much)


# --- what is tried -------------------------------------------------------------------------------------------------------

# weak to strong; `lr` is a factor of the rate in use
LADDERS: dict[str, tuple[Mapping[str, float], ...]] = {
    "salun": tuple({"epochs": epochs} for epochs in (2, 4, 7, 12, 20, 30, 45)),
    "random_label": tuple({"epochs": epochs} for epochs in (2, 4, 7, 12, 20, 30, 45)),
    "neg_grad_plus": tuple({"alpha": alpha, "epochs": 8} for alpha in (0.995, 0.99, 0.98, 0.96, 0.93, 0.87, 0.75, 0.6)),
    "scrub": tuple({"msteps": steps, "epochs": steps + 4} for steps in (1, 2, 3, 5, 8, 12)),
    "fine_tune": tuple({"epochs": epochs, "lr": 3} for epochs in (3, 6, 12, 24)),
    "l1_sparse": tuple({"epochs": 15, "gamma": gamma, "lr": 3} for gamma in (1e-5, 5e-5, 2e-4, 5e-4, 1e-3)),
    "neg_grad": tuple({"epochs": 5, "lr": lr} for lr in (0.003, 0.01, 0.03, 0.1, 0.3)),
    "influence": tuple({"alpha": alpha} for alpha in (1, 4, 16, 64, 256)),
}
FACTORS = (0.3, 1.0, 0.1)  # of the rate of `_rate`: a converged model unlearns well at less
SHARE = 0.3  # of the time left that one trial may take
MENDING = ("salun", "random_label", "scrub")  # what the first epochs damage, the later ones mend: then longer is better
SHORT = 10  # epochs of three stages: where a trial cannot have so many, time is short


def search(task: Search, algorithms: Sequence[str], strategies: Sequence[str], batch: int) -> None:
    """Try candidates until the budget is used up or one is good enough."""
    rate = _rate(task, batch)
    epoch = sum(trial.seconds for trial in task.trials) / max(len(task.trials), 1)  # each of these trials was one epoch

    for factor in FACTORS:
        for strategy in _cheapest_first(task, strategies, epoch):
            for algorithm in algorithms:
                ladder = _affordable(task, LADDERS[algorithm], epoch * _passes(strategy))
                _strength(task, algorithm, strategy, ladder, rate * factor, batch)
                if task.over():
                    return


def _passes(strategy: str) -> int:
    return 1 if strategy == "vanilla" else 3


def _cheapest_first(task: Search, strategies: Sequence[str], epoch: float) -> list[str]:
    """The strategies in their order, or by their cost where time is short."""
    short = SHARE * (task.deadline - time.monotonic()) < SHORT * 3 * epoch
    return sorted(strategies, key=_passes) if short else list(strategies)


def _affordable(task: Search, ladder: Sequence[Mapping[str, float]], epoch: float) -> list[Mapping[str, float]]:
    """The rungs of a ladder that take no more than a share of the time left; or one rung that is cut short."""
    left = min(max(task.deadline - time.monotonic(), 0.0), 1e6)  # there may be no deadline
    epochs = int(SHARE * left / max(epoch, 1e-3))
    if good := [rung for rung in ladder if rung.get("epochs", 1) <= epochs]:
        return good

    short = dict(ladder[len(ladder) // 2]) | {"epochs": max(1, epochs)}
    if "msteps" in short:
        short["msteps"] = max(0, min(epochs - 1, 3))
    return [short]


def _rate(task: Search, batch: int) -> float:
    """The largest learning rate at which one epoch of fine-tuning costs next to nothing, by halving the list."""
    low, high = 0, len(RATES) - 1  # RATES[high] is taken without a trial
    while low < high and not task.over():
        middle = (low + high) // 2
        trial = task.run(Candidate("fine_tune", "vanilla", {"lr": RATES[middle], "epochs": 1, "batch": batch}))
        kept = bool(trial.row) and task.original.row["acc_retain"] - trial.row["acc_retain"] <= KEPT
        if kept and trial.row["acc_test"] >= task.original.row["acc_test"] - 2 * KEPT:
            high = middle
        else:
            low = middle + 1
    return RATES[high]


def _strength(
    task: Search, algorithm: str, strategy: str, ladder: Sequence[Mapping[str, float]], rate: float, batch: int
) -> None:
    """Halve an algorithm's ladder by what each trial forgot; at the end, one trial between the last two rungs."""

    def try_rung(rung: Mapping[str, float]) -> bool:
        """Try one rung; whether the next one should be weaker."""
        settings = dict(rung)
        if algorithm != "influence":
            settings |= {"lr": rate * settings.get("lr", 1.0), "batch": batch}

        trial = task.run(Candidate(algorithm, strategy, settings))
        # where it forgot neither too much nor too little, the attack says which way to go on
        weaker = trial.row["auc"] < task.reference(trial.row).auc if trial.side == 0 else trial.side > 0
        if trial.row and algorithm in MENDING and trial.row["acc_forget"] >= task.reference(trial.row).low:
            weaker = weaker and not _damaged(task, trial)

        return weaker

    low, high = 0, len(ladder) - 1

    while low <= high and not task.over():
        middle = (low + high) // 2
        if try_rung(ladder[middle]):
            high = middle - 1
        else:
            low = middle + 1

    if 0 < low < len(ladder) and not task.over():
        try_rung(_between(ladder[low - 1], ladder[low]))


def _between(weak: Mapping[str, float], strong: Mapping[str, float]) -> dict[str, float]:
    """The settings half-way between two rungs; whole numbers stay whole."""
    found = {}
    for name, value in weak.items():
        middle = (value + strong[name]) / 2
        found[name] = round(middle) if isinstance(value, int) and isinstance(strong[name], int) else middle
    return found


def _damaged(task: Search, trial: Trial) -> bool:
    """Whether a trial's model is worse on retained or on unseen images than it may be."""
    return any(task.original.row[key] - trial.row[key] > LOST for key in ("acc_retain", "acc_test"))
