"""LiRA and RMIA in a report: with reference models or their margins, in the verdict, on the page, and in JSON."""

from __future__ import annotations

import copy
import functools
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from small import CLASSES, FLIPPED, HOLDOUT, IMAGES, LABELS, SIDE, same, state, trained
from torch import nn

import mulnb
from mulnb import audit
from mulnb.core.errors import Notice, UserError
from mulnb.your_model.references import _by_example

REQUEST = FLIPPED
COLUMNS = ["lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc"]


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 24), nn.ReLU(), nn.Linear(24, CLASSES))


@functools.cache
def original():
    torch.manual_seed(0)
    return trained(small(), epochs=80)


@functools.cache
def references():
    """Nine models that were trained without the request; the last is the oracle of these tests."""
    found = []
    for seed in range(9):
        torch.manual_seed(10 + seed)
        found.append(trained(small(), without=REQUEST, epochs=15))
    return found[:8], found[8]


def evaluate(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return mulnb.evaluate(model, IMAGES, LABELS, REQUEST, holdout=HOLDOUT, **options)


def margins(model, images, labels):
    with torch.no_grad():
        return audit.margins.log_odds(model(torch.from_numpy(images) / 255), torch.from_numpy(labels))


def test_the_original_is_recognised_and_a_model_without_the_request_is_not():
    (shadows, oracle), known = references(), original()
    before = [state(model) for model in shadows]
    report = evaluate(oracle, original=known, references=shadows)
    frame = report.to_frame().set_index("model")
    assert frame.lira_auc["original"] > 0.9 and frame.rmia_auc["original"] > 0.9
    assert frame.lira_auc["unlearned"] < 0.75 and frame.rmia_auc["unlearned"] < 0.75
    assert "LiRA with reference models, AUC" in str(report) and "LiRA and RMIA ask, example by example" in str(report)
    assert all(same(a, state(model)) for a, model in zip(before, shadows, strict=True))


def test_margins_are_as_good_as_the_models():
    shadows, oracle = references()
    found = evaluate(oracle, references=shadows).to_frame()
    seen = np.stack([margins(model, IMAGES, LABELS) for model in shadows])
    unseen = np.stack([margins(model, *HOLDOUT) for model in shadows])
    given = evaluate(oracle, references=mulnb.References(margins=seen, unseen=unseen)).to_frame()
    with pytest.warns(Notice, match="references: its index is not in order"):
        assert np.array_equal(_by_example(pd.DataFrame(seen).iloc[:, ::-1]), seen)
    assert np.allclose(found[COLUMNS], given[COLUMNS], atol=0.01)


def test_a_model_counts_only_for_the_examples_that_it_was_not_trained_on():
    shadows, oracle = references()
    kept = np.setdiff1d(np.arange(len(LABELS)), REQUEST)
    member = [kept] * 8 + [np.arange(len(LABELS))]  # the ninth saw everything, and is of no use
    with_spy = mulnb.References([*shadows, original()], member=member)
    found, plain = evaluate(oracle, references=with_spy), evaluate(oracle, references=shadows)
    assert np.allclose(found.to_frame()[COLUMNS[3:]], plain.to_frame()[COLUMNS[3:]], atol=0.1)
    every = np.zeros((9, len(LABELS)), dtype=bool)
    every[:, kept], every[8] = True, True
    again = evaluate(oracle, references=mulnb.References([*shadows, original()], member=every))
    assert again.to_frame()[COLUMNS].equals(found.to_frame()[COLUMNS])


def test_a_model_that_was_trained_on_other_images_is_a_reference():
    shadows, oracle = references()
    member = [np.zeros(160, dtype=bool), [], *([[100, 101]] * 6)]
    some = evaluate(oracle, references=mulnb.References(shadows, member=member)).to_frame()
    none = evaluate(oracle, references=shadows).to_frame()
    assert some.lira_auc.equals(none.lira_auc)


def test_the_verdict_says_that_lira_still_recognises_the_request():
    shadows, oracle = references()
    report = evaluate(original(), original=original(), references=shadows)
    assert any("LiRA tells the forget set from unseen images with an AUC of" in reason for reason in report.verdict.reasons)
    beside = evaluate(original(), original=original(), oracle=oracle, references=shadows)
    assert any("the oracle's is" in reason for reason in beside.verdict.reasons)
    assert not any("LiRA" in reason for reason in evaluate(oracle, original=original(), references=shadows).verdict.reasons)


@pytest.mark.slow
def test_page_and_json(tmp_path):
    shadows, oracle = references()
    report = evaluate(oracle, original=original(), references=shadows)
    path = report.save(tmp_path / "report.html")
    page, tree = path.read_text(encoding="utf-8"), json.loads(path.with_suffix(".json").read_text())
    assert all(name in tree["rows"]["unlearned"] for name in COLUMNS) and tree["how"]["reference_models"] == 8
    assert "RMIA with reference models, AUC" in page and "with 8 reference models" in page
    assert "need reference models" not in page
    without = evaluate(oracle, original=original()).save(tmp_path / "without.html").read_text(encoding="utf-8")
    assert "need reference models" in without and "RMIA with reference models, AUC" not in without


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: references()[0][:3], "references: 3 of 3 models were trained without example 0: LiRA and RMIA need at least 8"),
        (lambda: mulnb.References(references()[0], member=[REQUEST] * 8), "references: 0 of 8 models were trained without"),
        (lambda: mulnb.References(references()[0], member=[REQUEST]), "what 1 models were trained on, and there are 8"),
        (lambda: mulnb.References(references()[0], member=[[500]] * 8), "member of model 0 has index 500 of 0 … 159"),
        (lambda: mulnb.References(margins=np.zeros((8, 3)), unseen=np.zeros((8, 60))), r"margins are \[8, 3\]"),
        (lambda: mulnb.References(), "give either models, or margins"),
        (lambda: mulnb.References(margins=np.zeros((8, 160))), "go together"),
        (lambda: [copy.deepcopy(original()) for _ in range(8)], "references: model 0 has the weights of the original"),
        (lambda: [*references()[0][:7], references()[0][0]], "references: model 7 has the weights of model 0"),
        (lambda: mulnb.References(original()), "models is a Sequential: expected a list of models"),
        (lambda: mulnb.References(references()[0], member=5), "member is a int: expected one entry per model"),
        (lambda: mulnb.References(margins=3.0, unseen=3.0), "margins should be numbers"),
        (lambda: "pool", "references is a str: expected mulnb.References"),
        (lambda: [small() for _ in range(7)] + [nn.Sequential(nn.Flatten(), nn.Linear(36, 2))], "model 7 has 2 classes"),
        (lambda: [*references()[0][:7], nn.Flatten()], "parameters"),
    ],
)
def test_references_that_do_not_fit(given, message):
    with pytest.raises(UserError, match=message) as error:
        evaluate(original(), original=original(), references=given())
    assert "\n" not in str(error.value)
