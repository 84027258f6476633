"""A dry run: every code path of a profile, with its networks at full size, in minutes.

`load_profile` applies `shorten` to a profile that sets `limit.steps`. The numbers of a dry run mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulnb.config.schema import Profile, Settings, Unlearning

BATCH = 4  # the fewest with which every class still has training images beside a chain's forget sets
CLASSES = 4
POOL = 16  # models, at most
SHORT_TRAINING = {"epochs": 1, "batch": BATCH}


def shorten(profile: Profile, steps: int) -> Profile:
    """A profile with one epoch everywhere, and so few images that an epoch has `steps` batches.

    The networks keep their size. The pool has just enough models that each example is inside some subsets and outside others, or
    as many as the profile has, where these are fewer.

    Args:
        profile: the profile as it is written.
        steps: optimizer steps of a training, at most.

    Returns:
        A checked profile with the name of `profile` and "-dry".
    """
    train_images = steps * BATCH

    pool_training = profile.pool.training
    if pool_training is not None:
        pool_training = _with(pool_training, **SHORT_TRAINING)

    # half of the training images are the hold-out set, the other half has `steps` batches
    dataset = _with(profile.dataset, train_images=2 * train_images, test_images=train_images, holdout=0.5, classes=CLASSES)
    holdout_retraining = _with(profile.proxies.holdout_retraining, **SHORT_TRAINING)
    relearn = _with(profile.audit.relearn, **SHORT_TRAINING)

    return _with(
        profile,
        name=f"{profile.name}-dry",
        title=f"{profile.title}, dry run",
        dataset=dataset,
        training=_with(profile.training, **SHORT_TRAINING),
        pool=_with(profile.pool, models=min(profile.pool.models, POOL), share=0.5, group=4, training=pool_training),
        proxies=_with(profile.proxies, holdout_retraining=holdout_retraining),
        forget=_with(profile.forget, size=1),
        unlearning=_short_unlearning(profile.unlearning),
        sequential=_with(profile.sequential, steps=2),
        audit=_with(profile.audit, membership=False, relearn=relearn),  # membership needs a larger pool
        tune=_with(profile.tune, grid=_short_grid(profile.tune.grid), extend={}),
    )


def _short_settings(settings: Settings | tuple[Settings, ...]) -> Any:
    """One epoch of small batches, for one stage or for each of three."""
    if isinstance(settings, tuple):
        return tuple(map(_short_settings, settings))

    short = SHORT_TRAINING | {"msteps": 1}  # SCRUB cannot make more max-passes than epochs
    return {key: short.get(key, value) for key, value in settings.items()}


def _short_unlearning(plan: Unlearning) -> Unlearning:
    """Every algorithm and strategy with one epoch."""
    algorithms: dict[str, dict[str, Any]] = {}
    for name, strategies in plan.algorithms.items():
        algorithms[name] = {}
        for strategy, settings in strategies.items():
            algorithms[name][strategy] = _short_settings(settings)

    if plan.rum is None:
        return _with(plan, algorithms=algorithms)

    stages = {}
    for stratum, stage in dict(plan.rum).items():
        stages[stratum] = _with(stage, settings=_short_settings(stage.settings))
    return _with(plan, algorithms=algorithms, rum=_with(plan.rum, **stages))


def _short_grid(grid: dict[str, dict[str, tuple[float | int, ...]]]) -> dict[str, dict[str, tuple[float | int, ...]]]:
    """The first candidate of every algorithm, with three epochs: three stages make one each."""
    shortened = {}
    for name, axes in grid.items():
        first = _short_settings({setting: values[0] for setting, values in axes.items()})
        if "epochs" in first:
            first["epochs"] = 3

        shortened[name] = {setting: (value,) for setting, value in first.items()}  # an axis with a single value

    return shortened


def _with(model: Any, **changes: Any) -> Any:
    """A checked copy of a part of a profile."""
    return type(model).model_validate(dict(model) | changes)
