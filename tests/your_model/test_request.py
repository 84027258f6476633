"""Requests as they come: every form names the same examples, and what cannot be meant is one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small import IMAGES, LABELS, QUICK, forgotten, memorizing, scores

import mulnb
from mulnb import forget as forget_sets
from mulnb.core.errors import UserError
from mulnb.your_model.request import indices, whole_classes

FILES = ["a/0.png", "a/1.png", "b/0.png", "b/2.png", "b/3.png"]
MASK = np.array([False, True, False, False, True])


@pytest.mark.parametrize(
    "request_",
    [
        [4, 1],
        {1, 4},
        (1, 4),
        range(1, 5, 3),
        np.array([1, 4], dtype=np.int32),
        torch.tensor([4, 1]),
        MASK,
        MASK.tolist(),
        torch.from_numpy(MASK),
        ["a/1.png", "b/3.png"],
        ["1.png", "./b/3.png"],
        forget_sets.Strata(np.array([1]), np.array([], dtype=int), np.array([4])),
    ],
)
def test_every_form_names_the_same_examples(request_):
    assert indices(request_, 5, files=FILES).tolist() == [1, 4]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "index,why\n4,spam\n1,spam\n"),
        ("a.csv", "who;file\nme;a/1.png\nyou;b/3.png\n"),
        ("a.csv", "1,4\n"),
        ("a.csv", "\ufeff4\r\n1\r\n"),
        ("a.txt", "# asked on Monday\n1\n\n4\n"),
        ("a.txt", "a/1.png\nb/3.png\n"),
        ("a.tsv", "name\tday\n1.png\t3\nb/3.png\t4\n"),
        ("a.json", "[1, 4]"),
        ("a.json", '{"files": ["a/1.png", "b/3.png"]}'),
        ("a.json", '{"index": [1, 4]}'),
        ("a.json", json.dumps(MASK.tolist())),
    ],
)
def test_files_of_every_kind(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert indices(tmp_path / name, 5, files=FILES).tolist() == [1, 4]
    assert indices(str(tmp_path / name), 5, files=FILES).tolist() == [1, 4]


def test_arrays_and_forget_sets_in_files(tmp_path):
    np.save(tmp_path / "mask.npy", MASK)
    assert indices(tmp_path / "mask.npy", 5).tolist() == [1, 4]
    strata = forget_sets.strata(np.arange(9.0), 2)
    forget_sets.save(tmp_path / "set.json", strata, data="x", n=9)
    assert indices(tmp_path / "set.json", 9).tolist() == strata.forget.tolist()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ([], "the request is empty"),
        (np.zeros(5, dtype=bool), "a mask without a True"),
        ([True, False], "a mask of 2 values for 5 examples"),
        ([1, 1], "names an example twice: 1"),
        ([5], "index 5 of 0 … 4"),
        ([-1], "index -1 of 0 … 4"),
        ([0.5], "float64"),
        ([[1, 2]], r"int64 \[1, 2\]"),
        (None, "the request is None"),
        (True, "the request is True"),
        ([1, [2]], "is no list of examples"),
        (["0.png"], "'0.png' is the name of 2 images: add its folder"),
        (["c/9.png"], "'c/9.png' is not among the images"),
        ({"class": "cow"}, "class 'cow' is unknown: classes are cat, dog"),
        ({"class": 7}, "no example is of class 7"),
        ({"colour": 1}, "the request has colour"),
        ("nowhere.csv", "nowhere.csv does not exist"),
    ],
)
def test_what_cannot_be_meant(request_, message):
    with pytest.raises(UserError, match=message) as error:
        indices(request_, 5, labels=np.array([0, 0, 1, 1, 1]), files=FILES, classes=["cat", "dog"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "has columns a, b: call the one to be read 'index' or 'file'"),
        ("a.csv", "", "is empty"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "3", "expected a JSON list"),
        ("a.xls", "x", "of an unknown kind"),
        ("a.csv", "why,index\nspam\n", "line 2 has too few columns"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        indices(tmp_path / name, 5)


def test_file_names_need_files():
    with pytest.raises(UserError, match=r"has file names .*and the images have none: give indices"):
        indices(["a/1.png"], 5)


def test_a_class_by_number_or_name():
    labels = np.array([0, 0, 1, 1, 1])
    assert indices({"class": 1}, 5, labels=labels).tolist() == [2, 3, 4]
    assert indices({"class": "dog"}, 5, labels=labels, classes=["cat", "dog"]).tolist() == [2, 3, 4]
    present = np.ones(5, dtype=bool)
    assert whole_classes(np.array([2, 3, 4]), labels, present) == (1,)
    assert whole_classes(np.array([2, 3]), labels, present) == ()
    assert whole_classes(np.array([0, 2, 3, 4]), labels, present) == ()
    present[4] = False  # an earlier request removed it
    assert whole_classes(np.array([2, 3]), labels, present) == (1,)


# --- what is done with them ----------------------------------------------------------------------------------------------


def test_a_request_of_one_example_needs_neither_scores_nor_strata():
    found = mulnb.unlearn(memorizing(), IMAGES, LABELS, [8], settings=QUICK)
    assert found.strategy == "vanilla"
    assert mulnb.strata(forget=[8]).forget.tolist() == mulnb.strata(scores(), forget=[8]).forget.tolist() == [8]
    with pytest.raises(UserError, match="needs three strata"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, mulnb.strata(scores(), forget=[8]), strategy="rum_f", settings=QUICK)
    assert "accuracy, low stratum" not in str(mulnb.evaluate(found, IMAGES, LABELS, [8], holdout=draw_holdout()))


def draw_holdout():
    from small import HOLDOUT

    return HOLDOUT


def test_what_was_forgotten_before_is_not_retained():
    """The retain set of request 2 holds nothing of request 1: with other labels there, nothing changes."""
    first, second = np.arange(0, 24), np.arange(40, 52)
    other = LABELS.copy()
    other[first] = (other[first] + 1) % 4
    found = []
    for labels in (LABELS, other):
        model = mulnb.unlearn(memorizing(), IMAGES, labels, second, settings=QUICK, already_forgotten=first).model
        found.append(torch.cat([value.flatten() for value in model.parameters()]))
    assert torch.equal(*found)
    with pytest.raises(UserError, match="example 44 of the request is already forgotten"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, second, already_forgotten=[3, 44])
    with pytest.raises(UserError, match="nothing would be retained"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, second, already_forgotten=np.setdiff1d(np.arange(160), second))


def test_a_folder_is_asked_by_file_name(tmp_path):
    for place, (image, label) in enumerate(zip(IMAGES[:24], LABELS[:24], strict=True)):
        (tmp_path / f"c{label}").mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / f"c{label}" / f"{place:02d}.png")
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    by_name = mulnb.unlearn(memorizing(), tmp_path, None, [names[3], names[9]], settings=QUICK).model
    by_index = mulnb.unlearn(memorizing(), tmp_path, None, [3, 9], settings=QUICK).model
    assert all(torch.equal(a, b) for a, b in zip(by_name.parameters(), by_index.parameters(), strict=True))
    with pytest.raises(UserError, match=r"image 3 \(c.*\.png\) is to be forgotten"):
        Image.fromarray(np.asarray(Image.open(tmp_path / names[3]))).save(tmp_path / names[3].replace(".png", "x.png"))
        mulnb.unlearn(memorizing(), tmp_path, None, [3], settings=QUICK)


def test_published_scores_are_read_the_right_way_round(tmp_path):
    values = np.linspace(0, 1, 160)
    np.savez(tmp_path / "c.npz", labels=LABELS, scores=values)
    np.savez(tmp_path / "m.npz", tr_labels=LABELS, tr_mem=values)
    np.save(tmp_path / "own.npy", values)
    (tmp_path / "own.csv").write_text("memorization\n" + "\n".join(map(str, values)))
    assert np.allclose(mulnb.load_scores(tmp_path / "c.npz", labels=LABELS), 1 - values)  # C-scores: regular ones are high
    assert np.allclose(mulnb.load_scores(tmp_path / "m.npz", labels=LABELS), values)
    assert np.allclose(mulnb.load_scores(tmp_path / "own.csv"), values)
    assert np.allclose(mulnb.load_scores(tmp_path / "own.npy", memorized="low"), 1 - values)
    assert np.allclose(mulnb.load_scores(tmp_path / "m.npz", index=[3, 1]), values[[3, 1]])
    for call, message in (
        (lambda: mulnb.load_scores(tmp_path / "c.npz", labels=LABELS[::-1]), "of its labels are those of the data"),
        (lambda: mulnb.load_scores(tmp_path / "own.npy"), "which end of 'own' is memorized"),
        (lambda: mulnb.load_scores(tmp_path / "c.npz", labels=LABELS[:9]), "160 scores for 9 labels: give index="),
        (lambda: mulnb.load_scores(tmp_path / "c.npz", key="x"), "has labels, scores: give key="),
        (lambda: mulnb.load_scores(tmp_path / "none.npz"), "does not exist"),
        (lambda: mulnb.strata(np.load(tmp_path / "c.npz"), size=10), "read it by mulnb.load_scores"),
        (lambda: mulnb.strata([["a"]], size=1), "expected one number per example"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_forget_set_that_was_saved_can_be_unlearned(tmp_path):
    strata, _ = forgotten()
    forget_sets.save(tmp_path / "set.json", strata, data="x", n=160)
    again = forget_sets.load(tmp_path / "set.json").strata
    found = mulnb.unlearn(memorizing(), IMAGES, LABELS, again, settings=QUICK)
    assert found.strategy == "rum_f"
