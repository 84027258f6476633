"""`mulnb.forget(model, data, request, holdout=…)`: everything in one call, with defaults that forget or say that they did not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from mulnb import training as loop
from mulnb.config import HoldoutRetraining
from mulnb.core import folders, paths
from mulnb.core.errors import UserError, notice
from mulnb.core.vocabulary import STRATA
from mulnb.data.request import Request
from mulnb.forget import Strata
from mulnb.proxies import loss_curvature
from mulnb.your_model import api, checks, out_folder
from mulnb.your_model.adapt import Adapted, Factory, Model, adapt, plain, protected
from mulnb.your_model.inputs import Images, Normalize
from mulnb.your_model.ledger import Requests
from mulnb.your_model.outcome import Setting
from mulnb.your_model.page import json_ready
from mulnb.your_model.probe import check_trainable
from mulnb.your_model.progress import Callback, Progress
from mulnb.your_model.recipe import Training, batch_of, check_training
from mulnb.your_model.references import References, references_of
from mulnb.your_model.report import Report, evaluate, setting_of
from mulnb.your_model.stand_in import check_budget
from mulnb.your_model.tuning import ALGORITHMS, BUDGET, Tuned, check_accuracy, judge_of, names_of, tuned, ways_of
from mulnb.your_model.verdict import Verdict, searched
from mulnb.your_model.weights import check_savable

SCORING_RATES = (0.1, 0.01, 0.001)  # tried one after the other, while fine-tuning on the hold-out diverges


@dataclass(frozen=True)
class Forgotten:
    """What `mulnb.forget` returns. `.model` has forgotten the request if `.verdict.good`; `.report` says why, or why not.

    `scores` float [N], higher = more memorized; None where one or two examples were asked for, and none were given.
    `strata`: the request, split by them; `tuned`: the search and its trials.
    """

    unlearned: api.Unlearned
    report: Report
    strata: Strata
    scores: np.ndarray | None = field(repr=False)
    tuned: Tuned = field(repr=False)
    seconds: float = 0.0

    @property
    def model(self) -> nn.Module:
        return self.unlearned.model

    @property
    def verdict(self) -> Verdict:
        return self.report.verdict

    @property
    def trials(self) -> pd.DataFrame:
        return self.tuned.trials

    def __str__(self) -> str:
        how = f"{self.unlearned.algorithm}, {self.unlearned.strategy}, {dict(self.unlearned.settings)}"
        lines = [str(self.report), "", f"{len(self.trials)} trials in {self.seconds:.0f} s; the best: {how}"]
        if self.tuned.why:
            lines.append(f"no oracle was approximated: {self.tuned.why}")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write model.safetensors, report.html, report.json, request.json and trials.csv into a folder. Returns its path."""
        return folders.write_files(paths.given(folder, "the folder"), self._write)

    def save_new(self, folder: str | Path) -> Path:
        """As `save`, but only into a folder that is new or empty: another model in it is not overwritten."""
        return folders.write_new(paths.given(folder, "the folder"), self._write)

    def _write(self, folder: Path) -> None:
        api.save_weights(self.model, folder / "model.safetensors")
        self.report.save(folder / "report.html")
        strata = {name: getattr(self.strata, name).tolist() for name in STRATA}
        tree = {"index": self.strata.forget.tolist(), "strata": strata}
        tree["how"] = json_ready(dataclasses.asdict(dataclasses.replace(self.tuned, trials=None, unlearned=None)))
        paths.write_text(folder / "request.json", json.dumps(tree, indent=1) + "\n")
        paths.write_text(folder / "trials.csv", self.trials.to_csv(index=False))


def forget(
    model: Model,
    data: Any,
    request: Request,
    *,
    holdout: Any,
    test: Any = None,
    labels: Any = None,
    budget: float | None = BUDGET,
    trials: int | None = None,
    algorithm: str | Sequence[str] = ALGORITHMS,
    strategy: str | Sequence[str] | None = None,
    oracle: Model | None = None,
    fresh: Factory | None = None,
    scores: Any = None,
    seed: int = 0,
    normalize: Normalize = None,
    factory: Factory | None = None,
    training: Training | None = None,
    already_forgotten: Request | None = None,
    duplicates: str = "refuse",
    ledger: Requests | str | Path | None = None,
    about: str = "",
    out: str | Path | None = None,
    references: References | Sequence[Model] | None = None,
    progress: Callback | bool | None = None,
) -> Forgotten:
    """Forget a request, and say whether it is forgotten.

    Scores the examples, splits the request into strata, finds out what a model without it would do on it, searches for settings
    under a budget, and reports with a verdict. The model given is not changed.

    Args:
        model: a module, or its weights with `factory`.
        data: all training images with their labels: (images, labels), a Dataset, a DataLoader or a folder.
        request: what is to be forgotten: indices, a mask, file names, {"class": …}, or a file with one of these.
        holdout: images and labels that the model was never trained on, as `data`.
        test: others, on which the accuracy on unseen images is measured (the hold-out by default).
        labels: where `data` has none.
        budget: seconds for reference and search together; None: only `trials` counts, however long reference and trials take.
        trials: how many settings are tried, at most.
        algorithm, strategy, oracle, fresh: see `mulnb.tune`.
        scores: [N], higher = more memorized, for example of a `Recorder`; by default hold-out retraining.
        seed: of every draw.
        normalize, training, already_forgotten, duplicates: see `mulnb.unlearn`; `duplicates="forget"` adds exact copies, and
            "keep" also keeps images of the hold-out that are training images.
        ledger: a `Requests` file: what it says is already forgotten, and this request is added to it, with `about`, unless the
            verdict is red: then nothing was forgotten, or the model is damaged, and the next call may try again.
        out: a new or empty folder for what `Forgotten.save` writes. The ledger gets the request after that: what it holds is on
            disk. Nothing is written if somebody has put files there meanwhile, or added a request to the ledger.
        references: reference models for LiRA and RMIA in the report, see `mulnb.evaluate`.
        progress: a callback (`progress.State` -> False to stop), or False for silence.

    Returns:
        Model, report and verdict. Look at `.verdict.good` before the model is used.

    Raises:
        UserError: something does not fit, or the call was cancelled. Nothing that was given has changed.
    """
    started = time.monotonic()
    seed = checks.seed_of(seed)
    check_budget(budget, trials)
    references = references_of(references)
    checks.one_of("duplicates", duplicates, ("refuse", "keep", "forget"))
    check_training(training)
    names, ways = names_of(algorithm), ways_of(strategy)

    if out is not None:
        out = paths.given(out, "out")
        out_folder.check(out, "out")
    book, already_forgotten = _earlier(ledger, already_forgotten)
    if out is not None and book is not None:
        out_folder.check_apart(out, book.path)

    images = data
    if labels is None and isinstance(data, (tuple, list)) and len(data) == 2:
        images, labels = data
    given_model = plain(model, factory) if isinstance(model, nn.Module) else model
    shown = Progress(progress)

    with protected(api.place_of(given_model), seed):
        network = adapt(given_model, factory)
        check_trainable(network)
        if out is not None:
            check_savable(network.module)
        examples = api.beside(network, images, labels, normalize)
        index = _index(examples, request, already_forgotten, duplicates)

        given = {"images": examples, "labels": None, "holdout": holdout, "test": test, "normalize": normalize}
        setting = _setting(network, given, index, already_forgotten, duplicates, seed)
        if book is not None:
            book.check(index, checks.survey(examples).data, about, plain(given_model, factory))

        strata, values = _split(network, examples, setting.unseen, index, scores, training, seed, shown)
        setting = dataclasses.replace(setting, strata=strata)

        judge = judge_of(oracle, factory, network, setting)
        left = budget
        if budget is not None:
            left = max(min(1.0, budget), budget - (time.monotonic() - started))
        limits = {"budget": left, "trials": trials, "algorithms": names, "strategies": ways}
        found = tuned(network, setting, judge, **limits, fresh=fresh, seed=seed, own=training, shown=shown)
        shown.part("evaluating", 0)

    report = evaluate(
        found.unlearned,
        examples,
        None,
        strata,
        holdout=setting.unseen,
        test=None if test is None else setting.tested,
        original=given_model,
        oracle=oracle,
        seed=seed,
        normalize=normalize,
        factory=factory,
        already_forgotten=already_forgotten,
        reference=None if oracle is not None else found.reference,
        references=references,
    )
    shown.close()
    report = dataclasses.replace(report, verdict=searched(report.verdict))
    done = Forgotten(found.unlearned, report, strata, values, found, time.monotonic() - started)

    with contextlib.nullcontext() if book is None else book.unchanged():
        if out is not None:
            done.save_new(out)
        if book is not None:
            _enter(book, done, before=plain(given_model, factory), about=about)
    return done


def _earlier(ledger: Requests | str | Path | None, already_forgotten: Request | None) -> tuple[Requests | None, Request | None]:
    """The ledger, and what earlier requests removed: it is gone from the model, and must not be retained again."""
    book = ledger if ledger is None or isinstance(ledger, Requests) else Requests(ledger)
    if book is not None and already_forgotten is not None:
        raise UserError(f"already_forgotten beside a ledger: {book.path} says what is forgotten; leave out already_forgotten")

    if isinstance(already_forgotten, Iterator):
        already_forgotten = list(already_forgotten)  # it is looked at more than once
    if book is not None and len(book):
        already_forgotten = book.forgotten
    return book, already_forgotten


def _enter(book: Requests, done: Forgotten, before: nn.Module, about: str) -> None:
    """Add a request to the ledger, unless it failed: what it holds counts as forgotten, and cannot be asked for again."""
    verdict = done.verdict
    if verdict.colour == "red":
        notice(f"{book.path} does not have this request: the verdict is '{verdict.words}'")
        return

    book.add(done.strata, done.unlearned, before=before, data=done.report.about["data"], verdict=verdict.words, about=about)


def _index(data: Images, request: Request, already_forgotten: Request | None, duplicates: str) -> np.ndarray:
    """The examples that are to be forgotten, int64 [n]; exact copies of them are added, or refused, or stay."""
    index = api.request_of(request, data)
    present = api.present_of(data, index, already_forgotten)
    if duplicates == "refuse":
        checks.check_duplicates(data, index, present)

    if duplicates == "forget":
        copies = checks.duplicates_of(data, index)
        index = copies[present[copies]]  # a copy may be gone already
        api.present_of(data, index, already_forgotten)

    return index


def _setting(
    network: Adapted,
    given: Mapping[str, Any],
    index: np.ndarray,
    already_forgotten: Request | None,
    duplicates: str,
    seed: int,
) -> Setting:
    """What is measured, and on what. It is the gate: nothing is searched on data that cannot give a right answer."""
    setting, overlap = setting_of(network, given, api.whole(index), already_forgotten, seed)
    if overlap and duplicates != "keep":
        raise UserError(f"{overlap}: give images that no model was trained on")
    if overlap:
        notice(f"{overlap}: kept, as duplicates='keep' says")
        for part in (setting.unseen, setting.tested):
            checks.keep_overlap(part)

    check_accuracy(network, setting)
    return setting


def _split(
    network: Adapted,
    data: Images,
    unseen: Images,
    index: np.ndarray,
    given: Any,
    own: Training | None,
    seed: int,
    shown: Progress,
) -> tuple[Strata, np.ndarray | None]:
    """The request as strata, and the scores [N] that split it; fewer than three examples are one stratum."""
    if len(index) < 3 and given is None:
        return api.whole(index), None

    values = _scores(network, data, unseen, given, own, seed, shown)
    if len(index) < 3:
        return api.whole(index), values
    return api.strata(values, forget=index, seed=seed), values


def _scores(
    network: Adapted, data: Images, unseen: Images, given: Any, own: Training | None, seed: int, shown: Progress
) -> np.ndarray:
    """Scores [N]: those given, hold-out retraining, or loss curvature where that diverges."""
    if given is not None:
        return checks.scores_of(given, len(data))

    batch = batch_of(own, max(2, min(256, len(unseen))))
    for rate in SCORING_RATES:
        how = HoldoutRetraining(lr=rate, batch=batch)
        try:
            return api.retrained(network, data, unseen, how, seed, own, shown)
        except loop.Diverged:
            continue

    return loss_curvature(network, data, batch=min(512, data.largest_batch))
