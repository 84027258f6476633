"""Whole numbers, however an array holds them: a column of a table that once had a gap has floats."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

EXACT = 2**53  # below, every whole number is a floating-point number of its own


def whole(values: np.ndarray) -> np.ndarray | None:
    """Numbers as int64.

    Args:
        values: an array of any type and shape.

    Returns:
        int64 of the same shape; None unless all are whole numbers, and exact.
    """
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        return None

    with np.errstate(invalid="ignore"):  # of infinity
        exact = (np.abs(values) < EXACT) & (values % 1 == 0)
    return values.astype(np.int64) if exact.all() else None


def is_whole(value: Any) -> bool:
    """Whether this is one whole number, of Python's or NumPy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
