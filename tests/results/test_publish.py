"""What a stage leaves behind is exactly what it computed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb import load_profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import frame_file, markdown, publish, record, search

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


@pytest.mark.slow
def test_no_other_run_writes_between_the_first_table_and_the_record(home, monkeypatch):
    """Its frames would be told as those of this run's settings."""
    ask = "from mulnb.core import locks\nwith locks.held(['results/smoke']): print('written', flush=True)"
    waiting = []

    def a_frame(frame, to):
        to.write_text("x")
        waiting.append(subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True))
        with pytest.raises(subprocess.TimeoutExpired):
            waiting[0].wait(timeout=1)

    profile = load_profile("smoke")
    monkeypatch.setitem(publish.STAGES, "fidelity", lambda profile: {"fidelity": None})
    monkeypatch.setattr(publish.frame_file, "write", a_frame)
    monkeypatch.setattr(publish.record, "write", lambda *_, **__: waiting[0].poll() is None or pytest.fail("it did not wait"))
    publish.publish(profile, "fidelity")
    assert waiting[0].communicate(timeout=300)[0] == "written\n"


HEAD = "algorithm,strategy,settings,tow,tow_mia,objective,passes_retain,se,n,chosen,edge,round,seeds,scores"
ROW = 'scrub,vanilla,"{""lr"": 0.1}",0.5,0.5,1.0,3,,1,True,,0,7,memorization'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("algorithm\nscrub", "no column 'strategy': it is another table"),
        (f"{HEAD}\n{ROW}\n{HEAD}", "row 2 has no number in the column tow: correct it"),
        (f"{HEAD}\n{ROW}\n{ROW.replace('scrub', '')}", "row 2 has nothing in the column algorithm"),
        (f"{HEAD}\n{ROW.replace(': 0.1', '')}", "row 1 has settings that are no JSON"),
        (f"{HEAD}\n{ROW.replace('1.0,3', 'inf,3')}", "row 1 has no number in the column objective"),
        (f"{HEAD}\n{ROW.replace('3,,1', '3,small,1')}", "row 1 has no number in the column se"),
        (f"{HEAD}\n{ROW}\n{ROW.replace('True', 'maybe')}", "row 2 has neither True nor False in the column chosen"),
    ],
)
def test_a_damaged_table_of_a_search_is_told_before_the_next_search(home, monkeypatch, text, words):
    monkeypatch.setattr(publish.study, "tune", lambda profile: pytest.fail("the search began"))
    paths.write_text(paths.results("smoke") / "tune.csv", f"{text}\n")
    with pytest.raises(UserError, match=words):
        publish.publish(load_profile("smoke"), "tune")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10-small", "cifar100-mini", "digits", "tiny-imagenet-mini"])
def test_the_committed_tables_of_searches_are_whole(monkeypatch, name):
    monkeypatch.setenv("MULNB_FIGURES", str(paths.committed()))
    table = pd.read_csv(paths.committed() / name / "tune.csv")
    assert len(search.kept(load_profile(name), ())) == len(table)
    assert search.kept(load_profile(name), set(table["algorithm"])) is None
    assert markdown.UNFIT not in search.page(table.assign(unconverged=np.nan), load_profile(name), "")
