"""A published frame is read as it was written, or not at all."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pandas as pd
import pytest

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.results import frame_file

FRAME = pd.DataFrame(
    {
        "algorithm": ["fine_tune", "salun", None] * 20,
        "seed": np.arange(60),
        "tow": np.linspace(0, 1, 60),
        "se": [np.nan, 0.5, 0.25] * 20,
        "converged": [True, False, True] * 20,
        "margin": np.arange(60, dtype=np.float32) / 3,
        "mixed": [True, None, False] * 20,
    }
)


@pytest.mark.slow
def test_a_flipped_byte_is_never_believed(tmp_path):
    path = tmp_path / "frame.parquet"
    frame_file.write(FRAME, path)
    whole = path.read_bytes()
    noticed = 0

    for place in range(0, len(whole), max(1, len(whole) // 400)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = frame_file.read(path)
        except UserError as error:
            noticed += 1
            assert str(error).startswith(f"{path}: damaged (") and "\n" not in str(error)
        else:  # a byte that says nothing about the content, such as the name of the program that wrote it
            pd.testing.assert_frame_equal(found, FRAME, check_exact=True, check_dtype=False)
    assert noticed > 100


@pytest.mark.parametrize("part", ["values", "names"])
def test_the_checksum_holds_for_names_and_values(tmp_path, part):
    changed = (
        FRAME.assign(tow=FRAME.tow.where(FRAME.index != 7, 0.5)) if part == "values" else FRAME.rename(columns={"tow": "two"})
    )
    for name, frame in (("a", FRAME), ("b", changed)):
        frame_file.write(frame, tmp_path / name)
    stated = frame_file.parquet.read_schema(tmp_path / "a").metadata[frame_file.SEAL]

    table = frame_file.parquet.read_table(tmp_path / "b")
    forged = table.replace_schema_metadata({**table.schema.metadata, frame_file.SEAL: stated})
    frame_file.parquet.write_table(forged, tmp_path / "b")
    with pytest.raises(UserError, match="checksum differs"):
        frame_file.read(tmp_path / "b")


def test_a_folder_may_have_a_name_that_is_no_text(tmp_path):
    try:
        folder = tmp_path / os.fsdecode(b"\xff")
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only names that are text")
    frame = pd.DataFrame({"a": [1, 2]})
    frame_file.write(frame, folder / "frame.parquet")
    pd.testing.assert_frame_equal(frame_file.read(folder / "frame.parquet"), frame)


def test_committed_frames_are_read_without_a_warning():
    committed = sorted(paths.committed().glob("*/data/*.parquet"))
    assert committed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in committed:
            assert len(frame_file.read(path).columns) > 1, path


def test_committed_frames_are_sealed():
    frames = list((paths.CHECKOUT / "figures").glob("*/data/*.parquet"))
    assert len(frames) >= 30
    for path in frames:
        assert frame_file.SEAL in (frame_file.parquet.read_schema(path).metadata or {}), path


def test_a_small_frame_is_mostly_its_values(tmp_path):
    """45 columns of 500 rows: Parquet's own words about them must not take half of the file."""
    rng = np.random.default_rng(0)
    wide = pd.DataFrame({f"column_{number}": rng.integers(0, 50, 500) / 50 for number in range(45)})
    frame_file.write(wide, tmp_path / "frame.parquet")
    assert frame_file.parquet.ParquetFile(tmp_path / "frame.parquet").metadata.serialized_size < 6000
    pd.testing.assert_frame_equal(frame_file.read(tmp_path / "frame.parquet"), wide, check_exact=True)
