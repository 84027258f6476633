"""The store: results that are computed once, found by what they were made from, and written whole or not at all.

An artefact is a set of named arrays and a small `meta` that JSON can hold. It lies in `artifacts/<kind>/<key>/` as
`arrays.safetensors` and `manifest.json` (the recipe, the meta, a checksum). The key is a hash of `parts`, the complete recipe:
the data's fingerprint, the part of the profile that matters, the seed, and the version of the code. No pickle is ever written
or loaded.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from mulnb.core import damaged, locks, paths
from mulnb.core.errors import Notice, UserError

PACKAGE = Path(__file__).parents[1]  # the folder mulnb/, whose code `code_version` hashes


@dataclass
class Artifact:
    """What a computation returns: arrays by name, and small facts (numbers, strings, lists) in `meta`."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


# --- keys ----------------------------------------------------------------------------------------------------------------


def digest(parts: Any) -> str:
    """A short stable hash of anything that JSON can hold, and of arrays, which are hashed by their bytes.

    Returns:
        24 hexadecimal digits.

    Raises:
        TypeError: `parts` holds something else.
    """
    text = json.dumps(parts, sort_keys=True, default=to_json)  # sorted: the order of a dict's entries must not count
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def to_json(value: Any) -> Any:
    """What stands in JSON for a value that JSON does not know: for `json.dumps(..., default=to_json)`.

    Args:
        value: a NumPy array (becomes its dtype, shape and checksum), a NumPy number, or a pydantic model.

    Raises:
        TypeError: any other value.
    """
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        return [str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]

    if isinstance(value, np.generic):
        return value.item()

    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")

    raise TypeError(f"cannot be part of a key: {type(value)}")


@functools.cache
def code_version(*modules: str) -> str:
    """A hash of what modules of this package *do*.

    Comments, docstrings, layout, imports and the place of a file do not count: rewording keeps stored results valid.

    Args:
        modules: names below `mulnb`, such as "training" or "fast.stacked"; a package ("unlearning") stands for all its files.

    Returns:
        16 hexadecimal digits.
    """
    files: set[Path] = set()

    for name in modules:
        place = PACKAGE.joinpath(*name.split("."))  # "fast.stacked" → mulnb/fast/stacked
        if place.is_dir():
            files.update(place.glob("*.py"))
        else:
            files.add(place.with_suffix(".py"))

    return digest(sorted(_hash_of_code(path) for path in files))[:16]


def _hash_of_code(path: Path) -> str:
    """A hash of a file's syntax tree without docstrings and imports."""
    tree = ast.parse(path.read_text())

    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _has_no_effect(statement)] or [ast.Pass()]

    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _has_no_effect(statement: ast.AST) -> bool:
    """Whether a statement is an import, or a docstring or another bare constant."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


# --- artefacts -----------------------------------------------------------------------------------------------------------


def folder(kind: str, parts: Mapping[str, Any]) -> Path:
    """Where the artefact made from `parts` lies, whether it exists or not."""
    return paths.artifacts() / kind / digest(parts)


def get(kind: str, parts: Mapping[str, Any], only: Collection[str] | None = None) -> Artifact | None:
    """Read an artefact.

    Args:
        kind: the sub-folder of `artifacts/`, for example "images" or "pool".
        parts: the complete recipe.
        only: the arrays to read, where the others would fill the memory for nothing (default: all).

    Returns:
        The artefact, or None if there is none. A damaged one is moved aside, which a notice tells, and counts as none.

    Raises:
        UserError: the store may not be read.
    """
    place = folder(kind, parts)

    try:
        manifest = json.loads((place / "manifest.json").read_text())
        if "seal" in manifest and manifest["seal"] != _seal(manifest):  # stores of older versions have no seal
            raise ValueError("manifest.json has changed")
        if manifest.get("key", place.name) != place.name:
            raise ValueError("it is another artefact, put in this one's place")

        # Hash the file in pieces: an artefact may fill half of the memory.
        with (place / "arrays.safetensors").open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != manifest["sha256"]:
            raise ValueError("checksum differs")

        with safe_open(place / "arrays.safetensors", framework="numpy") as file:
            names = [name for name in file.keys() if only is None or name in only]  # noqa: SIM118 (it is no mapping)
            return Artifact({name: file.get_tensor(name) for name in names}, manifest["meta"])
    except FileNotFoundError:
        if not os.path.lexists(place):
            return None
        reason: object = "a file is missing"
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; set MULNB_HOME to a folder of your own") from None
    except OSError as error:  # a folder in a file's place, or a part of the disk that cannot be read
        reason = f"{Path(error.filename or place).name}: {error.strerror}"
    except KeyError as error:
        reason = f"manifest.json has no {error}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # what JSON of another shape gives
        reason = error

    done = damaged.set_aside(place)
    warnings.warn(f"{place}: damaged ({reason}); it is {done} and computed again", Notice, stacklevel=2)
    return None


def _seal(manifest: Mapping[str, Any]) -> str:
    """A checksum of everything that a manifest says, but for the seal itself."""
    return digest({name: value for name, value in manifest.items() if name != "seal"})


def put(kind: str, parts: Mapping[str, Any], artifact: Artifact) -> None:
    """Write an artefact whole or not at all: into a temporary folder, which is then renamed.

    Args:
        kind: the sub-folder of `artifacts/`.
        parts: the complete recipe; it is written into the manifest.
        artifact: what was computed.

    Raises:
        UserError: the folder is not writable or the disk is full; names the path and the reason.
    """
    target = folder(kind, parts)

    def fill(place: Path) -> None:
        blob = save({name: np.ascontiguousarray(array) for name, array in artifact.arrays.items()})
        (place / "arrays.safetensors").write_bytes(blob)

        manifest = {"kind": kind, "key": target.name, "parts": parts, "meta": artifact.meta}
        manifest["sha256"] = hashlib.sha256(blob).hexdigest()

        # sealed as it will be read: JSON turns tuples into lists and numbers as keys into text
        manifest = json.loads(json.dumps(manifest, default=to_json))
        manifest["seal"] = _seal(manifest)
        (place / "manifest.json").write_text(json.dumps(manifest, indent=1))

    paths.write_folder(target, fill)


def get_or_compute(kind: str, parts: Mapping[str, Any], compute: Callable[[], Artifact]) -> Artifact:
    """The stored artefact; if there is none, the result of `compute()`, which is stored first.

    Another process that wants the same artefact waits until it is there.

    Args:
        kind: the sub-folder of `artifacts/`.
        parts: the complete recipe.
        compute: makes the artefact.

    Returns:
        The artefact. `meta["wall_s"]` is the time in seconds that its computation took.

    Raises:
        UserError: as `put`.
    """
    found = get(kind, parts)
    if found is not None:
        return found

    with locks.held([f"{kind}/{digest(parts)}"]):
        found = get(kind, parts)  # another run may have made it while this one waited
        if found is not None:
            return found

        started = time.perf_counter()
        artifact = compute()
        artifact.meta["wall_s"] = time.perf_counter() - started

        put(kind, parts, artifact)
        return artifact
