"""`forget.file` may be strata that were saved, or a plain list of examples in any usual file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulnb import forget, load_profile
from mulnb.core.errors import UserError
from mulnb.data import forget_file
from mulnb.study import Study, frames

LABELS = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
CLASSES = ("cat", "dog", "frog")


def members(path) -> list[int] | None:
    found = forget_file.members(path, LABELS, CLASSES)
    return None if found is None else found.tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.csv", "index\n3\n1\n7\n"),
        ("set.txt", "1\n3\n7\n"),
        ("set.tsv", "index\tlabel\n1\t0\n3\t1\n7\t2\n"),
        ("set.json", "[7, 3, 1]"),
        ("set.json", '["7", "3", "1.0"]'),
        ("set.txt", "\n".join(str(number in (1, 3, 7)) for number in range(10))),
        ("set.json", '{"indices": [1, 3, 7]}'),
        ("set.JSON", json.dumps([number in (1, 3, 7) for number in range(10)])),
    ],
)
def test_a_plain_list_names_examples(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert members(tmp_path / name) == [1, 3, 7]


def test_an_array_and_a_whole_class(tmp_path):
    np.save(tmp_path / "set.npy", np.array([1, 3, 7]))
    assert members(tmp_path / "set.npy") == [1, 3, 7]
    (tmp_path / "class.json").write_text('{"class": "dog"}')
    assert members(tmp_path / "class.json") == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "names 2 of 10 examples: three strata need at least 3"),
        ("1\n2\n10\n", "has index 10 of 0 … 9"),
        ("1\n2\n2\n4\n", "names an example twice: 2"),
        ("", "set.csv"),
        ("a.png\nb.png\nc.png\n", "set.csv"),
        ("-1\n2\n4\n5\n", "has index -1 of 0 … 9"),
        ("1e0\n2\n4\n5\n", r"has file names \('1e0', …\)"),
        ("5\nnan\n4\n6\n", r"has file names \('nan', …\)"),
        ("9" * 5000 + "\n2\n4\n", "has file names"),
        ("\n".join(map(str, range(9))), "names 9 of 10 examples: at least two must be left to retain"),
    ],
)
def test_a_list_that_does_not_fit_is_one_line(tmp_path, text, message):
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        members(tmp_path / "set.csv")
    assert "\n" not in str(error.value)


def test_saved_strata_are_no_plain_list(tmp_path):
    strata = forget.Strata(np.array([0]), np.array([1]), np.array([2]))
    forget.save(tmp_path / "set.json", strata, "abc", 10)
    assert members(tmp_path / "set.json") is None
    (tmp_path / "set.json").write_text("no json")
    assert members(tmp_path / "set.json") is None  # `load` says what is wrong with it


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("set.json", "[1, 2, 3,]", r"set\.json is no JSON \(.*line 1 column 10"),
        ("set.json", '{"examples": [1, 2, 3]}', "has examples: expected a .json file saved by mulnb.forget.save"),
        ("set.json", "{}", "has nothing: expected"),
        ("set.json", "5", "has no list: expected"),
        ("set.json", '{"class": 1, "class": 2}', r"set\.json is no JSON \('class' stands there twice: keep one of them\)"),
        ("set.yaml", "- 1", r"is no JSON .*or a list of examples \(\.csv, \.tsv, \.txt"),
    ],
)
def test_a_file_that_is_neither_says_what_is_expected(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    assert members(tmp_path / name) is None
    with pytest.raises(UserError, match=message) as error:
        forget_file.load(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, 1, 2], "has None among the examples"),
        ([{"index": 5}, 9, 3], r"has \{'index': 5\} among the examples"),
        ([10**30, 1, 2], "has index 1000000000000000000000000000000 of 0 … 9"),
    ],
)
def test_what_is_odd_in_a_list_is_named(tmp_path, values, message):
    (tmp_path / "set.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        members(tmp_path / "set.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("set.txt", "3\n1,000\n5\n", "has the number 1,000: write numbers without separators of thousands"),
        ("set.json", '{"class": "dog", "index": [1, 3, 7]}', r"names examples \('index'\) and a class \('class'\)"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_asked_for(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        members(tmp_path / name)


def test_lists_with_commas_and_tables_with_labels_are_what_they_were(tmp_path):
    (tmp_path / "set.txt").write_text("1,3,7")
    assert members(tmp_path / "set.txt") == [1, 3, 7]
    (tmp_path / "set.json").write_text('{"class": [0, 1, 2], "index": [1, 3, 7]}')
    assert members(tmp_path / "set.json") == [1, 3, 7]


LINES = st.sampled_from(
    ["0", "3", "7.0", "+5", "08", "-1", "-0", "1e0", "0x5", "\uff13", "nan", "", " 6 ", "2;", "1.5", "1,2", "-", "["]
)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.lists(LINES, min_size=3, max_size=6), st.sampled_from(["csv", "txt", "tsv"]))
def test_no_line_of_a_list_is_dropped(lines, suffix):
    """Every line of numbers is an example of the list, or the list is refused: none is taken for a heading."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"set.{suffix}")
        path.write_text("\n".join(lines))
        try:
            found = members(path)
        except UserError as error:
            assert "\n" not in str(error)
            return
    cells = [cell for line in lines for cell in line.replace(";", ",").split(",") if cell.strip()]
    assert sorted(int(float(cell)) for cell in cells) == found


def test_a_list_of_absurd_length_is_not_read(tmp_path):
    for name in ("set.csv", "set.npy"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**32)  # a sparse file: it takes no room
        with pytest.raises(UserError, match="longer than 256 MB"):
            members(tmp_path / name)


def test_a_study_splits_a_plain_list_by_the_score_of_the_run(tmp_path, monkeypatch):
    (tmp_path / "set.csv").write_text("\n".join(map(str, range(100, 130))))
    study = Study(load_profile("smoke", {"forget.file": str(tmp_path / "set.csv")}))
    monkeypatch.setattr(Study, "scores", lambda self, score, seed: -np.arange(float(len(self.train))))

    assert study.given is None and study.refining_scores == study.profile.unlearning.scores[:1]
    low, medium, high = study.strata("memorization", 0)
    assert [part.tolist() for part in (high, medium, low)] == [list(range(100 + k, 110 + k)) for k in (0, 10, 20)]
    assert {run.score for run in study.runs} == {study.profile.unlearning.scores[0]}
    assert frames.orders_of(study) == ([], [], [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_saved_strata_are_read_as_editors_write_them(tmp_path, encoding):
    file = tmp_path / "set.json"
    forget.save(file, forget.Strata(np.array([0]), np.array([1]), np.array([2])), "x", 9)
    file.write_text(file.read_text(), encoding=encoding)
    assert forget.load(file).strata.forget.tolist() == [0, 1, 2]
