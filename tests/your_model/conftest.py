"""What the tests of one's own model share."""

from __future__ import annotations

import pytest

from mulnb.your_model import forgetting, verdict


@pytest.fixture
def accepted(monkeypatch):
    """Every search ends well, however short it is: for tests about what is written down, not about what is found."""
    monkeypatch.setattr(forgetting, "searched", lambda found: verdict.Verdict(verdict.FORGOTTEN, ("for a test",), sure=False))
