"""Requests as they come: every form names the same examples, and what cannot be meant is one line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small import IMAGES, LABELS, QUICK, forgotten, memorizing, scores

import mulnb
from mulnb import forget as forget_sets
from mulnb.core.errors import Notice, UserError
from mulnb.data.request import indices, whole_classes

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
        ["a\\1.png", Path("b/3.png")],
        np.array([b"a/1.png", b"b/3.png"]),
        (place for place in (4, 1)),
        {4: "spam", 1: "spam"}.keys(),
        np.array([4, 1], dtype=object),
        np.array([1.0, 4.0]),
        pd.Series([4, 1], index=["x", "y"]),
        pd.Series(["a/1.png", "b/3.png"]),
        {"index": [1, 4]},
        {"files": ["a/1.png", "b/3.png"]},
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
        ("a.json", '[{"file": "a/1.png"}, {"file": "b/3.png"}]'),
        ("a.csv", "1,\n4,\n"),
        ("a.csv", "1;\r\n4;\r\n"),
        ("a.csv", "what to delete\n1\n4\n"),
        ("a.csv", "index\n1.0\n4.0\n"),
        ("a.csv", '"file","why"\n"a/1.png","spam, and more"\n"b/3.png",""\n'),
        ("a.txt", "1 4"),
        ("a.txt", "1, 4\n"),
        ("a.txt", "index\n1\n4\n"),
        ("a.json", json.dumps(MASK.tolist())),
        ("a.json", '{"request": {"index": [1, 4]}}'),
        ("a.json", '{"forget": {"files": ["a/1.png", "b/3.png"]}}'),
        ("a.json", "[1.0, 4.0]"),
        ("a.csv", "sep=;\r\nindex;why\r\n4;spam\r\n1;more\r\n"),
        ("a.csv", 'index;why\n4;"spam, and more"\n1;none, really\n'),
        ("a.csv", "# by mail, on Monday\nindex;why\n4;spam\n1;spam\n"),
        ("a.csv", '\ufeff"index"\r\n"4"\r\n"1"\r\n'),
        ("a.csv", "4\r1\r"),
        ("a.csv", " Index , why\n 4 , x\n 1 , y\n"),
        ("a.CSV", "+4\n01\n"),
        ("a.txt", '"a/1.png"\n"b/3.png"\n'),
        ("a.txt", '"1"\n"4"\n'),
        ("a.tsv", "file\twhy\na\\1.png\tone, two\nb/3.png\t\n"),
        ("a.jsonl", '{"index": 4, "why": "spam"}\n\n{"index": 1}\n'),
        ("a.jsonl", '"a/1.png"\n"b/3.png"\n'),
        ("a.jsonl", "1\n4\n"),
        ("a.jsonl", '{"index": [1, 4]}\n'),
        ("a.jsonl", '{"index": 4, "why": "a\u2028b"}\n{"index": 1}\n'),
        ("a.csv", 'index,why\n4,"a mail\n\n# 12 says so"\n# a comment\n1,spam\n'),
    ],
)
def test_files_of_every_kind(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert indices(tmp_path / name, 5, files=FILES).tolist() == [1, 4]
    assert indices(str(tmp_path / name), 5, files=FILES).tolist() == [1, 4]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"index": [4, 1], "why": ["a mail\n# 12 says so", "more, and more"]}),
        pd.DataFrame({"user": list("abcde")})[MASK],  # a choice of rows keeps their numbers
        pd.DataFrame({"id": pd.array([1, 4], "Int64")}),
        pd.DataFrame({"file": ["a/1.png", "b/3.png"], "user": [7, 7]}),
        pd.DataFrame({"forget": MASK}),
    ],
)
def test_tables_of_parquet(tmp_path, table):
    table.to_parquet(tmp_path / "a.parquet")
    assert indices(tmp_path / "a.parquet", 5, files=FILES).tolist() == [1, 4]


def test_a_column_of_a_mask_is_a_mask():
    assert indices(MASK[:, None], 5).tolist() == indices({"index": {"index": MASK}}, 5).tolist() == [1, 4]
    assert indices({"file": "b/3.png"}, 5, files=FILES).tolist() == [4]


@pytest.mark.parametrize("kind", ["bool", "boolean", "object"])
def test_a_mask_in_another_order_is_that_of_its_index(kind):
    mask = pd.Series(MASK, dtype=kind)
    for mixed in (mask.sort_values(), mask[::-1], pd.DataFrame({"forget": mask[::-1], "score": 1.0})):
        with pytest.warns(Notice, match="the request: its index is not in order: example i is the one with index i"):
            assert indices(mixed, 5).tolist() == [1, 4]
    for index in (range(10, 15), list("edcba"), [4, 3, 2, 1, 1]):
        assert indices(mask.set_axis(index), 5).tolist() == [1, 4]  # an index that says nothing of the examples


def test_a_part_of_a_data_set_as_random_split_gives_it():
    whole = torch.utils.data.TensorDataset(torch.arange(5))
    asked, stays = torch.utils.data.random_split(whole, [2, 3], generator=torch.Generator().manual_seed(0))
    assert sorted([*indices(asked, 5), *indices(stays, 5)]) == [0, 1, 2, 3, 4] and set(indices(asked, 5)) == set(asked.indices)
    with pytest.raises(UserError, match="is a Subset of 5 examples, these are 4: give their places among these"):
        indices(asked, 4)


def test_names_hold_commas_spaces_and_accents(tmp_path):
    files = ["a/one, two.png", "a/caf\u00e9.png", "b/3.png"]
    (tmp_path / "a.txt").write_text("one, two.png\na/cafe\u0301.png\n", encoding="utf-16")
    assert indices(tmp_path / "a.txt", 3, files=files).tolist() == [0, 1]
    assert indices("a/one, two.png", 3, files=files).tolist() == [0]  # one image, without a list
    assert indices(b"3.png", 3, files=files).tolist() == [2]


def test_paths_lead_into_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "train"
    for name in (root / "b" / "3.png", "train/b/3.png", Path("train") / "b" / ".." / "b" / "3.png"):
        assert indices([name], 5, files=FILES, root="train").tolist() == [4]
    with pytest.raises(UserError, match=r"other/b/3.png' is not among the images"):
        indices([tmp_path / "other" / "b" / "3.png"], 5, files=FILES, root=root)


def test_arrays_and_forget_sets_in_files(tmp_path):
    np.savez(tmp_path / "one.npz", chosen=[4, 1])
    np.savez(tmp_path / "two.npz", index=[4, 1], why=["spam", "spam"])
    assert indices(tmp_path / "one.npz", 5).tolist() == indices(tmp_path / "two.npz", 5).tolist() == [1, 4]
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
        (np.ones((5, 2), dtype=bool), "a mask of 5×2 values for 5 examples"),
        ([2**70, 1], f"index {2**70} of 0 … 4"),
        ([-(2**70)], f"index -{2**70} of 0 … 4"),
        ([1e300], "float64"),
        ({"class": []}, "an empty list of classes"),
        ({"class": True}, "class True is neither a number nor a name"),
        ({"class": 10**400}, "is neither a number nor a name"),
        ({"class": torch.ones(2, 2)}, "is neither a number nor a name"),
        (torch.ones(2, device="meta"), "is no list of examples"),
        (torch.eye(2).to_sparse(), "is no list of examples"),
        ({"request": {"request": {"request": {"request": [1]}}}}, "the request has request"),
        ({"file": "c/9.png"}, "'c/9.png' is not among the images"),
        ("", "the request '' is no name of a file"),
        ("~nobody-of-this-name/a.csv", "a.csv does not exist"),
        ("x" * 5000 + ".csv", "does not exist"),
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
        ({"class": None}, "class None is neither a number nor a name"),
        (iter(int, 1), "names an example twice: 0"),  # it never ends
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
        ("a.parquet", "x", "cannot be read"),
        ("a.csv", 'index,why\n4,"spam\n1,more\n', "a quotation mark that is never closed"),
        ("a.jsonl", '{"index": 1}\n{"index": 2', "cannot be read"),
        ("a.jsonl", "", "is empty"),
        ("a.csv", "why,index\nspam\n", "line 2 has too few columns"),
        ("a.csv", "index\n\u00b2\n", "file names"),
        ("a.csv", '"' + "x" * 200_000 + '"', "cannot be read: field larger than field limit"),
        ("a.json", "[" * 100_000, "cannot be read"),
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
    for given in ([0, 1], ["cat", 1], np.array([0, 1]), torch.tensor([1, 0]), {"cat", "dog"}):
        assert indices({"classes": given}, 5, labels=labels, classes=["cat", "dog"]).tolist() == [0, 1, 2, 3, 4]
    assert indices({"class": torch.tensor(1)}, 5, labels=labels).tolist() == [2, 3, 4]
    assert indices({"class": 1}, 5, labels=labels, classes=["0", "1"]).tolist() == [2, 3, 4]
    assert indices({"class": "1"}, 5, labels=labels, classes=["1", "0"]).tolist() == [0, 1]
    with pytest.raises(UserError, match="class 1 may be the number 1 or the name '1': give the name, as text"):
        indices({"class": 1}, 5, labels=labels, classes=["1", "0"])
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


def test_a_forget_set_that_was_saved_can_be_unlearned(tmp_path):
    strata, _ = forgotten()
    forget_sets.save(tmp_path / "set.json", strata, data="x", n=160)
    again = forget_sets.load(tmp_path / "set.json").strata
    found = mulnb.unlearn(memorizing(), IMAGES, LABELS, again, settings=QUICK)
    assert found.strategy == "rum_f"


@pytest.mark.parametrize("kind", ["csv", "json", "table"])
def test_a_table_with_indices_and_names_must_agree(tmp_path, kind):
    def given(**columns):
        if kind == "table":
            return pd.DataFrame(columns)
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        text = json.dumps(rows) if kind == "json" else pd.DataFrame(columns).to_csv(index=False)
        (tmp_path / f"request.{kind}").write_text(text)
        return tmp_path / f"request.{kind}"

    assert indices(given(index=[4, 1], file=["b/3.png", FILES[1]]), 5, files=FILES).tolist() == [1, 4]
    # numbers of the user's own list, as every export has them, are not places of images
    with pytest.raises(UserError, match=r"'id' says 0 where 'filename' says b/3.png, which is example 4: leave out one"):
        indices(given(id=[0, 1], filename=["b/3.png", FILES[1]]), 5, files=FILES)
    with pytest.raises(UserError, match=r"'c/9.png' is not among the images: they are called like"):
        indices(given(index=[4, 1], file=["b/3.png", "c/9.png"]), 5, files=FILES)
    assert indices(given(id=["x1", "x2"], path=["b/3.png", FILES[1]]), 5, files=FILES).tolist() == [1, 4]
    assert indices(given(index=[4, 1], name=["Ada", "Bob"]), 5, files=FILES).tolist() == [1, 4]  # who asked
    assert indices(given(index=[4, 1], name=["Ada", "Bob"]), 5).tolist() == [1, 4]


@pytest.mark.parametrize("title", ["File Name", "image_path", "filepath", "File-Path"])
def test_titles_of_names_as_people_write_them(tmp_path, title):
    (tmp_path / "request.csv").write_bytes(f"\ufeff{title},why\r\nb/3.png,\u00fc\r\n".encode())
    assert indices(tmp_path / "request.csv", 5, files=FILES).tolist() == [4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index\n1.000\n2.000\n", "has the number 1.000: write numbers without separators of thousands"),
        ("3;1.000\n", "has the number 1.000"),
        ("label\n1\n", "has a column 'label': call it 'class' to forget whole classes, or 'index' to forget examples"),
        ("b/3.png\n1\n", "'1' is not among the images"),  # a name is no title
        ("0\n1\n0\n0\n1\n", "5 times 0 or 1, a mask perhaps"),
        ("c/1.png\nc/2.png\nb/3.png\n", r"'c/1.png' is not among the images \(2 of 3 names are not\)"),
        (b"file\nb\xfc.png\n", "it is not in UTF-8: save it as such"),
        ("index\n1,000\n3\n", "line 2 has more cells than the heading: write numbers without separators of thousands"),
        ("file\nb,3.png\n", "line 2 has more cells than the heading"),
        ("index,index\n1,2\n", "has two columns 'index'"),
        ("index,forget\n0,0\n1,1\n", "column 'forget' does not mark every row: keep the rows that are to be forgotten"),
        ("index,delete\n0,True\n1,False\n", "column 'delete' does not mark every row"),
    ],
)
def test_lists_that_could_be_taken_for_something_else(tmp_path, text, words):
    (tmp_path / "request.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words):
        indices(tmp_path / "request.csv", 5, files=FILES)


@pytest.mark.parametrize("number", ["1 000", "1\u00a0000", "1\u202f234", "1,000", "1.000"])
def test_a_number_with_a_separator_of_thousands_is_not_one_or_two_examples(tmp_path, number):
    (tmp_path / "request.txt").write_text(f"3\n{number}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has the number 1.*: write numbers without separators of thousands"):
        indices(tmp_path / "request.txt", 2000)


def test_numbers_that_only_resemble_those_with_separators_of_thousands(tmp_path):
    (tmp_path / "request.txt").write_text("001 002\n7.0 12\n4\n013\n")
    assert indices(tmp_path / "request.txt", 2000).tolist() == [1, 2, 4, 7, 12, 13]
    with pytest.raises(UserError, match=r"the request has the number 1.000"):
        indices(["1.000"], 2000)


def test_a_column_of_classes_names_classes_and_not_examples(tmp_path):
    labels, names = np.array([0, 0, 1, 1, 1]), ["0001", "0002"]
    for name, text, classes, expected in (
        ("a.csv", "class\n1\n", None, [2, 3, 4]),
        ("a.csv", "Class;\r\ndog;\r\n", ["cat", "dog"], [2, 3, 4]),
        ("a.txt", "classes\ncat\n", ["cat", "dog"], [0, 1]),
        ("a.csv", "class\n0001\n", names, [0, 1]),  # the name, and not number 1
        ("a.csv", "index,class\n4,0001\n", names, [4]),
    ):
        (tmp_path / name).write_text(text)
        assert indices(tmp_path / name, 5, labels=labels, classes=classes).tolist() == expected
    (tmp_path / "a.csv").write_text("class\n1\n")
    with pytest.raises(UserError, match="class '1' is unknown: classes are 0001, 0002"):
        indices(tmp_path / "a.csv", 5, labels=labels, classes=names)


def test_a_table_of_pandas_in_the_form_split_has_no_list_of_examples(tmp_path):
    table = pd.DataFrame({"index": [1, 4]})
    table.to_json(tmp_path / "a.json", orient="split")
    for given in (tmp_path / "a.json", table.to_dict("split")):
        with pytest.raises(UserError, match=r"is a table in pandas' form 'split', .*: write it as 'records'"):
            indices(given, 5)
    table.to_json(tmp_path / "a.json", orient="records")
    assert indices(tmp_path / "a.json", 5).tolist() == [1, 4]


def test_a_table_with_a_mark_on_every_row_and_empty_cells_at_the_end(tmp_path):
    (tmp_path / "request.csv").write_text("index,forget\n1,1\n4,1,,\n")
    assert indices(tmp_path / "request.csv", 5, files=FILES).tolist() == [1, 4]


def test_a_mask_in_words(tmp_path):
    (tmp_path / "request.csv").write_text("forget\nFalse\nTrue\nfalse\nFALSE\nTRUE\n")
    assert indices(tmp_path / "request.csv", 5, files=FILES).tolist() == [1, 4]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_whole_numbers_may_come_in_any_floating_point_type(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert indices(torch.tensor([3.0, 1.0], dtype=dtype), 5).tolist() == [1, 3]
