"""Packed bool matrices stand for the arrays that they were made from."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core import bits
from mulnb.core.bits import Bits


@pytest.fixture
def matrix() -> np.ndarray:
    """Neither rows nor columns are a multiple of 8, and there are more rows than a byte can count."""
    return np.random.default_rng(0).random((300, 75)) < 0.7


def test_bits_are_the_matrix(matrix):
    packed = Bits(np.packbits(matrix, axis=1), 75)
    assert packed.shape == matrix.shape and len(packed) == 300
    assert (np.asarray(packed) == matrix).all() and np.asarray(packed).dtype == bool
    assert (np.asarray(packed[10:20]) == matrix[10:20]).all()

    order = np.random.default_rng(1).permutation(300)[:50]
    assert (np.asarray(packed[order]) == matrix[order]).all()


def test_blocks_cover_every_column_once(matrix, monkeypatch):
    monkeypatch.setattr(bits, "BLOCK", 16)
    packed = Bits(np.packbits(matrix, axis=1), 75)
    seen = np.zeros(75, dtype=int)
    for where, (of_array, of_bits) in bits.blocks(matrix, packed):
        seen[where] += 1
        assert (of_array == matrix[:, where]).all() and (of_bits == of_array).all()
    assert (seen == 1).all()


def test_counts_are_sums_also_beyond_a_byte(matrix):
    assert (bits.count(matrix) == matrix.sum(0)).all()
    assert (bits.count(np.ones((1000, 3), dtype=bool)) == 1000).all()
