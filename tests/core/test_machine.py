"""What is written beside a result about where it was computed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from mulnb.core import machine, paths


def test_the_commit_is_the_checkouts_and_none_outside_one(monkeypatch, tmp_path):
    commit = machine.git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}\+?", commit)

    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert machine.git_commit() is None


def test_the_device_has_a_name_and_torch_is_not_loaded_for_it():
    assert machine.device_name().strip()
    code = "import sys; from mulnb.core import machine; machine.device_name(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
