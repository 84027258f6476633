"""Columns of pandas whose index counts the examples in another order than their rows: after `sort_values`, for example."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from mulnb.core.errors import notice

_of_data: set[bytes] = set()  # the orders of tables that images or labels came from: there, example i is row number i


def in_order(given: Any, what: str) -> Any:
    """A Series (or the rows of a frame) in the order of its index, with a notice, if that is 0 … N − 1 in another order.

    Everything else is returned as it is: an index of dates, of text or with gaps says nothing of the examples, and a Series in
    the order of the table that the data came from belongs to its rows.

    Args:
        given: anything.
        what: what the notice calls it.
    """
    order = _order(given)
    if order is None or _digest(order) in _of_data:
        return given

    notice(f"{what}: its index is not in order: example i is the one with index i; for the order of the rows, give .to_numpy()")
    return given.iloc[np.argsort(order)]


def keep_rows(given: Any) -> None:
    """Remember the order in which data came: what comes in this order, too, is counted by rows."""
    if (order := _order(given)) is not None:
        _of_data.add(_digest(order))


def _order(given: Any) -> np.ndarray | None:
    """The index of a Series, int64 [N], if it is 0 … N − 1 in another order."""
    if not hasattr(given, "iloc") or not hasattr(given, "index"):
        return None

    index = np.asarray(given.index)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        return None
    counted = np.arange(len(index))
    mixed = not np.array_equal(index, counted) and np.array_equal(np.sort(index), counted)
    return index.astype(np.int64) if mixed else None


def _digest(order: np.ndarray) -> bytes:
    return hashlib.blake2b(order.tobytes(), digest_size=16).digest()
