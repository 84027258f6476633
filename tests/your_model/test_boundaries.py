"""The verdict just inside and just outside of each of its limits."""

from __future__ import annotations

import pytest

from mulnb.your_model.verdict import DAMAGED, FORGOTTEN, NO_POWER, NOT_FORGOTTEN, NOTHING, OVER, WRONG, Facts, Reference, decide

KNOWN = {"acc_forget": 1.0, "acc_retain": 1.0, "acc_test": 0.9, "mia": 0.0, "mia_unseen": 0.6, "mia_retain": 0.1, "auc": 0.7}
LIKE_ORACLE = KNOWN | {"acc_forget": 0.5, "acc_retain": 0.99, "mia": 0.6, "auc": 0.3}
ORACLE = Reference(0.5, 0.42, 0.58, 0.3, 0.9, True, "of the oracle", 0.5)
WEAK_ORACLE = Reference(0.5, 0.42, 0.58, 0.3, 0.84, True, "of the oracle", 0.5)
WIDE = Reference(0.5, 0.0, 1.0, 0.3, 0.9, True, "of the oracle", 0.5)  # accuracy cannot tell
HOLDOUT_ONLY = Reference(0.9, 0.82, 0.96, 0.5, float("nan"), False, "of unseen images")


def words(row: dict, original: dict = KNOWN, reference: Reference = ORACLE, oracle: dict | None = None, **about: object) -> str:
    usual = dict(n_forget=100, n_retain=1000, n_test=300, n_unseen=300, chance=0.1, moved=0.4, p=0.5, changed=0.5)
    rows = {"original": original, "unlearned": row} | ({"oracle": oracle} if oracle else {})
    return decide(rows, Facts(reference=reference, **usual | about)).words


@pytest.mark.parametrize(
    ("changes", "about", "expected"),
    [
        ({"acc_retain": 0.96}, {}, FORGOTTEN),
        ({"acc_retain": 0.94}, {}, OVER),  # it lost more than .05
        ({"acc_test": 0.84}, {}, OVER),
        ({"acc_test": 0.84}, {"reference": WEAK_ORACLE}, FORGOTTEN),  # an oracle loses as much
        ({"acc_test": 0.80}, {"reference": WEAK_ORACLE}, FORGOTTEN),
        ({"acc_test": 0.80}, {"n_test": 20}, FORGOTTEN),  # of few images, two standard errors
        ({"acc_test": 0.75}, {"n_test": 20}, OVER),
        ({}, {"reference": WIDE, "n_forget": 19, "p": 0.85}, NOT_FORGOTTEN),  # few: the model is surer than an oracle would be
        ({}, {"reference": WIDE, "n_forget": 20, "p": 0.85}, FORGOTTEN),
        ({}, {"reference": WIDE, "n_forget": 19, "p": 0.75}, FORGOTTEN),
        ({}, {"reference": WIDE, "n_forget": 19, "p": 0.15}, OVER),
        ({"auc": 0.1}, {}, OVER),  # the attack sees too much forgetting …
        ({"auc": 0.1}, {"gone": (2,)}, FORGOTTEN),  # … but not of a whole class
        ({"lira_auc": 0.62}, {}, NOT_FORGOTTEN),  # LiRA sees what the attack does not …
        ({"lira_auc": 0.62}, {"n_unseen": 10}, FORGOTTEN),  # … and is as noisy as the images are few
    ],
)
def test_a_model_like_an_oracle_but_for_one_number(changes, about, expected):
    assert words(LIKE_ORACLE | changes, **about) == expected


def test_damage_without_forgetting_begins_where_more_is_lost_than_counts():
    assert words(KNOWN | {"acc_retain": 0.96}) == NOT_FORGOTTEN
    assert words(KNOWN | {"acc_retain": 0.94}) == DAMAGED


def test_a_mean_change_of_one_percent_is_none_and_one_of_five_is():
    same_answers = {"reference": HOLDOUT_ONLY, "changed": 0.0}
    assert words(KNOWN, moved=0.01, **same_answers) == NOTHING
    assert words(KNOWN, moved=0.05, **same_answers) == NOT_FORGOTTEN


def test_lira_gives_the_attack_power_if_it_recognises_the_original():
    weak = {"acc_forget": 0.9, "acc_retain": 0.91, "acc_test": 0.9, "mia": 0.5, "mia_unseen": 0.5, "mia_retain": 0.47, "auc": 0.5}
    assert words(weak | {"lira_auc": 0.5}, weak | {"lira_auc": 0.7}, HOLDOUT_ONLY) == FORGOTTEN
    assert words(weak | {"lira_auc": 0.5}, weak | {"lira_auc": 0.55}, HOLDOUT_ONLY) == NO_POWER


def test_what_is_known_of_unseen_images_is_compared_with_guessing_and_with_the_training_images():
    assert words(LIKE_ORACLE, KNOWN | {"acc_test": 0.25}, guess=0.3) == WRONG
    assert words(LIKE_ORACLE, KNOWN | {"acc_retain": 0.6, "acc_test": 0.45}, chance=0.45) == FORGOTTEN  # it knows little of both


def test_lira_is_compared_with_the_oracles_where_there_is_one():
    new = LIKE_ORACLE | {"lira_auc": 0.62}
    assert words(new, oracle=LIKE_ORACLE | {"lira_auc": 0.5}) == NOT_FORGOTTEN
    assert words(new, oracle=LIKE_ORACLE | {"lira_auc": 0.6}) == FORGOTTEN
