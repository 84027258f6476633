"""The verdict: one for each thing that can have happened, with the words that name it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, QUICK, TEST, Convolutional, forgotten, memorizing, trained

import mulnb
from mulnb.your_model import verdict
from mulnb.your_model.verdict import Facts, Reference, decide, interval

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
KNOWN = {"acc_forget": 1.0, "acc_retain": 1.0, "acc_test": 0.9, "mia": 0.0, "mia_unseen": 0.6, "mia_retain": 0.1, "auc": 0.7}
LIKE_ORACLE = {
    "acc_forget": 0.5,
    "acc_retain": 0.99,
    "acc_test": 0.9,
    "mia": 0.6,
    "mia_unseen": 0.6,
    "mia_retain": 0.1,
    "auc": 0.3,
}
ORACLE = Reference(0.5, 0.42, 0.58, 0.3, 0.9, True, "of the oracle", 0.5)
HOLDOUT_ONLY = Reference(0.9, 0.82, 0.96, 0.5, float("nan"), False, "of unseen images")


def facts(reference=ORACLE, **changes):
    usual = {
        "n_forget": 100,
        "n_retain": 1000,
        "n_test": 300,
        "n_unseen": 300,
        "chance": 0.1,
        "moved": 0.4,
        "p": 0.5,
        "changed": 0.5,
    }
    return Facts(reference=reference, **(usual | changes))


@pytest.mark.parametrize(
    ("row", "original", "about", "words", "colour"),
    [
        (LIKE_ORACLE, KNOWN, {}, "forgotten as far as can be told", "green"),
        (KNOWN, KNOWN, {"moved": 0.0, "changed": 0.0, "p": 1.0}, "nothing was forgotten", "red"),
        (LIKE_ORACLE | {"acc_forget": 0.8, "auc": 0.5}, KNOWN, {}, "not forgotten", "red"),
        (LIKE_ORACLE | {"auc": 0.5}, KNOWN, {}, "not forgotten", "red"),  # the accuracy alone hides it
        (LIKE_ORACLE | {"acc_forget": 0.1, "auc": 0.05}, KNOWN, {}, "over-forgotten", "orange"),
        (LIKE_ORACLE | {"acc_forget": 0.1, "acc_retain": 0.4}, KNOWN, {}, "over-forgotten", "orange"),
        (KNOWN | {"acc_retain": 0.7}, KNOWN, {}, "the model is damaged", "red"),
        (LIKE_ORACLE | {"acc_retain": 0.12}, KNOWN | {"acc_retain": 0.12}, {}, "hold-out or normalisation is wrong", "red"),
        (LIKE_ORACLE, KNOWN, {"overlap": "the hold-out is not unseen"}, "hold-out or normalisation is wrong", "red"),
        (LIKE_ORACLE, KNOWN | {"acc_test": 0.1}, {}, "hold-out or normalisation is wrong", "red"),
    ],
)
def test_what_can_have_happened(row, original, about, words, colour):
    found = decide({"original": original, "unlearned": row}, facts(**about))
    assert (found.words, found.colour) == (words, colour) and found.reasons
    assert found.good == (words == verdict.FORGOTTEN)
    assert str(found).startswith(f"verdict: {words}\n  - ")


def test_an_attack_without_power():
    weak = {"acc_forget": 0.9, "acc_retain": 0.91, "acc_test": 0.9, "mia": 0.5, "mia_unseen": 0.5, "mia_retain": 0.47, "auc": 0.5}
    found = decide({"original": weak, "unlearned": weak}, facts(HOLDOUT_ONLY))
    assert found.words == "the attack has no power here" and found.colour == "orange"


def test_a_hold_out_cannot_vouch_for_harder_sets():
    row = LIKE_ORACLE | {"acc_forget": 0.9, "auc": 0.5}
    found = decide({"original": KNOWN, "unlearned": row}, facts(HOLDOUT_ONLY))
    assert (found.words, found.colour, found.good) == ("forgotten as far as can be told", "orange", False)
    assert any("is not shown to be complete" in reason for reason in found.reasons)
    found = decide({"original": KNOWN, "unlearned": row | {"acc_forget": 0.3}}, facts(HOLDOUT_ONLY))
    assert found.words == "over-forgotten" and "a set that is harder than the hold-out" in found.reasons[0]


def test_without_the_original_damage_is_told_from_the_oracle_or_not_at_all():
    whole = LIKE_ORACLE | {"auc": 0.3}
    broken = whole | {"acc_retain": 0.6, "acc_test": 0.5}
    found = decide({"unlearned": broken, "oracle": whole}, facts())
    assert (found.words, found.colour) == ("the model is damaged", "red")
    assert found.reasons[0] == "accuracy on the retain set is 0.990 in the oracle, and here 0.600"
    assert decide({"unlearned": whole, "oracle": whole}, facts()).good

    alone = decide({"unlearned": whole}, facts())
    assert (alone.words, alone.colour, alone.good) == ("forgotten as far as can be told", "orange", False)
    assert "what the model lost on other images cannot be told without the original" in alone.reasons


def test_the_noise_of_the_auc_is_that_of_the_images_it_compares():
    known = decide({"original": KNOWN, "unlearned": LIKE_ORACLE | {"auc": 0.42}}, facts())
    assert known.words == "not forgotten"
    few = decide({"original": KNOWN, "unlearned": LIKE_ORACLE | {"auc": 0.42}}, facts(n_unseen=10))
    assert few.words == "forgotten as far as can be told"


def test_a_search_without_a_reference_says_how_to_get_one():
    row = LIKE_ORACLE | {"acc_forget": 0.9, "auc": 0.5}
    found = verdict.searched(decide({"original": KNOWN, "unlearned": row}, facts(HOLDOUT_ONLY)))
    assert "report.train_oracle" in found.advice and "fresh=" in found.advice


def test_few_examples_are_judged_by_how_sure_the_model_is():
    wide = Reference(0.5, 0.0, 1.0, 0.4, 0.9, True, "of the oracle", 0.1)
    row = LIKE_ORACLE | {"acc_forget": 1.0}
    found = decide({"original": KNOWN, "unlearned": row}, facts(wide, n_forget=1, p=0.9))
    assert found.words == "not forgotten" and "0.90, in the reference 0.10" in found.reasons[0]
    assert decide({"original": KNOWN, "unlearned": row}, facts(wide, n_forget=1, p=0.2)).good


def test_the_interval_of_a_share():
    low, high = interval(0.5, 100)
    assert np.allclose([low, high], [0.40, 0.60])  # so many of 100 may be right; Wilson says .404 and .596
    assert interval(0.965, 6)[1] == 1.0  # four times in five, all six are right
    assert interval(29 / 30, 30)[1] == 1.0  # the second oracle may be right about one more
    assert 0.05 < interval(0.0, 30)[1] < 0.15
    assert interval(0.0, 10)[0] == 0 < interval(0.0, 10)[1] < interval(0.0, 5)[1] and interval(0.3, 0) == (0.0, 1.0)


# --- on real models ------------------------------------------------------------------------------------------------------


def evaluate(model, index=None, **more):
    return mulnb.evaluate(model, IMAGES, LABELS, forgotten()[0] if index is None else index, holdout=HOLDOUT, **more)


def test_a_learning_rate_of_nothing_forgets_nothing():
    how = {"epochs": 1, "lr": 1e-7}
    report = evaluate(mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=how), original=memorizing())
    assert report.verdict.words == "nothing was forgotten" and "indistinguishable from the original" in str(report)


def test_ascent_without_end_is_over_forgetting():
    unlearned = mulnb.unlearn(
        memorizing(),
        IMAGES,
        LABELS,
        forgotten()[0],
        algorithm="neg_grad",
        strategy="vanilla",
        settings={"lr": 0.02, "epochs": 25},
    )
    report = evaluate(unlearned, original=memorizing())
    assert report.verdict.words == "over-forgotten"
    # relearned is what the original knew, not what is left of a destroyed model
    assert report.to_frame().relearn_epochs.iloc[1] > 0


@pytest.mark.slow
def test_an_oracle_is_forgotten_and_the_original_is_not():
    _, indices = forgotten()
    torch.manual_seed(0)
    oracle = trained(Convolutional(), without=indices)
    assert evaluate(oracle, original=memorizing(), oracle=oracle).verdict.good
    assert evaluate(memorizing(), original=memorizing(), oracle=oracle).verdict.words == "nothing was forgotten"


def test_a_network_with_a_part_called_model_is_judged_as_a_whole():
    class Wrapped(torch.nn.Module):
        algorithm = "of the user"

        def __init__(self, inner):
            super().__init__()
            self.model = inner

        def forward(self, x):
            return self.model((x - 0.5) / 0.25)

    torch.manual_seed(0)
    whole = trained(Wrapped(Convolutional()))
    report = evaluate(whole, original=whole)
    rows = report.to_frame().set_index("model")
    assert rows.acc_retain["unlearned"] == rows.acc_retain["original"] > 0.8
    assert report.about["algorithm"] is None


def test_what_is_not_split_is_no_stratum():
    report = evaluate(memorizing(), np.arange(12), original=memorizing())
    assert "high stratum" not in str(report) and report.to_frame()[["acc_low", "acc_medium", "acc_high"]].isna().all(axis=None)
    assert [text.get_text() for text in report.plot().axes[0].get_yticklabels()] == ["all of it", "retain set", "unseen images"]


def test_wrong_normalisation_is_told():
    with pytest.warns(UserWarning, match="hold-out or normalisation is wrong: accuracy on the retain set is .* near chance"):
        report = evaluate(memorizing(), original=memorizing(), normalize=(0.5, 1e6))
    assert report.verdict.words == "hold-out or normalisation is wrong"
    assert any("nothing was forgotten: indistinguishable from the original" in reason for reason in report.verdict.reasons)


def test_a_whole_class_is_noticed():
    index = np.flatnonzero(LABELS == 2)
    report = evaluate(memorizing(), index, original=memorizing())
    frame = report.to_frame()
    assert "all examples of class 2 are forgotten" in str(report)
    assert frame.acc_test_class.iloc[0] > 0.5 and report.verdict.words == "nothing was forgotten"
    torch.manual_seed(0)
    without = trained(Convolutional(), without=index)
    frame = evaluate(without, index, original=memorizing()).to_frame()
    assert frame.acc_test_class.iloc[1] == 0 and frame.acc_test.iloc[1] > frame.acc_test_all.iloc[1]
    assert evaluate(without, index, original=memorizing()).verdict.good


def test_the_page_and_its_json(tmp_path):
    strata, _ = forgotten()
    unlearned = mulnb.unlearn(memorizing(), IMAGES, LABELS, strata, settings=QUICK)
    report = mulnb.evaluate(unlearned, IMAGES, LABELS, strata, holdout=HOLDOUT, test=TEST, original=memorizing())
    path = report.save(tmp_path / "out" / "report.html")
    page, tree = path.read_text(encoding="utf-8"), json.loads(path.with_suffix(".json").read_text())
    assert "http://" not in page and "https://" not in page and "data:image/png;base64," in page
    assert report.verdict.words.capitalize() in page and "What this does not show" in page
    assert tree["verdict"]["words"] == report.verdict.words and tree["rows"]["unlearned"]["acc_forget"] == pytest.approx(
        report.rows["unlearned"]["acc_forget"]
    )
    assert tree["how"]["algorithm"] == "neg_grad_plus" and tree["how"]["settings"]["lr"] == QUICK["lr"]
    assert set(tree["hashes"]) == {"data", "original", "unlearned"} and torch.__version__.startswith(tree["versions"]["torch"])
    assert tree["hashes"]["original"] != tree["hashes"]["unlearned"]
    with pytest.raises(mulnb.UserError, match=r"must end in .html"):
        report.save(tmp_path / "report.pdf")


@pytest.mark.browser
@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"no Chromium at {CHROMIUM}: install Debian's package chromium")
def test_the_page_opens_in_a_browser(tmp_path):
    from playwright.sync_api import sync_playwright

    report = evaluate(mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings=QUICK), original=memorizing())
    path = report.save(tmp_path / "report.html")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        assert page.inner_text(".verdict strong").lower() == report.verdict.words
        assert page.locator("table tbody tr").count() >= 8
        assert page.evaluate("document.images[0].naturalWidth") > 500
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        browser.close()


def test_at_the_end_of_a_search_nobody_is_sent_to_search():
    found = verdict.Verdict(verdict.NOTHING, ("a reason",), "more epochs, or mulnb.forget, which searches for a strength")
    assert "mulnb." not in verdict.searched(found).advice and verdict.searched(found).reasons == found.reasons
    other = verdict.Verdict(verdict.OVER, ("a reason",), "fewer epochs")
    assert verdict.searched(other) == other


def test_a_classifier_of_a_rare_class_is_judged_by_both_classes():
    weighted = KNOWN | {"acc_retain": 0.92, "acc_test": 0.91}
    rare = {"original": weighted, "unlearned": LIKE_ORACLE | {"acc_retain": 0.92, "acc_test": 0.91}}
    assert decide(rare, facts(chance=0.95, balanced=0.87)).good
    assert decide(rare, facts(chance=0.95, balanced=0.1)).words == verdict.WRONG

    labels = np.repeat([0, 1], [95, 5])
    assert verdict.above_chance(np.ones(100, bool), labels) == 1
    assert verdict.above_chance(labels == 0, labels) == 0  # it says the frequent class alone


def test_whole_classes_that_went_are_told_where_the_attack_is_blind():
    blind = {"mia_unseen": 0.1, "mia_retain": 0.08, "acc_test": 1.0, "acc_retain": 1.0}
    gone = Reference(0.0, 0.0, 0.1, 0.5, float("nan"), True, "of a model that never saw the class")
    rows = {"original": KNOWN | blind, "unlearned": KNOWN | blind | {"acc_forget": 0.0, "auc": 0.5}}
    assert decide(rows, facts(gone, gone=(3,))).words == verdict.FORGOTTEN


def test_the_noise_of_few_examples_does_not_make_an_original_know_more():
    reference = Reference(1.0, 0.8, 1.0, 0.5, float("nan"), True, "of stand-ins")
    assert not verdict.knows({"acc_forget": 1.0, "auc": 0.6}, reference, verdict.auc_noise(10, 60))
    assert verdict.knows({"acc_forget": 1.0, "auc": 0.6}, reference, verdict.auc_noise(1000, 1000))
