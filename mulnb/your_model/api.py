"""Your own model and images: `mulnb.score`, `mulnb.strata`, `mulnb.unlearn` (and `mulnb.evaluate`, in `report`).

    scores = mulnb.score(model, images, labels, proxy="holdout_retraining", holdout=(x, y))
    strata = mulnb.strata(scores, forget=indices)
    unlearned = mulnb.unlearn(model, images, labels, strata, algorithm="neg_grad_plus", strategy="rum_f")
    report = mulnb.evaluate(unlearned, images, labels, strata, holdout=(x, y), original=model)

The model is a `torch.nn.Module` from images [B, C, H, W] to logits, or its weights with a `factory`. It is never changed: work
is done on copies, on the model's own device and in its own precision, and all random states are as before afterwards.
`images` are whatever `inputs.read` takes: tensors, arrays, a Dataset, a DataLoader, a folder; `labels` is None where the images
bring them. `mulnb.forget` (in `forgetting`) does all four steps in one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mulnb import forget as selector
from mulnb import proxies, rum
from mulnb.config import HoldoutRetraining, LossCurvature
from mulnb.core.errors import UserError, notice
from mulnb.data.request import UNKNOWN, Request, indices
from mulnb.forget import Strata
from mulnb.proxies import PROXIES
from mulnb.training import clone
from mulnb.your_model import checks, probe
from mulnb.your_model.adapt import Adapted, Factory, Model, adapt, first_floating, protected
from mulnb.your_model.inputs import Images, Normalize, read
from mulnb.your_model.items import pairs
from mulnb.your_model.progress import Callback, Progress
from mulnb.your_model.recipe import Training, check_training, trained_by, with_batch
from mulnb.your_model.weights import save_weights

Given = Any  # images of any kind: see `inputs.read`
EVERY_ALGORITHM = "neg_grad_plus"


@dataclass(frozen=True)
class Unlearned(rum.Unlearned):
    """What `unlearn` returns: `.model`, a plain module in the modes of the one given, and `.seconds`, the time it took.

    `.algorithm`, `.strategy`, `.settings` (one mapping a stage) and `.seed` say how; `.frozen_norms` names the BatchNorm layers
    that stayed in eval mode.
    """

    algorithm: Any = None
    strategy: str = ""
    settings: Any = None
    seed: int = 0
    frozen_norms: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the weights as safetensors, with the plain module's keys. Returns the path."""
        return save_weights(self.model, path)


def score(
    model: Model,
    images: Given,
    labels: Any = None,
    *,
    proxy: str = "holdout_retraining",
    holdout: Given | None = None,
    seed: int = 0,
    normalize: Normalize = None,
    factory: Factory | None = None,
    training: Training | None = None,
    progress: Callback | bool | None = None,
    **settings: Any,
) -> np.ndarray:
    """How strongly a finished model memorized each example (METHOD §3).

    Args:
        model, images, labels, normalize, factory: see the module's first lines.
        proxy: "holdout_retraining", which needs `holdout`, or "loss_curvature".
        holdout: images and labels that the model was never trained on.
        seed: of the fine-tuning on the hold-out.
        training: your own recipe for that fine-tuning.
        progress: a callback (`progress.State` -> False to stop), or False for silence.
        **settings: those of `config.HoldoutRetraining` (lr, epochs, patience, batch) or `config.LossCurvature` (h).

    Returns:
        float32 [N], higher = more memorized.

    Raises:
        UserError: the proxy needs the training itself, data do not fit the model, or the fine-tuning diverges.
    """
    seed = checks.seed_of(seed)
    check_training(training)
    if proxy not in ("holdout_retraining", "loss_curvature"):
        posthoc = " and ".join(name for name, entry in PROXIES.items() if entry.post_hoc)
        why = "is unknown"
        if isinstance(proxy, str) and proxy in PROXIES:
            why = "is read off training, epoch by epoch (mulnb.Recorder does it)"
        raise UserError(f"proxy '{proxy}' {why}: a finished model can be scored with {posthoc}")
    if proxy == "holdout_retraining" and holdout is None:
        raise UserError("holdout_retraining needs holdout=(images, labels) that the model was never trained on")

    kind = LossCurvature if proxy == "loss_curvature" else HoldoutRetraining
    how = checks.recipe_of(kind, proxy, with_batch(training, "", settings) if kind is HoldoutRetraining else settings)

    with protected(place_of(model), seed):
        network, data = opened(model, images, labels, normalize, factory)
        checks.survey(data)
        unseen = pair(network, holdout, "holdout", normalize) if proxy == "holdout_retraining" else None
        if unseen is not None:
            probe.check_trainable(network)
            checks.check_unseen(data, unseen)
        for told in filter(None, checks.at_chance(network, data, unseen=unseen)):
            notice(told)

        torch.manual_seed(seed)
        if unseen is None:
            probe.check_differentiable(network, probe.first_inputs(data))
            return proxies.loss_curvature(network, data, how.h, batch=min(512, data.largest_batch))

        shown = Progress(progress)
        found = retrained(network, data, unseen, how, seed, training, shown)
        shown.close()

        return found


def retrained(
    network: Adapted, data: Images, unseen: Images, how: HoldoutRetraining, seed: int, own: Training | None, shown: Progress
) -> np.ndarray:
    """Scores [N] by hold-out retraining in the user's way, whose steps are shown."""
    shown.part("scoring by hold-out retraining", how.epochs * -(-len(unseen) // how.batch))
    with trained_by(own, unseen, shown.step):
        return proxies.holdout_retraining(network, data, unseen, how, seed)


def strata(
    scores: np.ndarray | Tensor | None = None,
    *,
    forget: Request | None = None,
    size: int | Sequence[int] | None = None,
    centre: float | str = "median",
    seed: int = 0,
    files: Sequence[str] | None = None,
) -> Strata:
    """Strata of a score: of a request, or of `size` examples each chosen by the score.

    Args:
        scores: [N], higher = more memorized. A request without scores is not split: only `vanilla` can unlearn it.
        forget: the examples to forget, as `request.indices` takes them. They are split by the terciles of their own scores (ties
            by `seed`); sizes differ by one at most. Fewer than three leave strata empty.
        size, centre: see `mulnb.forget.strata`.
        seed: of the ties.
        files: the names of the images, if the request has file names.

    Raises:
        UserError: not exactly one of `forget` and `size` is given, or the request does not fit the scores.
    """
    seed = checks.seed_of(seed)
    if (forget is None) == (size is None):
        raise UserError("strata: give either forget=indices, to split them, or size=n, to choose n examples per stratum")
    if scores is None:
        if forget is None:
            raise UserError("strata: size=n chooses by scores: give scores, or forget=indices")
        return whole(indices(forget, UNKNOWN, files=files, what="strata: forget"))

    values = checks.scores_of(scores)
    if size is not None:
        number = isinstance(centre, (int, float, np.number)) and not isinstance(centre, bool) and np.isfinite(centre)
        if centre != "median" and not number:
            raise UserError(f"strata: centre = {centre!r}: should be a number or 'median'")
        return selector.strata(values, checks.size_of(size), centre, seed)

    index = indices(forget, len(values), files=files, what="strata: forget")
    if np.isnan(values[index]).any():
        raise UserError(f"strata: the score of example {index[np.isnan(values[index])][0]} is not a number")

    return selector.split(index, values, seed)


def whole(index: np.ndarray) -> Strata:
    """A request that is not split: all of it is one stratum."""
    nothing = np.empty(0, dtype=np.int64)
    return Strata(nothing, nothing, np.asarray(index, dtype=np.int64))


def unlearn(
    model: Model,
    images: Given,
    labels: Any,
    strata: Strata | Request,
    *,
    algorithm: str | Sequence[str | None] = EVERY_ALGORITHM,
    strategy: str | None = None,
    settings: rum.Settings | None = None,
    seed: int = 0,
    normalize: Normalize = None,
    fresh: Factory | None = None,
    factory: Factory | None = None,
    training: Training | None = None,
    already_forgotten: Request | None = None,
    duplicates: str = "refuse",
    progress: Callback | bool | None = None,
) -> Unlearned:
    """A copy of `model` that has unlearned a request.

    Args:
        model, images, labels, normalize, factory: see the module's first lines. `images` are all of D; what is neither in the
            request nor already forgotten is retained.
        strata: what `mulnb.strata` returns, or a request of any kind, which only `vanilla` can unlearn.
        algorithm: a name, or for `strategy="rum"` one for each of low, medium and high, where None does nothing.
        strategy: `rum_f` by default, `vanilla` for a request that is not split into three.
        settings: keyword arguments of the algorithm, or a list with one mapping a stage (by default the authors').
        seed: of every order and draw.
        fresh: a function without arguments that builds an untrained network, which only `retrain` needs.
        training: your own recipe, which every algorithm takes.
        already_forgotten: examples that earlier requests removed: they are neither retained nor unlearned again.
        duplicates: "refuse" a request whose images stay as exact copies in the retain set, or "keep" these.
        progress: a callback (`progress.State` -> False to stop), or False for silence.

    Returns:
        The unlearned model and how it was made.

    Raises:
        UserError: names, settings or data do not fit, or training diverges. Nothing that was given has changed.
    """
    seed = checks.seed_of(seed)
    check_training(training)
    names = checks.algorithm_names(algorithm)
    if not names:
        raise UserError("algorithm is an empty list: name at least one")
    if "retrain" in names and fresh is None:
        raise UserError("retrain needs fresh=, a function that builds an untrained network of the same architecture")
    if isinstance(settings, (list, tuple)):
        settings = [stage or {} for stage in settings]  # None beside an algorithm None: nothing is set where nothing is done

    with protected(place_of(model), seed):
        network, data = opened(model, images, labels, normalize, factory)
        chosen = strata if isinstance(strata, Strata) else whole(request_of(strata, data))
        checks.check_strata(chosen, len(data))
        strategy = strategy or ("rum_f" if checks.is_split(chosen) else "vanilla")
        checks.check_strategy(strategy, chosen)
        settings = _settings(names, strategy, settings, training)
        present = present_of(data, chosen.forget, already_forgotten)
        checks.survey(data)
        if checks.one_of("duplicates", duplicates, ("refuse", "keep")) == "refuse":
            checks.check_duplicates(data, chosen.forget, present)
        if any(name is not None and name != "retrain" for name in names):
            probe.check_trainable(network)
            for name in set(names) & set(probe.GRADIENT_IN_EVAL):
                probe.usable([name], network, probe.first_inputs(data))
            told, _ = checks.at_chance(network, data, np.setdiff1d(np.flatnonzero(present), chosen.forget))
            if told:
                notice(told)

        shown = Progress(progress)
        torch.manual_seed(seed)
        found = run(network, data, chosen, algorithm, strategy, settings, seed, fresh, training, present, shown)
        shown.close()

    return found


def run(
    network: Adapted,
    data: Images,
    strata: Strata,
    algorithm: str | Sequence[str | None],
    strategy: str,
    settings: rum.Settings,
    seed: int,
    fresh: Factory | None,
    training: Training | None,
    present: np.ndarray,
    shown: Progress,
) -> Unlearned:
    """`rum.unlearn` on what was checked before."""
    shown.part(f"unlearning: {algorithm}, {strategy}", 0)
    build = None if fresh is None else probe.untrained_beside(fresh, network, data)

    with trained_by(training, data, shown.step):
        found = rum.unlearn(
            network,
            data,
            strata,
            algorithm=algorithm,
            strategy=strategy,
            settings=settings,
            seed=seed,
            fresh=build,
            present=present,
        )

    probe.check_finite(found.model)
    found.model.zero_grad(set_to_none=True)
    result = clone(found.model).module  # without what the last step of the training left in it

    result.train(network.module.training)  # what a train() of the user's own sets besides
    for part, was in zip(result.modules(), network.module.modules(), strict=False):
        part.training = was.training

    passes = (found.passes_retain, found.passes_forget)
    return Unlearned(result, found.seconds, *passes, algorithm, strategy, settings, seed, network.frozen_norms)


# --- what comes in -------------------------------------------------------------------------------------------------------


def opened(
    model: Model,
    images: Given,
    labels: Any = None,
    normalize: Normalize = None,
    factory: Factory | None = None,
    name: str = "images",
) -> tuple[Adapted, Images]:
    """A working copy of the model and the checked images beside it. Raises `UserError` if they do not fit each other."""
    network = model if isinstance(model, Adapted) else adapt(model, factory)
    data = beside(network, images, labels, normalize, name)
    return network, data


def beside(network: Adapted, images: Given, labels: Any, normalize: Normalize, name: str = "images") -> Images:
    """Checked images beside a working copy."""
    parameter = first_floating(network)
    data = read(images, labels, parameter.device, parameter.dtype, normalize=normalize, name=name)
    try:
        classes = probe.classes_of(network, data)
    except UserError as error:
        if name == "images":
            raise
        raise UserError(f"{name}: {error}") from None  # the training images were read: it is these that do not fit
    checks.check_labels(data, classes, "labels" if name == "images" else f"labels of {name}")
    data.memo["classes"] = classes

    return data


def pair(network: Adapted, given: Given, name: str, normalize: Normalize) -> Images:
    """`(images, labels)`, a data set or a folder, beside a working copy."""
    is_pair = isinstance(given, (tuple, list)) and len(given) == 2
    listed = isinstance(given, (tuple, list)) and not is_pair and not pairs(given)
    if listed or given is None or isinstance(given, (Tensor, np.ndarray)):
        raise UserError(f"{name}: expected a pair (images, labels), a data set, or a folder")

    images, labels = given if is_pair else (given, None)
    return beside(network, images, labels, normalize, name)


def request_of(request: Request, data: Images, what: str = "the request") -> np.ndarray:
    """The examples that a request names among these images."""
    labels = data.labels.cpu().numpy()
    return indices(request, len(data), labels=labels, files=data.files, root=data.root, classes=data.classes, what=what)


def present_of(data: Images, forget: np.ndarray, already_forgotten: Request | None) -> np.ndarray:
    """bool [N]: what the model still contains. Raises `UserError` if the request is in part gone, or nothing would be left."""
    present = np.ones(len(data), dtype=bool)
    # nothing may have been forgotten so far
    if not nothing(already_forgotten):
        gone = request_of(already_forgotten, data, "already_forgotten")
        present[gone] = False
        if not present[forget].all():
            raise UserError(f"example {data.name(int(forget[~present[forget]][0]))} of the request is already forgotten")
    if present.sum() <= len(forget):
        raise UserError("the request and what is already forgotten are all of the examples: nothing would be retained")

    return present


def nothing(request: Any) -> bool:
    """Whether a request names no example: None, an empty list or ledger, a mask without a True."""
    if request is None or (hasattr(request, "__len__") and getattr(request, "ndim", 1) > 0 and len(request) == 0):
        return True
    dtype = str(getattr(request, "dtype", ""))
    return dtype in ("bool", "torch.bool", "boolean") and not bool(request.any())


def _settings(
    names: list[str | None], strategy: str, settings: rum.Settings | None, training: Training | None
) -> Mapping[str, Any] | list[Mapping[str, Any]]:
    """Checked settings, with the recipe's batch size."""
    given = list(settings) if isinstance(settings, (list, tuple)) else [settings or {}] * len(names)
    pairs = zip(names, given, strict=False) if len(names) == len(given) else ((names[0], stage) for stage in given)
    filled = []

    for name, stage in pairs:
        if name is not None:
            checks.check_settings(name, stage)
            stage = with_batch(training, name, stage)
        filled.append(stage)

    return filled if isinstance(settings, (list, tuple)) or len(names) > 1 else filled[0]


def place_of(model: Model) -> torch.device:
    """The device of a model; the CPU for weights, without parameters, and for the meta device, which `adapt` refuses."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None or first.is_meta else first.device
