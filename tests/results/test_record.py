"""The record beside the results, when several runs write to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest

from mulnb import load_profile
from mulnb.core import locks, paths
from mulnb.results import record

ADD = """
from mulnb import load_profile, study
from mulnb.results import record
profile = load_profile("smoke")
study.splits(profile)
print("ready", flush=True)
record.write(profile, "memorization", {}, order=["memorization", "proxies"])
"""


@pytest.mark.slow
def test_two_runs_that_add_a_stage_at_once_lose_none(home):
    profile = load_profile("smoke")
    with locks.held(["results/smoke"]):
        child = subprocess.Popen([sys.executable, "-c", ADD], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=2)

        others = {"profile": profile.numbers(), "stages": {"proxies": {"peak_memory_mb": {}}}}
        paths.write_text(paths.results("smoke") / "run.json", json.dumps(others))

    child.communicate(timeout=300)
    assert child.returncode == 0
    assert list(record.read(paths.results("smoke"))["stages"]) == ["memorization", "proxies"]
