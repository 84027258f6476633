"""Callbacks of users: what they raise is told in one line, whatever kind of False they return."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mulnb.core.errors import UserError
from mulnb.your_model.progress import Cancelled, Progress


def fails(state):
    raise ValueError("my own\nmistake")


def interrupts(state):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (fails, "^the progress callback failed: ValueError: my own mistake; "),
        (lambda: None, "callback failed: TypeError"),
    ],
)
def test_a_callback_that_raises(told, words):
    with pytest.raises(UserError, match=words):
        Progress(told).part("working", 3)


def test_an_interrupt_passes():
    with pytest.raises(KeyboardInterrupt):
        Progress(interrupts).part("working", 3)


def test_any_false_cancels_and_nothing_else_does():
    for answer in (False, np.False_):
        with pytest.raises(Cancelled, match="cancelled while working"):
            Progress(lambda state, answer=answer: answer).part("working", 3)
    for answer in (None, True, 0, ""):
        Progress(lambda state, answer=answer: answer).part("working", 3)


def test_a_part_of_unknown_length_does_not_show_the_length_of_the_one_before(monkeypatch):
    monkeypatch.delenv("MULNB_PROGRESS")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = Progress(True)
    shown.part("stand-in", 1200)
    shown.part("trial 1", 0)
    assert shown._bar.total is None
    shown.close()
