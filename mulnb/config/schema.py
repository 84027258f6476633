"""What a profile can say: every number of an experiment, with its bounds. A `Profile` cannot be changed.

A mistake is one line that names the key, the value and what would be valid.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from mulnb.core.registry import ARCHITECTURES, DATASETS, PROXIES
from mulnb.core.validation import explain, wrong_setting
from mulnb.core.values import (
    FASTEST,
    LARGEST,
    BatchSize,
    Count,
    FilePath,
    FolderName,
    Frozen,
    Line,
    Number,
    Pixels,
    Rate,
    Seed,
    Several,
    Share,
    known,
)
from mulnb.core.vocabulary import ordered

Strategy = Literal["vanilla", "repeat", "shuffle", "rum_f"]  # strategies that run one algorithm
STRATEGIES: tuple[str, ...] = ("nothing", *Strategy.__args__, "rum")  # `rum` runs one for each stratum


Score = Annotated[str, known(PROXIES, "memorization")]
Settings = dict[str, float | int | bool]  # keyword arguments of an unlearning algorithm


class Dataset(Frozen):
    """Where the images come from and how they are split. `test` is used only where the source brings no test set."""

    name: Annotated[str, known(DATASETS)]
    root: FilePath | None = None  # where the images lie; None: `data/<name>` in MULNB_HOME, where torchvision downloads CIFAR to
    classes: Annotated[int, Field(ge=2)] | None = None  # the first so many classes by name; None: all
    train_images: Count | None = None  # a class-balanced sample of the source's training images; None: all
    test_images: Count | None = None  # the same of its test images
    size: Pixels | None = None  # resize every image to size × size; None: as they are, which must be one size
    skip_corrupt: bool = False  # leave out images that cannot be decoded, with a notice, instead of refusing them
    test: Share = 0.2
    holdout: Share = 0.1  # share of the training images, class-balanced, never trained on
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the training labels replaced by another class
    seed: Seed = 0

    @model_validator(mode="after")
    def _digits_lie_nowhere(self) -> Dataset:
        if self.name == "digits" and self.root is not None:
            raise ValueError(f"dataset.root = {self.root!r}: digits have no folder: leave it out, or set dataset.name: folder")
        return self


class Model(Frozen):
    """The network that is trained; see `models.build`."""

    arch: Annotated[str, known(ARCHITECTURES)]
    width: Count | None = None  # channels of the first stage; None is the published architecture
    stem: Literal["cifar", "stride2", "imagenet"] = "cifar"


class Recipe(Frozen):
    """One training by SGD: of the original model (METHOD §6), of a pool model (§2), or by an unlearning algorithm."""

    epochs: Annotated[int, Field(ge=0, lt=LARGEST)]
    batch: BatchSize
    lr: Rate
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[Count, ...] = ()  # epochs after which `step` multiplies the rate by `gamma`
    gamma: Rate = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=FASTEST)] = 5e-4
    augment: bool = False  # shift by up to 4 pixels and mirror, at random
    precision: Literal["fp32", "bf16"] = "fp32"  # of the network's activations in training; losses and signals are always fp32

    @model_validator(mode="after")
    def _milestones_are_those_of_steps(self) -> Recipe:
        if (self.schedule == "step") != bool(self.milestones):
            given = f"schedule = {self.schedule!r} with milestones = {list(self.milestones)}"
            raise ValueError(f"{given}: the schedule 'step' has milestones, the others have none")
        return self


class Scores(Frozen):
    """Exact scores computed elsewhere, read from a file instead of training a pool (METHOD §2)."""

    file: FilePath  # .npz, .npy, .csv, .parquet or .json
    key: str | None = None  # the array or column that holds them; None: the only one
    index: str | None = None  # how the file is indexed: `source` positions, `train` (this profile's order), or a column's name
    orientation: Literal["memorization", "consistency"] = "memorization"  # of C-scores, memorization is 1 − c


class Pool(Frozen):
    """M models on random shares of the training set; `group` of them train as one network where the architecture allows it."""

    models: Annotated[int, Field(ge=0, le=100_000)] = 0
    scores: Scores | None = None  # memorization from a file: no pool is trained
    share: Share = 0.7
    group: Count = 25
    seed: Seed = 0
    training: Recipe | None = None  # None: the recipe of the original model
    model: Model | None = None  # None: the network of the original model

    @model_validator(mode="after")
    def _models_or_scores(self) -> Pool:
        if self.scores is None and self.models < 4:
            raise ValueError(f"pool.models = {self.models}: at least 4 are needed, or pool.scores with a file of exact scores")
        return self


class HoldoutRetraining(Frozen):
    """Fine-tuning on the hold-out set for the proxy of that name (METHOD §3)."""

    lr: Rate = 0.1
    epochs: Count = 30
    patience: Count = 4  # stop after so many epochs without a lower training loss
    batch: BatchSize = 256
    holdout: Literal["holdout", "test"] = "holdout"  # "test" copies the authors and leaks the test set


class LossCurvature(Frozen):
    """The proxy loss curvature (METHOD §3)."""

    h: Annotated[float, Field(ge=1e-6, le=1e3)] = 0.01  # length of the step along the sign of the gradient
    when: Literal["epochs", "end"] = "epochs"  # the mean over the epochs, or the trained network only


class Proxies(Frozen):
    """Settings of the proxies that have any."""

    holdout_retraining: HoldoutRetraining = HoldoutRetraining()
    loss_curvature: LossCurvature = LossCurvature()


class Forget(Frozen):
    """The forget sets (METHOD §4)."""

    size: Count  # examples per stratum; a forget set has three strata
    file: FilePath | None = None  # a set saved by `forget.save` or the explorer: unlearned instead of the strata of the scores


class Stage(Frozen):
    """One stage of the full RUM: its algorithm and settings. None skips the stratum."""

    algorithm: str | None = None
    settings: Settings = Field({})

    @model_validator(mode="after")
    def _nothing_has_no_settings(self) -> Stage:
        if self.algorithm is None and self.settings:
            raise ValueError(f"unlearning.rum: settings {self.settings} without an algorithm: name it, or leave the settings out")
        return self


class Rum(Frozen):
    """The full RUM (METHOD §5): an algorithm for each stratum. The defaults are the authors' choice."""

    low: Stage = Stage()
    medium: Stage = Stage(algorithm="fine_tune", settings={"lr": 0.1, "epochs": 10})
    high: Stage = Stage(algorithm="salun", settings={"lr": 0.1, "epochs": 5})

    @model_validator(mode="after")
    def _does_something(self) -> Rum:
        if not self.algorithms:
            raise ValueError("unlearning.rum names no algorithm: name one, or leave unlearning.rum out")
        return self

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        return self.low, self.medium, self.high

    @property
    def algorithms(self) -> list[str]:
        """What it is made of, in the order in which names are shown."""
        return ordered(stage.algorithm for stage in self.stages if stage.algorithm)


def _check_recipe(key: str, settings: Settings) -> None:
    """Raises `ValueError` unless the settings of `retrain` are a whole recipe, as those of the original model are."""
    try:
        Recipe.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"{key}: {explain(error, Recipe)}") from None


class Unlearning(Frozen):
    """`algorithms[name][strategy]` is one set of settings for every stage, or a list of three, one a stage."""

    scores: Several[Score]
    algorithms: dict[str, dict[Strategy, Settings | tuple[Settings, Settings, Settings]]]
    rum: Rum | None = None  # None: the full RUM is not run
    retain_later_strata: bool = True  # METHOD §5: the authors keep the later strata in the retain set

    @property
    def every_setting(self) -> list[tuple[str, str, Settings]]:
        """All settings of unlearning algorithms: where they stand in the profile, the algorithm, and the settings."""
        found = []
        for name, strategies in self.algorithms.items():
            for strategy, given in strategies.items():
                stages = [given] if isinstance(given, dict) else given
                found += [(f"unlearning.algorithms.{name}.{strategy}", name, settings) for settings in stages]

        for stratum, stage in dict(self.rum or {}).items():
            if stage.algorithm:
                found.append((f"unlearning.rum.{stratum}.settings", stage.algorithm, stage.settings))
        return found

    @model_validator(mode="after")
    def _settings_are_possible(self) -> Unlearning:
        for key, algorithm, settings in self.every_setting:
            if algorithm == "retrain":
                _check_recipe(key, settings)
            elif wrong := wrong_setting(algorithm, settings):
                raise ValueError(f"{key}.{wrong}")
        return self

    @model_validator(mode="after")
    def _vanilla_is_the_reference(self) -> Unlearning:
        if "retrain" in self.algorithms:
            raise ValueError("unlearning.algorithms.retrain: leave it out, every forget set has two oracles already")

        for name, strategies in self.algorithms.items():
            if "vanilla" not in strategies:
                raise ValueError(f"unlearning.algorithms.{name} has no 'vanilla', the reference of every other strategy")

            if not isinstance(strategies["vanilla"], dict):
                raise ValueError(f"unlearning.algorithms.{name}.vanilla has one stage: give one set of settings, not a list")
        return self


class Sequential(Frozen):
    """Several forget sets in a row (METHOD §8)."""

    steps: Annotated[int, Field(ge=2, lt=LARGEST)] = 5
    algorithm: str = "neg_grad_plus"
    score: Literal["holdout_retraining"] = "holdout_retraining"
    strategies: Several[Strategy] = ("vanilla", "rum_f")


class Audit(Frozen):
    """The audits beyond the paper (METHOD §7b)."""

    membership: bool = True  # LiRA and RMIA; they need a pool in which every example was left out by 8 models at least
    relearn: Recipe = Recipe(epochs=30, batch=64, lr=0.01)  # training on S alone; `epochs` is the limit


class Axis(Frozen):
    """How the search extends one axis of its grid when a winner stands on the edge: by `factor` or by `step`, up to an end."""

    factor: Annotated[float, Field(gt=1)] | None = None
    step: Annotated[float, Field(gt=0)] | None = None
    low: float | None = None  # the ends; None: the grid's own end on that side is final
    high: float | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Axis:
        if (self.factor is None) == (self.step is None) or (self.low is None and self.high is None):
            raise ValueError("factor and step: give either a factor or a step, and the ends low, high or both")

        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low = {self.low:g} is above high = {self.high:g}")
        return self


def _check_axes(algorithm: str, axes: dict[str, tuple[float | int, ...]]) -> None:
    """Raises `ValueError` for a value in a grid that cannot be right."""
    first = {setting: values[0] for setting, values in axes.items()}
    for setting, values in axes.items():
        for value in values:
            if algorithm == "retrain":
                _check_recipe("tune.grid.retrain", first | {setting: value})
            elif wrong := wrong_setting(algorithm, {setting: value}):
                raise ValueError(f"tune.grid.{algorithm}.{wrong}")


class Tune(Frozen):
    """The recorded search of METHOD §6: every strategy of an algorithm tries the same grid, on seeds that no result uses."""

    seeds: Several[Seed] = (1000, 1001, 1002, 1003)
    scores: Several[Score] = ("memorization",)
    grid: dict[str, dict[str, Several[Number]]] = Field({})
    extend: dict[str, Axis] = Field({})  # by setting, for all algorithms

    @model_validator(mode="after")
    def _axes_are_possible(self) -> Tune:
        for algorithm, axes in self.grid.items():
            if not axes:
                raise ValueError(f"tune.grid.{algorithm} has no settings to try: give at least one, for example lr: [0.01, 0.1]")

            _check_axes(algorithm, axes)

        known = set().union(*self.grid.values())
        if self.grid and (unknown := sorted(set(self.extend) - known)):
            raise ValueError(f"tune.extend.{unknown[0]}: no such axis in tune.grid: there are {', '.join(sorted(known))}")
        return self

    @model_validator(mode="after")
    def _ends_are_possible(self) -> Tune:
        for (setting, axis), algorithm in itertools.product(self.extend.items(), self.grid):
            if setting not in self.grid[algorithm]:
                continue
            for end, value in (("low", axis.low), ("high", axis.high)):
                if value is not None and (wrong := wrong_setting(algorithm, {setting: value})):
                    raise ValueError(f"tune.extend.{setting}.{end}: {algorithm}: {wrong}")
        return self


class Resources(Frozen):
    """What one task takes of a node of a Ray cluster. No result depends on it."""

    num_cpus: Annotated[float, Field(gt=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] | None = None  # None: one where the cluster has any

    @model_validator(mode="after")
    def _several_are_whole(self) -> Resources:
        for name, value in (("num_cpus", self.num_cpus), ("num_gpus", self.num_gpus or 0)):
            if value > 1 and value != int(value):
                raise ValueError(f"resources.{name} = {value:g}: should be at most 1, or a whole number")
        return self


class Limit(Frozen):
    """A dry run: every code path of a profile, with its networks at full size, in minutes; see `dry_run.shorten`."""

    steps: Annotated[int, Field(ge=2, lt=LARGEST)] | None = None  # optimizer steps of a training, at most


class Profile(Frozen):
    """Every number of an experiment. See `load_profile`."""

    name: FolderName
    title: Line
    dataset: Dataset
    model: Model
    training: Recipe
    pool: Pool
    proxies: Proxies = Proxies()
    forget: Forget
    seeds: Several[Seed]
    unlearning: Unlearning
    sequential: Sequential = Sequential()
    audit: Audit = Audit()
    tune: Tune = Tune()
    limit: Limit = Limit()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _trains_at_least_once(self) -> Profile:
        recipes = {"training": self.training, "pool.training": self.pool.training, "audit.relearn": self.audit.relearn}
        for key, recipe in recipes.items():
            if recipe and recipe.epochs < 1:
                raise ValueError(f"{key}.epochs = {recipe.epochs}: should be a whole number of at least 1")
        return self

    @model_validator(mode="after")
    def _seeds_are_separate(self) -> Profile:
        if shared := set(self.seeds) & set(self.tune.seeds):
            raise ValueError(f"tune.seeds {sorted(shared)} are also in seeds: the search must not see a reported seed")
        for seed in self.seeds:  # the oracles of a seed have it plus these
            if both := {seed + 10_000, seed + 20_000} & set(self.seeds):
                raise ValueError(f"seeds {seed} and {min(both)}: an oracle of one would begin with the weights of the other")
        return self

    @model_validator(mode="after")
    def _sequential_has_settings(self) -> Profile:
        plan, algorithms = self.sequential, self.unlearning.algorithms
        if plan.algorithm not in algorithms:
            named = ", ".join(algorithms) or "which is empty"
            raise ValueError(f"sequential.algorithm '{plan.algorithm}' is not in unlearning.algorithms ({named})")

        known = algorithms[plan.algorithm]
        if missing := [strategy for strategy in plan.strategies if strategy not in known]:
            raise ValueError(
                f"sequential.strategies {missing} have no settings in unlearning.algorithms.{plan.algorithm} ({', '.join(known)})"
            )
        return self

    def numbers(self) -> dict[str, Any]:
        """What results depend on, as JSON: all but the folder of the images and what a task takes of a node."""
        return self.model_dump(mode="json", exclude={"dataset": {"root"}, "resources": True})

    @property
    def pool_training(self) -> Recipe:
        """The recipe of the pool's models."""
        return self.pool.training or self.training

    @property
    def pool_model(self) -> Model:
        """The network of the pool's models."""
        return self.pool.model or self.model
