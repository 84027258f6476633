"""`mulnb.explore` with whatever people call images, labels and scores: an explorer that draws, or one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mulnb
from mulnb.core.errors import UserError
from mulnb.explorer import explore

N, CLASSES = 40, 4
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(N) % CLASSES
SCORES = DRAW.random(N)


def tensor(values):
    torch = pytest.importorskip("torch")
    return torch.as_tensor(values)


# what is given instead of IMAGES, LABELS, SCORES, or beside them
RIGHT = {
    "as they are": lambda: {},
    "grey": lambda: {"images": IMAGES[:, 0]},
    "channels last": lambda: {"images": IMAGES.transpose(0, 2, 3, 1)},
    "grey, channels last": lambda: {"images": IMAGES[:, 0, :, :, None]},
    "floating point": lambda: {"images": (IMAGES / 255).astype(np.float16)},
    "pictures": lambda: {"images": [Image.fromarray(image) for image in IMAGES.transpose(0, 2, 3, 1)]},
    "one pixel": lambda: {"images": IMAGES[:, :, :1, :1]},
    "all images alike": lambda: {"images": np.zeros((N, 1, 4, 4), dtype=np.uint8)},
    "tensors": lambda: {"images": tensor(IMAGES), "labels": tensor(LABELS), "scores": tensor(SCORES)},
    "tensors with a gradient": lambda: {"scores": tensor(SCORES).requires_grad_()},
    "bfloat16": lambda: {"scores": tensor(SCORES).bfloat16()},
    "lists": lambda: {"images": list(IMAGES), "labels": LABELS.tolist(), "scores": SCORES.tolist()},
    "columns": lambda: {"labels": pd.Series(LABELS), "scores": pd.Series(SCORES, index=range(7, 7 + N))},
    "objects": lambda: {"scores": np.array(SCORES, dtype=object)},
    "whole numbers": lambda: {"scores": np.arange(N)},
    "large whole numbers": lambda: {"scores": np.arange(N) * 2**57},
    "right or wrong": lambda: {"scores": LABELS == 0},
    "all the same": lambda: {"scores": np.full(N, 0.5)},
    "all zero": lambda: {"scores": np.zeros(N)},
    "two values": lambda: {"scores": (LABELS > 1) * 3.0},
    "one that stands out": lambda: {"scores": np.r_[1e6, np.zeros(N - 1)]},
    "negative": lambda: {"scores": -SCORES},
    "nearly the same": lambda: {"scores": 1 + (np.arange(N) % 3) * 2.3e-16},
    "tiny": lambda: {"scores": SCORES * 1e-300},
    "orders of magnitude": lambda: {"scores": 10.0 ** np.linspace(-40, 40, N)},
    "huge": lambda: {"scores": (SCORES - 0.5) * 1e99},
    "float32": lambda: {"scores": SCORES.astype(np.float32)},
    "two scores": lambda: {"scores": {"loss": SCORES, "my_score": -SCORES}},
    "names with signs": lambda: {"scores": {"a<b> & 'c'": SCORES}, "classes": ["<i>", "&", '"', ""]},
    "memorization alone": lambda: {"scores": {}, "memorization": SCORES},
    "memorization beyond 1": lambda: {"memorization": SCORES * 5 - 2},
    "numbers for names": lambda: {"classes": range(CLASSES)},
    "more names than classes": lambda: {"classes": list("abcdefgh")},
    "one class": lambda: {"labels": np.zeros(N, dtype=int)},
    "a class an image": lambda: {"labels": np.arange(N)},
    "classes that are not there": lambda: {"labels": LABELS * 300},
    "small labels": lambda: {"labels": LABELS.astype(np.uint8)},
    "places": lambda: {"places": np.zeros((N, 2), dtype=int)},
    "four": lambda: {"images": IMAGES[:4], "labels": LABELS[:4], "scores": SCORES[:4]},
    "five": lambda: {"images": IMAGES[:5], "labels": LABELS[:5], "scores": SCORES[:5]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIGHT)
def test_what_can_be_shown_is_drawn(kind):
    given = {"images": IMAGES, "labels": LABELS, "scores": SCORES} | RIGHT[kind]()
    explorer = explore(**given)
    n = len(given["labels"])
    for size in (1, n // 4):
        strata = explorer.choose(sizes=size)
        assert [len(part) for part in strata] == [size] * 3 and len(np.unique(strata.forget)) == 3 * size
    middle = float(np.median(explorer.stock.scores(explorer.stock.names[0], 0)))
    explorer.choose(low=middle, high=middle)
    for name in explorer.stock.names:
        explorer.choose(score=name)
    explorer.draw()
    assert not explorer.voice.errors.outputs and "nan" not in explorer.distribution.html
    assert "a<b>" not in explorer.distribution.html  # names are text, whatever signs they hold


WRONG = {
    "one": ({"images": IMAGES[:1], "labels": LABELS[:1], "scores": SCORES[:1]}, "needs at least 4 examples"),
    "two": ({"images": IMAGES[:2], "labels": LABELS[:2], "scores": SCORES[:2]}, "needs at least 4 examples"),
    "none": ({"images": IMAGES[:0], "labels": LABELS[:0], "scores": SCORES[:0]}, r"images have shape \(0, 3, 8, 8\)"),
    "no pixels": ({"images": IMAGES[:, :, :0]}, r"images have shape \(40, 3, 0, 8\): expected at least one image of one pixel"),
    "no images": ({"images": None}, r"images have shape \(\)"),
    "five channels": ({"images": np.zeros((N, 5, 8, 8), np.uint8)}, "or .* with 1 or 3 channels"),
    "whole numbers": ({"images": IMAGES.astype(int)}, "images are int64: expected uint8, or floating point from 0 to 1"),
    "0 to 255": ({"images": IMAGES.astype(float)}, "images are float64: expected uint8, or floating point from 0 to 1"),
    "pixels that are no number": ({"images": IMAGES * np.nan}, "images are float64: expected uint8, or floating point"),
    "two sizes": ({"images": [np.zeros((2, 2)), np.zeros((3, 3))] * 20}, "images: this is no array"),
    "short labels": ({"labels": LABELS[:9]}, r"labels have shape \(9,\): expected whole numbers, one for each of the 40 images"),
    "fractions": ({"labels": LABELS / 2}, "labels have shape .*: expected whole numbers"),
    "words": ({"labels": ["cat"] * N}, "labels have shape .*: expected whole numbers"),
    "one-hot": ({"labels": np.eye(CLASSES, dtype=int)[LABELS]}, r"labels have shape \(40, 4\): expected whole numbers"),
    "negative labels": ({"labels": LABELS - 1}, "labels run from -1 to 2"),
    "labels without end": ({"labels": LABELS * 10**9}, "labels go up to 3000000000: number the classes 0 … K − 1"),
    "few names": ({"classes": ["a", "b"]}, "labels run from 0 to 3, but there are 2 classes: give one name each"),
    "a word for names": ({"classes": "abcd"}, "classes is a str: expected a list of names"),
    "a number for names": ({"classes": 4}, "classes is a int: expected a list of names"),
    "a mapping for names": ({"classes": {0: "a", 1: "b", 2: "c", 3: "d"}}, "classes is a dict: expected a list of names"),
    "no scores": ({"scores": None}, "score 'score' has shape .*: expected 40 finite numbers"),
    "no score at all": ({"scores": {}}, "40 examples with 0 scores: the explorer needs"),
    "short scores": ({"scores": SCORES[:9]}, r"score 'score' has shape \(9,\): expected 40 finite numbers, one for each image"),
    "a table of scores": ({"scores": np.zeros((N, 2))}, r"score 'score' has shape \(40, 2\)"),
    "not a number": (
        {"scores": np.where(np.arange(N) == 7, np.nan, SCORES)},
        "score 'score' of image 7 is nan: expected 40",
    ),
    "infinite": ({"scores": {"loss": np.where(np.arange(N) == 9, -np.inf, SCORES)}}, "score 'loss' of image 9 is -inf"),
    "beyond all measure": ({"scores": SCORES * 1e308}, "score 'score' of image .* is .*e\\+30"),
    "a gap": ({"scores": [None, *SCORES[1:]]}, "score 'score' of image 0 is nan"),
    "complex": ({"scores": SCORES * 1j}, "score 'score': expected numbers, not complex128"),
    "dates": ({"scores": np.full(N, "2026-01-01", dtype="datetime64[D]")}, "score 'score': expected numbers, not datetime64"),
    "words for scores": ({"scores": ["high"] * N}, "score 'score': expected numbers, not <U4"),
    "long numbers": ({"scores": [10**400] * N}, "score 'score': expected numbers, not object"),
    "numbers that name scores": ({"scores": {1: SCORES}}, "scores: a name is 1: expected words"),
    "a score without a name": ({"scores": {"": SCORES}}, "scores: a name is '': expected words"),
    "short memorization": ({"memorization": SCORES[:3]}, r"score 'memorization' has shape \(3,\)"),
    "places that are no number": ({"places": np.full((N, 2), np.nan)}, "place of image 0 is .*: expected 40 finite pairs"),
    "places in space": ({"places": np.zeros((N, 3))}, r"places have shape \(40, 3\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_shown_is_one_line(kind):
    given, words = WRONG[kind]
    with pytest.raises(UserError, match=words) as error:
        mulnb.explore(**({"images": IMAGES, "labels": LABELS, "scores": SCORES} | given))
    assert "\n" not in str(error.value)


def test_a_tensor_without_values_is_no_array():
    torch = pytest.importorskip("torch")
    with pytest.raises(UserError, match="score 'score': this is no array"):
        explore(IMAGES, LABELS, torch.empty(N, device="meta"))


# --- what is asked of an explorer ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": 2.5},
        {"sizes": np.nan},
        {"sizes": True},
        {"sizes": "abc"},
        {"sizes": (1, 2, True)},
        {"sizes": (1, 2, 3, 4)},
        {"sizes": []},
        {"sizes": np.array(2.5)},
        {"sizes": -1},
        {"sizes": 10**30},
        {"low": np.nan},
        {"low": np.inf},
        {"high": "0.5"},
        {"high": 1j},
        {"high": [0.5]},
        {"low": 10**400},
        {"seed": "0"},
        {"seed": True},
        {"seed": [0]},
        {"score": 5},
        {"score": ["score"]},
        {"score": "Score"},
    ],
    ids=str,
)
def test_choices_that_are_not_offered(wrong):
    explorer = explore(IMAGES, LABELS, SCORES)
    before = explorer.choose(sizes=3)
    with pytest.raises(UserError) as error:
        explorer.choose(**wrong)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert all(np.array_equal(part, was) for part, was in zip(explorer.strata, before, strict=True))


@pytest.mark.parametrize("algorithm", [5, ["salun"], "SalUn", "nothing", b"salun", True])
def test_algorithms_that_are_not_offered(explorer, algorithm):
    with pytest.raises(UserError, match="is not offered here: choose one of") as error:
        explorer.unlearn(algorithm)
    assert "\n" not in str(error.value) and not explorer.workbench.rows
    with pytest.raises(UserError, match="unlearning needs a profile"):
        explore(IMAGES, LABELS, SCORES).unlearn(algorithm)


@pytest.mark.parametrize("strategy", [5, ["rum_f"], "rum", "RUM", "nothing", True])
def test_strategies_that_are_not_offered(explorer, strategy):
    with pytest.raises(UserError, match="is not offered here: choose one of") as error:
        explorer.unlearn("salun", strategy)
    assert "\n" not in str(error.value) and not explorer.workbench.rows


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (5, "the file is a int: expected the path of a file"),
        ("a\0b.json", "is no name of a file"),
        ("  ", "is no name of a file"),
        ("x" * 300 + ".json", "the name is too long"),
        (".", "is a folder: give the name of a file in it"),
        ("nowhere/set.json", "nowhere does not exist: make it first"),
        ("~nobody-of-this-name/set.json", "does not exist: make it first"),
    ],
)
def test_places_where_a_set_cannot_go(tmp_path, monkeypatch, path, words):
    monkeypatch.chdir(tmp_path)
    explorer = explore(IMAGES, LABELS, SCORES)
    with pytest.raises(UserError, match=words) as error:
        explorer.export(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError) as error:
        explorer.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2, 3]", "{}", "null", "[" * 50_000, '{"low": [0]}', "\x00\xff"])
def test_files_that_hold_no_set(tmp_path, text):
    explorer = explore(IMAGES, LABELS, SCORES)
    (tmp_path / "set.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"forget set .*set\.json (is no JSON|has )") as error:
        explorer.load(tmp_path / "set.json")
    assert "\n" not in str(error.value)


def test_a_set_of_other_images_is_not_loaded(tmp_path):
    saved = explore(IMAGES, LABELS, SCORES).export(tmp_path / "set.json")
    again = explore(IMAGES, LABELS, -SCORES).load(tmp_path / "set.json")
    assert again.hash == saved.hash
    with pytest.raises(UserError, match="was made for other images or labels"):
        explore(IMAGES[::-1], LABELS, SCORES).load(tmp_path / "set.json")
