"""Common mistakes of unlearning code (METHOD §10), each as a switch: what would this study have reported with it?

The mistakes live here and nowhere else. A switch replaces a function of the method by its wrong twin while a network is unlearned
or measured, or it hands a run other settings, another forget set or another oracle. `study.mistaken_runs` makes the runs.

Three items of METHOD §10 have no switch, since they move no number: entropy that is NaN where p underflows stops a study (6), a
loop with `.item()` only costs time (11), and the "1" drawn as the ceiling is drawn, not computed (10). One seed reported with an
interval (9) needs no run: `results.effects` reads it from the runs without a mistake.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mulnb import audit, forget
from mulnb.config import Profile, Recipe
from mulnb.forget import Strata
from mulnb.proxies import centre
from mulnb.study.oracles import without
from mulnb.study.study import Study

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

SCORE = "binary_accuracy"  # chooses the forget sets: it has ties by the hundred, and a median far from its mid-range
STRATEGIES = ("vanilla", "rum_f")
SHORT = 10  # an oracle that did not converge is trained for so small a part of its epochs


@dataclass(frozen=True)
class Trained:
    """A trained network with its outputs, to be measured."""

    network: nn.Module
    logits: Tensor  # of D, [N, K]
    test_logits: Tensor  # of T, [|T|, K]
    forget: np.ndarray  # S, indices int64
    seed: int  # draws the examples of R that the attack is trained on
    moves: int  # a seed, too: draws how its images are augmented


Outcome = dict[str, float]  # `acc_forget acc_retain acc_test mia`


@dataclass(frozen=True)
class Mistake:
    """One switch. What is not set is done right."""

    item: int  # of METHOD §10
    hits: Callable[[Study, str, str], bool]  # (study, algorithm, strategy) → whether such a run can make the mistake
    during: Callable[[], AbstractContextManager] = nullcontext  # holds while a network is unlearned
    settings: Callable[[Profile, str], dict[str, Any]] | None = None  # (profile, algorithm) → settings of the run
    strata: Callable[[Study, str, int], Strata] | None = None  # (study, score, seed) → what is forgotten, also by the oracle
    oracle: Callable[[Recipe], Recipe] | None = None  # the recipe of the oracle
    measure: Callable[[Study, Trained], Outcome] | None = None  # measures the unlearned network and the oracle
    metric: str = "tow"  # what moves
    attack: str = "mia"  # the efficacy that ToW-MIA is made of


@contextmanager
def swapped(*swaps: tuple[Any, str, Any]) -> Iterator[None]:
    """Other values for some attributes inside the `with` block.

    Args:
        swaps: a module or object, the name of its attribute, and the value that it has meanwhile.
    """
    before = [(place, name, getattr(place, name)) for place, name, _ in swaps]
    try:
        for place, name, value in swaps:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


# ---- wrong while a network is unlearned


def _mask_of_the_smallest() -> AbstractContextManager:
    """1: SalUn's mask is ranked upwards, so that it keeps the smallest gradients, and the model learns S while it is made."""
    from mulnb.unlearning import salun

    return swapped((salun, "saliency_mask", smallest_gradients))


def smallest_gradients(model: nn.Module, data: Any, forget: Tensor, keep: float, batch: int = 256) -> list[Tensor]:
    """The wrong twin of `salun.saliency_mask`; arguments and result are the same. `model` itself is not changed."""
    import torch

    from mulnb import training

    moving = training.clone(model)
    parameters = [parameter for parameter in moving.parameters() if parameter.requires_grad]
    totals = [torch.zeros_like(parameter) for parameter in parameters]

    def add_up() -> None:
        for total, parameter in zip(totals, parameters, strict=True):
            if parameter.grad is not None:
                total += parameter.grad

    stacked = forget.dim() == 2
    seed = [0] * len(forget) if stacked else 0
    training.fit(moving, data, Recipe(epochs=1, batch=batch, lr=0.01), seed, index=forget, after_step=add_up)

    rows = [total.abs().reshape(len(forget) if stacked else 1, -1) for total in totals]
    saliency = torch.cat(rows, 1)  # [k, P]
    count = max(1, round(keep * saliency.shape[1]))
    chosen = torch.zeros_like(saliency, dtype=torch.bool)
    chosen.scatter_(1, saliency.topk(count, dim=1, largest=False).indices, True)

    parts = chosen.split([row.shape[1] for row in rows], dim=1)
    return [part.reshape(total.shape) for part, total in zip(parts, totals, strict=True)]


def _labels_kept() -> AbstractContextManager:
    """2: the branch that draws random labels knows other data sets only, so that S keeps its true ones."""
    from mulnb.unlearning import random_label

    return swapped((random_label, "_wrong_labels", lambda labels, classes, generator: labels))


def _original_reloaded() -> AbstractContextManager:
    """7: every stage loads the original model again, so that only the last stage is left in the end."""
    from mulnb import rum, training

    kept: list[nn.Module] = []

    def reloading(algorithm: Callable) -> Callable:
        @functools.wraps(algorithm)
        def from_the_original(model: nn.Module, *given: Any, **settings: Any) -> nn.Module:
            if not kept:
                kept.append(training.clone(model))  # the first stage still gets the original
            return algorithm(training.clone(kept[0]), *given, **settings)

        return from_the_original

    return swapped((rum, "ALGORITHMS", {name: reloading(algorithm) for name, algorithm in rum.ALGORITHMS.items()}))


def _small_last_batch() -> AbstractContextManager:
    """10: batches are filled up one after the other, and the last one gets what is left."""
    from mulnb import training
    from mulnb.unlearning import neg_grad_plus

    def filled_up(order: Tensor, size: int) -> tuple[Tensor, ...]:
        return order.split(size, dim=-1)

    return swapped((training, "batches", filled_up), (neg_grad_plus, "batches", filled_up))


def _epochs_of_one_stage(profile: Profile, algorithm: str) -> dict[str, Any]:
    """10: one grid for every run of the algorithm, so that vanilla may make the epochs of one stage where RUM^F makes three."""
    plan = profile.unlearning.algorithms[algorithm]
    return plan["vanilla"] | {"epochs": min(plan["vanilla"]["epochs"], _stage_epochs(profile, algorithm))}


def _stage_epochs(profile: Profile, algorithm: str) -> float:
    """The epochs of RUM^F's longest stage; infinite where the algorithm has no epochs."""
    settings = profile.unlearning.algorithms[algorithm].get("rum_f", {})
    stages = [settings] if isinstance(settings, dict) else settings
    return max(stage.get("epochs", math.inf) for stage in stages)


# ---- another forget set


def _medium_by_mid_range(study: Study, score: str, seed: int) -> Strata:
    """3: this script takes for medium what is nearest to the middle between the smallest and the largest score."""
    scores = study.scores(score, seed)
    middle = float(scores.min() + scores.max()) / 2
    return forget.strata(scores, study.profile.forget.size, middle, seed)


def _ties_as_listed(study: Study, score: str, seed: int) -> Strata:
    """4: `argsort` breaks ties by the order of the examples, which a folder of images lists class by class."""
    listed = np.argsort(study.splits.train.labels, kind="stable")
    return strata_as_listed(study.scores(score, seed), study.profile.forget.size, centre(score), listed)


def strata_as_listed(scores: np.ndarray, size: int, middle: float | str, listed: np.ndarray) -> Strata:
    """The wrong twin of `forget.strata`: the same where no two scores are equal.

    Args:
        scores: [N], oriented.
        size: examples in each stratum.
        middle: where the medium stratum lies, or "median".
        listed: int64 [N], the examples in the order in which the data set lists them.
    """
    values = np.asarray(scores, dtype=np.float64)
    order = listed[np.argsort(values[listed], kind="stable")]  # ascending, ties as they are listed
    low, rest, high = np.split(order, [size, len(order) - size])

    centre_of = np.median(values) if middle == "median" else float(middle)
    medium = rest[np.argsort(np.abs(values[rest] - centre_of), kind="stable")[:size]]
    return Strata(np.sort(low), np.sort(medium), np.sort(high))


# ---- another oracle


def _unconverged(recipe: Recipe) -> Recipe:
    """10: the oracle is stopped long before it fits R."""
    return recipe.model_copy(update={"epochs": max(1, recipe.epochs // SHORT)})


# ---- wrong while a network is measured


def measured_right(study: Study, trained: Trained, attacks: tuple[str, ...] = ("confidence",)) -> Outcome:
    """The outcome of a network as the study measures it."""
    return _outcome(study, trained, trained.logits, trained.test_logits, attacks)


def _outcome(
    study: Study, trained: Trained, logits: Tensor, test_logits: Tensor, attacks: tuple[str, ...] = ("confidence",)
) -> Outcome:
    """The outcome of a network by these outputs."""
    kept = without(len(study.train), trained.forget)
    labels, test_labels = study.train.labels, study.test.labels
    return audit.evaluate_outputs(logits, labels, test_logits, test_labels, trained.forget, kept, trained.seed, attacks)


def _with_mixed_up_indices(study: Study, trained: Trained) -> Outcome:
    """5: the attack sees a modified entropy whose rows and columns are mixed up; its efficacy is the outcome's `mia`."""
    from mulnb.audit import evaluation

    with swapped((evaluation, "attack_features", mixed_up_features)):
        outcome = measured_right(study, trained, ("confidence", "modified_entropy"))
    return outcome | {"mia": outcome["mia_modified_entropy"]}


def mixed_up_features(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """The wrong twin of `audit.attack_features`: `p[:, labels]` for `p[range(n), labels]`.

    It changes every column whose class occurs among the labels, for all examples, and not each example's own one.
    """
    import torch

    log_p = torch.log_softmax(logits.double(), dim=1)  # [n, K]
    log_rest = torch.log1p(-log_p.exp().clamp(max=1 - 1e-12))

    weights, logs = log_p.exp(), log_rest.clone()
    weights[:, labels] = 1 - weights[:, labels]
    logs[:, labels] = log_p[:, labels]
    wrong = -(weights * logs).sum(1, keepdim=True)  # [n, 1]
    return audit.attack_features(logits, labels) | {"modified_entropy": wrong.cpu().numpy()}


def _with_augmentation(study: Study, trained: Trained) -> Outcome:
    """8: the images are shifted and mirrored as in training, in other ways for the oracle."""
    from mulnb import training

    logits = training.predict(trained.network, MovedExamples(study.train, trained.moves))
    test_logits = training.predict(trained.network, MovedExamples(study.test, trained.moves + 1))
    return _outcome(study, trained, logits, test_logits)


class MovedExamples:
    """Examples that are augmented whenever they are read, by up to an eighth of their side: 4 of 32 pixels, as in training.

    `seed` draws how each image is moved.
    """

    def __init__(self, data: Any, seed: int) -> None:
        import torch

        from mulnb import training

        moves = training.draw_moves(len(data), torch.Generator().manual_seed(seed))  # [N, 3]
        share = min(1.0, data.images.shape[-1] / 32)
        moves[:, :2] = (moves[:, :2] * share).round().long()
        self._data, self._moves = data, moves.to(data.device)

    def __getattr__(self, name: str) -> Any:
        """Everything else is as in the examples themselves."""
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        """As `Examples.inputs`, of the moved images."""
        return self._data.inputs(index, self._moves[index])


def _in_training_mode(study: Study, trained: Trained) -> Outcome:
    """8: `model.eval()` is forgotten. BatchNorm normalises by each batch of S, R or T, and goes on learning from them."""
    import torch

    from mulnb import training

    network, right = training.clone(trained.network), training.mode

    def always_training(model: nn.Module, training: bool) -> AbstractContextManager:
        return right(model, True)

    def outputs(data: Any, part: np.ndarray) -> Tensor:
        size = math.ceil(len(part) / math.ceil(len(part) / 256))  # of nearly equal size: BatchNorm cannot take a single image
        return training.predict(network, data, torch.from_numpy(part), batch=size)

    logits = torch.empty_like(trained.logits)
    with swapped((training, "mode", always_training)):
        for part in (trained.forget, without(len(study.train), trained.forget)):
            logits[part] = outputs(study.train, part)
        test_logits = outputs(study.test, np.arange(len(study.test)))
    return _outcome(study, trained, logits, test_logits)


# ---- the switches


def _everything(study: Study, algorithm: str, strategy: str) -> bool:
    return True


def _of_scores(study: Study, algorithm: str, strategy: str) -> bool:
    return study.profile.forget.file is None  # a forget set from a file is chosen by no script


MISTAKES: dict[str, Mistake] = {
    "smallest_gradients": Mistake(1, lambda study, algorithm, strategy: algorithm == "salun", during=_mask_of_the_smallest),
    "labels_kept": Mistake(2, lambda study, algorithm, strategy: algorithm in {"salun", "random_label"}, during=_labels_kept),
    "medium_by_mid_range": Mistake(
        3,
        # the algorithm of the sequential study has a script of its own
        lambda study, algorithm, strategy: study.profile.forget.file is None and algorithm == study.profile.sequential.algorithm,
        strata=_medium_by_mid_range,
    ),
    "ties_as_listed": Mistake(4, _of_scores, strata=_ties_as_listed),
    "mixed_up_indices": Mistake(5, _everything, measure=_with_mixed_up_indices, metric="tow_mia", attack="mia_modified_entropy"),
    "original_reloaded": Mistake(7, lambda study, algorithm, strategy: strategy == "rum_f", during=_original_reloaded),
    "augmented_evaluation": Mistake(8, _everything, measure=_with_augmentation),
    "training_mode": Mistake(8, _everything, measure=_in_training_mode),
    "one_stage_epochs": Mistake(
        10,
        lambda study, algorithm, strategy: (
            strategy == "vanilla"
            and study.profile.unlearning.algorithms[algorithm]["vanilla"].get("epochs", 0)
            > _stage_epochs(study.profile, algorithm)
        ),
        settings=_epochs_of_one_stage,
    ),
    "small_last_batch": Mistake(10, _everything, during=_small_last_batch),
    "unconverged_oracle": Mistake(10, _everything, oracle=_unconverged),
}
