"""Fixtures of the data wing's tests."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture(autouse=True)
def _no_unexpected_notice():
    """A notice that a test does not expect fails it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
