"""A user's run leaves the checkout as it was cloned: its results are where git does not look."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from mulnb.core import paths


@pytest.fixture
def clone(tmp_path):
    """A clone, in a folder with a space, whose environment is this one: setting up another would take minutes."""
    if not (paths.CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    root = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", str(paths.CHECKOUT), str(root)], check=True)

    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    stamp = [str(root)]
    for name in ("pyproject.toml", "requirements.lock"):
        stamp.append(f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}")
    (root / ".venv" / ".set-up").write_text("\n".join(stamp) + "\n")
    return root


@pytest.mark.slow
def test_after_a_run_git_sees_no_change(clone):
    environment = os.environ | {"PYTHONPATH": str(clone)}
    for name in ("MULNB_HOME", "MULNB_FIGURES", "MULNB_PUBLISH", "MULNB_PROGRESS"):
        environment.pop(name, None)
    command = [str(clone / "run_all.sh"), "--profile", "smoke", "--only", "01,05"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)

    assert done.returncode == 0, done.stderr
    assert (clone / "results" / "smoke" / "claims.csv").is_file()
    assert (clone / "results" / "paper" / "fig2_rum_across.png").is_file()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""
