"""What a result was computed with: the git commit of the checkout and the name of the processor or GPU."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from mulnb.core import paths
from mulnb.core.errors import UserError


def git_commit() -> str | None:
    """The commit of the checkout that the package runs from.

    Returns:
        The full hash, with "+" behind it if files under `mulnb/` or `notebooks/` differ from the commit. None outside a git
        checkout, or where git is not installed.
    """
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "mulnb", "notebooks")
        return _git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name() -> str:
    """The name of the first GPU, or of the processor with its number of cores. Does not import torch.

    Returns:
        For example "NVIDIA H100 80GB HBM3" or "AMD EPYC 9B14, 2 cores".
    """
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]

    try:
        gpus = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        gpus = ""  # no NVIDIA driver

    if gpus:
        return gpus.splitlines()[0]
    return f"{_processor_name()}, {os.cpu_count()} cores"


def check_device() -> None:
    """Check that the device of `MULNB_DEVICE` is there, where the variable is set. Imports torch only to look for a GPU.

    Raises:
        UserError: it is no name of a device, or this machine has no such device.
    """
    name = os.environ.get("MULNB_DEVICE", "")
    if name in ("", "cpu"):
        return

    advice = "use cpu, or leave it unset to take the GPU where there is one"
    found = re.fullmatch(r"cuda(?::(\d{1,3}))?|mps", name)
    if not found:
        raise UserError(f"MULNB_DEVICE = {name!r}: should be cpu, cuda, cuda:0, cuda:1, … or mps: {advice}")

    import torch

    there = torch.backends.mps.is_available() if name == "mps" else torch.cuda.device_count() > int(found[1] or 0)
    if not there:
        raise UserError(f"MULNB_DEVICE = {name!r}: this machine has no such device: {advice}")


def _git(*words: str) -> str:
    """The output of a git command in the checkout."""
    done = subprocess.run(["git", *words], cwd=paths.CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor_name() -> str:
    """The processor's name from Linux's /proc/cpuinfo, or what Python knows about it on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []

    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
