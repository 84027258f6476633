"""`mulnb.evaluate`: what can be said about an unlearned model of your own, and the verdict (METHOD §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mulnb import audit
from mulnb.config import Recipe
from mulnb.core.errors import UserError, notice
from mulnb.core.vocabulary import STRATA
from mulnb.data.request import Request, whole_classes
from mulnb.forget import Strata
from mulnb.rum import Unlearned
from mulnb.your_model import api, checks, probe
from mulnb.your_model.adapt import Adapted, Factory, Model, adapt, protected
from mulnb.your_model.inputs import Normalize
from mulnb.your_model.outcome import Outcome, Setting, alike, number, outcome, relearn
from mulnb.your_model.recipe import Training
from mulnb.your_model.references import References, attacked, references_of
from mulnb.your_model.verdict import WRONG, Facts, Reference, Verdict, decide, interval

COLUMNS = {
    "acc_low": "accuracy, low stratum",
    "acc_medium": "accuracy, medium stratum",
    "acc_high": "accuracy, high stratum",
    "acc_forget": "accuracy, forget set",
    "acc_retain": "accuracy, retain set",
    "acc_test": "accuracy, unseen images",
    "acc_test_all": "accuracy, unseen images, forgotten classes included",
    "acc_test_class": "accuracy, unseen images of the forgotten classes",
    "mia": "MIA efficacy, forget set",
    "mia_unseen": "MIA efficacy, unseen images (to compare)",
    "mia_retain": "MIA efficacy, retain set",
    "auc": "AUC, forget set against unseen images",
    "lira_auc": "LiRA with reference models, AUC",
    "lira_tpr01": "LiRA with reference models, TPR at 1 % FPR",
    "lira_tpr001": "LiRA with reference models, TPR at .1 % FPR",
    "rmia_auc": "RMIA with reference models, AUC",
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
other should come near that of unseen images; a harder one (wrong labels, rare cases) exceeds it even for an oracle. AUC: how
often the model is surer of a forgotten than of an unseen image; .5 is like any other, a harder set lies below. Epochs to
relearn: of training on the forget set alone, until its accuracy is {audit.relearn.SHARE:g} of the original's (without an
original: of the model's own on the retain set). Few mean that traces remain, or that the set is easy."""
WITH_REFERENCES = """\
LiRA and RMIA ask, example by example, whether the model is surer than reference models that were trained without it. AUC: .5 is
chance, 1 if every forgotten example is told from every unseen one; compare with the oracle's, which a hard set pulls below .5."""
LEAST = 10  # images of a hold-out: half train the attack, half are its reference


def evaluate(
    unlearned: Unlearned | Model,
    images: Any,
    labels: Any,
    strata: Strata | Request,
    *,
    holdout: Any,
    test: Any = None,
    original: Model | None = None,
    oracle: Model | None = None,
    seed: int = 0,
    normalize: Normalize = None,
    factory: Factory | None = None,
    already_forgotten: Request | None = None,
    reference: Reference | None = None,
    references: References | Sequence[Model] | None = None,
) -> Report:
    """Accuracies, membership inference with the hold-out as the reference, relearn time; with an oracle, ToW and ToW-MIA.

    Args:
        unlearned: what `mulnb.unlearn` returned, or any model that is to be judged.
        images, labels, normalize, factory: as for `mulnb.unlearn`.
        strata: what was to be forgotten: strata, or a request of any kind.
        holdout: images and labels no model was trained on; half of them train the attack, half are the reference.
        test: where the accuracy on unseen images is measured (the hold-out by default).
        original, oracle: models to compare with. Without the original, "nothing was forgotten" cannot be told.
        seed: which images train the attack.
        already_forgotten: examples that earlier requests removed.
        reference: what models without the forget set do on it, where that is known (`mulnb.forget` finds it).
        references: `mulnb.References`, models for the attacks LiRA and RMIA; or a list of them, none trained on the forget set.

    Returns:
        A report. No model is changed.

    Raises:
        UserError: something does not fit.
    """
    seed = checks.seed_of(seed)
    given = {"images": images, "labels": labels, "holdout": holdout, "test": test, "normalize": normalize, "factory": factory}
    # a network of the user's may have an attribute `model` of its own
    made = None if isinstance(unlearned, (nn.Module, Mapping, str, Path)) else unlearned
    models = {"original": original, "unlearned": getattr(made, "model", unlearned), "oracle": oracle}
    models = {name: model for name, model in models.items() if model is not None}
    references = references_of(references)
    with protected(api.place_of(models["unlearned"]), seed):
        networks = {name: adapt(model, factory) for name, model in models.items()}
        setting, overlap = setting_of(networks["unlearned"], given, strata, already_forgotten, seed)
        outcomes = _measured(networks, setting, references, factory)

    rows = {name: found.row for name, found in outcomes.items()}
    if "oracle" in rows:
        for row in rows.values():
            row |= {"tow": audit.tow(row, rows["oracle"]), "tow_mia": audit.tow_mia(row, rows["oracle"])}

    verdict = decide(rows, _facts(outcomes, setting, overlap, reference))
    if verdict.words == WRONG:  # every number of the report is in doubt: not only for those who print it
        notice(f"{verdict.words}: {verdict.reasons[0]}")

    sizes = {name: len(part) for name, part in zip(STRATA, setting.strata, strict=True)}
    given |= {"strata": setting.strata, "already_forgotten": already_forgotten, "seed": seed}
    given |= {"reference": reference, "references": references}
    about = {name: getattr(made, name, None) for name in ("algorithm", "strategy", "settings", "seconds")}
    about |= {"data": checks.survey(setting.data).data, "classes": list(setting.gone)}
    about["reference_models"] = 0 if references is None else len(references)

    return Report(rows, sizes, verdict, about, models, given)


@dataclass(frozen=True)
class Report:
    """Prints, plots (`plot()`), is a frame (`to_frame()`) and a page (`save()`). `train_oracle` adds what only an oracle tells.

    `rows`: per model, what was measured. `sizes`: examples per stratum. `verdict`: what it means. `about`: how it was made.
    """

    rows: Mapping[str, Mapping[str, float]]
    sizes: Mapping[str, int]
    verdict: Verdict
    about: Mapping[str, Any]
    _models: Mapping[str, nn.Module] = field(repr=False)
    _given: Mapping[str, Any] = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """One row per model: `model`, accuracies (`acc_…`), `mia…`, `auc`, `relearn_epochs` (infinite if the limit was met),
        with reference models `lira_… rmia_auc`, with an oracle `tow tow_mia`. Strata are NaN where they are empty, and all three
        of a request that is not split; `acc_test_…` come with whole classes only.
        """
        return pd.DataFrame([{"model": name} | dict(row) for name, row in self.rows.items()])

    def table(self) -> pd.DataFrame:
        """What is printed: one column per model, one line per measurement, in words."""
        found = self.to_frame().set_index("model").T
        found = found[found.notna().any(axis=1)]
        order = [name for name in COLUMNS if name in found.index]
        found = found.loc[order]
        found.index = [COLUMNS[name] for name in order]

        return found

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {name}" for name, n in self.sizes.items() if n)
        split = f" ({parts})" if min(self.sizes.values()) else ""
        size = f"forget set: {sum(self.sizes.values())} examples{split}"
        lines = [size]
        if self.about["classes"]:
            names = ", ".join(map(str, self.about["classes"]))
            lines.append(f"all examples of class {names} are forgotten: accuracy on unseen images is that of the other classes")

        shown = self.table().to_string(float_format=number)
        more = [WITH_REFERENCES] if self.about["reference_models"] else []
        more += [] if "oracle" in self.rows else [NO_ORACLE]

        return "\n".join([*lines, shown, "", str(self.verdict), "", HOW_TO_READ, *more])

    __repr__ = __str__

    def plot(self) -> Any:
        """Accuracies and MIA efficacy of every model, and where unseen and retained images lie. Returns a matplotlib figure."""
        from mulnb.figures import your_model

        return your_model.draw(self.rows, self.sizes)

    def save(self, path: str | Path) -> Path:
        """Write the report as one self-contained page, and as JSON beside it.

        Args:
            path: of the page, ending in .html.

        Returns:
            The page's path. The JSON file has the same name and the suffix .json.

        Raises:
            UserError: the files cannot be written.
        """
        from mulnb.your_model import page

        return page.write(self, path)

    def train_oracle(self, fresh: Factory, *, training: Training | None = None, **recipe: Any) -> Report:
        """Train an oracle without the forget set, and report again with ToW and ToW-MIA. Takes as long as that training.

        Args:
            fresh: a function without arguments that builds an untrained network.
            training: your own optimizer, schedule, transform and precision.
            **recipe: fields of `config.Recipe`, with the values that the original was trained with.

        Raises:
            UserError: a field is unknown, or `fresh` does not build a new network.
        """
        settings = checks.recipe_of(
            Recipe, "train_oracle", {"epochs": 30, "batch": 256, "lr": 0.1, "schedule": "cosine"} | recipe
        )
        data = {name: self._given[name] for name in ("images", "labels", "strata", "normalize", "seed", "already_forgotten")}
        how = {"algorithm": "retrain", "strategy": "vanilla", "settings": settings.model_dump(), "duplicates": "keep"}
        models = dict(self._models)
        factory = self._given["factory"]
        if "original" in models and callable(fresh):
            probe.check_untrained(fresh, models["original"], factory, self._given["seed"])
        oracle = api.unlearn(models["unlearned"], **data, **how, fresh=fresh, factory=factory, training=training).model
        given = {name: value for name, value in self._given.items() if name != "reference"}
        found = evaluate(models["unlearned"], **given, original=models.get("original"), oracle=oracle)
        made = {name: self.about[name] for name in ("algorithm", "strategy", "settings", "seconds")}

        return Report(found.rows, found.sizes, found.verdict, {**found.about, **made}, found._models, found._given)


def setting_of(
    network: Adapted, given: Mapping[str, Any], strata: Strata | Request, already_forgotten: Request | None, seed: int
) -> tuple[Setting, str]:
    """What the models are measured on, and a sentence about a hold-out that is not unseen."""
    data = api.beside(network, given["images"], given["labels"], given["normalize"])
    chosen = strata if isinstance(strata, Strata) else api.whole(api.request_of(strata, data))
    checks.check_strata(chosen, len(data))
    present = api.present_of(data, chosen.forget, already_forgotten)
    unseen = api.pair(network, given["holdout"], "holdout", given["normalize"])
    n = len(np.unique(checks.survey(unseen, "holdout").digests))
    if n < LEAST:
        what = f"{n} images" if n == len(unseen) else f"{n} different images among {len(unseen)}"
        raise UserError(f"holdout has {what}: half train the attack, half are its reference; give at least {LEAST}")
    checks.check_classes(data, unseen)

    tested = unseen if given["test"] is None else api.pair(network, given["test"], "test", given["normalize"])
    checks.survey(data)
    overlap = ""

    for part, name in ((unseen, "hold-out"), (tested, "test set")):
        checks.check_scale(data, part, name)
        shared = checks.overlap(data, part, name)
        if shared is not None and not overlap:
            overlap = f"the {name} is not unseen: its image {part.name(shared[0])} is training image {data.name(shared[1])}"

    labels = data.labels.cpu().numpy()
    gone = whole_classes(chosen.forget, labels, present)
    retain = np.setdiff1d(np.flatnonzero(present), chosen.forget)

    return Setting(data, unseen, tested, chosen, retain, gone, seed), overlap


def _measured(
    networks: Mapping[str, Adapted], setting: Setting, references: References | None, factory: Factory | None
) -> dict[str, Outcome]:
    """What every network does on the forget set, the retain set and unseen images, attacks and relearning included."""
    for name, network in networks.items():
        probe.check_beside(network, name, setting.data)
    if "oracle" in networks and "original" in networks:
        probe.check_oracle(networks["oracle"], networks["original"], setting.data)
        checks.check_knows(networks["oracle"], networks["original"], setting.data, setting.retain)

    outcomes = {}
    for name, network in networks.items():
        outcomes[name] = outcome(network, setting)

    if references is not None:
        attacked(references, list(outcomes.values()), setting, factory, networks.get("original"))

    # the original's accuracy is the target of relearning, also for a model that was damaged
    known = outcomes.get("original", outcomes["unlearned"]).row
    target = known["acc_forget"] if "original" in outcomes else known["acc_retain"]

    for name, found in outcomes.items():
        torch.manual_seed(setting.seed)
        found.row["relearn_epochs"] = relearn(networks[name], setting.data, setting.strata.forget, target, setting.seed)

    return outcomes


def _facts(outcomes: Mapping[str, Outcome], setting: Setting, overlap: str, reference: Reference | None) -> Facts:
    new, original = outcomes["unlearned"], outcomes.get("original")
    moved = changed = float("nan")
    if original is not None:
        moved = float(np.abs(new.p - original.p).mean())
        changed = float((new.right != original.right).mean())

    n_forget, n_test = len(setting.strata.forget), len(setting.tested)
    if "oracle" in outcomes:
        reference = oracle_reference(outcomes["oracle"])
    elif setting.gone:
        reference = class_reference(new.row, n_forget)

    chance, guess = checks.chances(setting.data.labels)
    return Facts(
        n_forget=n_forget,
        n_retain=len(setting.retain),
        n_test=n_test,
        n_unseen=int(alike(setting).sum()),
        chance=chance,
        guess=guess,
        reference=reference or holdout_reference(new.row, n_forget, n_test),
        overlap=overlap,
        moved=moved,
        p=float(new.p.mean()),
        changed=changed,
        gone=setting.gone,
        balanced=(original or new).balanced,
    )


def oracle_reference(found: Outcome) -> Reference:
    """An interval around one oracle's accuracy, in which that of another training should lie."""
    row = found.row
    low, high = interval(row["acc_forget"], len(found.right))
    return Reference(row["acc_forget"], low, high, row["auc"], row["acc_test"], True, "of the oracle", float(found.p.mean()))


def class_reference(row: Mapping[str, float], n: int) -> Reference:
    """For whole classes: a model that never saw a class never predicts it."""
    return Reference(0.0, 0.0, interval(0.0, n)[1], 0.5, float("nan"), True, "of a model that never saw the class")


def holdout_reference(row: Mapping[str, float], n: int, n_test: int) -> Reference:
    """For a forget set like any other images: what the model itself does on unseen ones."""
    share = row["acc_test"]
    low, high = interval(share, min(n, n_test))
    return Reference(share, low, high, 0.5, float("nan"), False, "of unseen images")
