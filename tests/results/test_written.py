"""Published tables and records that were damaged: one line, or taken for missing."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import synthetic

from mulnb.core.errors import UserError
from mulnb.results import frame_file, record, written


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "No columns to parse"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read"),
        ("claim\nx".encode("utf-16"), "cannot be read"),
        (b'claim,verdict\n"a,b\n', "cannot be read"),
        (b"claim,verdict\na,b,c\na,b,c,d\n", "cannot be read"),
        (b"<html><body>404</body></html>", "no column 'claim'"),
        (b"verdict,measured\nx,y\n", "no column 'claim'"),
    ],
)
def test_a_damaged_table_is_one_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "claims.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        written.table(path, ["claim", "verdict"])
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_table_that_is_a_folder_or_missing_is_one_line(tmp_path):
    (tmp_path / "tune.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("tune.csv", "none.csv", "pipe.csv"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            written.table(tmp_path / name)


def test_a_good_table_is_read(tmp_path):
    (tmp_path / "claims.csv").write_text("claim,verdict\n1,shown\n")
    assert written.table(tmp_path / "claims.csv", ["verdict"], dtype={"claim": str}).iloc[0].tolist() == ["1", "shown"]


PEAKS = '{"stages": {"proxies": {"peak_memory_mb": %s}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        '"x"',
        "[" * 5000,
        '{"stages": []}',
        '{"stages": {"proxies": 5}}',
        '{"stages": null}',
        "\0",
        PEAKS % "5",
        PEAKS % '{"main": "x"}',
    ],
)
def test_what_is_no_record_says_nothing(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert record.read(tmp_path) == {}


def test_a_record_is_read(tmp_path):
    told = {"device": "x", "stages": {"proxies": {"device": "y"}}}
    (tmp_path / "run.json").write_text(json.dumps(told))
    assert record.read(tmp_path) == told and record.read(tmp_path / "none") == {}


WRONG_KINDS = {
    "tow": (lambda frame: frame.assign(tow=frame["tow"].astype(str)), "the column tow holds str and not numbers"),
    "bool": (lambda frame: frame.assign(tow=frame["tow"] > 0.5), "the column tow holds bool and not numbers"),
    "seed": (lambda frame: frame.assign(seed=[f"s{row}" for row in range(len(frame))]), "the column seed holds str"),
    "no seed": (lambda frame: frame.assign(seed=np.where(frame["seed"] == 1, np.nan, frame["seed"])), "a row has no seed"),
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_a_frame_with_other_kinds_of_columns_is_one_line(tmp_path, name):
    change, words = WRONG_KINDS[name]
    frame_file.write(change(synthetic.unlearning().reset_index(drop=True)), tmp_path / "unlearning.parquet")
    with pytest.raises(UserError, match=words):
        written.frame(tmp_path / "unlearning.parquet")


def test_costs_without_shares_are_another_table(tmp_path):
    frame_file.write(synthetic.costs().drop(columns="share_of_exact"), tmp_path / "proxy_costs.parquet")
    with pytest.raises(UserError, match="no column 'share_of_exact'"):
        written.frame(tmp_path / "proxy_costs.parquet")
