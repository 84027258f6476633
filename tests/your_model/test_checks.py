"""Gates before any work: every door says in the same words that a model is at chance on its own data."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, forgotten, memorizing

import mulnb
from mulnb.core.errors import Notice, UserError
from mulnb.your_model import api, checks, inputs, report, stand_in, tuning, verdict

MISFIT = r"labels, their order or normalize=\(mean, std\) are wrong"
WORDS = rf"near chance \(0\.\d\d\): {MISFIT}"
DARK = {"normalize": (0.5, 1e6)}  # every pixel becomes nearly the same
REQUEST = [3, 17, 40]

DOORS = {
    "score": lambda data, **more: mulnb.score(memorizing(), *data, proxy="loss_curvature", **more),
    "score on a hold-out": lambda data, **more: mulnb.score(memorizing(), *data, holdout=HOLDOUT, progress=False, **more),
    "unlearn": lambda data, **more: mulnb.unlearn(memorizing(), *data, REQUEST, settings=QUICK, **more),
    "evaluate": lambda data, **more: mulnb.evaluate(memorizing(), *data, REQUEST, holdout=HOLDOUT, **more),
    "tune": lambda data, **more: mulnb.tune(memorizing(), *data, REQUEST, holdout=HOLDOUT, progress=False, **more),
    "forget": lambda data, **more: mulnb.forget(memorizing(), data, REQUEST, holdout=HOLDOUT, progress=False, **more),
}
WRONG = {"normalize": ((IMAGES, LABELS), DARK), "labels": ((IMAGES, LABELS[::-1].copy()), {})}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_that_the_model_is_at_chance(door, wrong):
    data, more = WRONG[wrong]
    if door in ("tune", "forget"):  # they search: nothing that they could find would be right
        with pytest.raises(UserError, match=f"^accuracy on the retain set is .*{WORDS}$"):
            DOORS[door](data, **more)
        return

    with pytest.warns(Notice, match=f"accuracy on the (training images|retain set) is .*{WORDS}"):
        DOORS[door](data, **more)


def test_no_door_says_so_of_a_model_that_knows_its_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        mulnb.score(memorizing(), IMAGES, LABELS, holdout=HOLDOUT, lr=0.05, progress=False)
        mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=QUICK)


def test_a_hold_out_with_other_labels_is_told():
    shifted = (HOLDOUT[0], (HOLDOUT[1] + 1) % 4)
    with pytest.warns(Notice, match=f"accuracy on the hold-out is .*near chance .* and 1.00 on training images: {MISFIT}"):
        mulnb.score(memorizing(), IMAGES, LABELS, holdout=shifted, lr=0.05, progress=False)
    with pytest.warns(Notice, match="accuracy on the hold-out is .*near chance"):
        mulnb.tune(memorizing(), IMAGES, LABELS, REQUEST, holdout=shifted, trials=1, budget=1, progress=False)


def test_a_network_to_be_retrained_may_know_nothing():
    from small import Convolutional

    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        how = {"algorithm": "retrain", "strategy": "vanilla", "settings": {"epochs": 1, "batch": 32, "lr": 0.01}}
        mulnb.unlearn(Convolutional(), IMAGES, LABELS, REQUEST, fresh=Convolutional, **how)


def test_outputs_that_are_not_finite_are_told_before_any_work():
    broken = copy.deepcopy(memorizing())
    with torch.no_grad():
        broken.head[2].bias[1] = torch.nan
    with pytest.raises(UserError, match=r"weight 'head\.2\.bias' of the model is not finite"):
        mulnb.unlearn(broken, IMAGES, LABELS, REQUEST, settings=QUICK)


def test_images_on_two_scales_are_told():
    for holdout in ((HOLDOUT[0].astype(np.float32), HOLDOUT[1]), (HOLDOUT[0] / 255 / 255, HOLDOUT[1])):
        for call in (
            lambda given: mulnb.score(memorizing(), IMAGES, LABELS, holdout=given),
            lambda given: mulnb.evaluate(memorizing(), IMAGES, LABELS, REQUEST, holdout=given),
        ):
            with pytest.raises(UserError, match=r"values go up to .*, those of the training images up to 0\.9.*: give both"):
                call(holdout)


def test_one_class_alone_says_nothing_about_a_model():
    one = LABELS == 1
    with pytest.raises(UserError, match="all training images have the same label"):
        mulnb.forget(memorizing(), (IMAGES[one], LABELS[one]), [1], holdout=HOLDOUT, progress=False)


def test_a_hold_out_is_judged_by_guessing_and_not_by_the_most_frequent_class():
    most, guess = checks.chances(torch.tensor([0, 0, 0, 1]))
    assert (most, guess) == (0.75, 0.625)
    assert verdict.unseen_at_chance(0.45, 1.0, 0.375, "the hold-out") == ""
    assert "accuracy on the hold-out is 0.30, near chance" in verdict.unseen_at_chance(0.3, 1.0, 0.375, "the hold-out")
    assert verdict.unseen_at_chance(0.3, 0.5, 0.375, "the hold-out") == ""  # it knows little of its training images, too


def test_of_many_images_a_sample_is_enough():
    images = np.concatenate([IMAGES] * 8)
    network, data = api.opened(memorizing(), images, np.concatenate([LABELS] * 8))
    right, labels = checks._right(network, data, np.arange(len(images)), "the training images")
    assert len(right) == len(labels) == checks.SAMPLE < len(images) and right.mean() > 0.99


def test_what_is_to_be_kept_is_looked_at_once_before_a_search(monkeypatch):
    network = api.adapt(memorizing())
    given = {"images": IMAGES, "labels": LABELS, "holdout": HOLDOUT, "test": None, "normalize": None}
    setting, _ = report.setting_of(network, given, REQUEST, None, 0)
    asked, ask = [], checks._right
    monkeypatch.setattr(checks, "_right", lambda *given: asked.append(given[-1]) or ask(*given))
    tuning.check_accuracy(network, setting)
    assert asked == ["the retain set", "the hold-out"]


def test_a_holdout_that_says_little_is_told():
    one = HOLDOUT[1] == 1
    with pytest.warns(Notice, match="holdout has images of class 1 only"):
        mulnb.evaluate(memorizing(), IMAGES, LABELS, REQUEST, holdout=(HOLDOUT[0][one], HOLDOUT[1][one]))
    again = (HOLDOUT[0][:2].repeat(30, 0), HOLDOUT[1][:2].repeat(30))
    with pytest.raises(UserError, match=r"holdout has 2 different images among 60: .* give at least 10"):
        mulnb.evaluate(memorizing(), IMAGES, LABELS, REQUEST, holdout=again)


def test_few_images_that_are_known_are_not_near_chance():
    assert verdict.near_chance(1.0, 0.25, 1, "the retain set") == ""
    assert "near chance" in verdict.near_chance(0.5, 0.25, 2, "the retain set")


def test_names_of_strategies_are_checked_before_the_scores():
    for strategy, words in (
        (3, "strategy = 3: expected a name"),
        ("best", "unknown strategy 'best': known are"),
        (["x"], "unknown strategy 'x'"),
    ):
        with pytest.raises(UserError, match=f"^{words}"):
            mulnb.forget(memorizing(), None, None, holdout=None, strategy=strategy)


def test_numbers_of_numpy_are_numbers():
    stand_in.check_budget(np.int64(2), np.int64(3))
    for budget, trials in ((np.float64("nan"), None), (np.int64(0), None), (None, np.int64(0)), ("2 minutes", None)):
        with pytest.raises(UserError, match=r"(budget|trials) = "):
            stand_in.check_budget(budget, trials)


def test_scores_of_other_types():
    assert checks.scores_of(torch.ones(3).bfloat16()).tolist() == [1, 1, 1]
    with pytest.raises(UserError, match="expected one number per example"):
        checks.scores_of(np.ones(3) * 1j)


def test_scores_in_another_order_are_those_of_their_index():
    values = pd.Series(np.random.default_rng(0).permutation(160) / 160)
    with pytest.warns(Notice, match="scores: its index is not in order: example i is the one with index i"):
        mixed = mulnb.strata(values.sort_values(), forget=REQUEST)
    assert [part.tolist() for part in mixed] == [part.tolist() for part in mulnb.strata(values, forget=REQUEST)]
    for index in (range(1, 161), [0] * 160, [str(place) for place in range(159, -1, -1)]):
        assert np.array_equal(checks.scores_of(values.set_axis(index)), values)  # says nothing of the examples


def test_a_column_in_the_order_of_the_data_belongs_to_their_rows():
    table = pd.DataFrame({"image": list(IMAGES), "label": LABELS, "wrong": np.arange(160) == 7}).sample(frac=1, random_state=3)
    for given in ((table[["image", "label"]], None), (np.stack(table.image), table.label)):
        data = inputs.read(*given, torch.device("cpu"), torch.float32)
        (place,) = api.request_of(table.wrong, data)
        assert torch.equal(data.images[place], torch.from_numpy(IMAGES[7]))


def test_nothing_may_have_been_forgotten_so_far():
    data = inputs.read(IMAGES, LABELS, torch.device("cpu"), torch.float32)
    for nothing in (None, [], np.zeros(160, bool), torch.zeros(160, dtype=torch.bool)):
        assert api.present_of(data, np.array([1]), nothing).all()


def test_an_image_equals_its_copy_whatever_stands_beside_it_in_the_batch():
    levels = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)
    floats = torch.cat([levels.float() / 255, torch.rand(1, 1, 4, 4)])  # the last is no multiple of 1/255
    alone, mixed = checks._canonical(levels), checks._canonical(floats)
    assert all(np.array_equal(one, other) and one.dtype == other.dtype for one, other in zip(alone, mixed, strict=False))
    assert mixed[3].dtype == np.float32


def test_a_hold_out_with_classes_that_nobody_was_trained_on_is_told():
    known = np.flatnonzero(LABELS < 2)
    with pytest.warns(Notice, match="holdout has images of class 2, 3, of which there is no training image"):
        mulnb.evaluate(memorizing(), IMAGES[known], LABELS[known], [1, 2, 3], holdout=HOLDOUT)


def test_small_values_are_no_levels_of_eight_bits():
    volts = torch.rand(6, 1, 2, 4, generator=torch.Generator().manual_seed(0)) * 2e-5
    volts[3] = volts[1]
    marked = volts.clone()
    marked[:, 0, 0, 0] = 1  # a level of 8 bits beside small values
    for rows in (volts, volts.double() * 1e-3, marked):
        digests = checks.survey(inputs.read(rows, torch.arange(6), torch.device("cpu"), torch.float32)).digests
        assert len(np.unique(digests)) == 5 and digests[1] == digests[3]


def test_an_image_equals_its_copy_in_every_type_and_after_a_normalisation_that_was_undone():
    levels = torch.cat([torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)])
    floats, dark = levels.float() / 255, (levels[:1] % 20)
    alone = checks._canonical(levels)
    for copied in (floats, levels.double() / 255, levels * (1 / 255), ((floats - 0.4914) / 0.2471) * 0.2471 + 0.4914):
        assert all(np.array_equal(one, other) for one, other in zip(alone, checks._canonical(copied), strict=True))
    assert np.array_equal(checks._canonical((dark / 255).half())[0], checks._canonical(dark)[0])


def rows(n, seed, values=2):
    """Vectors of eight values each, of which there are few."""
    drawn = torch.randint(0, values, (n, 1, 1, 8), generator=torch.Generator().manual_seed(seed)).float()
    return inputs.read(drawn, torch.arange(n) % 2, torch.device("cpu"), torch.float32)


def test_rows_of_few_values_equal_each_other_by_chance():
    for values, more in ((2, (2, 3)), (3, (4, 5))):  # nearly all rows equal another one; a tenth of them
        with pytest.warns(
            Notice, match="hold-out: .* are also training images, as often as these equal each other: taken for ch"
        ):
            assert [checks.overlap(rows(800, 1, values), rows(200, seed, values), "hold-out") for seed in more] == [None] * 2
    for drawn in (rows(800, 1, 3), rows(800, 1, 9)):
        leaked = inputs.read(drawn.images[:200], torch.arange(200) % 2, drawn.device, drawn.dtype)
        assert checks.overlap(drawn, leaked, "hold-out") == (0, 0)
    twice = inputs.read(drawn.images.repeat(2, 1, 1, 1), torch.arange(1600) % 2, drawn.device, drawn.dtype)
    assert checks.overlap(twice, leaked, "hold-out") == (0, 0)
