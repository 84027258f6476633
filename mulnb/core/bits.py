"""Bool matrices in an eighth of the memory, read a block of columns at a time.

What M models did with N examples is M·N bits: 64 MB for 400 models of ImageNet's 1.28 million images, and 512 MB as NumPy's bool.
The store has them packed, and so they stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 1 << 16  # columns at a time: 26 MB for 400 rows; a multiple of 8


@dataclass(frozen=True, eq=False)
class Bits:
    """A bool matrix [M, N]. NumPy reads it as the array that it stands for; an index chooses rows."""

    packed: np.ndarray  # uint8 [M, ⌈N / 8⌉], from `np.packbits(…, axis=1)`
    n: int  # N

    @property
    def shape(self) -> tuple[int, int]:
        """[M, N]."""
        return len(self.packed), self.n

    @property
    def ndim(self) -> int:
        """2: it is a matrix."""
        return 2

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: Any) -> Bits:
        """The chosen rows: a slice, or an array of numbers."""
        return Bits(self.packed[rows], self.n)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.columns(0, self.n).astype(bool if dtype is None else dtype, copy=False)

    def columns(self, start: int, stop: int) -> np.ndarray:
        """The columns `start`, a multiple of 8, to `stop` as bool [M, stop − start]."""
        part = self.packed[:, start // 8 : -(-stop // 8)]
        return np.unpackbits(part, axis=1, count=stop - start).view(bool)


def blocks(*matrices: np.ndarray | Bits) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Go through matrices of one shape [M, N], `BLOCK` columns at a time.

    Args:
        matrices: bool arrays, or `Bits`.

    Yields:
        Which columns, and of each matrix these columns as bool [M, …].
    """
    n = matrices[0].shape[1]
    for start in range(0, n, BLOCK):
        where = slice(start, min(start + BLOCK, n))
        parts = []
        for matrix in matrices:
            packed = isinstance(matrix, Bits)
            parts.append(matrix.columns(where.start, where.stop) if packed else np.asarray(matrix[:, where], dtype=bool))
        yield where, parts


def count(matrix: np.ndarray) -> np.ndarray:
    """How many rows of a bool matrix [M, n] are True in each column, int64 [n]."""
    total = np.zeros(matrix.shape[1], dtype=np.int64)
    for start in range(0, len(matrix), 255):  # so many fit into a byte, in which NumPy adds ten times as fast
        total += matrix[start : start + 255].view(np.uint8).sum(axis=0, dtype=np.uint8)
    return total
