"""The committed tables and claims are those that the committed frames give, byte for byte."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from mulnb import load_profile
from mulnb.core import paths
from mulnb.results import publish

COMMITTED = paths.CHECKOUT / "figures"
PROFILES = ["cifar10-small", "cifar100-mini", "digits", "tiny-imagenet-mini"]
COUNTED = re.compile(r"( of them forget) \([^)]*\)")  # examples that KLoM is measured on: from the study, not from a frame


@pytest.fixture
def made(request, tmp_path, monkeypatch) -> Path:
    """The results folder of a profile, made from its committed frames; no study is at hand."""
    name = request.param
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    folder = tmp_path / name
    shutil.copytree(COMMITTED / name / "data", folder / "data")
    shutil.copy(COMMITTED / name / "run.json", folder)

    def committed(frame):
        return lambda profile: publish.load(name, frame)

    frames = ["proxies", "proxy_costs", "fidelity", "unlearning", "crossed", "sequential", "sequential_scores"]
    study = SimpleNamespace(**{frame: committed(frame) for frame in frames}, klom_examples=lambda profile: {"memorization": 1})
    monkeypatch.setattr(publish, "study", study)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("made", PROFILES, indirect=True)
def test_tables_and_claims_are_those_of_the_frames(made):
    profile = load_profile(made.name)
    for stage in ("proxies", "unlearning", "sequential"):
        publish.TABLES[stage](profile, publish.STAGES[stage](profile))
    publish.publish_claims(profile)
    publish._write_search(profile, pd.read_csv(COMMITTED / made.name / "tune.csv", dtype={"seeds": str}))

    names = sorted(path.name for path in made.glob("*.*") if path.name != "run.json")
    assert names == sorted(path.name for path in (COMMITTED / made.name).glob("*.*") if path.name in names) and len(names) == 18
    for name in names:
        found, expected = ((folder / name).read_text() for folder in (made, COMMITTED / made.name))
        if name == "table_klom.md":
            found, expected = (COUNTED.sub(r"\1", text) for text in (found, expected))
        assert found == expected, name
