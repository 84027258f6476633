"""Profiles that are odd in plausible ways: YAML reads them otherwise, settings contradict each other, or do not fit the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulnb import forget, load_data, load_profile
from mulnb.config import parse_override
from mulnb.config.reading import PROFILES
from mulnb.core.errors import UserError
from mulnb.data import ImageSet
from mulnb.data.sources import SOURCES
from mulnb.study import Study, cost, jobs
from mulnb.study.recipes import original_job, pool_jobs

SMOKE = (PROFILES / "smoke.yaml").read_text()
SIZE = "forget: {size: 12}"


def refused(call, *arguments) -> str:
    """The message of the refusal: one line."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- YAML ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ("forget: {size: 012}", "line 12: 012 would be read as an octal number"),
        ("forget: {size: 12, on: 1}", "line 12: the key 'on' is read as true or false"),
        ("forget: {size: 1,2}", "line 12: the key '2' is read as a number"),
        ("forget: {size: 12}\n2024-01-01: 1", "line 13: the key '2024-01-01' is read as a date"),
        ("forget: {size: !!binary aGk=}", "line 12: a value of the kind !!binary is not read here"),
        ("Forget: {size: 12}", "unknown key 'Forget' = {'size': 12}: did you mean 'forget'?"),
        ("forget: {SIZE: 12}", "unknown key 'forget.SIZE' = 12: did you mean 'size'?"),
        ("forget: {'size ': 12}", "unknown key 'forget.size ' = 12: did you mean 'size'?"),
        ("forget: {size:12}", "unknown key 'forget.size:12' = None: did you mean 'size'?"),
        ("forget:{size: 12}", "unknown key 'forget:{size' = '12}': did you mean 'forget'?"),
        ("forget.size: 12", "unknown key 'forget.size' = 12: did you mean 'forget'?"),
        ("forget: 12", "forget = 12: should be keys with values: valid keys here: size, file"),
        ("forget:", "forget = None: should be keys with values"),
        (f"forget: {{size: {'9' * 5000}}}", "value has 5000 digits"),
    ],
)
def test_a_profile_that_YAML_reads_otherwise(tmp_path, instead, words):
    (tmp_path / "mine.yaml").write_text(SMOKE.replace(SIZE, instead))
    said = refused(load_profile, tmp_path / "mine.yaml")
    assert words in said and "sys." not in said


@pytest.mark.parametrize(
    "instead", ["forget: {size: 0x0c}", "forget: {size: 1_2}", "forget: {<<: {size: 3}, size: 12}", "forget: {'size': 12.0}"]
)
def test_what_is_odd_and_right(tmp_path, instead):
    (tmp_path / "mine.yaml").write_text(SMOKE.replace(SIZE, instead))
    assert load_profile(tmp_path / "mine.yaml").forget.size == 12


# --- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title=''", "title = '': should be one line of at most 200 signs"),
        ('title="a\\nb"', "should be one line"),
        ('title="\\ud800"', "should be one line"),
        ("title=2024", "title = 2024: should be text: put quotes around it"),
        ("name=2024-01-01", "should be text: put quotes around it"),
        ("name=a.", "no '.' last"),
        ("pool.models=0100", "0100 would be read as an octal number"),
        ("pool.models=100001", "should be less than or equal to 100000"),
        ("seeds=!!set {0, 1}", "a value of the kind !!set is not read here"),
        (
            "dataset.root=/data",
            "dataset.root = '/data': digits have no folder: leave it out, or set dataset.name: folder",
        ),
        ("proxies.loss_curvature.h=1e300", "h = '1e300': should be less than or equal to 1000"),
        ("proxies.loss_curvature.h=1.0e-300", "h = 1e-300: should be greater than or equal to 0.000001"),
        ("training.lr=1.0e+39", "training.lr = 1e+39: should be less than or equal to 1"),
        ("training.weight_decay=1.0e+39", "training.weight_decay = 1e+39: should be less than or equal to 1"),
        (
            "tune.extend={lr: {step: 1.0e+300, high: 1.0e+308}}",
            "tune.extend.lr.high: fine_tune: lr = 1e+308: should be positive and",
        ),
        ("training.schedule=step", "training.schedule = 'step' with milestones = []"),
        ("audit.relearn.milestones=[2]", "audit.relearn.schedule = 'constant' with milestones = [2]"),
        (
            "unlearning.algorithms.fine_tune.vanilla.epochs=1e300",
            "epochs = 1e+300: should be a whole number of at least 0, and at most",
        ),
        ("unlearning.algorithms.fine_tune.vanilla.batch=1e300", "and at most 2147483647"),
        ("unlearning.algorithms.salun={rum_f: {}}", "unlearning.algorithms.salun has no 'vanilla'"),
        (
            "unlearning.algorithms.salun.shufle={}",
            "unknown key 'unlearning.algorithms.salun.shufle': should be 'vanilla', 'repeat'",
        ),
        ("unlearning.algorithms.salun.rum_f=[{}, {}]", "should be keys with values, or a list of three such, one for each stage"),
        (
            "unlearning.algorithms.salun.rum_f=[{}, null, {}]",
            "unlearning.algorithms.salun.rum_f.1 = None: should be keys with values",
        ),
        ("unlearning.algorithms={}", "is not in unlearning.algorithms (which is empty)"),
        ("tune.grid={fine_tune: {lr: [0.1, yes]}}", "tune.grid.fine_tune.lr.1 = True: should not be true or false"),
        ("tune.extend={lr: {factr: 2}}", "unknown key 'tune.extend.lr.factr' = 2: did you mean 'factor'?"),
        ("tune.extend={lr: 2}", "tune.extend.lr = 2: should be keys with values: valid keys here: factor, step, low, high"),
        ("unlearning.rum={medium: {algorithm: null}, high: {algorithm: null}}", "unlearning.rum names no algorithm"),
        ("tune.extend={lr: {factor: 2}}", "either a factor or a step, and the ends low, high or both"),
    ],
)
def test_what_cannot_be_meant(text, words):
    assert words in refused(lambda: load_profile("smoke", dict([parse_override(text)])))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"unlearning.rum": {"high": {"algorithm": "nothing"}}},
            "unlearning.rum.high: unknown unlearning algorithm 'nothing'",
        ),
        (
            {"unlearning.algorithms.salun.rum_f": [{"lrr": 1}, {}, {}]},
            "unlearning.algorithms.salun.rum_f: algorithm 'salun' has no",
        ),
        ({"tune.grid": {"salun": {"lrr": [1]}}}, "tune.grid.salun: algorithm 'salun' has no setting 'lrr'"),
    ],
)
def test_a_wrong_setting_says_where_it_stands(overrides, words):
    assert f"profile smoke: {words}" in refused(jobs.check, load_profile("smoke", overrides))


# --- profiles and their data --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """A source of 60 images in three classes: every pixel of an image says which one it is."""

    def read(dataset):
        number = np.arange(60, dtype=np.uint8)
        return ImageSet(number[:, None, None, None].repeat(8, 2).repeat(8, 3), number % 3, ("a", "b", "c"), "Made"), None

    SOURCES["made"] = read
    yield
    del SOURCES["made"]


SMALL = {"dataset.name": "made", "dataset.test": 0.2, "dataset.holdout": 0.2, "forget.size": 2, "sequential.steps": 2}


def with_data(change):
    return load_profile("smoke", SMALL | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset.test": 0.001}, "dataset.test = 0.001: 0 test images are left; at least 2 are needed"),
        ({"dataset.test_images": 1}, "dataset.test_images = 1: 1 test images are left"),
        ({"dataset.holdout": 0.001}, "dataset.holdout = 0.001: 0 hold-out images are left"),
        ({"dataset.holdout": 0.99}, "dataset.test = 0.2, dataset.holdout = 0.99: 0 training images are left"),
        ({"dataset.train_images": 2}, "dataset.holdout = 0.2, dataset.train_images = 2: "),
        ({"dataset.train_images": 300}, "dataset.train_images = 300: class a has 16 images"),
        ({"forget.size": 7}, "forget.size = 7: two steps of sequential unlearning take 42 of 39 examples"),
        ({"forget.size": 14}, "forget.size = 14: three strata need 42 of 39 training examples; at most 13"),
        ({"limit.steps": 60}, "limit.steps = 60: dataset.train_images = 480: class a has 16 images"),
        (
            {"model.arch": "vgg16_bn"},
            "model.arch = vgg16_bn: images of 8 pixels are too small for it; at least 32: set dataset.size = 32",
        ),
        ({"pool.model": {"arch": "vgg16_bn"}}, "pool.model.arch = vgg16_bn: images of 8 pixels"),
    ],
)
def test_a_profile_that_does_not_fit_its_data(made, change, words):
    assert words in refused(load_data, with_data(change))


@pytest.mark.parametrize("change", [{"dataset.test": 0.001}, {"dataset.holdout": 0.0001}, {"model.arch": "vgg16_bn"}])
def test_it_is_told_before_the_images_are_read_in_the_same_words(change):
    profile = load_profile("smoke", change)
    assert refused(cost.check, profile) == refused(load_data, profile)


def test_a_dry_run_takes_the_classes_that_there_are(made):
    splits = load_data(with_data({"limit.steps": 2}))
    assert len(splits.train.classes) == 3 and 8 <= len(splits.train) <= 9


CHANGES = {
    "dataset.classes": st.integers(2, 4),
    "dataset.train_images": st.integers(1, 60),
    "dataset.test_images": st.integers(1, 20),
    "dataset.test": st.floats(0.001, 0.999),
    "dataset.holdout": st.floats(0.001, 0.999),
    "dataset.label_noise": st.floats(0, 0.999),
    "forget.size": st.integers(1, 20),
    "sequential.steps": st.integers(2, 10),
    "limit.steps": st.integers(2, 9),
}


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.fixed_dictionaries({}, optional=CHANGES))
def test_any_sizes_give_parts_that_can_be_trained_on_or_one_line(made, change):
    profile = with_data(change)
    try:
        splits = load_data(profile)
    except UserError as error:
        assert "profile smoke" in str(error) or "dataset." in str(error)
        return

    parts = (splits.train, splits.holdout, splits.test)
    numbers = np.concatenate([part.images[:, 0, 0, 0] for part in parts])
    assert min(map(len, parts)) >= 2 and len(np.unique(numbers)) == len(numbers)
    assert 3 * profile.forget.size * profile.sequential.steps < len(splits.train)


# --- what would be seen only after hours of training ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"pool.models": 4},
            r"examples would be in all subsets or in none, example \d+ for one, .*raise pool.models, to 12 for example",
        ),
        ({"pool.share": 0.01}, "pool.share = 0.01: 0 of 39 examples in a subset; at least 2"),
        ({"pool.models": 12, "audit.membership": True}, "LiRA needs at least 8 pool models without each example"),
    ],
)
def test_a_pool_that_leaves_examples_without_a_score(made, change, words):
    study = Study(with_data({"audit.membership": False} | change))
    with pytest.raises(UserError, match=words):
        jobs.compute(study, pool_jobs(study), "pool")


def test_files_that_do_not_fit_the_data(made, tmp_path):
    np.save(tmp_path / "scores.npy", np.full(39, np.nan))
    strata = forget.Strata(*np.arange(3)[:, None])
    forget.save(tmp_path / "set.json", strata, "other images", 39)
    (tmp_path / "all.csv").write_text("\n".join(map(str, range(39))))

    for change, words in (
        ({"pool.scores": {"file": str(tmp_path / "scores.npy")}}, "no finite score for 39 of 39 examples"),
        ({"forget.file": str(tmp_path / "set.json")}, "was made for other images or labels"),
        ({"forget.file": str(tmp_path / "all.csv")}, "names 39 of 39 examples: at least two must be left to retain"),
    ):
        study = Study(with_data(change))
        assert words in refused(jobs.compute, study, [original_job(study, 0)], "original models")


def test_a_forget_set_of_these_data_may_leave_little(made, tmp_path):
    study = Study(with_data({}))
    strata = forget.Strata(*np.array_split(np.arange(38), 3))
    forget.save(tmp_path / "set.json", strata, study.splits.fingerprint, 39)
    study = Study(with_data({"forget.file": str(tmp_path / "set.json")}))
    assert "names 38 of 39 examples" in refused(study.check, {"original"})
    assert dataclasses.is_dataclass(study.splits)
