"""`mulnb.evaluate`: what can be said about an unlearned model of your own, with or without an oracle (METHOD §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mulnb import audit, training
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.forget import Strata
from mulnb.rum import Unlearned
from mulnb.your_model import api as own
from mulnb.your_model.api import Images, Inputs, Labels, Normalize, Pair

RELEARN = Recipe(epochs=50, batch=64, lr=0.01)  # at most so many epochs are tried
ENOUGH = 0.9  # relearned: so much of the accuracy on the retain set

ACCURACIES = ("acc_low", "acc_medium", "acc_high", "acc_forget", "acc_retain", "acc_test")
COLUMNS = {
    "acc_low": "accuracy, low stratum",
    "acc_medium": "accuracy, medium stratum",
    "acc_high": "accuracy, high stratum",
    "acc_forget": "accuracy, forget set",
    "acc_retain": "accuracy, retain set",
    "acc_test": "accuracy, unseen images",
    "mia": "MIA efficacy, forget set",
    "mia_unseen": "MIA efficacy, unseen images (the reference)",
    "mia_retain": "MIA efficacy, retain set",
    "relearn_epochs": "epochs to relearn the forget set",
    "tow": "ToW",
    "tow_mia": "ToW-MIA",
}
NO_ORACLE = (
    "ToW and ToW-MIA compare with an oracle, a model retrained without the forget set, and none was given. If one training is\n"
    "affordable, let mulnb do it: report.train_oracle(YourNet, epochs=30, batch=256, lr=0.1), or give evaluate(…, oracle=model)."
)
HOW_TO_READ = f"""\
MIA efficacy: the share taken for unseen by an attack that was trained on retained against unseen images. A forget set like any
other should come near the reference; a harder one (wrong labels, rare cases) lies beyond it in an oracle, too. Epochs to relearn:
of training on the forget set alone, until its accuracy is {ENOUGH:g} of the retain set's; few for what any model gets right, or
where traces are left."""


def evaluate(
    unlearned: Unlearned | nn.Module,
    images: Images,
    labels: Labels,
    strata: Strata,
    *,
    holdout: Pair,
    test: Pair | None = None,
    original: nn.Module | None = None,
    oracle: nn.Module | None = None,
    seed: int = 0,
    normalize: Normalize = None,
) -> Report:
    """Accuracies, membership inference with the hold-out as the reference, relearn time; with an oracle, ToW and ToW-MIA.

    `holdout`: images and labels no model was trained on; half of them train the attack, half are the reference. `test`: where the
    accuracy on unseen images is measured (the hold-out by default). `original` and `oracle`: models to compare with. No model is
    changed. Raises `UserError` if something does not fit.
    """
    models = {"original": original, "unlearned": getattr(unlearned, "model", unlearned), "oracle": oracle}
    models = {name: model for name, model in models.items() if model is not None}
    given = {"images": images, "labels": labels, "strata": strata, "holdout": holdout, "test": test, "normalize": normalize}
    rows = {name: _outcome(model, **given, seed=seed) for name, model in models.items()}
    if oracle is not None:
        for row in rows.values():
            row |= {"tow": audit.tow(row, rows["oracle"]), "tow_mia": audit.tow_mia(row, rows["oracle"])}
    sizes = {name: len(part) for name, part in zip(STRATA, strata, strict=True)}
    return Report(rows, sizes, models, given | {"seed": seed})


@dataclass(frozen=True)
class Report:
    """Prints, plots (`plot()`), and is a frame (`to_frame()`). `train_oracle` adds what only an oracle can tell."""

    rows: Mapping[str, Mapping[str, float]]
    sizes: Mapping[str, int]
    _models: Mapping[str, nn.Module] = field(repr=False)
    _given: Mapping[str, Any] = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """One row per model. Columns `model`, accuracies (`acc_…`), `mia…`, `relearn_epochs` (infinite if the limit was met), and
        with an oracle `tow tow_mia`.
        """
        return pd.DataFrame([{"model": name} | dict(row) for name, row in self.rows.items()])

    def __str__(self) -> str:
        table = self.to_frame().set_index("model").T
        table.index = [COLUMNS[name] for name in table.index]
        size = f"forget set: {sum(self.sizes.values())} examples ({', '.join(f'{n} {name}' for name, n in self.sizes.items())})"
        shown = table.to_string(float_format=lambda value: f"> {RELEARN.epochs}" if np.isinf(value) else f"{value:.3f}")
        return "\n".join([size, shown, "", HOW_TO_READ, *([] if "oracle" in self.rows else [NO_ORACLE])])

    __repr__ = __str__

    def plot(self) -> Any:
        """Accuracies and MIA efficacy of every model, and where unseen and retained images lie. Returns a matplotlib figure."""
        from mulnb.figures import your_model

        return your_model.draw(self.rows, self.sizes)

    def train_oracle(self, fresh: Callable[[], nn.Module], **recipe: Any) -> Report:
        """Train an oracle without the forget set, and report again with ToW and ToW-MIA.

        `fresh`: a function without arguments that builds an untrained network; `recipe`: fields of `config.Recipe`, with the
        values that the original was trained with. Takes as long as that training. Raises `UserError` for an unknown field.
        """
        settings = own.settings_of(Recipe, "train_oracle", {"epochs": 30, "batch": 256, "lr": 0.1, "schedule": "cosine"} | recipe)
        data = {name: self._given[name] for name in ("images", "labels", "strata", "normalize", "seed")}
        how = {"algorithm": "retrain", "strategy": "vanilla", "settings": settings.model_dump()}
        models = dict(self._models)
        oracle = own.unlearn(models["unlearned"], **data, **how, fresh=fresh).model
        return evaluate(models["unlearned"], **self._given, original=models.get("original"), oracle=oracle)


def _outcome(
    model: nn.Module,
    images: Images,
    labels: Labels,
    strata: Strata,
    holdout: Pair,
    test: Pair | None,
    normalize: Normalize,
    seed: int,
) -> dict[str, float]:
    """The row of one model, which is not changed."""
    data = own.examples(model, images, labels, normalize)
    own.check_strata(strata, len(data))
    unseen = own.pair(model, holdout, "holdout", normalize)
    if len(unseen) < 10:
        raise UserError(f"holdout has {len(unseen)} images: half train the attack, half are its reference; give at least 10")
    tested = unseen if test is None else own.pair(model, test, "test", normalize)
    retain = np.setdiff1d(np.arange(len(data)), strata.forget)
    with own.reseeded(model, seed):
        logits, unseen_logits = training.predict(model, data), training.predict(model, unseen)
        correct = (logits.argmax(1) == data.labels).cpu().numpy()
        test_correct = training.predict(model, tested).argmax(1) == tested.labels
        row = {f"acc_{name}": float(correct[part].mean()) for name, part in zip(STRATA, strata, strict=True)}
        row |= {"acc_forget": float(correct[strata.forget].mean()), "acc_retain": float(correct[retain].mean())}
        row["acc_test"] = float(test_correct.double().mean())
        seen = audit.attack_features(logits, data.labels)["confidence"]
        row |= _attack(seen, audit.attack_features(unseen_logits, unseen.labels)["confidence"], strata.forget, retain, seed)
        row["relearn_epochs"] = _relearn(model, data, strata.forget, ENOUGH * row["acc_retain"], seed)
    return row


def _attack(seen: np.ndarray, unseen: np.ndarray, forget: np.ndarray, retain: np.ndarray, seed: int) -> dict[str, float]:
    """Efficacy on the forget set, and on images that certainly were seen or not, none of which the attack was trained on."""
    draw = np.random.default_rng(seed)
    strange, reference = np.array_split(draw.permutation(len(unseen)), 2)
    mixed = draw.permutation(retain)
    shown, kept = mixed[: len(strange)], mixed[len(strange) : 2 * len(strange)]
    member, non_member = seen[shown], unseen[strange]
    found = {"mia": seen[forget], "mia_unseen": unseen[reference], "mia_retain": seen[kept if len(kept) else shown]}
    return {name: audit.mia(member, non_member, features) for name, features in found.items()}


def _relearn(model: nn.Module, data: Inputs, forget: np.ndarray, target: float, seed: int) -> float:
    """Epochs of training on the forget set alone until its accuracy reaches `target`; infinity if that takes too long."""
    student, index, used = training.clone(model), torch.from_numpy(forget).to(data.device), 0

    def good(*_: Any) -> bool:
        nonlocal used
        used += 1
        return float((training.predict(student, data, index).argmax(1) == data.labels[index]).double().mean()) >= target

    if good():
        return 0.0
    used = 0
    training.fit(student, data, RELEARN, seed, index=index, after_epoch=good)
    return float(used) if used < RELEARN.epochs or good() else float("inf")
