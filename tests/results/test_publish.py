"""What a stage leaves behind is exactly what it computed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb import load_profile
from mulnb.core import paths
from mulnb.results import frame_file, publish, record

FRAMES = {
    "unlearning": synthetic.unlearning,
    "without a pool": lambda: synthetic.unlearning().assign(lira_auc=np.nan),
    "crossed": synthetic.crossed,
    "sequential": synthetic.sequential,
    "fidelity": synthetic.fidelity,
    "proxy_costs": synthetic.costs,
    "audit_examples": synthetic.audit_examples,
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_read_back_exactly(name, tmp_path):
    frame = FRAMES[name]().reset_index(drop=True)
    frame_file.write(frame, tmp_path / "frame.parquet")
    for found in (frame_file.read(tmp_path / "frame.parquet"), pd.read_parquet(tmp_path / "frame.parquet")):
        pd.testing.assert_frame_equal(found, frame, check_exact=True)


def test_claims_are_published_from_the_frames_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    profile, truth = synthetic.profile(), synthetic.memorization()
    data = tmp_path / profile.name / "data"
    data.mkdir(parents=True)
    frames = {"memorization": truth, "proxies": synthetic.proxies(truth), "unlearning": synthetic.unlearning()}
    for name, frame in frames.items():
        frame.to_parquet(data / f"{name}.parquet")

    verdicts = publish.publish_claims(profile)
    told = set(verdicts.loc[verdicts["verdict"] != "no results", "claim"])
    assert told == {"proxy-sign", "proxy-range", "refine-vanilla", "refine-repeat", "refine-shuffle", "proxy-as-good"}
    assert (tmp_path / profile.name / "claims.md").is_file()


@pytest.mark.parametrize("stage", publish.TABLES)
def test_the_record_says_whose_the_tables_are_before_the_first_is_written(stage, home, monkeypatch):
    earlier, later = load_profile("smoke"), load_profile("smoke", {"pool.models": 12})
    record.begin(earlier)
    frames = {"unlearning": synthetic.unlearning(), "proxy_costs": None, "sequential": None}
    monkeypatch.setitem(publish.STAGES, stage, lambda profile: frames)
    for name in ("proxy_table", "tow_table", "sequential_table"):
        monkeypatch.setattr(publish.tables, name, lambda frame: frame)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish.tables, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        publish.publish(later, stage)
    assert record.is_of(paths.results("smoke"), later)


def test_a_run_that_is_killed_between_its_frames_and_its_record_is_not_told_as_another_profiles(home, monkeypatch):
    """It leaves frames of its own settings beside the record of earlier ones."""
    earlier, later = load_profile("smoke"), load_profile("smoke", {"pool.models": 12})
    truth = synthetic.memorization()
    monkeypatch.setattr(publish, "STAGES", {"memorization": lambda profile: {"memorization": truth}})
    monkeypatch.setattr(publish.thumbnails, "write", lambda profile: None)
    folder = paths.results("smoke")
    paths.write_text(folder / "run.json", json.dumps({"profile": earlier.numbers(), "stages": {"memorization": {}}}))

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish.record, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        publish.publish(later, "memorization")
    assert (folder / "data/memorization.parquet").is_file()
    with pytest.warns(UserWarning, match="made with other settings"):
        assert publish._of_these_settings(earlier, "memorization") is None


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"stages": {}}'])
def test_frames_beside_a_damaged_record_are_left_out(home, text):
    folder = paths.results("smoke")
    paths.write_file(folder / "data/unlearning.parquet", lambda to: frame_file.write(synthetic.unlearning(), to))
    paths.write_text(folder / "run.json", text)
    with pytest.warns(UserWarning, match=r"run.json beside it is damaged .*: run the stage unlearning again"):
        assert publish._of_these_settings(load_profile("smoke"), "unlearning") is None
