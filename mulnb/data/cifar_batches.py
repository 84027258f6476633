"""Reads the published batches of CIFAR. They are pickles, and a pickle can run any program: only what they hold is allowed."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy._core import multiarray  # the batches name this module by its former name, numpy.core.multiarray

from mulnb.core.errors import one_line


def _text_to_bytes(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as pickles of protocol 2 use it: for the bytes of an array, and for nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}, which no CIFAR file needs")
    return text.encode("latin1")


# by module and name: what an array and its bytes are made of, in the pickles of Python 2 and 3
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("_codecs", "encode"): _text_to_bytes,
}


class _Restricted(pickle.Unpickler):
    """Makes nothing but arrays, lists, mappings, text and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs") from None


def loads(content: bytes) -> dict[str, Any]:
    """The mapping in a batch or in the file of the class names.

    Args:
        content: the bytes of the file.

    Returns:
        Its keys and values, byte strings of Python 2 as text.

    Raises:
        pickle.UnpicklingError: it holds something else than CIFAR's files do, or is damaged.
    """
    try:
        found = _Restricted(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged bytes may raise anything
        raise pickle.UnpicklingError(one_line(error)) from None

    if not isinstance(found, dict):
        raise pickle.UnpicklingError("it holds no mapping")
    return found
