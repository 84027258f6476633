"""An explorer of invented data, and a profile with results in a home of the test's own."""

from __future__ import annotations

import shutil

import pytest
from lab import invented_stock
from synthetic import profile as invented

import mulnb
from mulnb.explorer import Explorer


@pytest.fixture
def explorer() -> Explorer:
    return Explorer(invented(seeds=[0]), invented_stock())


@pytest.fixture
def smoke(smoke_home, tmp_path, monkeypatch):
    home = shutil.copytree(smoke_home, tmp_path / "smoke")
    monkeypatch.setenv("MULNB_HOME", str(home))
    return mulnb.load_profile("smoke")
