"""What a function from outside the package does, as a hash for the keys of results, and as bytes for other processes.

Its source text is not enough: two closures of one text differ in what they close over, and a function in the values of its
defaults and of the globals that it reads. So the hash goes through all of these. It is taken when an entry is added, since a
function may change what it reads (a list that it appends to); only numbers and words among the globals are looked at again. What
belongs to Python, to an installed library or to this package counts by its name. Another version of Python compiles functions
otherwise, and gives other hashes.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
import pickle
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulnb.core.errors import notice, one_line

_ALONE = threading.Lock()  # cloudpickle's list of modules is the process's
PACKAGE = __name__.partition(".")[0]
OF_PYTHON = {"__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"}  # of a class, not its author's
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def fingerprint(thing: Any) -> str:
    """A hash of what a function does, or every function of a record such as a `Proxy`.

    Args:
        thing: a function, class, `functools.partial` or callable object, or a dataclass that holds some.

    Returns:
        16 hexadecimal digits, the same in every process for the same code and values.
    """
    try:
        return _walked(thing).hash.hexdigest()[:16]
    except RecursionError:  # lists in lists in lists: then the code alone
        codes = [function.__code__ for function in _functions(thing)]
        return hashlib.sha256(repr([(code.co_code, code.co_names) for code in codes]).encode()).hexdigest()[:16]


def plain_globals(thing: Any) -> str:
    """The numbers and words that the functions of an entry read as globals, as they are now."""
    found = {}
    for function in _functions(thing):
        for name in _globals(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, PLAIN) or (isinstance(value, tuple) and all(isinstance(part, PLAIN) for part in value)):
                found[name] = value
    return repr(sorted(found.items()))


def _functions(thing: Any) -> list[types.FunctionType]:
    """The functions that an entry consists of, without those that they call."""
    if isinstance(thing, functools.partial):
        thing = thing.func
    parts = list(vars(thing).values()) if _is_record(thing) else [thing]
    parts = [getattr(part, "__func__", part) for part in parts]
    return [part for part in parts if isinstance(part, types.FunctionType) and _is_users(part.__module__)]


def packed(things: Any, entries: list[Any]) -> bytes:
    """Things pickled so that another process gets the code as it is here, also of a module that was edited and loaded again.

    Args:
        things: what to send.
        entries: the functions in it, whose modules other processes need not have.
    """
    import cloudpickle

    with _ALONE:
        return _packed(things, entries, cloudpickle)


def _packed(things: Any, entries: list[Any], cloudpickle: types.ModuleType) -> bytes:
    modules = {module for entry in entries for module in _walked(entry).modules}
    registered = cloudpickle.list_registry_pickle_by_value()  # by the user
    known = [sys.modules[name] for name in sorted(modules - registered) if name in sys.modules and name != "__main__"]
    for module in known:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(things)
    except Exception as error:  # a lock among the globals of such a module, for example: then by its name
        _say_by_name(", ".join(sorted(modules)), one_line(error))
        for module in known:
            cloudpickle.unregister_pickle_by_value(module)
        known = []
        return cloudpickle.dumps(things)
    finally:
        for module in known:
            cloudpickle.unregister_pickle_by_value(module)


@functools.cache
def _say_by_name(modules: str, reason: str) -> None:
    notice(f"{modules} cannot be sent to worker processes ({reason}): they import it; after editing it, start Python anew")


def _is_record(thing: Any) -> bool:
    """Whether this is a dataclass that holds functions, such as a `Proxy`, and is none itself."""
    return hasattr(thing, "__dataclass_fields__") and not callable(thing)


def _walked(thing: Any) -> _Walk:
    walk = _Walk()
    if _is_record(thing):  # its words do not count
        for value in vars(thing).values():
            if callable(value):
                walk.add(value)
    else:
        walk.add(thing)
    return walk


class _Walk:
    """Goes through everything that a function consists of.

    Attributes:
        hash: of all that was seen.
        modules: the names of the user's own modules among it.
    """

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.modules: set[str] = set()
        self._seen: dict[int, int] = {}  # a function may refer to itself
        self._alive: list[Any] = []  # so that no number is given twice

    def add(self, thing: Any) -> None:
        """Take a thing into the hash."""
        if isinstance(thing, PLAIN):
            self._say(type(thing).__name__, repr(thing))
            return
        if id(thing) in self._seen:
            self._say("again", self._seen[id(thing)])
            return
        self._seen[id(thing)] = len(self._seen)
        self._alive.append(thing)

        if hasattr(thing, "known_as"):  # a registry of this package
            self._say("known", thing.known_as)
        elif isinstance(thing, types.ModuleType):
            self._module(thing.__name__)
        elif isinstance(thing, types.CodeType):
            self._code(thing)
        elif isinstance(thing, (types.FunctionType, type)) and not _is_users(thing.__module__):
            self._say("name", f"{thing.__module__}.{thing.__qualname__}")
        elif isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, functools.partial):
            self._several("partial", [thing.func, thing.args, thing.keywords])
        elif isinstance(thing, types.MethodType):
            self._several("method", [thing.__self__, thing.__func__])
        elif isinstance(thing, (staticmethod, classmethod)):
            self._several(type(thing).__name__, [thing.__func__])
        elif isinstance(thing, property):
            self._several("property", [thing.fget, thing.fset, thing.fdel])
        elif isinstance(thing, functools.cached_property):
            self._several("property", [thing.func])
        elif isinstance(thing, type):
            self._class(thing)
        else:
            self._value(thing)

    def _function(self, function: types.FunctionType) -> None:
        self._own(function.__module__)
        cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
        read = {name: function.__globals__[name] for name in _globals(function.__code__) if name in function.__globals__}
        self._several("function", [function.__code__, function.__defaults__, function.__kwdefaults__, cells, read])

    def _code(self, code: types.CodeType) -> None:
        self._say("code", code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars)
        for constant in code.co_consts:
            self.add(constant)
        for name in _imports(code):
            self._module(name)

    def _class(self, found: type) -> None:
        self._own(found.__module__)
        own = {name: value for name, value in vars(found).items() if name not in OF_PYTHON}
        self._several("class", [found.__qualname__, found.__bases__, own])

    def _value(self, thing: Any) -> None:
        """Anything else: containers, arrays and objects, by what they hold."""
        import numpy as np

        kind = type(thing)
        users = _is_users(kind.__module__)
        if users:
            self.add(kind)
        if isinstance(thing, (tuple, list)):
            self._several(kind.__name__, thing)
        elif isinstance(thing, Mapping):
            self._several(kind.__name__, [part for pair in thing.items() for part in pair])
        elif isinstance(thing, (set, frozenset)):
            self._say(kind.__name__, sorted(fingerprint(part) for part in thing))
        elif isinstance(thing, np.ndarray) and thing.dtype.kind in "biufcSUmM":
            self._say("array", thing.dtype.str, thing.shape)
            self.hash.update(thing.tobytes())
        elif hasattr(thing, "detach") and hasattr(thing, "layout"):  # a tensor of torch
            self._say("tensor", str(thing.dtype), tuple(thing.shape))
            self.hash.update(_bytes_of(thing))
        elif hasattr(thing, "state_dict"):  # a network
            self._several("network", [kind, dict(thing.state_dict())])
        elif users and hasattr(thing, "__dict__"):
            self._several("object", [vars(thing)])
        elif users and hasattr(kind, "__slots__"):
            self._several("object", [getattr(thing, name, None) for name in kind.__slots__])
        else:
            self._say("object", f"{kind.__module__}.{kind.__qualname__}", _pickled(thing))

    def _several(self, kind: str, parts: Any) -> None:
        self._say(kind, len(parts))
        for part in parts:
            self.add(part)

    def _module(self, name: str) -> None:
        """A module that a function reads from: the user's own by its text."""
        self._say("module", name)
        if not _is_users(name):
            return
        self.modules.add(name)
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).is_file():
            self.hash.update(Path(file).read_bytes())

    def _own(self, module: str) -> None:
        if _is_users(module):
            self.modules.add(module)

    def _say(self, *words: Any) -> None:
        self.hash.update(repr(words).encode() + b"\0")


def _globals(code: types.CodeType) -> list[str]:
    """The names of the globals that code reads, in it and in the functions within it."""
    found = {line.argval for line in dis.get_instructions(code) if line.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_globals(constant))
    return sorted(found)


def _imports(code: types.CodeType) -> list[str]:
    """The modules that code imports itself."""
    return sorted({line.argval for line in dis.get_instructions(code) if line.opname == "IMPORT_NAME" and line.argval})


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _bytes_of(tensor: Any) -> bytes:
    """The values of a tensor of any type; of one without plain values (sparse, quantized, meta), none."""
    import torch

    try:
        return tensor.detach().cpu().resolve_conj().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError):
        return b""


def _pickled(thing: Any) -> bytes:
    """The bytes of an object of a library; of one that cannot be pickled, none."""
    try:
        return pickle.dumps(thing, protocol=4)
    except Exception:  # an open file, for example: its class alone says something
        return b""


@functools.cache
def _is_users(module: str | None) -> bool:
    """Whether a module is the user's own: neither Python's, nor installed, nor of this package."""
    if module is None or module == "__main__":
        return True
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == PACKAGE:
        return False

    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        try:
            file = getattr(importlib.util.find_spec(module), "origin", None)
        except (ImportError, ValueError, AttributeError):
            return True
    if file is None:  # made at run time, or built in
        return module not in sys.builtin_module_names
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)
