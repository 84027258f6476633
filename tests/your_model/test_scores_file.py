"""`mulnb.load_scores`: published scores, the right way round, in the order of the data; read as a profile's are."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from small import IMAGES, LABELS

import mulnb
from mulnb.core.errors import UserError
from mulnb.data import ImageSet, load_scores

VALUES = np.linspace(0, 1, 160)


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


def test_what_is_no_c_score_is_not_turned_round(tmp_path):
    np.savez(tmp_path / "c.npz", scores=VALUES * 3 - 1)
    with pytest.raises(UserError, match=r"scores runs from -1 to 2, but consistency scores lie in \[0, 1\]"):
        mulnb.load_scores(tmp_path / "c.npz")
    assert np.allclose(mulnb.load_scores(tmp_path / "c.npz", memorized="high"), VALUES * 3 - 1)
    for index, message in (([0.5], "index is float64"), ([True] * 160, "index is bool"), ([160], "index 160 is not in the file")):
        with pytest.raises(UserError, match=message):
            mulnb.load_scores(tmp_path / "c.npz", memorized="high", index=index)
