"""What is shown of a long computation: where it is and how long it will take, on a terminal and in a log."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from mulnb.core import progress


def write(path, done, total=8, label="pool models", since=10.0):
    path.write_text(json.dumps({"label": label, "done": done, "total": total, "started": time.time() - since}))


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (0, "pool models 0/8"),  # nothing is known about the time yet
        (2, "pool models 2/8, 0:30 left"),
        (7, "pool models 7/8, 0:01 left"),
    ],
)
def test_the_time_left_follows_from_the_tasks_done(tmp_path, done, text):
    write(tmp_path / "state", done)
    assert progress.read(tmp_path / "state").text(time.time()) == text


def test_a_computation_that_is_over_or_unreadable_shows_nothing(tmp_path):
    state = tmp_path / "state"
    assert progress.read(state) is None
    write(state, 8)
    assert progress.read(state) is None
    state.write_text('{"label": "half of')
    assert progress.read(state) is None


def test_a_log_has_plain_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "TERMINAL_S", 0.01)
    monkeypatch.setattr(progress, "LOG_S", 1e9)
    state = tmp_path / "state"

    with pytest.raises(ValueError), progress.shown("[1/2] memorization", state):
        write(state, 2)
        time.sleep(0.2)
        write(state, 1, label="originals")
        time.sleep(0.2)
        raise ValueError

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] memorization …"
    assert [line.split("  ")[-1].split(",")[0] for line in lines[1:-1]] == ["pool models 2/8", "originals 1/8"]
    assert lines[-1].startswith("[1/2] memorization failed after 0:0")
    assert "\x1b" not in "".join(lines)


def test_a_terminal_keeps_one_line_that_is_erased_in_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "TERMINAL_S", 0.01)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    state = tmp_path / "state"

    with progress.shown("[1/1] proxies", state):
        write(state, 4)
        time.sleep(0.2)

    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "pool models 4/8, 0:" in printed
    assert printed.split(progress.ERASE_LINE)[-1].startswith("[1/1] proxies done in 0:00")


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (65, "1:05"), (3665, "1:01:05"), (90_061, "1 day 1:01:01")])
def test_a_clock(seconds, text):
    assert progress.clock(seconds) == text


def test_things_are_counted_in_words():
    assert [progress.counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


# --- in a process of its own, on a real terminal and into a pipe ---------------------------------------------------------

STAGE = """
import os, time
from pathlib import Path
from mulnb.core import progress, workers

with progress.shown("[1/1] memorization", Path(os.environ["MULNB_PROGRESS"])):
    for _ in workers.progress(range(6), 6, "pool models"):
        time.sleep(0.5)
print("tables and frames: here")
"""


@pytest.fixture
def env(tmp_path):
    """What `mulnb run` and `run_all.sh` set."""
    return os.environ | {"MULNB_PROGRESS": str(tmp_path / "state"), "COLUMNS": "100"}


@pytest.mark.slow
def test_a_real_terminal_shows_one_live_line_with_the_inner_steps_and_the_time_left(env):
    master, terminal = pty.openpty()
    running = subprocess.Popen([sys.executable, "-c", STAGE], stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)

    pieces = []
    with contextlib.suppress(OSError):  # the terminal is closed when the process ends
        while piece := os.read(master, 65_536):
            pieces.append(piece)
    os.close(master)
    printed = b"".join(pieces).decode()
    assert running.wait() == 0, printed

    lines = printed.split(progress.ERASE_LINE)
    live = re.compile(r"\[1/1\] memorization  \d+:\d\d  pool models (\d)/6, \d+:\d\d left")
    steps = [int(found[1]) for found in map(live.fullmatch, lines) if found]
    assert steps and steps == sorted(steps), printed
    assert re.match(r"\[1/1\] memorization done in \d+:\d\d\r\n", lines[-1])
    assert printed.count("\n") == 2  # that the stage is done, and what follows it: all before was one line


@pytest.mark.slow
def test_a_pipe_gets_plain_lines(env):
    done = subprocess.run([sys.executable, "-c", STAGE], capture_output=True, text=True, env=env)
    first, *inner, last, _ = done.stdout.splitlines()
    assert (done.returncode, done.stderr, first) == (0, "", "[1/1] memorization …")
    assert len(inner) >= 1 and all(re.fullmatch(r"  \d+:\d\d  pool models \d/6(, [\d:]+ left)?", line) for line in inner)
    assert last.startswith("[1/1] memorization done in")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout


@pytest.mark.slow
def test_progress_that_nobody_reads_ends_the_command_without_a_word(env):
    in_a_command = "from mulnb.core import commands\ndef work():\n" + "".join(f"    {line}\n" for line in STAGE.splitlines())
    code = f"{in_a_command}\nraise SystemExit(commands.exit_code(work))"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert running.stdout.readline() == "[1/1] memorization …\n"
    running.stdout.close()  # as `| head -1` does
    assert (running.stderr.read(), running.wait()) == ("", 1)
