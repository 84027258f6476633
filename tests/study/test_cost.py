"""What `mulnb show` says of the time, beside what was measured: the model of cost on `cifar10-small`, and the probe."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from mulnb import config, data
from mulnb.core.errors import UserError
from mulnb.study import cost

# Measured on two idle cores of an Intel Xeon (one worker a core), in seconds of one worker. A step of one example follows from
# the pool: 120 models on 70 % of 5 000 images, 20 epochs.
STEP = 3.3e-4
POOL, ORIGINALS, HOLDOUT_RETRAINING = 2 * 24 * 60, 2 * 5.6 * 60, 2 * 1.5 * 60
FINE_TUNE_RUN, NEG_GRAD_PLUS_RUN = 7.5, 18.0


def estimated(monkeypatch, **overrides):
    """The items of cifar10-small by name, with the measured step instead of a probe."""
    monkeypatch.setattr(cost, "_seconds_per_example", lambda *of_a_network: STEP)
    overrides = {name.replace("__", "."): value for name, value in overrides.items()}
    return {item.what: item for item in cost.estimate(config.load_profile("cifar10-small", overrides))}


def near(estimate, measured):
    return measured / 2 < estimate < measured * 2


def test_the_scores_of_cifar10_small_are_right_within_a_factor_of_two(monkeypatch):
    items = estimated(monkeypatch)
    assert near(items["pool models"].seconds, POOL)
    assert near(items["original models and proxies"].seconds, ORIGINALS + HOLDOUT_RETRAINING)


@pytest.mark.parametrize(("algorithm", "measured"), [("fine_tune", FINE_TUNE_RUN), ("neg_grad_plus", NEG_GRAD_PLUS_RUN)])
def test_an_unlearning_run_is_right_within_a_factor_of_two(monkeypatch, algorithm, measured):
    settings = config.load_profile("cifar10-small").unlearning.algorithms[algorithm]
    only = {algorithm: {name: dict(values) for name, values in settings.items()}}
    runs = estimated(monkeypatch, unlearning__algorithms=only, sequential__algorithm=algorithm)["unlearning runs"]
    assert near(runs.seconds / runs.count, measured)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"dataset.train_images": 777, "dataset.test_images": 55, "dataset.holdout": 0.23, "sequential.steps": 2},
        {"dataset.classes": 3, "dataset.test": 0.35, "dataset.size": 12, "sequential.steps": 2},
    ],
)
def test_sizes_are_known_without_the_images(overrides):
    profile = config.load_profile("digits", overrides)
    splits = data.load_data(profile)
    assert cost._sizes(profile) == (
        len(splits.train),
        len(splits.holdout),
        len(splits.test),
        len(splits.train.classes),
        *splits.train.images.shape[1:3],
    )


def test_a_forget_set_that_is_too_large_is_refused_in_the_words_of_a_run():
    for overrides in ({"forget.size": 500}, {"sequential.steps": 12}):
        profile = config.load_profile("digits", overrides)
        with pytest.raises(UserError) as of_run:
            data.load_data(profile)
        with pytest.raises(UserError) as of_show:
            cost.check(profile)
        assert str(of_show.value) == str(of_run.value)

    # of CIFAR-10 no image is read: 50 000 less a tenth of each class
    with pytest.raises(UserError, match=r"need 60000 of 45000 training examples; at most 15000"):
        cost.check(config.load_profile("cifar10", {"forget.size": 20_000}))


class Step:
    """A training step that works for a while and waits for longer, as on a machine that does something else, too."""

    data = SimpleNamespace(device=torch.device("cpu"))

    def __call__(self, index, *others):
        started = time.process_time()
        while time.process_time() - started < 0.01:
            pass
        time.sleep(0.05)
        return None, torch.zeros(len(index))


def test_the_probe_does_not_count_the_time_for_which_the_processor_works_for_others(monkeypatch):
    monkeypatch.setattr(cost, "PROBE_S", 0.03)
    with_a_batch_of_ten = cost._timed(Step(), (10,))
    assert 0.001 <= with_a_batch_of_ten < 0.004
