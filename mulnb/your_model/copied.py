"""A copy of a data set with files of its own: processes that share an opened file also share the place where it is read.

`copy_of` goes through whatever the data set holds, as pickle does. What is only looked at (tensors, arrays, bytes, classes, code)
is shared with the copy and takes no memory twice; an opened file cannot be copied, and so is found.
"""

from __future__ import annotations

import io
import itertools
import mmap
import pickle
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from mulnb.core.errors import one_line

SHARED = (types.ModuleType, types.CodeType, types.CellType, bytes, torch.Tensor, torch.Generator, mmap.mmap)
SHARED_OF = ("pyarrow", "multiprocessing")  # tables that never change, and what is made to be shared
HANDLES_OF = ("h5py", "zipfile", "tarfile", "lmdb", "sqlite3")
PLAIN = (str, int, float, bool, type(None), tuple, list, dict)
TABLES = (tuple, list, dict)
LONG = 1000  # entries: longer tables of nothing but words and numbers are copied at once, in a tenth of the time
LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}


def copy_of(dataset: Any) -> tuple[Any | None, str]:
    """A copy of a data set that shares no opened file with it, and why there is none (then it is None).

    Files that a data set opens while it is read are found only if it was read before, and those of which only compiled code or
    the operating system knows, by their number for example, not at all.
    """
    held: list[Any] = []
    stream = io.BytesIO()

    try:
        _Writer(stream, held).dump(dataset)
        stream.seek(0)
        return _Reader(stream, held).load(), ""
    except Exception as error:  # the user's own objects may refuse in any way
        return None, one_line(error)


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, held: list[Any]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.held = held
        self.places: dict[int, int] = {}  # of what is held, by its id
        self.seen: list[Any] = []

    def persistent_id(self, given: Any) -> int | None:
        """The place in `held` of what is shared, or was copied at once; None for what is copied part by part."""
        if type(given) in PLAIN and not (type(given) in TABLES and len(given) > LONG):
            return None
        if id(given) in self.places:
            return self.places[id(given)]

        held = None
        if type(given) in TABLES:
            held = _long_table(given)
        elif _is_shared(given):
            held = given
        return None if held is None else self._hold(given, held)

    def _hold(self, given: Any, held: Any) -> int:
        self.seen.append(given)  # it must live as long as its id counts
        self.places[id(given)] = len(self.held)
        self.held.append(held)
        return len(self.held) - 1

    def reducer_override(self, given: Any) -> Any:
        """How a function is copied, with the values that it holds, and a lock, which is opened anew."""
        if isinstance(given, types.FunctionType):
            values = tuple(cell.cell_contents for cell in given.__closure__ or ())
            return _function, (_Shell(given), values, given.__defaults__, given.__kwdefaults__)
        if type(given) in LOCKS:
            return LOCKS[type(given)], ()
        return NotImplemented


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, held: list[Any]) -> None:
        super().__init__(stream)
        self.held = held

    def persistent_load(self, place: int) -> Any:
        return self.held[place]


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError("an object")


def _long_table(given: tuple | list | dict) -> tuple | list | dict | None:
    """A copy of words and numbers, such as names of files with their labels; None if there is anything else among them."""
    try:
        first = pickle.dumps(list(itertools.islice(given.items() if isinstance(given, dict) else given, 3)))
        if len(first) > 3 * LONG:  # images as bytes, which are shared
            return None
        _PlainReader(io.BytesIO(first)).load()  # most that hold something else do so from the first
        return _PlainReader(io.BytesIO(pickle.dumps(given))).load()
    except Exception:  # something in it cannot be copied: which it is, is found part by part
        return None


class _Shell:
    """A function without the values that it holds."""

    def __init__(self, function: types.FunctionType) -> None:
        self.function = function


def _function(shell: _Shell, values: tuple, defaults: tuple | None, named: dict[str, Any] | None) -> Callable:
    old = shell.function
    new = types.FunctionType(old.__code__, old.__globals__, old.__name__, defaults, tuple(map(types.CellType, values)) or None)
    new.__kwdefaults__ = named
    new.__dict__.update(old.__dict__)
    return new


def _is_shared(given: Any) -> bool:
    """Whether a copy may hold the very same object. Raises `PicklingError` for what reads a file that is open."""
    if isinstance(given, types.FunctionType):
        _check(given, _globals(given))
        return not (given.__closure__ or given.__defaults__ or given.__kwdefaults__)
    if isinstance(given, type):
        _check(given, _attributes(given))
        return True
    if hasattr(given, "getbands"):  # a PIL image, which may not have been read yet
        _check(given, [getattr(given, "fp", None)])
        return True
    if isinstance(given, np.ndarray):
        return given.dtype != object
    return isinstance(given, (*SHARED, _Shell)) or type(given).__module__.partition(".")[0] in SHARED_OF


def _check(holder: Any, values: Iterable[Any]) -> None:
    """Raises `PicklingError` if one of these values is a file that is open for reading."""
    if any(map(_is_open_file, values)):
        raise pickle.PicklingError(f"{getattr(holder, '__qualname__', type(holder).__name__)} uses an opened file")


def _globals(function: types.FunctionType) -> Iterator[Any]:
    """The variables of its module that a function names."""
    return (function.__globals__.get(name) for name in function.__code__.co_names)


def _attributes(kind: type) -> Iterator[Any]:
    """What a class and those it is made of hold, with the variables that their methods name."""
    for base in kind.__mro__:
        for value in vars(base).values():
            yield value
            if isinstance(value, types.FunctionType):
                yield from _globals(value)


def _is_open_file(value: Any) -> bool:
    if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
        return not value.closed and value.readable()
    return not isinstance(value, (type, types.FunctionType)) and type(value).__module__.partition(".")[0] in HANDLES_OF
