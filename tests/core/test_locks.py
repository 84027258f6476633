"""Locks between real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mulnb.core import locks

HOLD = """
import sys
from mulnb.core import locks
with locks.held(["a", "b"]):
    print("held", flush=True)
    sys.stdin.readline()
"""
TRY = """
import sys
from mulnb.core import locks
print("asks", flush=True)
with locks.held([sys.argv[1]]):
    print("held", flush=True)
"""


def start(code: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_lock_keeps_another_process_waiting_until_it_is_free(home):
    holder = start(HOLD)
    assert holder.stdout.readline() == "held\n"
    assert start(TRY, "c").communicate()[0] == "asks\nheld\n"  # another name is free

    waiting = start(TRY, "b")
    assert waiting.stdout.readline() == "asks\n"
    try:
        waiting.wait(timeout=1)
        raise AssertionError("it did not wait")
    except subprocess.TimeoutExpired:
        pass
    holder.communicate("go on\n")
    assert waiting.communicate(timeout=300)[0] == "held\n"


def test_a_dead_process_holds_nothing(home):
    holder = start(HOLD)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    assert start(TRY, "a").communicate(timeout=300)[0] == "asks\nheld\n"


def test_where_no_lock_file_can_be_made_the_work_is_done_without(home):
    home.mkdir()
    (home / "artifacts").write_text("a file where the folder should be")
    with locks.held(["a"]):
        pass


def test_a_name_that_is_asked_for_twice_is_free_when_the_outer_block_ends(home):
    with locks.held(["a"]):
        with locks.held(["a", "b"]):
            pass
        waiting = start(TRY, "a")
        assert waiting.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
    assert waiting.communicate(timeout=300)[0] == "held\n"
