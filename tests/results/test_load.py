"""Reading published frames."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from mulnb import load_profile
from mulnb.config import known_profiles
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import publish, written


def frame(rows: int) -> pd.DataFrame:
    """A frame of unlearning as somebody may have written it, without a checksum."""
    return pd.DataFrame(dict.fromkeys(written.COLUMNS["unlearning"], [0.5] * rows)).assign(seed=range(rows))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "folder", "pipe"])
def test_a_damaged_frame_is_one_line(home, damage):
    path = paths.results("smoke") / "data" / "unlearning.parquet"
    assert publish.load("smoke", "unlearning") is None

    path.parent.mkdir(parents=True)
    frame(100).to_parquet(path)
    assert len(publish.load("smoke", "unlearning")) == 100

    whole = path.read_bytes()
    if damage in ("folder", "pipe"):
        path.unlink()
        path.mkdir() if damage == "folder" else os.mkfifo(path)
    else:
        path.write_bytes({"truncated": whole[:-10], "empty": b"", "text": b"no parquet"}[damage])

    with pytest.raises(UserError, match="damaged") as error:
        publish.load("smoke", "unlearning")
    assert str(path) in str(error.value) and "mulnb run --profile smoke" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list(written.COLUMNS))
def test_another_frame_in_its_place_is_one_line(home, name):
    path = paths.results("smoke") / "data" / f"{name}.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"a": [1, 2]}).to_parquet(path)
    with pytest.raises(UserError, match=rf"{name}\.parquet: no column '.*mulnb run --profile smoke") as error:
        publish.load("smoke", name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda rows: pd.concat([rows, rows.iloc[2:]]),
            "a row stands there twice (algorithm 0.5, strategy 0.5, score 0.5, seed 2",
        ),
        (lambda rows: rows.assign(tow=[0.5, float("nan"), 0.5]), "row 2 has no number in the column tow"),
        (lambda rows: rows.assign(tow_mia="high"), "row 1 has no number in the column tow_mia"),
        (lambda rows: rows.assign(tow=float("inf")), "row 1 has no number in the column tow"),
    ],
)
def test_rows_that_somebody_put_together_are_one_line(home, change, said):
    path = paths.results("smoke") / "data" / "unlearning.parquet"
    path.parent.mkdir(parents=True)
    change(frame(3)).to_parquet(path)
    with pytest.raises(UserError) as error:
        publish.load("smoke", "unlearning")
    assert said in str(error.value) and str(error.value).endswith("mulnb run --profile smoke") and "\n" not in str(error.value)


def test_memorization_that_is_cut_off_is_one_line(home):
    folder = paths.results("smoke") / "data"
    folder.mkdir(parents=True)
    pd.DataFrame({"example": [0, 1], "label": 0, "memorization": 0.5}).to_parquet(folder / "memorization.parquet")
    scores = pd.DataFrame({"example": [0, 1, 2], "proxy": "confidence", "seed": 0, "value": 0.5})
    scores.to_parquet(folder / "proxies.parquet")
    with pytest.raises(
        UserError, match=r"memorization\.parquet: 2 examples, and proxies\.parquet has other ones for confidence, seed 0 \(3\)"
    ):
        publish.publish_claims(load_profile("smoke"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(written.COLUMNS))
def test_committed_frames_are_good(monkeypatch, name):
    monkeypatch.setenv("MULNB_FIGURES", str(paths.CHECKOUT / "figures"))
    found = {profile: publish.load(profile, name) for profile in known_profiles()}
    assert sum(frame is not None and len(frame) > 0 for frame in found.values()) >= 4
