"""Reference models beside a report: LiRA and RMIA, stronger attacks than one that looks at a single model (METHOD §7b)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mulnb import training
from mulnb.audit import lira, margins
from mulnb.audit.membership import Shadow
from mulnb.core import series
from mulnb.core.errors import UserError
from mulnb.data.request import indices
from mulnb.your_model import api
from mulnb.your_model.adapt import Adapted, Factory, Model, adapt, first_floating
from mulnb.your_model.inputs import Images
from mulnb.your_model.outcome import Outcome, Setting, alike
from mulnb.your_model.page import weights_hash


@dataclass(frozen=True)
class References:
    """Models of the same task that were trained without the forget set, or each without a part of it; or their margins.

    Eight models at least must have been trained without each forgotten example, and none on the hold-out.

    Attributes:
        models: modules, or weights for the factory. They are never changed.
        member: bool [M, N], whether model j was trained on example i; or, per model, the examples that it was trained on
            (indices, a mask, file names). None: no model was trained on any forgotten example.
        margins: [M, N], in place of `models`: log p − log(1 − p) of each example's label (`mulnb.audit.margins.log_odds`).
        unseen: [M, n], the same for the images of the hold-out.
    """

    models: Sequence[Model] = ()
    member: Any = None
    margins: np.ndarray | None = field(default=None, repr=False)
    unseen: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.models, (list, tuple)):
            raise UserError(f"References: models is a {type(self.models).__name__}: expected a list of models")
        for name in ("margins", "unseen"):
            found = getattr(self, name)
            if found is not None and (np.ndim(found) != 2 or np.asarray(found).dtype.kind not in "fiu"):
                raise UserError(f"References: {name} should be numbers [M, N], of M models")
        if self.member is not None and not hasattr(self.member, "__len__"):
            raise UserError(f"References: member is a {type(self.member).__name__}: expected one entry per model")
        if (len(self.models) > 0) == (self.margins is not None):
            raise UserError("References: give either models, or margins of theirs")
        if (self.margins is None) != (self.unseen is None):
            raise UserError("References: margins= of the training images and unseen= of the hold-out go together")

    def __len__(self) -> int:
        return len(self.models) if self.margins is None else len(self.margins)


def references_of(given: References | Sequence[Model] | None) -> References | None:
    """`References`, also from a bare list of models that never saw the forget set."""
    if given is None or isinstance(given, References):
        return given
    if not isinstance(given, (list, tuple)):
        raise UserError(
            f"references is a {type(given).__name__}: expected mulnb.References(models, member=…) or a list of models"
        )
    return References(models=list(given))


def attacked(
    references: References,
    outcomes: Sequence[Outcome],
    setting: Setting,
    factory: Factory | None = None,
    original: nn.Module | None = None,
) -> None:
    """Add `lira_auc lira_tpr01 lira_tpr001 rmia_auc` to the row of every outcome.

    An AUC is 1 if all of the forget set is recognised, .5 at chance.

    Raises:
        UserError: the references do not fit the data, or are too few.
    """
    forget = setting.strata.forget
    member = _member(references, setting)[:, forget]  # [M, n]
    enough = (~member).sum(0)
    if enough.min() < lira.FEWEST:
        worst = int(forget[enough.argmin()])
        raise UserError(
            f"references: {enough.min()} of {len(member)} models were trained without example {setting.data.name(worst)}: "
            f"LiRA and RMIA need at least {lira.FEWEST} for each forgotten example"
        )

    like = np.flatnonzero(alike(setting))
    if references.margins is not None:
        seen, unseen = _given(references, setting)
        seen, unseen = seen[:, forget], unseen[:, like]
    else:
        rows, unseen_rows = [], []
        for number, network in enumerate(_networks(references, factory, member, original)):
            rows.append(_margins(network, number, setting.data, forget))
            unseen_rows.append(_margins(network, number, setting.unseen, like))
        seen, unseen = np.stack(rows), np.stack(unseen_rows)

    shadow = Shadow.of(seen, member, unseen)  # [M, n], [M, n], [M, m]
    for found in outcomes:
        scores = shadow.scores(found.margin, found.unseen_margin, np.arange(len(forget)))
        found.row.update(scores.summary())


def _member(references: References, setting: Setting) -> np.ndarray:
    """bool [M, N]."""
    shape = (len(references), len(setting.data))
    member = references.member
    if member is None:
        return np.zeros(shape, dtype=bool)
    if len(member) != shape[0]:
        raise UserError(f"references: member says what {len(member)} models were trained on, and there are {shape[0]}")

    found = np.zeros(shape, dtype=bool)
    for number, part in enumerate(member):
        if api.nothing(part):  # a model that was trained on other images
            continue
        what = f"references: member of model {number}"
        found[number, indices(part, shape[1], files=setting.data.files, root=setting.data.root, what=what)] = True

    return found


def _given(references: References, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """The user's margins: [M, N] of training images, [M, …] of unseen ones."""
    seen, unseen = _by_example(references.margins), _by_example(references.unseen)
    shapes = (len(references), len(setting.data)), (len(references), len(setting.unseen))
    if (seen.shape, unseen.shape) != shapes:
        expected = f"{list(shapes[0])} and {list(shapes[1])}"
        raise UserError(f"references: margins are {list(seen.shape)}, unseen {list(unseen.shape)}: expected {expected}")
    if not np.isfinite(seen[:, setting.strata.forget]).all() or not np.isfinite(unseen).all():
        raise UserError("references: a margin is not finite")
    return seen, unseen


def _networks(
    references: References, factory: Factory | None, member: np.ndarray, original: nn.Module | None
) -> Iterator[Adapted]:
    """The models. Raises `UserError` for a copy of another one."""
    known = {} if original is None else {weights_hash(original): "the original"}
    for number, model in enumerate(references.models):
        network = adapt(model, factory)
        own = weights_hash(network)
        if own in known and not member[number].all():  # one that saw all of it is not used
            raise UserError(f"references: model {number} has the weights of {known[own]}: give models of trainings of their own")
        known[own] = f"model {number}"
        yield network


def _margins(network: Adapted, number: int, images: Images, index: np.ndarray) -> np.ndarray:
    """The margins of some images by model `number`, [n]."""
    place = first_floating(network)
    data = images.on(place.device, place.dtype)
    chosen = torch.from_numpy(index).to(place.device)
    logits, labels = training.predict(network, data, chosen).cpu(), data.labels[chosen].cpu()
    if int(labels.max()) >= logits.shape[1]:
        raise UserError(f"references: model {number} has {logits.shape[1]} classes, and labels go up to {int(labels.max())}")
    return margins.log_odds(logits.float(), labels)


def _by_example(given: Any) -> np.ndarray:
    """Margins [M, N]; the columns of a frame are examples, by their number."""
    return np.asarray(series.in_order(given.T, "references").T if hasattr(given, "iloc") else given)
