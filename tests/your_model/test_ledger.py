"""The ledger of requests: nothing in it can be changed unnoticed, and the model after k requests can be made again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small import IMAGES, LABELS, QUICK, Convolutional, memorizing

import mulnb
from mulnb.core.errors import UserError
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


def test_hashes_tell_weights_apart():
    one, other = Convolutional(), Convolutional()
    other.load_state_dict(one.state_dict())
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        other.conv.bias[0] += 1e-6
    assert weights_hash(one) != weights_hash(other)
