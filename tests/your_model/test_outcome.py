"""The attack on one's own model: whom it is trained on, and whom it is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.your_model import outcome

SEEN, STRANGE = np.arange(100.0)[:, None], 1000 + np.arange(20.0)[:, None]  # features that say which image they are of
FORGET, RETAIN = np.arange(5), np.arange(5, 100)


@pytest.fixture
def calls(monkeypatch) -> list[list[list[float]]]:
    """Of each attack: the seen and the unseen images that train it, and those that it is asked about."""
    found = []

    def attack(*parts):
        found.append([part[:, 0].tolist() for part in parts])
        return 0.0

    monkeypatch.setattr(outcome.audit, "mia", attack)
    return found


def test_nobody_is_asked_about_whom_the_attack_was_trained_on(calls):
    outcome.attack(SEEN, STRANGE, FORGET, RETAIN, 0)
    (shown, trains, forget), (_, _, reference), (_, _, kept) = calls
    assert forget == FORGET.tolist()
    assert len(shown) == len(trains) == len(kept) == len(reference) == 10
    assert not {*shown} & {*kept} and not {*trains} & {*reference}


def test_images_of_the_forgotten_class_are_the_reference_of_a_whole_class(calls):
    outcome.attack(SEEN, STRANGE, FORGET, RETAIN, 0, in_class=np.arange(20) < 6)
    (_, trains, _), (_, _, reference), _ = calls
    assert sorted(reference) == [1000, 1001, 1002, 1003, 1004, 1005]
    assert len(trains) == 14 and not {*trains} & {*reference}
