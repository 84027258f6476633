"""The ledger of requests: nothing in it can be changed unnoticed, and the model after k requests can be made again."""

from __future__ import annotations

import json
import resource
import threading

import numpy as np
import pytest
import torch
from small import IMAGES, LABELS, QUICK, Convolutional, draw, memorizing

import mulnb
from mulnb.core.errors import Notice, UserError
from mulnb.your_model import api, ledger
from mulnb.your_model.page import weights_hash

DATA = "hash of the data"


def served(path, requests=([1, 2, 3], [10], [20, 21])):
    """Requests done one after the other and written down; the ledger and the models after 0, 1, … requests."""
    book, models = mulnb.Requests(path), [memorizing()]
    for number, index in enumerate(requests):
        strata = mulnb.strata(np.arange(160.0), forget=index)
        gone = book.forgotten if len(book) else None
        found = mulnb.unlearn(models[-1], IMAGES, LABELS, strata, settings=QUICK, seed=number, already_forgotten=gone)
        book.add(strata, found, before=models[-1], data=DATA, verdict="forgotten", about=f"request {number}, Ö")
        models.append(found.model)
    return book, models


def test_requests_are_written_down_and_read_again(tmp_path):
    book, models = served(tmp_path / "requests.jsonl")
    again = mulnb.Requests(tmp_path / "requests.jsonl")
    assert len(again) == 3 and again.forgotten.tolist() == [1, 2, 3, 10, 20, 21]
    assert [entry["about"] for entry in again] == [f"request {number}, Ö" for number in range(3)]
    frame = again.to_frame()
    assert frame.n.tolist() == [3, 1, 2] and frame.strategy.tolist() == ["rum_f", "vanilla", "vanilla"]
    assert frame.model_after.iloc[-1] == weights_hash(models[-1])
    assert [entry["previous"] for entry in again][1:] == [entry["hash"] for entry in book][:-1]


@pytest.mark.slow
def test_the_model_after_k_requests_can_be_made_again(tmp_path):
    book, models = served(tmp_path / "requests.jsonl")
    for count, model in enumerate(models):
        assert weights_hash(book.rebuild(memorizing(), IMAGES, LABELS, count=count)) == weights_hash(model)
    with pytest.raises(UserError, match="the model before request 1 is another one than was written down"):
        book.rebuild(Convolutional(), IMAGES, LABELS)
    with pytest.raises(UserError, match="request 1 gives other weights than then"):
        book.rebuild(memorizing(), IMAGES, np.roll(LABELS, 1))
    with pytest.raises(UserError, match="count = 4: it has 3 requests"):
        book.rebuild(memorizing(), IMAGES, LABELS, count=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[1].replace("request 1", "request 9"), lines[2]],
        lambda lines: lines[1:],
        lambda lines: [*lines, lines[2]],
        lambda lines: [lines[0], json.dumps(json.loads(lines[1]) | {"seed": 5}), lines[2]],
    ],
)
def test_a_changed_line_is_found(tmp_path, change):
    path = tmp_path / "requests.jsonl"
    served(path)
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"requests.jsonl, line \d: the chain is broken"):
        mulnb.Requests(path)


def test_what_cannot_be_written_down(tmp_path):
    book, models = served(tmp_path / "requests.jsonl", requests=([1, 2, 3],))
    strata = mulnb.strata(np.arange(160.0), forget=[3, 4, 5])
    found = mulnb.unlearn(models[-1], IMAGES, LABELS, strata, settings=QUICK)
    with pytest.raises(UserError, match="example 3 is in an earlier request"):
        book.add(strata, found, before=models[-1], data=DATA)
    with pytest.raises(UserError, match="about other images or labels"):
        book.add(mulnb.strata(forget=[7]), found, before=models[-1], data="other")
    assert len(mulnb.Requests(tmp_path / "requests.jsonl")) == 1
    (tmp_path / "other.txt").write_text("hello\n")
    with pytest.raises(UserError, match="line 1: no request; the file is no ledger"):
        mulnb.Requests(tmp_path / "other.txt")
    with pytest.raises(UserError, match="is no file"):
        mulnb.Requests(tmp_path)


# --- a program that was killed, or found the disk full, while it wrote ------------------------------------------------------


def test_a_line_that_is_cut_off_is_left_out_and_the_next_request_replaces_it(tmp_path):
    path = tmp_path / "requests.jsonl"
    _, models = served(path, requests=([1, 2, 3], [10]))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for end in (first + 1, first + 30, first + 700, len(content) - 2):
        path.write_bytes(content[:end])
        with pytest.warns(Notice, match=r"line 2 is cut off: it is left out"):
            assert mulnb.Requests(path).forgotten.tolist() == [1, 2, 3]

    with pytest.warns(Notice):
        book = mulnb.Requests(path)
        found = mulnb.unlearn(models[1], IMAGES, LABELS, [20], settings=QUICK, already_forgotten=book.forgotten)
        book.add(api.whole(np.array([20])), found, before=models[1], data=DATA)
    assert mulnb.Requests(path).forgotten.tolist() == [1, 2, 3, 20]

    path.write_bytes(content[:-1])  # whole, but for the line break
    assert len(mulnb.Requests(path)) == 2


def test_a_ledger_that_cannot_be_written_to_the_end_is_as_it_was(tmp_path):
    path = tmp_path / "requests.jsonl"
    book, models = served(path, requests=([1, 2, 3],))
    content = path.read_bytes()
    found = mulnb.unlearn(models[1], IMAGES, LABELS, [20], settings=QUICK, already_forgotten=book.forgotten)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 100, hard))  # as a disk with room for 100 bytes more
    try:
        with pytest.raises(UserError, match=r"requests.jsonl cannot be written: File too large"):
            book.add(api.whole(np.array([20])), found, before=models[1], data=DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == content
    book.add(api.whole(np.array([20])), found, before=models[1], data=DATA)
    assert len(mulnb.Requests(path)) == 2


def test_hashes_tell_weights_apart():
    one, other = Convolutional(), Convolutional()
    other.load_state_dict(one.state_dict())
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        other.conv.bias[0] += 1e-6
    assert weights_hash(one) != weights_hash(other)


# --- files and arguments of other kinds ----------------------------------------------------------------------------------


def entry(**changes):
    """A line of a ledger, with a hash that is right."""
    found = {
        "format": "mulnb requests 1",
        "number": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "about": "",
        "strata": {"low": [], "medium": [], "high": [3]},
        "already_forgotten": 0,
        "algorithm": "salun",
        "strategy": "vanilla",
        "settings": {},
        "seed": 0,
        "verdict": "",
        "data": DATA,
        "model_before": "a",
        "model_after": "b",
        "versions": {},
        "previous": ledger.START,
    } | changes
    found = {name: value for name, value in found.items() if value is not None}
    return json.dumps(found | {"hash": ledger._hash(found)})


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "null",
        "[]",
        '"hash"',
        "{}",
        "{",
        '{"hash": "a", "previous": "b", "format": "mulnb requests 1"}',
        "[" * 50_000,
        entry(format="mulnb requests 9"),
        entry(strata=None),
        entry(strata=[3]),
        entry(strata={"high": [3]}),
        entry(strata={"low": [], "medium": [], "high": ["3"]}),
        entry(strata={"low": [], "medium": [], "high": [3.5]}),
        entry(strata={"low": [], "medium": [], "high": 3}),
        entry(number=None),
        entry(number=2),
        entry(versions=None),
        entry(data=None),
        entry() + "\n" + entry(),
        entry() + "\n\n" + entry(number=2),
        entry().replace("salun", "scrub"),
        entry().replace('"about": ""', '"about": "\\udcff"'),
    ],
)
def test_files_that_are_no_ledger(tmp_path, text):
    (tmp_path / "requests.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"requests.jsonl, line \d: (no request|the chain is broken)") as error:
        mulnb.Requests(tmp_path / "requests.jsonl")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_file_is_a_ledger_without_requests(tmp_path, content):
    (tmp_path / "requests.jsonl").write_bytes(content)
    book = mulnb.Requests(tmp_path / "requests.jsonl")
    assert len(book) == 0 and book.forgotten.tolist() == [] and book.to_frame().n.tolist() == []
    assert weights_hash(book.rebuild(memorizing(), IMAGES, LABELS)) == weights_hash(memorizing())
    for count in (1, -1, 0.5, "1", True):
        with pytest.raises(UserError, match="count = "):
            book.rebuild(memorizing(), IMAGES, LABELS, count=count)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, "the ledger is a NoneType: expected the path"),
        (5, "the ledger is a int: expected the path"),
        ("", "the ledger '' is no name of a file"),
        ("a\0b", "is no name of a file"),
        (b"\xff\x00", "is no name of a file"),
    ],
)
def test_what_is_no_path_of_a_ledger(path, words):
    with pytest.raises(UserError, match=words):
        mulnb.Requests(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "requests.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"requests.jsonl cannot be read: 'utf-8' codec"):
        mulnb.Requests(tmp_path / "requests.jsonl")


def unlearned():
    return mulnb.unlearn(memorizing(), IMAGES, LABELS, [7], settings={**QUICK, "epochs": 0})


def test_free_text_may_hold_any_sign(tmp_path):
    """Signs that end a line for Python, and those of a command line whose bytes are no text."""
    book, found = mulnb.Requests(tmp_path / "requests.jsonl"), unlearned()
    texts = ["two\nlines", "a\u2028b\x85c\x1cd", "\udcff of a shell", '"quoted" \\', ""]
    for index, about in enumerate(texts):
        book.add(mulnb.strata(forget=[index]), found, before=found.model, data=DATA, about=about)
    again = mulnb.Requests(tmp_path / "requests.jsonl")
    assert [entry["about"] for entry in again] == [*texts[:2], "\\udcff of a shell", *texts[3:]]


def test_an_editor_may_take_the_last_line_break(tmp_path):
    path, found = tmp_path / "requests.jsonl", unlearned()
    mulnb.Requests(path).add(mulnb.strata(forget=[1]), found, before=memorizing(), data=DATA)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    mulnb.Requests(path).add(mulnb.strata(forget=[2]), found, before=found.model, data=DATA)
    path.write_text(path.read_text().rstrip("\n"))
    mulnb.Requests(path).add(mulnb.strata(forget=[3]), found, before=found.model, data=DATA)
    assert mulnb.Requests(path).forgotten.tolist() == [1, 2, 3]


def test_two_programs_do_not_break_each_others_chain(tmp_path):
    path, found = tmp_path / "requests.jsonl", unlearned()
    one, other = mulnb.Requests(path), mulnb.Requests(path)
    one.add(mulnb.strata(forget=[1]), found, before=memorizing(), data=DATA)
    with pytest.raises(UserError, match="was changed since it was opened: open it again"):
        other.add(mulnb.strata(forget=[2]), found, before=memorizing(), data=DATA)
    assert len(mulnb.Requests(path)) == 1
    path.unlink()
    with pytest.raises(UserError, match="was changed since it was opened"):
        one.add(mulnb.strata(forget=[2]), found, before=found.model, data=DATA)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strata": [1, 2]}, "strata is a list: expected what mulnb.strata returns"),
        ({"strata": None}, "strata is a NoneType"),
        ({"unlearned": draw}, "unlearned is a function: expected what mulnb.unlearn returned"),
        ({"unlearned": Convolutional()}, "unlearned is a Convolutional"),
        ({"about": 5}, "about is a int: expected words"),
        ({"about": b"by mail"}, "about is a bytes"),
        ({"strata": api.whole(np.empty(0, dtype=np.int64))}, "the request is empty"),
    ],
)
def test_requests_that_are_none(tmp_path, changes, words):
    given = {"strata": mulnb.strata(forget=[7]), "unlearned": unlearned(), "about": ""} | changes
    strata, found, about = given.values()
    book = mulnb.Requests(tmp_path / "requests.jsonl")
    with pytest.raises(UserError, match=words) as error:
        book.add(strata, found, before=memorizing(), data=DATA, about=about)
    assert "\n" not in str(error.value) and len(book) == 0 and not (tmp_path / "requests.jsonl").exists()


def test_a_request_goes_on_from_the_model_that_the_last_one_left(tmp_path):
    """The first checkpoint, given again, still knows what the earlier requests removed."""
    book, models = served(tmp_path / "requests.jsonl", requests=([1, 2, 3],))
    found = unlearned()
    with pytest.raises(UserError, match="the model is not the one that request 1 left: give that one, or begin a new ledger"):
        book.add(mulnb.strata(forget=[7]), found, before=models[0], data=DATA)
    book.add(mulnb.strata(forget=[7]), found, before=models[1], data=DATA)
    assert len(mulnb.Requests(tmp_path / "requests.jsonl")) == 2


def test_of_programs_that_write_at_once_one_is_told(tmp_path):
    path, found = tmp_path / "requests.jsonl", unlearned()
    books, told = [mulnb.Requests(path) for _ in range(8)], []

    def write(number, book):
        try:
            book.add(mulnb.strata(forget=[number]), found, before=found.model, data=DATA)
        except UserError as error:
            told.append(str(error))

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(books)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(mulnb.Requests(path)) == 1  # the chain is whole
    assert len(told) == 7 and all("was changed since it was opened" in line for line in told)


def test_settings_are_written_with_every_digit(tmp_path):
    book, strata = mulnb.Requests(tmp_path / "requests.jsonl"), mulnb.strata(forget=[4, 5])
    how = QUICK | {"lr": np.float64(1 / 30), "epochs": np.int64(2)}
    found = mulnb.unlearn(memorizing(), IMAGES, LABELS, strata, settings=how)
    book.add(strata, found, before=memorizing(), data=DATA)
    again = mulnb.Requests(tmp_path / "requests.jsonl").rebuild(memorizing(), IMAGES, LABELS)
    assert weights_hash(again) == weights_hash(found.model)


def test_settings_of_any_kind_are_written_as_text():
    assert ledger._exact({"layers": {"head"}, "lr": np.float32(0.5), "where": np.arange(2)}) == {
        "layers": "{'head'}",
        "lr": 0.5,
        "where": "[0 1]",
    }
