"""Scores from outside: each example gets its own score, and a file that does not fit is refused in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

import mulnb
from mulnb import load_data, load_profile
from mulnb.core.errors import UserError
from mulnb.data import ImageSet, load_scores
from mulnb.data.images import AS_PUBLISHED, BY_FILE_NAME

N = 40  # examples of the source
LABELS = np.arange(N) % 4
SCORES = np.random.default_rng(0).random(N)  # in the source's order


def part(chosen=range(5, N, 2), **changes) -> ImageSet:
    """Some examples of a source of N, as a split has them."""
    chosen = np.asarray(chosen)
    given = {"source_size": N, "order": AS_PUBLISHED, "index": chosen} | changes
    return ImageSet(np.zeros((len(chosen), 1, 2, 2), np.uint8), LABELS[chosen], tuple("abcd"), "made up", **given)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def refused(*given, **named) -> str:
    """The message of the refusal: one line that names the file."""
    with pytest.raises(UserError) as error:
        load_scores(*given, **{"data": part(), **named})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_released_file_gives_each_example_of_a_class_balanced_split_its_own_score(tmp_path, capsys):
    from sklearn.datasets import load_digits

    # the score of a digit is a fact about its pixels, so that a mix-up would be seen
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    file = saved(tmp_path / "infl.npz", tr_mem=pixels.reshape(1797, -1).sum(1) / 16320, tr_labels=digits.target)

    overrides = {"dataset.train_images": 1000, "dataset.label_noise": 0, "dataset.classes": 8, "sequential.steps": 2}
    train = load_data(load_profile("digits", overrides)).train
    scores = load_scores(file, "tr_mem", data=train)

    assert scores.dtype == np.float64 and len(scores) == len(train) < 1000
    assert np.array_equal(scores, train.images.reshape(len(train), -1).sum(1) / 16320)
    assert capsys.readouterr().out == f"infl.npz: 1.0000 of {len(train)} labels equal those of the data\n"


def test_consistency_is_turned_into_memorization(tmp_path):
    file = saved(tmp_path / "cscores.npz", scores=SCORES, labels=LABELS)
    found = load_scores(file, "scores", orientation="consistency", data=part())
    assert np.array_equal(found, 1 - SCORES[part().index])

    assert "use 'memorization' or 'consistency'" in refused(file, "scores", orientation="c")
    file = saved(tmp_path / "other.npz", scores=SCORES * 3, labels=LABELS)
    assert "consistency scores lie in [0, 1]" in refused(file, "scores", orientation="consistency")


def test_every_kind_of_file_gives_the_same(tmp_path):
    frame = pd.DataFrame({"memorization": SCORES, "label": LABELS})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "records.json", orient="records", double_precision=15)
    (tmp_path / "lists.json").write_text(json.dumps({"memorization": SCORES.tolist(), "label": LABELS.tolist()}))
    (tmp_path / "numbers.json").write_text(json.dumps(SCORES.tolist()))
    np.save(tmp_path / "a.npy", SCORES)
    np.save(tmp_path / "fields.npy", frame.to_records(index=False))
    saved(tmp_path / "a.npz", memorization=SCORES[:, None], label=LABELS)

    for name in ("a.csv", "a.parquet", "a.npz", "a.npy", "fields.npy", "records.json", "lists.json", "numbers.json"):
        found = load_scores(tmp_path / name, "memorization", data=part())
        assert np.allclose(found, SCORES[part().index], atol=1e-14), name


def test_a_published_frame_of_this_package_fits_its_own_split(tmp_path):
    train = part()
    frame = pd.DataFrame({"example": range(len(train)), "label": train.labels, "memorization": SCORES[train.index], "se": 0.1})
    frame.to_parquet(tmp_path / "memorization.parquet")
    found = load_scores(tmp_path / "memorization.parquet", "memorization", data=train)
    assert np.array_equal(found, SCORES[train.index])


def test_scores_in_the_order_of_the_split(tmp_path):
    train = part()
    own = SCORES[train.index]
    file = saved(tmp_path / "own.npz", mine=own)

    for index in (None, "train"):  # as many scores as examples, and fewer than the source has
        assert np.array_equal(load_scores(file, index=index, data=train), own)
    assert np.array_equal(load_scores(file, data=part(index=None)), own)
    assert "mine has 18 scores, but the source of the data has 40 examples" in refused(file, index="source")
    assert "mine has 18 scores for 17 examples: with index = train" in refused(file, index="train", data=part(range(17)))
    assert "of unknown source index" in refused(file, data=part(range(17), index=None))


def test_scores_with_an_index_of_their_own(tmp_path):
    mixed = np.random.default_rng(1).permutation(N)
    file = saved(tmp_path / "a.npz", mem=SCORES[mixed], labels=LABELS[mixed], where=mixed)
    assert np.array_equal(load_scores(file, "mem", index="where", data=part()), SCORES[part().index])

    assert "no key 'place' for the index: use source, train, or one of mem, labels, where" in refused(file, "mem", index="place")
    assert "labels names the source index 0 twice" in refused(file, "mem", index="labels")
    few = saved(tmp_path / "few.npz", mem=SCORES[:20], where=np.arange(20))
    assert "where lacks 10 of 18 examples; the first is source index 21" in refused(few, "mem", index="where")
    halves = saved(tmp_path / "halves.npz", mem=SCORES, where=np.arange(N) / 2)
    assert "where is float64 [40]: expected one whole number for each of 40 scores" in refused(halves, "mem", index="where")


def test_labels_that_disagree(tmp_path, capsys):
    wrong = LABELS.copy()
    wrong[7] = 0
    file = saved(tmp_path / "a.npz", tr_mem=SCORES, tr_labels=wrong)
    message = refused(file, "tr_mem")
    assert message.startswith(f"{file}: tr_labels equals the labels of the data for 0.9444 of 18 examples (0.99 needed)")
    assert "the first that differs is example 1 (source index 7): 0 in the file, 3 in the data" in message

    many = part(np.tile(part().index, 10))  # one of a hundred may differ
    wrong = LABELS[many.index].copy()
    wrong[7] += 1
    file = saved(tmp_path / "b.npz", tr_mem=SCORES[many.index], tr_labels=wrong)
    assert len(load_scores(file, "tr_mem", index="train", data=many)) == 180
    assert "0.9944 of 180 labels" in capsys.readouterr().out
    file = saved(tmp_path / "c.npz", tr_mem=SCORES, labels=LABELS[:-1])
    assert "labels has the shape [39] beside 40 scores" in refused(file, "tr_mem")


def test_labels_may_be_names_of_classes(tmp_path):
    frame = pd.DataFrame({"memorization": SCORES, "label": np.array(list("abcd"))[LABELS]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert np.allclose(load_scores(tmp_path / "a.csv", "memorization", data=part()), SCORES[part().index])
    as_bytes = saved(tmp_path / "a.npz", mem=SCORES, labels=np.array(list("abcd"), "S")[LABELS])
    assert np.allclose(load_scores(as_bytes, "mem", data=part()), SCORES[part().index])
    frame["label"] = np.roll(frame["label"], 1)
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert "example 0 (source index 5): a in the file, b in the data" in refused(tmp_path / "a.csv", "memorization")


def test_images_listed_by_file_name_need_labels_or_a_word(tmp_path, capsys):
    listed = part(order=BY_FILE_NAME)
    bare = saved(tmp_path / "bare.npz", memorization=SCORES)
    assert "the images are listed by file name" in refused(bare, data=listed)
    assert np.array_equal(load_scores(bare, index="source", data=listed), SCORES[listed.index])
    assert "no labels beside the scores" in capsys.readouterr().out

    file = saved(tmp_path / "labelled.npz", memorization=SCORES, labels=LABELS)
    assert np.array_equal(load_scores(file, "memorization", data=listed), SCORES[listed.index])


def test_a_wrong_key_lists_the_keys(tmp_path):
    file = saved(tmp_path / "a.npz", tr_mem=SCORES, tr_labels=LABELS)
    assert refused(file, "memorization") == f"{file}: no key 'memorization': it has tr_mem, tr_labels"
    assert refused(file) == f"{file}: say which key holds the scores: it has tr_mem, tr_labels"


def test_scores_that_are_none(tmp_path):
    holes = SCORES.copy()
    holes[[9, 11]] = np.nan, np.inf
    file = saved(tmp_path / "a.npz", mem=holes)
    assert "mem has no finite score for 2 of 18 examples; the first is example 2 (source index 9): nan" in refused(file)
    assert len(load_scores(file, data=part([0, 1, 2]))) == 3  # holes elsewhere do no harm

    file = saved(tmp_path / "b.npz", mem=np.stack([SCORES] * 2, axis=1))
    assert "mem has the shape [40, 2]: expected one score per example" in refused(file)
    file = saved(tmp_path / "c.npz", mem=np.array(["x"] * N))
    assert "mem holds <U1 and not numbers" in refused(file)
    file = saved(tmp_path / "d.npz", mem=SCORES[:30])
    assert "mem has 30 scores, but the source of the data has 40 examples" in refused(file)
    assert "mem is 0.5 for all 18 examples: such scores rank nothing" in refused(saved(tmp_path / "e.npz", mem=np.full(N, 0.5)))
    assert "mem has 30 scores, but the data hold example 39 of their source" in refused(file, data=part(source_size=None))


def test_pickles_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", mem=trap)
    np.save(tmp_path / "a.npy", trap)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Trap()))

    assert "mem cannot be read (Object arrays cannot be loaded" in refused(tmp_path / "a.npz")
    assert "cannot be read as .npy (Object arrays cannot be loaded" in refused(tmp_path / "a.npy")
    assert "cannot be read as .npy" in refused(tmp_path / "raw.npy")
    assert "pickles (.pkl, .pt) are never loaded" in refused(tmp_path / "a.pkl")


def test_files_that_are_none(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.npz")
    for name in ("a.npz", "a.npy", "a.csv", "a.parquet", "a.json"):
        (tmp_path / name).write_text("")
        assert f"{name}: cannot be read as .{name[2:]} (" in refused(tmp_path / name)
    (tmp_path / "a.json").write_text('{"score": [1, 2], "label": [0, 1], "score": [2, 1]}')
    assert "'score' stands there twice: keep one of them" in refused(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text("".join(f"{score}\n" for score in SCORES))
    assert "the first line must name the columns" in refused(tmp_path / "a.csv")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_of_other_files_holds_no_scores(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "scores.npz", "w", method) as file:
        file.writestr("notes.txt", "hello")
    assert "no array of numbers" in refused(tmp_path / "scores.npz", data=part())


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(saved(tmp_path / "scores.npz", mem=np.arange(N) / N).read_bytes())
    content[6] |= 1  # "encrypted", in the heading of the array
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    (tmp_path / "scores.npz").write_bytes(content)
    assert "encrypted" in refused(tmp_path / "scores.npz", data=part())


@pytest.mark.parametrize("file", [None, 5, ["scores.npz"], "", "x" * 300 + ".npz", "a\0.npz", "~nobody-of-this-name/x.npz"])
def test_what_names_no_file_of_scores_is_refused(file):
    said = refused(file, data=part())
    assert any(words in said for words in ("expected the path", "is no name of a file", "does not exist")), said


@pytest.mark.parametrize("data", [None, np.zeros(3), "digits"])
def test_scores_belong_to_examples(tmp_path, data):
    assert "expected examples" in refused(saved(tmp_path / "scores.npz", mem=np.zeros(N)), data=data)


@pytest.mark.filterwarnings("error")
def test_scores_too_large_for_a_number_are_not_finite(tmp_path):
    np.save(tmp_path / "scores.npy", np.full(N, np.finfo(np.longdouble).max))
    assert "no finite score" in refused(tmp_path / "scores.npy", data=part())


# --- what was silently taken for something else --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index", "id", "example", "source_index"])
def test_a_column_that_puts_the_scores_into_another_order_is_not_overlooked(tmp_path, name):
    mixed = np.random.default_rng(2).permutation(N)
    file = saved(tmp_path / "mixed.npz", mem=SCORES[mixed], **{name: mixed})
    assert f"{name} is not 0, 1, 2, …: say index = {name} if it is the source index of each score" in refused(file, "mem")
    assert np.array_equal(load_scores(file, "mem", index=name, data=part()), SCORES[part().index])
    assert np.array_equal(load_scores(file, "mem", index="source", data=part()), SCORES[mixed][part().index])

    plain = saved(tmp_path / "plain.npz", mem=SCORES, **{name: np.arange(N)})
    assert np.array_equal(load_scores(plain, "mem", data=part()), SCORES[part().index])


MIXED = np.random.default_rng(2).permutation(N)
TABLE = pd.DataFrame({"mem": SCORES[MIXED]}, index=MIXED)  # as a frame that was sorted by something


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("Unnamed: 0", lambda path: TABLE.to_csv(path.with_suffix(".csv"))),
        ("index", lambda path: TABLE.to_parquet(path.with_suffix(".parquet"))),
        ("ID", lambda path: TABLE.rename_axis("ID").to_parquet(path.with_suffix(".parquet"))),
        ("Index", lambda path: TABLE.to_csv(path.with_suffix(".csv"), index_label="Index")),
        ("image_id", lambda path: TABLE.to_csv(path.with_suffix(".csv"), index_label="image_id")),
        ("index", lambda path: saved(path.with_suffix(".npz"), mem=SCORES[MIXED], index=MIXED.astype(float))),
        ("index", lambda path: saved(path.with_suffix(".npz"), mem=SCORES[MIXED], index=MIXED[:, None])),
        ("index", lambda path: saved(path.with_suffix(".npz"), mem=SCORES[MIXED], index=MIXED.astype(str))),
    ],
)
def test_the_order_of_the_rows_is_seen_however_it_is_written(tmp_path, name, index):
    index(tmp_path / "a")
    (file,) = tmp_path.iterdir()
    assert f"{name} is not 0, 1, 2, …: say index = {name}" in refused(file, "mem")
    assert np.allclose(load_scores(file, "mem", index=name, data=part()), SCORES[part().index])
    with pytest.raises(UserError, match=f"{name} is not in increasing order"):
        mulnb.load_scores(file, key="mem", memorized="high")


def test_labels_are_found_in_any_case(tmp_path):
    file = saved(tmp_path / "a.npz", mem=SCORES, Targets=(LABELS + 1) % 4)
    assert "Targets equals the labels of the data for 0.0000" in refused(file, "mem")


def test_a_column_called_like_an_order_is_told(tmp_path):
    file = saved(tmp_path / "a.npz", mem=SCORES, source=np.arange(N)[::-1])
    assert "index = source means the order of the scores, but there is a column of this name" in refused(
        file, "mem", index="source"
    )


def test_a_source_index_that_counts_from_1(tmp_path):
    file = saved(tmp_path / "a.npz", mem=SCORES, where=np.arange(1, N + 1))
    assert "where has the source index 40, the source of the data has 0 … 39: count from 0" in refused(file, "mem", index="where")


def test_labels_are_no_scores(tmp_path):
    file = saved(tmp_path / "a.npz", label=LABELS)
    assert "label are labels and not scores" in refused(file)


CSV = "mem,label\n" + "".join(f"{score},{label}\n" for score, label in zip(SCORES, LABELS, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode("utf-16"),
        b"\xef\xbb\xbf" + CSV.encode(),
        CSV.replace("\n", "\r\n").encode(),
        b"sep=;\r\n" + CSV.replace(",", ";").encode(),
        CSV.replace("mem,label", " mem , label").encode(),
        ("mem;what\n" + "".join(f"{score};1,2 cats\n" for score in SCORES)).encode(),
        CSV.replace(",", ";").replace(".", ",").encode(),
    ],
    ids=["UTF-16", "BOM", "CRLF", "sep=", "spaces", "a comma elsewhere", "decimal commas"],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert np.allclose(load_scores(tmp_path / "a.csv", "mem", data=part()), SCORES[part().index])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV.replace(f"\n{SCORES[7]},", "\nmissing,"), "mem holds object and not numbers: score 7 is 'missing'"),
        (CSV + "total,\n", "score 40 is 'total'"),
        ("mem\n" + "".join(f"{score:.1%}\n" for score in SCORES), "score 0 is '63.7%'"),
        ("mem,label\n", "mem has the shape [0]: expected one score per example"),
        (CSV.replace("mem,label", "mem, mem"), "two columns are called mem"),
        (CSV.replace("\n", ",\n").replace("label,", "label"), "its lines have more columns than the first line names"),
        ("mem,label\n" + "".join(f"r{row},0.5,0\n" for row in range(N)), "its lines have more columns than the first line names"),
    ],
)
def test_tables_that_are_not_what_they_seem(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    assert words in refused(tmp_path / "a.csv", "mem")


def test_files_of_absurd_length_are_not_read(tmp_path):
    for name in ("a.csv", "a.npy", "a.json", "a.parquet"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**32)  # a sparse file: it takes no room
        assert "is longer than 256 MB" in refused(tmp_path / name)

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**26,)})
    packed = zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed, packed.open("mem.npy", "w", force_zip64=True) as array:
        array.write(header.getvalue())
        for _ in range(257):
            array.write(bytes(2**20))
    assert "mem cannot be read (longer than 256 MB)" in refused(tmp_path / "a.npz")


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    assert "a.npy: cannot be read: it is not a file but a named pipe" in refused(tmp_path / "a.npy")
    (tmp_path / "text.npy").write_text("mem\n0.5\n")
    assert "trust" not in refused(tmp_path / "text.npy")  # numpy's advice to load a pickle
