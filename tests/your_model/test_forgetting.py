"""`mulnb.forget` and `mulnb.tune`: the defaults forget or say that they did not, under a budget, from the command line too."""

from __future__ import annotations

import copy
import functools
import json
import os

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, TEST, Convolutional, draw, forgotten, memorizing, same, scores, state, trained
from torch import nn

import mulnb
from mulnb import your_model
from mulnb.core import paths
from mulnb.core.errors import Notice, UserError
from mulnb.your_model import api, cli, forgetting, verdict
from mulnb.your_model.outcome import Outcome
from mulnb.your_model.stand_in import summary

REQUEST = forgotten()[1]
WRITTEN = {"model.safetensors", "report.html", "report.json", "request.json", "trials.csv"}


def accuracy(model, index):
    x, y = torch.from_numpy(IMAGES[index]) / 255, torch.from_numpy(LABELS[index])
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


@functools.cache
def done():
    before = state(memorizing())
    found = mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST, holdout=HOLDOUT, test=TEST, budget=120, progress=False)
    assert same(before, state(memorizing()))
    return found


@functools.cache
def oracles() -> list[float]:
    found = []
    for seed in range(3):
        torch.manual_seed(10 + seed)
        found.append(accuracy(trained(Convolutional(), without=REQUEST), REQUEST))
    return found


@pytest.mark.slow
def test_the_defaults_forget():
    """Accuracy on the forget set ends among those of real oracles, or the verdict says that it does not."""
    found = done()
    assert accuracy(memorizing(), REQUEST) == 1
    within = min(oracles()) - 0.1 <= accuracy(found.model, REQUEST) <= max(oracles()) + 0.1
    assert found.verdict.good and within, (oracles(), str(found))
    kept = np.setdiff1d(np.arange(160), REQUEST)
    assert accuracy(found.model, kept) > 0.95 * accuracy(memorizing(), kept)


def test_a_budget_of_nothing_says_not_forgotten():
    found = mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST, holdout=HOLDOUT, trials=1, budget=None, progress=False)
    assert len(found.trials) == 1 and found.verdict.words in (verdict.NOT_FORGOTTEN, verdict.NOTHING)
    assert found.verdict.colour == "red"


@pytest.mark.slow
def test_the_reference_is_that_of_real_oracles():
    reference = done().tuned.reference
    assert reference.exact and reference.low - 0.05 <= np.mean(oracles()) <= reference.high + 0.05
    assert "stand-ins that were trained without it" in reference.source


def test_disagreement_of_stand_ins_widens_the_interval():
    row = {"auc": 0.5, "acc_test": 0.9}
    p = np.full(1000, 0.5)
    agree = [Outcome(row, np.arange(1000) < 500, p) for _ in range(3)]
    differ = [Outcome(row, np.random.default_rng(seed).random(100) < 0.5, p[:100]) for seed in range(3)]
    assert summary(agree).acc_forget == 0.5
    assert summary(agree).high - summary(agree).low == pytest.approx(0.1)
    few = [Outcome(row, np.ones(10, bool), np.ones(10)) for _ in range(3)]
    assert summary(few).low < 0.8  # three that are right about all of ten say little about a fourth
    assert summary(differ).high - summary(differ).low > 0.18


def test_the_result_is_written_down(tmp_path):
    folder = done().save(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == WRITTEN
    tree = json.loads((folder / "report.json").read_text())
    assert tree["verdict"]["words"] == done().verdict.words and tree["verdict"]["colour"] == "green"
    again = your_model.adapt.plain(folder / "model.safetensors", Convolutional)
    assert accuracy(again, REQUEST) == accuracy(done().model, REQUEST)
    assert "trials in" in str(done()) and len(done().trials) >= 3


@pytest.mark.slow
def test_the_model_is_written_before_the_ledger_says_that_it_is(accepted, tmp_path, monkeypatch):
    """Whatever happens to the ledger or to the program then, the work is not lost."""
    ledger, out = tmp_path / "requests.jsonl", tmp_path / "out"
    given = {"holdout": HOLDOUT, "trials": 1, "budget": 5, "scores": scores(), "ledger": ledger, "out": out}

    def full(self, line):
        assert {path.name for path in out.iterdir()} == WRITTEN
        raise UserError("No space left on device")

    monkeypatch.setattr(mulnb.Requests, "_append", full)
    with pytest.raises(UserError, match="No space left on device"):
        mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST[:5], **given, progress=False)
    assert {path.name for path in out.iterdir()} == WRITTEN
    with pytest.raises(UserError, match=r"out .* exists and is not empty: name a new folder"):
        mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST[:5], **given, progress=False)


@pytest.mark.slow
def test_nothing_is_written_if_the_ledger_was_changed_meanwhile(accepted, tmp_path):
    ledger, out = tmp_path / "requests.jsonl", tmp_path / "out"

    def meanwhile(state):
        ledger.write_text("another program\n")

    given = {"holdout": HOLDOUT, "trials": 1, "budget": 5, "scores": scores(), "ledger": ledger}
    with pytest.raises(UserError, match="line 1: no request; the file is no ledger"):
        mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST[:5], **given, progress=meanwhile, out=out)
    assert not out.exists()


def test_a_request_that_was_not_forgotten_is_not_in_the_ledger(tmp_path):
    """It may be tried again: what the ledger has counts as forgotten."""
    quick = {"holdout": HOLDOUT, "budget": 5, "progress": False, "scores": scores(), "ledger": tmp_path / "requests.jsonl"}
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"requests\.jsonl does not have this request: the verdict is 'nothing was forgotten'"
        ):
            found = mulnb.forget(memorizing(), (IMAGES, LABELS), REQUEST[:20], trials=1, **quick)
        assert found.verdict.colour == "red" and len(mulnb.Requests(tmp_path / "requests.jsonl")) == 0


def test_every_kind_of_request_and_a_ledger(accepted, tmp_path):
    mask = np.isin(np.arange(160), REQUEST[:20])
    ledger = tmp_path / "requests.jsonl"
    quick = {"holdout": HOLDOUT, "trials": 2, "budget": 5, "progress": False, "scores": scores(), "ledger": ledger}
    first = mulnb.forget(memorizing(), (IMAGES, LABELS), mask, **quick, about="by mail")
    assert first.strata.forget.tolist() == np.sort(REQUEST[:20]).tolist()
    second = mulnb.forget(first.model, (IMAGES, LABELS), [3], **quick)
    assert second.unlearned.strategy == "vanilla"
    book = mulnb.Requests(ledger)
    assert len(book) == 2 and book.forgotten.tolist() == sorted([*REQUEST[:20].tolist(), 3])
    rebuilt = book.rebuild(memorizing(), IMAGES, LABELS)
    assert all(torch.equal(a, b) for a, b in zip(rebuilt.parameters(), second.model.parameters(), strict=True))
    with pytest.raises(UserError, match="of the request is already forgotten"):
        mulnb.forget(second.model, (IMAGES, LABELS), [3], **quick)


@pytest.mark.slow
def test_a_class_is_forgotten_without_stand_ins():
    found = mulnb.forget(memorizing(), (IMAGES, LABELS), {"class": 1}, holdout=HOLDOUT, trials=12, budget=60, progress=False)
    assert "all examples of class 1 are forgotten" in str(found.report)
    assert found.verdict.good == (found.report.rows["unlearned"]["acc_forget"] < 0.12)


@pytest.mark.slow
def test_where_no_stand_in_is_affordable_the_report_says_so():
    class Own(nn.Module):
        """Its weights cannot be drawn anew by anyone but its maker."""

        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.randn(36, 32) / 6)
            self.second = nn.Parameter(torch.randn(32, 4) / 6)

        def forward(self, x):
            return (x.flatten(1) @ self.first).relu() @ self.second

    torch.manual_seed(0)
    model = trained(Own(), epochs=150)
    found = mulnb.forget(model, (IMAGES, LABELS), REQUEST, holdout=HOLDOUT, trials=2, budget=20, progress=False)
    assert found.tuned.reference is None and "no oracle was approximated: parts of the network cannot be drawn anew" in str(found)
    assert "(of unseen images)" in str(found)
    found = mulnb.forget(model, (IMAGES, LABELS), REQUEST, holdout=HOLDOUT, trials=2, budget=30, progress=False, fresh=Own)
    assert found.tuned.reference is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": (IMAGES[:20], LABELS[:20])}, r"the hold-out is not unseen: its image 0 is training image 0"),
        ({"holdout": draw(6, 3)}, "holdout has 6 images"),
        ({"budget": -1}, "budget = -1: should be a positive number of seconds"),
        ({"trials": 0}, "trials = 0"),
        ({"duplicates": "no"}, "duplicates = 'no'"),
        ({"algorithm": "magic"}, "algorithm 'magic' has no ladder of strengths"),
        ({"scores": [1.0]}, "1 scores for 160 images"),
        ({"normalize": (0.5, 1e6)}, "near chance .* normalize=.* are wrong"),
        ({"labels": LABELS[::-1].copy()}, "near chance .*labels, their order"),
        ({"request": np.arange(160)}, "nothing would be retained"),
    ],
)
def test_gates_before_any_work(options, message):
    given = {"data": (IMAGES, LABELS), "request": REQUEST, "holdout": HOLDOUT, "progress": False}
    if "labels" in options:
        given["data"] = IMAGES
    with pytest.raises(UserError, match=message) as error:
        mulnb.forget(memorizing(), **(given | options))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_exact_copies_are_forgotten_too_if_asked():
    images, labels = np.concatenate([IMAGES, IMAGES[8:9]]), np.append(LABELS, LABELS[8])
    with pytest.raises(UserError, match="image 8 is to be forgotten, and image 160, which stays, has the same pixels"):
        mulnb.forget(memorizing(), (images, labels), [8], holdout=HOLDOUT, progress=False)
    quick = {"holdout": HOLDOUT, "trials": 1, "budget": 5, "progress": False, "duplicates": "forget"}
    assert mulnb.forget(memorizing(), (images, labels), [8], **quick).strata.forget.tolist() == [8, 160]


# --- tune ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tune_against_an_oracle_finds_better_settings_than_the_defaults():
    strata, indices = forgotten()
    torch.manual_seed(0)
    oracle = trained(Convolutional(), without=indices)
    given = (memorizing(), IMAGES, LABELS, strata)
    found = mulnb.tune(*given, holdout=HOLDOUT, oracle=oracle, trials=14, budget=None, algorithm="salun", progress=False)
    assert found.reference.source == "of the oracle" and {*found.trials.algorithm} <= {"fine_tune", "salun"}
    rows = []
    for how in ({}, {"algorithm": found.algorithm, "strategy": found.strategy, "settings": found.settings}):
        unlearned = mulnb.unlearn(*given, **how)
        rows.append(mulnb.evaluate(unlearned, *given[1:], holdout=HOLDOUT, oracle=oracle).to_frame().tow.iloc[0])
    assert rows[1] > rows[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "rum_f"}, "strategy 'rum_f' needs three strata, and the request of 2 is not split"),
        ({"strategy": ("vanilla", "rumm")}, "unknown strategy 'rumm': known are nothing, vanilla"),
        ({"algorithm": []}, "tune: algorithm is an empty list: known are salun"),
        ({"algorithm": ["salun", None]}, "tune: algorithm 'None' has no ladder of strengths"),
        ({"holdout": None}, r"holdout: expected a pair \(images, labels\)"),
    ],
)
def test_a_search_that_cannot_begin_is_told_before_it_does(options, message):
    given = {"holdout": HOLDOUT, "progress": False} | options
    with pytest.raises(UserError, match=message):
        mulnb.tune(memorizing(), IMAGES, LABELS, [1, 2], **given)
    with pytest.raises(UserError, match=message):
        mulnb.forget(memorizing(), (IMAGES, LABELS), [1, 2], scores=np.zeros(160), **given)


def test_stand_ins_that_diverge_in_half_precision_end_nothing():
    half = copy.deepcopy(memorizing()).half()
    found = mulnb.forget(half, (IMAGES, LABELS), [1, 2], holdout=HOLDOUT, trials=1, budget=None, progress=False)
    assert found.model.conv.weight.dtype == torch.float16
    assert found.tuned.reference is not None or "the stand-ins for an oracle diverged" in str(found)


@pytest.mark.slow
def test_stand_ins_that_keep_frozen_weights_say_so():
    frozen = copy.deepcopy(memorizing())
    frozen.conv.requires_grad_(False)
    given = {"holdout": HOLDOUT, "trials": 1, "budget": None, "progress": False}
    assert "its frozen weights are the model's" in str(mulnb.forget(frozen, (IMAGES, LABELS), [1, 2, 3], **given).verdict)
    free = mulnb.forget(memorizing(), (IMAGES, LABELS), [1, 2, 3], **given)
    assert "stand-ins" in str(free.verdict) and "frozen" not in str(free.verdict)


def test_tune_on_a_stand_in_request_leaves_the_request_alone():
    strata, _ = forgotten()
    given = {"holdout": HOLDOUT, "trials": 3, "budget": 20, "progress": False}
    found = mulnb.tune(memorizing(), IMAGES, LABELS, strata, on="stand-in", scores=scores(), **given)
    assert found.unlearned is None and 1 <= len(found.trials) <= 3
    with pytest.raises(UserError, match="needs scores="):
        mulnb.tune(memorizing(), IMAGES, LABELS, strata, on="stand-in", **given)


def test_a_ledger_alone_says_what_is_forgotten(tmp_path):
    given = {"holdout": HOLDOUT, "progress": False, "trials": 1, "ledger": tmp_path / "requests.jsonl"}
    with pytest.raises(UserError, match=r"already_forgotten beside a ledger: .* leave out already_forgotten"):
        mulnb.forget(memorizing(), (IMAGES, LABELS), [1, 2], already_forgotten=[99], **given)


def test_forget_is_module_and_call():
    from mulnb import forget

    assert callable(forget) and forget is mulnb.forget
    assert mulnb.forget.strata(np.arange(9.0), 2).low.tolist() == [0, 1]
    assert {"save", "load", "strata", "Strata"} <= set(dir(mulnb.forget))


# --- the command line ----------------------------------------------------------------------------------------------------


def arguments(tmp_path, monkeypatch, **changes):
    import argparse

    (tmp_path / "nets.py").write_text(
        "from small import Convolutional, memorizing, HOLDOUT\n\ndef unseen():\n    return HOLDOUT\n"
    )
    monkeypatch.chdir(tmp_path)
    your_model.api.save_weights(memorizing(), tmp_path / "model.safetensors")
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "request.csv").write_text("index\n" + "\n".join(map(str, REQUEST)))
    given = {"model": "model.safetensors", "factory": "nets:Convolutional", "data": "train.npz", "holdout": "nets:unseen"}
    given |= {"request": "request.csv", "out": "out", "trials": "2", "budget": "20"} | changes
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args([part for name, value in given.items() for part in (f"--{name}", value)])


@pytest.mark.slow
def test_the_command_line_writes_the_model_and_says_whether_it_forgot(accepted, tmp_path, monkeypatch, capsys):
    options = arguments(tmp_path, monkeypatch, ledger="requests.jsonl")
    killed = tmp_path / "out" / f"{paths.partial_prefix(tmp_path).replace(str(os.getpid()), '9' * 9)}x"
    killed.mkdir(parents=True)  # what a killed program left counts as nothing
    code = cli.run(options)
    shown = capsys.readouterr().out
    words = json.loads((tmp_path / "out" / "report.json").read_text())["verdict"]["words"]
    assert code == 1 and words == verdict.FORGOTTEN and f"verdict: {words}" in shown  # 1: nothing can vouch for it
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN and len(mulnb.Requests("requests.jsonl")) == 1
    with pytest.raises(UserError, match="--out out exists and is not empty"):
        cli.run(options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "nets"}, "--factory nets: expected MODULE:FUNCTION"),
        ({"factory": "no_such_module:f"}, "No module named 'no_such_module'"),
        ({"factory": "nets:nothing"}, "nets has no function 'nothing'"),
        ({"data": "nowhere"}, "--data nowhere: expected a folder, an .npz"),
        ({"data": "nowhere.npz"}, "nowhere.npz does not exist"),
        ({"mean": "0.5"}, "--mean and --std go together"),
        ({"mean": "a", "std": "1"}, "--mean a: expected numbers"),
        ({"mean": "0.5", "std": "1e6"}, "accuracy on the retain set is .* near chance .*: labels, their order or normalize="),
        ({"device": "abacus"}, "--device abacus is not there: this machine has cpu"),
        ({"request": "none.csv"}, "none.csv does not exist"),
    ],
)
def test_options_that_do_not_fit(tmp_path, monkeypatch, changes, message):
    with pytest.raises(UserError, match=message):
        cli.run(arguments(tmp_path, monkeypatch, **changes))


def test_copies_that_are_gone_are_not_asked_for_again():
    images = IMAGES.copy()
    images[9] = images[5]
    _, data = api.opened(memorizing(), images, LABELS)
    assert forgetting._index(data, [9], [5], "forget").tolist() == [9]
    assert forgetting._index(data, [9], None, "forget").tolist() == [5, 9]
    with pytest.raises(UserError, match="example 5 of the request is already forgotten"):
        forgetting._index(data, [5, 9], [5], "forget")


def test_a_hold_out_with_training_images_may_be_kept():
    holdout = (np.concatenate([HOLDOUT[0], IMAGES[7:8]]), np.append(HOLDOUT[1], LABELS[7]))
    with pytest.raises(UserError, match="the hold-out is not unseen: its image 60 is training image 7: give images that"):
        mulnb.forget(memorizing(), (IMAGES, LABELS), [9], holdout=holdout, progress=False)
    given = {"holdout": holdout, "budget": 1, "trials": 1, "progress": False, "duplicates": "keep"}
    with pytest.warns(Notice, match="its image 60 is training image 7: kept, as duplicates='keep' says"):
        assert mulnb.forget(memorizing(), (IMAGES, LABELS), [9], **given).verdict.words != verdict.WRONG
