"""The committed verdicts beside those of this machine, and the record of another processor."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from mulnb import config
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.machine import device_name
from mulnb.results import here

PROFILE = config.load_profile("smoke")
COLUMNS = ["claim", "kind", "measured", "verdict", "evidence"]
VERDICTS = pd.DataFrame(
    [
        ("proxy-sign", "primary", "ρ", "shown", "x"),
        ("refine-vanilla", "primary", "ToW", "undecided", "y"),
        ("refine-vanilla", "secondary", "one", "shown", "z"),
    ],
    columns=COLUMNS,
)


def record(folder, device, profile=PROFILE, stages=("memorization",)):
    run = {"profile": profile.numbers(), "device": device, "stages": {name: {} for name in stages}}
    paths.write_text(folder / "run.json", json.dumps(run))


@pytest.fixture
def committed(tmp_path, monkeypatch):
    folder = tmp_path / "figures" / PROFILE.name
    monkeypatch.setattr(paths, "committed", lambda: tmp_path / "figures")
    record(folder, "another processor")
    VERDICTS.to_csv(folder / "claims.csv")
    return folder


def test_each_primary_verdict_that_differs_is_a_line(committed):
    record(paths.results(PROFILE.name), device_name())
    assert here.differences(PROFILE, VERDICTS) == ["Beside the 2 committed primary verdicts: none differ here."]

    changed = VERDICTS.assign(verdict=["shown", "shown", "undecided"])
    assert here.differences(PROFILE, changed) == ["refine-vanilla, ToW: committed undecided, here shown"]


def test_the_committed_verdicts_are_not_compared_with_themselves(committed, monkeypatch):
    monkeypatch.setattr(paths, "readable", lambda: [paths.figures(), paths.committed()])
    assert "run the profile to compare" in here.differences(PROFILE, VERDICTS)[0]
    monkeypatch.setattr(paths, "figures", paths.committed)  # as with --publish
    assert "run the profile to compare" in here.differences(PROFILE, VERDICTS)[0]


def test_verdicts_of_other_settings_are_not_compared(committed):
    record(committed, "another processor", config.load_profile("smoke", {"pool.models": 12}))
    assert "other settings" in here.differences(PROFILE, VERDICTS)[0]
    (committed / "claims.csv").unlink()
    assert "no committed verdicts" in here.differences(PROFILE, VERDICTS)[0]


def test_the_record_of_another_machine_is_read_back(committed):
    assert here.other_machine(PROFILE.name) is None
    own = paths.results(PROFILE.name)
    with pytest.raises(UserError, match="run profile smoke first"):
        here.write_other_machine(PROFILE, VERDICTS)

    record(own, device_name(), stages=())
    with pytest.raises(UserError, match="no stage that a verdict rests on"):
        here.write_other_machine(PROFILE, VERDICTS)

    record(own, device_name(), stages=("memorization", "proxies", "unlearning"))
    assert here.write_other_machine(PROFILE, VERDICTS) == committed / "other_machine.csv"
    found = here.other_machine(PROFILE.name)
    assert list(found.verdict) == ["shown", "undecided"] and set(found.device) == {device_name()}

    # what did not run here was judged by the committed frames
    record(own, device_name(), stages=("memorization", "proxies"))
    here.write_other_machine(PROFILE, VERDICTS)
    assert list(here.other_machine(PROFILE.name)["claim"]) == ["proxy-sign"]

    record(committed, device_name())
    with pytest.raises(UserError, match="of this processor"):
        here.write_other_machine(PROFILE, VERDICTS)
