"""Your own model and images: nothing of yours changes, whatever the model is made of, and what cannot work is said plainly."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image
from small import (
    FLIPPED,
    HOLDOUT,
    IMAGES,
    LABELS,
    QUICK,
    SIDE,
    TEST,
    Convolutional,
    Returns,
    draw,
    forgotten,
    memorizing,
    mixed,
    same,
    scores,
    state,
    trained,
)

import mulnb
from mulnb import audit
from mulnb import your_model as own
from mulnb.core.errors import UserError
from mulnb.your_model import report

MODELS = {
    "plain": lambda: Convolutional(),
    "dropout": lambda: Convolutional(dropout=0.5),
    "batchnorm": lambda: Convolutional(norm=True),
    "double": lambda: Convolutional(dropout=0.2, norm=True).double(),
    "modes": lambda: mixed(Convolutional(dropout=0.5, norm=True)),
}


# --- nothing of yours changes --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_the_model_modes_precision_and_random_state_stay(kind):
    torch.manual_seed(3)
    model = MODELS[kind]()
    before = state(model)
    one = mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT, epochs=2, lr=0.01)
    assert same(before, state(model))
    two = mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT, epochs=2, lr=0.01)
    assert np.array_equal(one, two) and one.shape == (160,) and np.isfinite(one).all()  # dropout, too, is drawn from the seed
    curvature = mulnb.score(model, IMAGES, LABELS, proxy="loss_curvature")
    assert same(before, state(model)) and curvature.shape == (160,)
    strata = mulnb.strata(one, size=10)
    for algorithm in ("fine_tune", "neg_grad_plus"):
        unlearned = mulnb.unlearn(model, IMAGES, LABELS, strata, algorithm=algorithm, settings=QUICK)
        assert same(before, state(model))
        new = state(unlearned.model)
        assert new[1] == before[1] and not all(torch.equal(a, b) for a, b in zip(new[0], before[0], strict=True))
        assert unlearned.seconds > 0
    mulnb.evaluate(unlearned, IMAGES, LABELS, strata, holdout=HOLDOUT, original=model)
    assert same(before, state(model)) and same([new[0], new[1], *before[2:]], state(unlearned.model))


def test_an_error_leaves_everything_as_it_was():
    model, (strata, _) = mixed(Convolutional(dropout=0.5)), forgotten()
    before = state(model)
    with pytest.raises(UserError, match="use a smaller lr"):
        mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT, lr=1e9)
    with pytest.raises(UserError, match=r"salun: keep = 1.5: should be above 0 and at most 1"):
        mulnb.unlearn(model, IMAGES, LABELS, strata, algorithm="salun", settings={"keep": 1.5})
    assert same(before, state(model))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_a_gpu_stays_there():
    model = Convolutional(dropout=0.5).cuda()
    before, cuda = state(model), torch.cuda.get_rng_state()
    found = mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT, epochs=2, lr=0.01)
    unlearned = mulnb.unlearn(model, IMAGES, LABELS, mulnb.strata(found, size=10), settings=QUICK)
    assert same(before, state(model)) and torch.equal(cuda, torch.cuda.get_rng_state())
    assert {parameter.device.type for parameter in unlearned.model.parameters()} == {"cuda"}
    told = mulnb.evaluate(unlearned, IMAGES, LABELS, mulnb.strata(found, size=10), holdout=HOLDOUT, original=model)
    assert told.train_oracle(Convolutional, epochs=2, batch=32).to_frame().tow.iloc[-1] == 1


# --- scores and strata ---------------------------------------------------------------------------------------------------


def test_wrong_labels_score_higher():
    from sklearn.metrics import roc_auc_score

    wrong = np.isin(np.arange(160), FLIPPED)
    assert roc_auc_score(wrong, scores()) > 0.9
    assert wrong[mulnb.strata(scores(), size=20).high].mean() > 0.6


def test_images_may_come_in_any_of_their_forms(tmp_path):
    model = memorizing()
    how = {"holdout": HOLDOUT, "epochs": 2, "lr": 0.01}
    expected = mulnb.score(model, IMAGES, LABELS, **how)
    for images, labels in (
        (torch.from_numpy(IMAGES), torch.from_numpy(LABELS)),
        ((IMAGES / 255).astype(np.float32), LABELS.tolist()),
        (torch.from_numpy(IMAGES).double() / 255, LABELS.astype(np.int16)),
    ):
        assert np.allclose(mulnb.score(model, images, labels, **how), expected, atol=1e-5)
    for place, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (tmp_path / f"class {label}").mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / f"class {label}" / f"{place:03d}.png")
    order = np.argsort(LABELS, kind="stable")
    assert np.allclose(mulnb.score(model, tmp_path, **how), expected[order], atol=1e-5)


def test_images_are_normalised_where_the_model_expects_it():
    model, data = memorizing(), torch.from_numpy(IMAGES)
    by_hand = mulnb.score(model, (data / 255 - 0.4) / 0.2, LABELS, proxy="loss_curvature")
    assert np.allclose(mulnb.score(model, data, LABELS, proxy="loss_curvature", normalize=(0.4, 0.2)), by_hand, atol=1e-5)
    assert np.allclose(mulnb.score(model, data, LABELS, proxy="loss_curvature", normalize=([0.4], [0.2])), by_hand, atol=1e-5)


def test_a_given_set_is_split_by_terciles_of_its_own_scores():
    values = np.arange(100.0)
    found = mulnb.strata(values, forget=[90, 5, 7, 50, 99, 8, 60])
    assert [part.tolist() for part in found] == [[5, 7, 8], [50, 60], [90, 99]]  # none of them is among the 7 of all 100
    tied = [mulnb.strata(np.zeros(100), forget=torch.arange(30), seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(tied[0].low, tied[1].low) and not np.array_equal(tied[0].low, tied[2].low)
    assert sorted(np.concatenate(list(tied[0]))) == list(range(30))
    assert [len(part) for part in mulnb.strata(values, size=7)] == [7, 7, 7]


# --- an algorithm for each stratum ---------------------------------------------------------------------------------------


def test_the_full_rum_does_what_its_stages_do_one_after_the_other():
    model, (strata, _) = Convolutional(), forgotten()
    data, settings = (model, IMAGES, LABELS, strata), [None, {"lr": 0.05, "epochs": 1}, {"lr": 0.05, "epochs": 1}]
    mixed = mulnb.unlearn(*data, algorithm=[None, "fine_tune", "neg_grad_plus"], strategy="rum", settings=settings).model
    other = mulnb.unlearn(*data, algorithm=[None, "fine_tune", "fine_tune"], strategy="rum", settings=settings).model
    idle = mulnb.unlearn(*data, algorithm=[None, None, None], strategy="rum").model
    weights = [torch.cat([one.flatten() for one in found.parameters()]) for found in (model, mixed, other, idle)]
    assert torch.equal(weights[0], weights[3]) and idle is not model
    assert not torch.equal(weights[1], weights[0]) and not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize(
    ("algorithm", "strategy", "more", "message"),
    [
        (["fine_tune", "salun"], "rum", {}, "2 algorithms for 3 strata: give one for each, None to do nothing"),
        ([None, "fine_tune", "magic"], "rum", {}, "unknown unlearning algorithm 'magic'"),
        ([None, "fine_tune", "salun"], "rum_f", {}, "strategy 'rum_f' runs one algorithm: only 'rum' takes one for each"),
        ([None, "fine_tune", "salun"], "rum", {"settings": [{}, {"keep": 0.5}, {}]}, "'fine_tune' has no setting 'keep'"),
        ([None, "fine_tune", "salun"], "rum", {"settings": [{}, {}]}, "2 sets of settings for 3 stages"),
        ([None, 3, "salun"], "rum", {}, "expected a name, or for strategy='rum' a list of three names"),
        (None, "rum", {}, "algorithm = None: expected a name"),
    ],
)
def test_a_mix_that_does_not_fit_is_one_line(algorithm, strategy, more, message):
    with pytest.raises(UserError, match=message) as error:
        mulnb.unlearn(Convolutional(), IMAGES, LABELS, forgotten()[0], algorithm=algorithm, strategy=strategy, **more)
    assert "\n" not in str(error.value)


def test_salun_leaves_frozen_parameters_alone():
    model = mixed(Convolutional())
    found = mulnb.unlearn(model, IMAGES, LABELS, forgotten()[0], algorithm="salun", settings=QUICK).model
    assert torch.equal(found.conv.weight, model.conv.weight) and not found.conv.weight.requires_grad
    assert not torch.equal(found.head[0].weight, model.head[0].weight)


# --- the report ----------------------------------------------------------------------------------------------------------


@functools.cache
def reported() -> report.Report:
    strata, _ = forgotten()
    settings = {"epochs": 6, "batch": 32, "lr": 0.05}
    unlearned = mulnb.unlearn(memorizing(), IMAGES, LABELS, strata, algorithm="salun", strategy="rum_f", settings=settings)
    return mulnb.evaluate(unlearned, IMAGES, LABELS, strata, holdout=HOLDOUT, test=TEST, original=memorizing())


def test_the_report_without_an_oracle():
    frame = reported().to_frame().set_index("model")
    assert frame.index.tolist() == ["original", "unlearned"] and "tow" not in frame
    assert frame.acc_forget["original"] == 1 > frame.acc_forget["unlearned"]
    _, indices = forgotten()
    with torch.no_grad():
        right = memorizing()(torch.from_numpy(IMAGES) / 255).argmax(1).numpy() == LABELS
    assert frame.acc_retain["original"] == right[np.setdiff1d(np.arange(160), indices)].mean()
    assert frame.relearn_epochs["original"] == 0 < frame.relearn_epochs["unlearned"]
    assert frame.mia["unlearned"] > frame.mia["original"]
    text = str(reported())
    assert "ToW and ToW-MIA compare with an oracle" in text and "report.train_oracle(" in text
    assert "MIA efficacy, unseen images (to compare)" in text and f"{len(indices)} examples" in text
    words = [text.get_text() for text in reported().plot().findobj(lambda one: hasattr(one, "get_text"))]
    assert "unseen images" in words and " unseen" in words


@pytest.mark.slow
def test_an_oracle_turns_the_report_into_tow():
    told = reported().train_oracle(Convolutional, epochs=60, batch=32, lr=0.1, schedule="constant")
    frame = told.to_frame().set_index("model")
    assert frame.tow["oracle"] == frame.tow_mia["oracle"] == 1
    expected = audit.tow(frame.loc["unlearned"], frame.loc["oracle"])
    assert frame.tow["unlearned"] == expected > frame.tow["original"]  # it did forget
    assert "train_oracle" not in str(told) and "ToW-MIA" in str(told)
    strata, _ = forgotten()
    given = mulnb.evaluate(memorizing(), IMAGES, LABELS, strata, holdout=HOLDOUT, test=TEST, oracle=memorizing())
    assert given.to_frame().tow.tolist() == [1, 1]  # who is like the oracle in everything cannot be told from it
    with pytest.raises(UserError, match=r"train_oracle: epoch: .*; its settings are epochs, batch, lr"):
        reported().train_oracle(Convolutional, epoch=3)


def test_a_set_that_was_forgotten_takes_longer_to_relearn():
    strata, indices = forgotten()
    torch.manual_seed(0)
    oracle = trained(Convolutional(), without=indices)
    frame = mulnb.evaluate(oracle, IMAGES, LABELS, strata, holdout=HOLDOUT, original=memorizing()).to_frame()
    assert frame.relearn_epochs.iloc[0] == 0 and frame.relearn_epochs.iloc[1] > 1
    assert frame.acc_forget.iloc[1] < 0.7 and (frame.acc_test > 0.8).all()


# --- what cannot work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda logits: {"a": logits, "b": logits}, r"returns a dict with a, b: mulnb needs logits"),
        (lambda logits: (None, 3), r"returns a tuple of 2: mulnb needs logits \[batch, classes\]"),
        (lambda logits: logits.detach().numpy(), r"returns a ndarray: mulnb needs logits"),
        (lambda logits: logits.argmax(1), r"returns int64 \[8\] for 8 images"),
        (lambda logits: logits.softmax(1), r"returns probabilities: return the logits"),
        (lambda logits: logits[:1], r"returns float32 \[1, 4\] for 8 images"),
    ],
)
def test_an_output_that_is_not_logits(wrap, message):
    with pytest.raises(UserError, match=message) as error:
        mulnb.score(Returns(wrap), IMAGES, LABELS, holdout=HOLDOUT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:, 0, 0], LABELS, r"images are uint8 \[160, 6\]: expected uint8 or floating point \[N, C, H, W\]"),
        (IMAGES.astype(np.int32), LABELS, r"images are int32 \[160, 1, 6, 6\]"),
        (IMAGES, LABELS[:-1], r"labels are int64 \[159\] for 160 images"),
        (IMAGES, LABELS + 0.5, r"labels are float64 \[160\]"),
        (IMAGES, None, r"labels are missing: give one whole number per image"),
        (IMAGES, LABELS + 1, r"labels run from 1 to 4, the model has 4 classes: 0 … 3"),
        (np.repeat(IMAGES, 3, axis=1), LABELS, r"the model failed on images that are float32 \[8, 3, 6, 6\]: "),
        ([[1, 2], [3]], LABELS, r"images: image 0 is int64 \[2\]: expected uint8 or floating point \[C, H, W\]"),
    ],
)
def test_data_that_do_not_fit(images, labels, message):
    with pytest.raises(UserError, match=message) as error:
        mulnb.score(Convolutional(), images, labels, holdout=HOLDOUT)
    assert "\n" not in str(error.value)


def test_folders_that_do_not_fit(tmp_path):
    model = Convolutional()
    with pytest.raises(UserError, match="nowhere does not exist: expected a folder with one sub-folder per class"):
        mulnb.score(model, tmp_path / "nowhere", proxy="loss_curvature")
    (tmp_path / "a").mkdir()
    Image.fromarray(IMAGES[0, 0]).save(tmp_path / "a" / "0.png")
    with pytest.raises(UserError, match="labels must be None"):
        mulnb.score(model, tmp_path, LABELS, proxy="loss_curvature")
    (tmp_path / "a" / "1.png").write_text("no image")
    with pytest.raises(UserError, match=r"not a readable image: .*1\.png \(no image format"):
        own.read_folder(tmp_path)
    Image.fromarray(IMAGES[0, 0, :4]).save(tmp_path / "a" / "1.png")
    with pytest.raises(UserError, match=r"1\.png is 6×4, the first image is 6×6: pass size"):
        own.read_folder(tmp_path)
    Image.fromarray(np.repeat(IMAGES[0, 0, :, :, None], 3, axis=2)).save(tmp_path / "a" / "1.png")
    assert own.read_folder(tmp_path)[0].shape == (2, 1, SIDE, SIDE)  # grey, however it is written
    red = np.repeat(IMAGES[0, 0, :, :, None], 3, axis=2) * np.array([1, 0, 0], dtype=np.uint8)
    Image.fromarray(red).save(tmp_path / "a" / "1.png")
    images, labels, classes = own.read_folder(tmp_path)  # one in colour: all in colour
    assert images.shape == (2, 3, SIDE, SIDE) and labels.tolist() == [0, 0] and classes == ["a"]


def test_a_folder_is_read_as_that_of_a_profile_is(tmp_path):
    """Upright, all 16 bits of a grey image, what is transparent becomes white; hidden folders are no class."""
    (tmp_path / ".cache").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    deep = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    Image.fromarray(deep).save(tmp_path / "a" / "0.png")
    turned = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(6, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(tmp_path / "a" / "1.png", exif=exif)
    Image.fromarray(np.zeros((4, 6, 4), dtype=np.uint8)).save(tmp_path / "b" / "0.png")
    images, labels, classes = own.read_folder(tmp_path)
    assert classes == ["a", "b"] and labels.tolist() == [0, 0, 1] and images.shape == (3, 1, 4, 6)
    assert images[0].unique().numel() == 24 and (images[2] == 255).all()


def test_names_and_numbers_that_do_not_fit():
    model, (strata, _) = Convolutional(), forgotten()
    data = (model, IMAGES, LABELS)
    for call, message in (
        (
            lambda: mulnb.score(*data, proxy="confidence"),
            r"is read off training, epoch by epoch \(mulnb.Recorder does it\): a finished model can be scored with",
        ),
        (lambda: mulnb.score(*data, proxy="beauty"), "'beauty' is unknown"),
        (lambda: mulnb.score(*data, proxy=["confidence"]), "is unknown: a finished model can be scored with"),
        (lambda: mulnb.strata(np.arange(9.0), forget=[1, 2, 3], seed=-1), "seed = -1: should be a whole number from 0"),
        (lambda: mulnb.score(*data), "needs holdout=\\(images, labels\\)"),
        (lambda: mulnb.score(*data, holdout=HOLDOUT[0]), "holdout: expected a pair"),
        (lambda: mulnb.score(*data, holdout=HOLDOUT, steps=3), "steps: .*; its settings are lr, epochs, patience"),
        (lambda: mulnb.score("resnet18", IMAGES, LABELS, proxy="loss_curvature"), "resnet18 holds weights only: give factory="),
        (lambda: mulnb.unlearn(*data, strata, algorithm="magic"), "unknown unlearning algorithm 'magic'"),
        (lambda: mulnb.unlearn(*data, strata, strategy="best"), "unknown strategy 'best'"),
        (lambda: mulnb.unlearn(*data, strata, settings={"beta": 1}), "has no setting 'beta'"),
        (lambda: mulnb.unlearn(*data, strata, algorithm="retrain", strategy="vanilla"), "retrain needs fresh="),
        (lambda: mulnb.unlearn(*data, [1, 2, 3], strategy="rum_f"), "needs three strata, and the request of 3 is not split"),
        (lambda: mulnb.unlearn(*data, {}), "the request has : expected"),
        (lambda: mulnb.unlearn(*data, mulnb.strata(np.arange(400), size=10)), "has index 3"),
        (lambda: mulnb.unlearn(*data, mulnb.strata(np.arange(160), forget=range(160))), "nothing would be retained"),
        (lambda: mulnb.evaluate(model, IMAGES, LABELS, strata, holdout=draw(6, 3)), "holdout has 6 images"),
        (lambda: mulnb.strata(np.zeros(9)), "give either forget=indices"),
        (lambda: mulnb.strata(np.zeros(9), size=1, forget=[1, 2, 3]), "give either forget=indices"),
        (lambda: mulnb.strata(np.zeros(9), size="10"), "size = '10': should be a whole number, or one for each of low"),
        (lambda: mulnb.strata(np.zeros(9), size=[1, 1]), r"size = \[1, 1\]: should be a whole number, or one for each"),
        (lambda: mulnb.strata(np.zeros(9), size=1, centre=np.nan), "centre = nan: should be a number or 'median'"),
        (lambda: mulnb.strata(np.zeros(9), forget=[]), "strata: forget is empty: name at least one example"),
        (lambda: mulnb.strata(np.zeros(9), forget=[0.5, 1, 2]), "expected example indices"),
        (lambda: mulnb.strata(np.zeros(9), forget=[1, 2, 9]), "has index 9 of 0 … 8"),
        (lambda: mulnb.strata(np.zeros(9), forget=[1, 2, 2]), "names an example twice"),
        (lambda: mulnb.strata(np.full(9, np.nan), forget=[1, 2, 3]), "the score of example 1 is not a number"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_model_that_cannot_be_copied_is_said():
    model = Convolutional()
    model.kept = (number for number in range(3))  # Python refuses to copy it
    with pytest.raises(UserError, match="the model cannot be copied, and mulnb changes copies only"):
        mulnb.score(model, IMAGES, LABELS, holdout=HOLDOUT)
