"""`mulnb.load_scores`: published scores, the right way round, in the order of the data; read as a profile's are."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from small import IMAGES, LABELS

import mulnb
from mulnb.core.errors import Notice, UserError
from mulnb.data import ImageSet, load_scores

VALUES = np.linspace(0, 1, 160)


def test_published_scores_are_read_the_right_way_round(tmp_path):
    values = np.linspace(0, 1, 160)
    np.savez(tmp_path / "c.npz", labels=LABELS, scores=values)
    np.savez(tmp_path / "m.npz", tr_labels=LABELS, tr_mem=values)
    for name in ("own", "scores"):  # the second may hold what `recorder.scores` returned: nothing says which end is which
        np.save(tmp_path / f"{name}.npy", values)
    np.savez(tmp_path / "bare.npz", scores=values)
    (tmp_path / "rows.csv").write_text("index,memorization\n2,0.9\n0,0.1\n1,0.5\n")
    (tmp_path / "own.csv").write_text("memorization\n" + "\n".join(map(str, values)))
    with pytest.warns(UserWarning, match="taken for C-scores, of which high is regular"):
        assert np.allclose(mulnb.load_scores(tmp_path / "c.npz", labels=LABELS), 1 - values)
    assert np.allclose(mulnb.load_scores(tmp_path / "m.npz", labels=LABELS), values)
    assert np.allclose(mulnb.load_scores(tmp_path / "own.csv"), values)
    assert np.allclose(mulnb.load_scores(tmp_path / "own.npy", memorized="low"), 1 - values)
    assert np.allclose(mulnb.load_scores(tmp_path / "m.npz", index=[3, 1]), values[[3, 1]])
    for call, message in (
        (lambda: mulnb.load_scores(tmp_path / "c.npz", labels=LABELS[::-1]), "of its labels are those of the data"),
        (lambda: mulnb.load_scores(tmp_path / "own.npy"), "which end of 'own' is memorized"),
        (lambda: mulnb.load_scores(tmp_path / "scores.npy"), "which end of 'scores' is memorized"),
        (lambda: mulnb.load_scores(tmp_path / "bare.npz"), "which end of 'scores' is memorized"),
        (
            lambda: mulnb.load_scores(tmp_path / "rows.csv"),
            "index is not in increasing order: sort the rows by it, or give index=",
        ),
        (lambda: mulnb.load_scores(tmp_path / "c.npz", labels=LABELS[:9]), "160 scores for 9 labels: give index="),
        (lambda: mulnb.load_scores(tmp_path / "c.npz", key="x"), "has labels, scores: give key="),
        (lambda: mulnb.load_scores(tmp_path / "none.npz"), "does not exist"),
        (lambda: mulnb.strata(np.load(tmp_path / "c.npz"), size=10), "read it by mulnb.load_scores"),
        (lambda: mulnb.strata([["a"]], size=1), "expected one number per example"),
    ):
        with pytest.raises(UserError, match=message):
            call()


HOSTILE = [
    ("same.csv", b"memorization\n0.5\n0.5\n", {}, r"memorization is 0\.5 for all 2 examples: such scores rank nothing"),
    ("empty.npz", b"", {}, "cannot be read as .npz"),
    ("empty.csv", b"", {}, "cannot be read as .csv"),
    ("text.npy", b"hello", {}, "cannot be read as .npy"),
    ("text.parquet", b"hello", {}, "cannot be read as .parquet"),
    ("scores.pkl", b"hello", {}, "pickles .* are never loaded: save the scores as .npz"),
    ("scores", b"1", {}, "scores are read from .npz"),
    ("half.json", b"[0.5", {}, "cannot be read as .json"),
    ("deep.json", b"[" * 50_000, {}, "cannot be read as .json"),
    ("ragged.json", b"[[1, 2], [3]]", {}, "cannot be read as .json"),
    ("nothing.json", b"{}", {}, "is empty: expected one score per example"),
    ("list.json", b"[]", {"memorized": "high"}, "expected one score per example"),
    ("null.json", b"null", {"memorized": "high"}, "object and not numbers"),
    ("nested.json", b'{"memorization": {"0": 0.5}}', {}, "memorization holds object and not numbers"),
    ("table.json", b'{"memorization": [[1, 2], [3, 4]]}', {}, "memorization has the shape"),
    ("gap.json", b'{"memorization": [0.5, NaN]}', {}, "the score of example 1 is not a number"),
    ("words.csv", b"memorization\nhigh\nlow\n", {}, "memorization holds .* and not numbers"),
    ("no head.csv", b"0.1\n0.2\n", {"memorized": "high"}, "the first line must name the columns"),
    ("two.csv", b"a,b\n1,2\n3,4\n", {}, "has a, b: give key="),
    ("two.csv", b"a,b\n1,2\n3,4\n", {"key": "c"}, "has a, b: give key="),
    ("two.csv", b"a,b\n1,2\n3,4\n", {"key": 1}, "has a, b: give key="),
    ("two.csv", b"a,b\n1,2\n3,4\n", {"key": "a"}, "which end of 'a' is memorized"),
    ("latin.csv", b"memorization,caf\xe9\n1,2\n", {}, "cannot be read as .csv"),
    ("one.csv", b"memorization\n0.5\n0.6\n", {"memorized": "High"}, "memorized = 'High': should be 'high' or 'low'"),
    ("one.csv", b"memorization\n0.5\n0.6\n", {"labels": 5}, r"labels are int64 \[\]: expected one label per example"),
    ("one.csv", b"memorization\n0.5\n0.6\n", {"labels": np.eye(2)}, r"labels are float64 \[2, 2\]: expected one label"),
    ("one.csv", b"memorization\n0.5\n0.6\n", {"labels": [[0], [1, 2]]}, "labels is no list of whole numbers"),
    ("one.csv", b"memorization\n0.5\n0.6\n", {"labels": [0]}, "2 scores for 1 labels: give index="),
    (
        "one.csv",
        b"memorization,labels\n0.5,0\n0.6,1\n",
        {"labels": ["cat", "dog"]},
        "only 0% of its labels are those of the data",
    ),
    ("one.csv", b"cscore\n0.5\n0.6\n", {"index": np.empty(0, dtype=int)}, "index is empty"),
    ("one.csv", b"cscore\n0.5\n0.6\n", {"index": [[0], [1, 2]]}, "index is no list of whole numbers"),
    ("one.csv", b"cscore\n0.5\n0.6\n", {"index": "01"}, "expected the place of each example in the file"),
    ("one.csv", b"cscore\n0.5\n0.6\n", {"index": [-1]}, "index -1 is not in the file, which has 2 scores"),
]


@pytest.mark.parametrize(("name", "content", "more", "words"), HOSTILE)
def test_files_that_hold_no_scores(tmp_path, name, content, more, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        mulnb.load_scores(tmp_path / name, **more)
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_scores(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([1.0, None], dtype=object))
    for path, words in (
        (None, "the file is a NoneType: expected the path"),
        (VALUES, "the file is a ndarray: expected the path"),
        ("", "the file '' is no name of a file"),
        ("a\0b.npy", "is no name of a file"),
        (tmp_path, "is a folder: expected a file of scores"),
        ("~nobody-of-this-name/scores.npy", "scores.npy does not exist"),
        ("x" * 5000 + ".npy", "does not exist"),
        (tmp_path / "objects.npy", "cannot be read as .npy"),
    ):
        with pytest.raises(UserError, match=words):
            mulnb.load_scores(path)


def write(path):
    """The scores and their labels, as a file of the kind that the name says."""
    if path.suffix == ".npz":
        np.savez(path, memorization=VALUES, labels=LABELS)
    elif path.suffix == ".parquet":
        pd.DataFrame({"memorization": VALUES, "labels": LABELS}).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"memorization": VALUES.tolist(), "labels": LABELS.tolist()}))
    else:
        comma = "," if "german" in path.name else "."
        rows = [f"{value:.6f};{label}".replace(".", comma) for value, label in zip(VALUES, LABELS, strict=True)]
        text = "\ufeffmemorization;labels\r\n" + "\r\n".join(rows)
        path.write_text(text if "german" in path.name or "semicolon" in path.name else text.replace(";", ","), encoding="utf-8")


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.json", "a.csv", "semicolon.csv", "german.csv"])
def test_both_readers_read_the_same_files(tmp_path, name):
    write(tmp_path / name)
    own = mulnb.load_scores(str(tmp_path / name), labels=torch.from_numpy(LABELS))
    data = ImageSet(IMAGES, LABELS, ("a", "b", "c", "d"))
    assert np.allclose(own, VALUES, atol=1e-6)
    assert np.array_equal(own, load_scores(tmp_path / name, "memorization", data=data))


def test_names_of_images_in_another_order_than_a_folder_s_are_told(tmp_path):
    scores = pd.DataFrame({"memorization": [0.5, 0.25], "file": ["b.png", "a.png"]})
    scores.to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.warns(Notice, match="mixed.csv: row i is taken for example i, and 'file' is not in the order .*: give index="):
        assert mulnb.load_scores(tmp_path / "mixed.csv").tolist() == [0.5, 0.25]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mulnb.load_scores(tmp_path / "mixed.csv", index=[1, 0]).tolist() == [0.25, 0.5]
        scores[::-1].to_csv(tmp_path / "sorted.csv", index=False)
        assert mulnb.load_scores(tmp_path / "sorted.csv").tolist() == [0.25, 0.5]
        scores.assign(index=[0, 1]).to_csv(tmp_path / "counted.csv", index=False)
        assert mulnb.load_scores(tmp_path / "counted.csv").tolist() == [0.5, 0.25]


def test_what_is_no_c_score_is_not_turned_round(tmp_path):
    np.savez(tmp_path / "c.npz", cscore=VALUES * 3 - 1)
    words = r"cscore runs from -1 to 2, but consistency scores lie in \[0, 1\]: give memorized='high' if"
    with pytest.raises(UserError, match=words):
        mulnb.load_scores(tmp_path / "c.npz")
    assert np.allclose(mulnb.load_scores(tmp_path / "c.npz", memorized="high"), VALUES * 3 - 1)
    for index, message in (([0.5], "index is float64"), ([True] * 160, "index is bool"), ([160], "index 160 is not in the file")):
        with pytest.raises(UserError, match=message):
            mulnb.load_scores(tmp_path / "c.npz", memorized="high", index=index)
