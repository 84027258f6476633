"""Standard streams that are closed, full, or cannot show a letter: the command does its work, or says one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def profiles(streams, **more):
    """`mulnb profiles` in a shell that sets its streams."""
    command = f'"{sys.executable}" -m mulnb profiles {streams}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ | more)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-", "<&- 2>&-"])
def test_closed_streams_stop_nothing(streams):
    done = profiles(streams)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is always full; Linux has it")
def test_a_full_disk_behind_the_output_is_one_line():
    done = profiles(">/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("mulnb: No space left on device: free some space") and done.stderr.count("\n") == 1
    assert profiles(">/dev/full 2>/dev/full").returncode == 2


def test_a_reader_that_leaves_early_is_no_error():
    done = profiles("2>&1 | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode in (0, 1)) and (done.stdout, done.stderr) == ("", "")


def test_a_letter_that_cannot_be_shown_is_written_in_ascii():
    done = profiles("", **ASCII)
    assert done.returncode == 0 and r"Digits (8\xd78, 10 % label noise)" in done.stdout
    assert done.stderr == ""


def test_files_are_written_and_read_in_utf_8_whatever_the_machine_is_set_to(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mulnb.core import paths, store\n"
        "place = paths.write_text(Path(sys.argv[1]), '\\u03c1')\n"
        "assert place.read_bytes().decode('utf-8') == '\\u03c1'\n"
        "print(store.code_version('core.store'))"
    )
    versions = set()
    for more in (ASCII, {}):
        command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
        versions.add(subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=True).stdout)
    assert len(versions) == 1
