"""Your own model and images: `mulnb.score`, `mulnb.strata`, `mulnb.unlearn` (and `mulnb.evaluate`, in `report`).

    scores = mulnb.score(model, images, labels, proxy="holdout_retraining", holdout=(x, y))
    strata = mulnb.strata(scores, forget=indices)
    unlearned = mulnb.unlearn(model, images, labels, strata, algorithm="neg_grad_plus", strategy="rum_f")
    report = mulnb.evaluate(unlearned, images, labels, strata, holdout=(x, y), original=model)

The model is any `torch.nn.Module` from images [B, C, H, W] to logits [B, K]. It is never changed: work is done on copies, on the
model's own device and in its own precision, and the modes of its modules and all random states are as before afterwards.
Images are uint8 (scaled to [0, 1]) or floating point (taken as they are) tensors or arrays [N, C, H, W], or a folder with one
sub-folder per class (then `labels` is None); `normalize=(mean, std)` is applied after that, for models that expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mulnb import forget as selector
from mulnb import proxies, rum, training
from mulnb.config import HoldoutRetraining, LossCurvature
from mulnb.core.errors import UserError
from mulnb.data import read_folder as read_class_folders
from mulnb.fast.graphs import plain_steps
from mulnb.forget import Strata
from mulnb.proxies import PROXIES
from mulnb.rum import Unlearned

Images = Tensor | np.ndarray | str | Path
Labels = Tensor | np.ndarray | Sequence[int] | None
Pair = tuple[Images, Labels] | str | Path
Normalize = tuple[Sequence[float] | float, Sequence[float] | float] | None

LOGITS = "mulnb needs a tensor of logits [batch, classes] (wrap the model in a small Module whose forward returns just that)"


def score(
    model: nn.Module,
    images: Images,
    labels: Labels = None,
    *,
    proxy: str = "holdout_retraining",
    holdout: Pair | None = None,
    seed: int = 0,
    normalize: Normalize = None,
    **settings: Any,
) -> np.ndarray:
    """How strongly a finished model memorized each example, [N], higher = more memorized (METHOD §3).

    `proxy`: "holdout_retraining", which needs `holdout`, images and labels that the model was never trained on, or
    "loss_curvature". `settings`: those of `config.HoldoutRetraining` (lr, epochs, patience, batch) or `config.LossCurvature` (h).
    Raises `UserError` for a proxy that needs the training itself, data that do not fit the model, or a diverging fine-tuning.
    """
    data = examples(model, images, labels, normalize)
    if proxy == "loss_curvature":
        with reseeded(model, seed):
            return proxies.loss_curvature(training.clone(model), data, settings_of(LossCurvature, proxy, settings).h)
    if proxy != "holdout_retraining":
        posthoc = " and ".join(name for name, one in PROXIES.items() if one.post_hoc)
        why = "is read off training, epoch by epoch" if proxy in PROXIES else "is unknown"
        raise UserError(f"proxy '{proxy}' {why}: a finished model can be scored with {posthoc}")
    if holdout is None:
        raise UserError("holdout_retraining needs holdout=(images, labels) that the model was never trained on")
    unseen = pair(model, holdout, "holdout", normalize)
    with reseeded(model, seed):
        how = settings_of(HoldoutRetraining, proxy, settings)
        return proxies.holdout_retraining(training.clone(model), data, unseen, how, seed)


def strata(
    scores: np.ndarray | Tensor,
    *,
    forget: Sequence[int] | np.ndarray | Tensor | None = None,
    size: int | Sequence[int] | None = None,
    centre: float | str = "median",
    seed: int = 0,
) -> Strata:
    """Strata of a score [N]: of a given list `forget` of examples, or of `size` examples each chosen by the score.

    A given list is split by the terciles of its own scores (ties by `seed`); sizes differ by one at most. Raises `UserError`
    unless one of the two is given, for indices that repeat or lie outside the scores, and for fewer than three.
    """
    values = np.asarray(_numpy(scores), dtype=np.float64)
    if (forget is None) == (size is None):
        raise UserError("strata: give either forget=indices, to split them, or size=n, to choose n examples per stratum")
    if size is not None:
        return selector.strata(values, size, centre, seed)
    index = np.asarray(_numpy(forget))
    if index.ndim != 1 or len(index) < 3 or not np.issubdtype(index.dtype, np.integer):
        raise UserError("strata: forget must be a list of at least three example indices (whole numbers)")
    if index.min() < 0 or index.max() >= len(values):
        raise UserError(f"strata: forget has index {index.min() if index.min() < 0 else index.max()} of 0 … {len(values) - 1}")
    if len(np.unique(index)) < len(index):
        raise UserError("strata: forget names an example twice")
    if np.isnan(values[index]).any():
        raise UserError(f"strata: the score of example {index[np.isnan(values[index])][0]} is not a number")
    mixed = np.random.default_rng(seed).permutation(np.sort(index))
    ordered = mixed[np.argsort(values[mixed], kind="stable")].astype(np.int64)
    return Strata(*(np.sort(part) for part in np.array_split(ordered, 3)))


def unlearn(
    model: nn.Module,
    images: Images,
    labels: Labels,
    strata: Strata,
    *,
    algorithm: str | Sequence[str | None] = "neg_grad_plus",
    strategy: str = "rum_f",
    settings: rum.Settings | None = None,
    seed: int = 0,
    normalize: Normalize = None,
    fresh: Callable[[], nn.Module] | None = None,
) -> Unlearned:
    """A copy of `model` that has unlearned the strata: `.model`, and the `.seconds` that it took.

    `images` and `labels` are all of D; what is not in the strata is retained. `algorithm`: a name, or for `strategy="rum"` one
    for each of low, medium and high, where None does nothing. `settings`: keyword arguments of the algorithm, or a list with one
    mapping a stage (by default the authors'). `fresh`: a function without arguments that builds an untrained network, which only
    `retrain` needs. Raises `UserError` for names, settings or data that do not fit, and if training diverges.
    """
    data = examples(model, images, labels, normalize)
    check_strata(strata, len(data))
    if "salun" in algorithms(algorithm) and not all(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("salun weighs all parameters: set requires_grad of the frozen ones, or use another algorithm")
    if isinstance(settings, (list, tuple)):
        settings = [one or {} for one in settings]  # None beside an algorithm None: nothing is set where nothing is done
    with reseeded(model, seed):
        build = None if fresh is None else maker(model, fresh)
        how = {"algorithm": algorithm, "strategy": strategy, "settings": settings}
        unlearned = rum.unlearn(model, data, strata, **how, seed=seed, fresh=build)
    unlearned.model.zero_grad(set_to_none=True)
    return unlearned


# --- what comes in -------------------------------------------------------------------------------------------------------


class Inputs(training.Examples):
    """Examples as somebody else's model expects them: its device and precision, ordinary memory layout."""

    def __init__(self, images: Tensor, labels: Tensor, dtype: torch.dtype, normalize: Normalize) -> None:
        super().__init__(images, labels)
        self.dtype = dtype
        self._affine = None
        if normalize is not None:
            self._affine = [torch.as_tensor(one, dtype=dtype, device=images.device).reshape(-1, 1, 1) for one in normalize]

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        x = self.images[index] if moves is None else training.moved(self.images[index], moves)
        x = x.to(self.dtype) / 255 if x.dtype == torch.uint8 else x.to(self.dtype)
        return x if self._affine is None else (x - self._affine[0]) / self._affine[1]


def pair(model: nn.Module, given: Pair, name: str, normalize: Normalize) -> Inputs:
    """`(images, labels)`, or a folder, as `examples`."""
    if isinstance(given, (str, Path)):
        return examples(model, given, None, normalize)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise UserError(f"{name}: expected a pair (images, labels), or a folder")
    return examples(model, *given, normalize)


def examples(model: nn.Module, images: Images, labels: Labels, normalize: Normalize = None) -> Inputs:
    """Checked images and labels beside the model. Raises `UserError` if they do not fit each other or the model."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}: expected a torch.nn.Module")
    parameters = list(model.parameters())
    if len({parameter.device for parameter in parameters}) != 1:
        raise UserError("the model's parameters must lie on one device, and it must have some")
    where = parameters[0].device
    dtype = next((one.dtype for one in parameters if one.is_floating_point()), torch.float32)
    if isinstance(images, (str, Path)):
        if labels is not None:
            raise UserError("images is a folder, whose sub-folders are the classes: labels must be None")
        images, labels, _ = read_folder(images)
    images, labels = _tensor(images, "images"), _tensor([] if labels is None else labels, "labels")
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise UserError(f"images are {_described(images)}: expected uint8 or floating point [N, C, H, W]")
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) != len(images) or len(images) == 0:
        raise UserError(f"labels are {_described(labels)} for {len(images)} images: expected one whole number per image")
    data = Inputs(images.to(where), labels.long().to(where), dtype, normalize)
    classes = check_outputs(model, data)
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"labels run from {labels.min()} to {labels.max()}, the model has {classes} classes: 0 … {classes - 1}")
    return data


def check_outputs(model: nn.Module, data: Inputs) -> int:
    """The number of classes. Raises `UserError` unless the model turns images into logits [batch, classes]."""
    first = data.inputs(torch.arange(min(2, len(data)), device=data.device))
    with reseeded(model, 0), torch.no_grad(), training.mode(model, training=False):
        try:
            output = model(first)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"the model cannot read images that are {_described(first)}: {reason}") from None
    if isinstance(output, Mapping):
        raise UserError(f"the model returns a dict with {', '.join(map(str, output))}: {LOGITS}")
    if not isinstance(output, Tensor):
        size = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
        raise UserError(f"the model returns a {type(output).__name__}{size}: {LOGITS}")
    if output.ndim != 2 or len(output) != len(first) or output.shape[1] < 2 or not output.is_floating_point():
        raise UserError(f"the model returns {_described(output)} for {len(first)} images: {LOGITS}")
    if (output >= 0).all() and torch.allclose(output.sum(1).float(), torch.ones(len(output), device=output.device), atol=1e-4):
        raise UserError("the model returns probabilities: return the logits, before the softmax")
    return output.shape[1]


def read_folder(root: str | Path) -> tuple[Tensor, Tensor, list[str]]:
    """Images uint8 [N, C, H, W], labels [N] and class names of a folder with one sub-folder per class, sorted by name.

    Files are read as those of a profile are (`mulnb.data.read_folder`); images stay grey if all are. Raises `UserError`
    for a missing or empty folder, an unreadable image, or two sizes.
    """
    found = read_class_folders(root)
    images = torch.from_numpy(found.images)
    grey = bool((images == images[:, :1]).all())
    return (images[:, :1] if grey else images).contiguous(), torch.from_numpy(found.labels), list(found.classes)


def algorithms(given: Any) -> list[str | None]:
    """The names in what `unlearn` was given as its algorithm. Raises `UserError` if it is neither a name nor a list of names."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(name is None or isinstance(name, str) for name in names):
        raise UserError(f"algorithm = {given!r}: expected a name, or for strategy='rum' a list of three names, None for nothing")
    return list(names)


def check_strata(strata: Strata, n: int) -> None:
    """Raises `UserError` unless `strata` are three disjoint sets of indices into `n` examples that leave something to retain."""
    if not isinstance(strata, Strata):
        raise UserError(f"strata is a {type(strata).__name__}: expected what mulnb.strata or mulnb.forget.load(…).strata returns")
    selector.check(strata, n, "the forget set")
    if len(strata.forget) >= n:
        raise UserError(f"the forget set is all of the {n} examples: nothing would be retained")


# --- what stays as it was ------------------------------------------------------------------------------------------------


@contextmanager
def reseeded(model: nn.Module, seed: int) -> Iterator[None]:
    """Work with torch's generators seeded (dropout draws from them), and put them back.

    Steps are plain ones: anybody's forward pass may do what cannot be recorded for replay.
    """
    where = next(model.parameters()).device
    with plain_steps(), torch.random.fork_rng([where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def maker(model: nn.Module, fresh: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """seed → an untrained network in the device and precision of `model`."""
    like = next(model.parameters())

    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return fresh().to(like.device, like.dtype)

    return make


def settings_of(kind: type, proxy: str, given: Mapping[str, Any]) -> Any:
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        raise UserError(f"{proxy}: {'.'.join(map(str, first['loc']))}: {first['msg']}; its settings are {known}") from None


def _numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _tensor(value: Any, name: str) -> Tensor:
    try:
        return value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: a {type(value).__name__} is no tensor or array of numbers: {error}") from None


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
