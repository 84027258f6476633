"""Every test has a home of its own: no test reads or writes the checkout's artefacts and figures."""

from __future__ import annotations

import os

# two threads in one torch process collapse beside another busy process; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_figures_from_outside():
    """`run_all.sh --test` moves the figures of the notebooks that it checks; fixtures of a whole module must not see that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MULNB_FIGURES", raising=False)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty `MULNB_HOME`; one worker, so that a test is deterministic and cheap unless it asks for more."""
    place = tmp_path / "home"
    monkeypatch.setenv("MULNB_HOME", str(place))
    monkeypatch.delenv("MULNB_FIGURES", raising=False)
    monkeypatch.setenv("MULNB_WORKERS", "1")
    monkeypatch.setenv("MULNB_PROGRESS", "")
    return place
