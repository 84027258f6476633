"""What a stage leaves behind is exactly what it computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic

from mulnb.results import frame_file, publish

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
