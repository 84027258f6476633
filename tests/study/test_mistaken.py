"""Every switch does its mistake, and nothing else: off, the same machinery gives the study's own numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mulnb import __main__, audit, forget, load_profile, models, rum, study, training
from mulnb.config import Recipe
from mulnb.core import paths
from mulnb.forget import Strata
from mulnb.results import publish
from mulnb.study import Run, Study, mistaken, mistaken_jobs, mistaken_runs
from mulnb.study.mistaken import MISTAKES
from mulnb.study.oracles import ORACLE_SEEDS
from mulnb.study.recipes import oracle_job, unlearning_job
from mulnb.unlearning import ALGORITHMS, neg_grad_plus, random_label, salun

N = 48
STRATA = Strata(np.arange(4), np.arange(4, 8), np.arange(8, 12))
FORGET, RETAIN = torch.arange(12), torch.arange(12, N)
SETTINGS = {"lr": 0.05, "epochs": 1, "batch": 16}


@pytest.fixture(scope="module")
def data():
    images = torch.randint(0, 256, (N, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    half = torch.full((1,), 0.5)
    return training.Examples(images, torch.arange(N) % 4, half, half)


@pytest.fixture(scope="module")
def model(data):
    network = models.build("small_cnn", num_classes=4, in_channels=1, width=4, seed=0)
    return training.fit(network, data, Recipe(epochs=3, batch=16, lr=0.05), 0)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# the wrong twins, one by one


def test_method10_01_the_mask_keeps_the_smallest_gradients_of_a_model_that_moves(data, model):
    before = weights(model).clone()
    right = torch.cat([part.flatten() for part in salun.saliency_mask(model, data, FORGET, 0.5)])
    wrong = torch.cat([part.flatten() for part in mistaken.smallest_gradients(model, data, FORGET, 0.5)])
    assert right.sum() == wrong.sum()
    assert (right & wrong).sum() < 0.4 * right.sum()  # half of them, if the two had nothing to do with each other
    assert torch.equal(weights(model), before)  # a copy moved

    with MISTAKES["smallest_gradients"].during():
        assert salun.saliency_mask is mistaken.smallest_gradients
    assert salun.saliency_mask is not mistaken.smallest_gradients


def test_method10_02_without_random_labels_the_forget_set_is_learnt(data, model):
    def unlearned():
        return ALGORITHMS["random_label"](training.clone(model), data, FORGET, RETAIN, seed=1, **SETTINGS)

    plain = training.fit(training.clone(model), data, Recipe(**SETTINGS), 1, index=torch.cat([FORGET, RETAIN]))
    with MISTAKES["labels_kept"].during():
        assert torch.equal(weights(unlearned()), weights(plain))
    assert not torch.equal(weights(unlearned()), weights(plain))
    assert random_label._wrong_labels(torch.zeros(5, dtype=torch.int64), 3, torch.Generator()).min() > 0


def test_method10_04_ties_are_broken_by_the_order_of_the_list():
    distinct, listed = np.random.default_rng(0).permutation(60) / 60, np.random.default_rng(1).permutation(60)
    right = forget.strata(distinct, 5, "median", seed=3)
    for part, same in zip(mistaken.strata_as_listed(distinct, 5, "median", listed), right, strict=True):
        assert np.array_equal(part, same)  # without ties there is nothing to break

    wrong = mistaken.strata_as_listed(np.zeros(60), 5, "median", listed)
    assert set(wrong.low) == set(listed[:5]) and set(wrong.medium) == set(listed[5:10]) and set(wrong.high) == set(listed[-5:])


def test_method10_05_mixed_up_indices_change_every_column():
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.3, 0.2, 0.1]]), torch.tensor([0, 1, 2])
    p = torch.softmax(logits.double(), 1)
    expected = -((1 - p) * p.log()).sum(1)  # every class is somebody's label
    wrong, right = mistaken.mixed_up_features(logits, labels), audit.attack_features(logits, labels)
    assert wrong["modified_entropy"][:, 0] == pytest.approx(expected.numpy())
    assert not np.allclose(wrong["modified_entropy"], right["modified_entropy"])
    assert all(np.array_equal(wrong[name], right[name]) for name in right if name != "modified_entropy")

    # a batch of one class changes that class's column only, which is right
    one = mistaken.mixed_up_features(logits, torch.zeros(3, dtype=torch.int64))["modified_entropy"]
    assert one == pytest.approx(audit.attack_features(logits, torch.zeros(3, dtype=torch.int64))["modified_entropy"])


def test_method10_07_only_the_last_stage_remains(data, model):
    def unlearned():
        how = {"algorithm": "fine_tune", "strategy": "rum_f", "settings": SETTINGS, "seed": 3}
        return rum.unlearn(model, data, STRATA, **how).model

    last = torch.from_numpy(STRATA.high), RETAIN
    alone = ALGORITHMS["fine_tune"](training.clone(model), data, *last, seed=3 + 2 * rum.STAGE_SEED, **SETTINGS)
    with MISTAKES["original_reloaded"].during():
        assert torch.equal(weights(unlearned()), weights(alone))
    assert not torch.equal(weights(unlearned()), weights(alone))


def test_method10_08_images_are_moved_when_they_are_evaluated(data, model):
    moved = mistaken.MovedExamples(data, 0)
    shifts = moved._moves[:, :2]
    assert set(shifts.unique().tolist()) == {-1, 0, 1}  # an eighth of 8 pixels
    assert len(moved) == N and torch.equal(moved.labels, data.labels)
    assert not torch.equal(training.predict(model, moved), training.predict(model, data))

    index = torch.arange(N)
    still = (moved._moves == 0).all(1)
    assert still.any() and torch.equal(moved.inputs(index)[still], data.inputs(index)[still])
    large = training.Examples(torch.zeros(200, 1, 32, 32, dtype=torch.uint8), torch.zeros(200, dtype=torch.int64))
    assert mistaken.MovedExamples(large, 0)._moves[:, :2].abs().max() == 4  # as in training


def test_method10_10_the_last_batch_gets_what_is_left():
    order = torch.arange(2 * 10).view(2, 10)

    def sizes():
        return [[piece.shape[-1] for piece in module.batches(order, 4)] for module in (training, neg_grad_plus)]

    with MISTAKES["small_last_batch"].during():
        assert sizes() == [[4, 4, 2]] * 2
    assert sizes() == [[4, 3, 3]] * 2


def test_method10_10_vanilla_gets_the_epochs_of_one_stage_and_the_oracle_a_tenth():
    profile = load_profile("digits")
    for algorithm in ("fine_tune", "neg_grad_plus", "salun"):
        settings = profile.unlearning.algorithms[algorithm]
        vanilla, epochs = settings["vanilla"], settings["rum_f"]["epochs"]
        assert mistaken._epochs_of_one_stage(profile, algorithm) == vanilla | {"epochs": epochs} != vanilla
    assert MISTAKES["unconverged_oracle"].oracle(profile.training).epochs == 3


def test_a_switch_is_off_again_after_an_error():
    before = training.batches
    with pytest.raises(RuntimeError, match="boom"), MISTAKES["small_last_batch"].during():
        assert training.batches is not before
        raise RuntimeError("boom")
    assert training.batches is before


def test_the_mistakes_live_in_one_place():
    named = [path.name for path in (paths.CHECKOUT / "mulnb").rglob("*.py") if "mistaken import" in path.read_text()]
    assert sorted(named) == ["mistaken_jobs.py", "mistaken_runs.py"]
    items = [mistake.item for mistake in MISTAKES.values()]
    assert items == sorted(items) and set(items) == set(range(1, 12)) - {6, 9, 11}  # the docstring says why


def test_the_stage_runs_when_it_is_named():
    assert set(__main__.STAGES) == {*publish.STAGES, "tune", "all"}
    assert set(publish.ON_REQUEST) <= set(publish.STAGES)


# a small study with and without each mistake

SMALL = {
    "seeds": [0],
    "unlearning.scores": ["binary_accuracy"],
    "unlearning.algorithms": {
        "neg_grad_plus": {
            "vanilla": {"alpha": 0.95, "lr": 0.01, "epochs": 2, "batch": 128},
            "rum_f": {"alpha": 0.95, "lr": 0.01, "epochs": 1, "batch": 128},
        },
        "salun": {"vanilla": {"lr": 0.03, "epochs": 1, "batch": 128}, "rum_f": {"lr": 0.03, "epochs": 1, "batch": 128}},
    },
    "tune.grid": {},
}
WAY = ["algorithm", "strategy", "seed"]
OUTCOME = ["acc_forget", "acc_retain", "acc_test", "mia", "oracle_acc_forget", "oracle_acc_retain", "oracle_acc_test"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("mistaken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULNB_HOME", str(home))
        patch.setenv("MULNB_WORKERS", "1")
        patch.setenv("MULNB_PROGRESS", "")
        here = Study.of(load_profile("smoke", SMALL))
        return here, mistaken_runs.mistakes(here), home


@pytest.fixture
def small(made, monkeypatch):
    """The study, with its own home in the place of the test's."""
    here, frame, home = made
    monkeypatch.setenv("MULNB_HOME", str(home))
    return here, frame


@pytest.mark.slow
def test_every_mistake_is_made_by_the_runs_that_can_make_it_and_moves_them(small):
    _, frame = small
    assert list(frame["mistake"].unique()) == list(MISTAKES)
    assert (frame.groupby("mistake").size() == 4).all() and not frame.duplicated(["mistake", *WAY]).any()
    untouched, touched = frame[~frame["touched"]], frame[frame["touched"]]
    assert (untouched["right"] == untouched["wrong"]).all()
    assert frame[["right", "wrong"]].stack().between(0, 1).all() and frame[OUTCOME].notna().all(axis=None)

    ways = {name: set(zip(rows["algorithm"], rows["strategy"], strict=True)) for name, rows in touched.groupby("mistake")}
    assert ways["smallest_gradients"] == ways["labels_kept"] == {("salun", "vanilla"), ("salun", "rum_f")}
    assert ways["medium_by_mid_range"] == {("neg_grad_plus", "vanilla"), ("neg_grad_plus", "rum_f")}
    assert ways["original_reloaded"] == {("neg_grad_plus", "rum_f"), ("salun", "rum_f")}
    assert ways["one_stage_epochs"] == {("neg_grad_plus", "vanilla")}
    assert all(len(ways[name]) == 4 for name in ("ties_as_listed", "training_mode", "small_last_batch", "unconverged_oracle"))

    base = untouched.drop_duplicates(WAY).set_index(WAY)[OUTCOME]  # every run is untouched by some mistake
    for name, rows in touched.groupby("mistake"):
        wrong = rows.set_index(WAY)[OUTCOME]
        assert not np.allclose(wrong, base.loc[wrong.index]), name


@pytest.mark.slow
def test_without_a_switch_the_same_machinery_gives_the_studys_own_numbers(small):
    here, _ = small
    chosen, recipe = here.strata(mistaken.SCORE, 0), here.profile.training.model_dump(mode="json")
    run = Run("salun", "rum_f", mistaken.SCORE, 0, here.profile.unlearning.algorithms["salun"]["rum_f"])
    oracle = Run("retrain", "vanilla", mistaken.SCORE, ORACLE_SEEDS[0], recipe)

    stored = here.get(unlearning_job(here, run, chosen)).meta
    found = here.get(mistaken_jobs.job(here, "none", run, chosen, 0)).meta["outcomes"]["right"]
    assert found == {name: stored[name] for name in found} and "acc_forget" in found

    [stored] = here.get(oracle_job(here, chosen.forget, [chosen.forget], 0)).meta["outcomes"]
    found = here.get(mistaken_jobs.job(here, "none", oracle, chosen, 0)).meta["outcomes"]["right"]
    assert found == {name: stored[name] for name in found} and "acc_retain" in found


@pytest.mark.slow
def test_other_scripts_and_sorted_ties_choose_other_examples(small):
    here, _ = small
    right = here.strata(mistaken.SCORE, 0)
    by_mid_range, as_listed = (
        MISTAKES[name].strata(here, mistaken.SCORE, 0) for name in ("medium_by_mid_range", "ties_as_listed")
    )
    assert np.array_equal(by_mid_range.low, right.low) and np.array_equal(by_mid_range.high, right.high)
    assert not np.array_equal(by_mid_range.medium, right.medium)

    labels = here.splits.train.labels
    assert len(set(labels[as_listed.low])) < len(set(labels[right.low]))  # class by class


@pytest.mark.slow
def test_mistakes_are_stored_for_themselves_and_made_once(small):
    here, frame = small
    manifests = sorted((paths.artifacts() / "mistaken").glob("*/manifest.json"))
    stamps = [path.stat().st_mtime_ns for path in manifests]
    told = {json.loads(path.read_text())["parts"]["mistake"] for path in manifests}
    replayed = {name for name, mistake in MISTAKES.items() if mistake.measure}
    assert told - {"none"} == set(MISTAKES) - replayed | {mistaken_jobs.MEASURED}

    again = study.mistakes(here.profile)
    assert again.equals(frame)
    assert [path.stat().st_mtime_ns for path in manifests] == stamps
    assert study.compute_seconds(here.profile, "mistakes", {"mistakes": frame}) > 0
