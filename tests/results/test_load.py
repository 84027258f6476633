"""Reading published frames."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import publish


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "folder", "pipe"])
def test_a_damaged_frame_is_one_line(home, damage):
    path = paths.results("smoke") / "data" / "unlearning.parquet"
    assert publish.load("smoke", "unlearning") is None

    path.parent.mkdir(parents=True)
    pd.DataFrame(dict.fromkeys(publish.COLUMNS["unlearning"], [0.5] * 100)).to_parquet(path)
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


@pytest.mark.parametrize("name", list(publish.COLUMNS))
def test_another_frame_in_its_place_is_one_line(home, name):
    path = paths.results("smoke") / "data" / f"{name}.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"a": [1, 2]}).to_parquet(path)
    with pytest.raises(UserError, match=rf"{name}\.parquet: no column '.*mulnb run --profile smoke") as error:
        publish.load("smoke", name)
    assert "\n" not in str(error.value)
