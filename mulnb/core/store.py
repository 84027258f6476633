"""The store: results that are computed once, found by what they were made from, and written whole or not at all.

An artefact is a set of named arrays and a small `meta` that JSON can hold. It lies in `artifacts/<kind>/<key>/` as
`arrays.safetensors` and `manifest.json` (the recipe, the meta, a checksum). The key is a hash of `parts`, the complete recipe:
the data's fingerprint, the part of the profile that matters, the seed, and the version of the code. No pickle is ever written
or loaded.

An artefact that came from another machine (`core.packs`) may lack some of its arrays, such as weights. Its manifest names them
and keeps checksum and seal of the whole; when it is computed again here, what it lacks is added, and nothing else changes.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import stat
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from mulnb.core import damaged, folders, locks, paths
from mulnb.core.errors import Notice, UserError

PACKAGE = Path(__file__).parents[1]  # the folder mulnb/, whose code `code_version` hashes
_told: set[Path] = set()  # damaged artefacts that cannot be moved and that the user knows of


@dataclass
class Artifact:
    """What a computation returns: arrays by name, and small facts (numbers, strings, lists) in `meta`."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()  # names of arrays that it has, but that were not unpacked here


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
    tree = ast.parse(path.read_text(encoding="utf-8"))

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
    found = read(folder(kind, parts), only)
    if found is None:
        return None
    manifest, arrays = found
    return Artifact(arrays, manifest["meta"], tuple(manifest.get("left_out", ())))


def read(place: Path, only: Collection[str] | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The manifest and the arrays of the artefact in a folder of the store; None, `only` and what is damaged: as `get`."""
    with contextlib.suppress(_Damaged):
        return _read(place, only)

    with locks.held([f"{place.parent.name}/{place.name}"]):
        try:
            return _read(place, only)  # another run may have put a good one there meanwhile
        except _Damaged as error:
            done = damaged.set_aside(place)
            _tell(place, f"{place}: damaged ({error}); it is {done} and computed again", once=done == damaged.LEFT)
            return None


class _Damaged(Exception):
    """Says what is wrong with an artefact."""


def _read(place: Path, only: Collection[str] | None) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """As `read`, but raises `_Damaged`."""
    try:
        manifest = _manifest(place)

        # Hash the file in pieces: an artefact may fill half of the memory.
        with (place / "arrays.safetensors").open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != manifest["sha256"]:
            raise ValueError("checksum differs")

        with safe_open(place / "arrays.safetensors", framework="numpy") as file:
            names = [name for name in file.keys() if only is None or name in only]  # noqa: SIM118 (it is no mapping)
            return manifest, {name: file.get_tensor(name) for name in names}
    except NotADirectoryError:  # a file lies where the folder of this kind should be: whoever writes there says so
        if not os.path.lexists(place):
            return None
        reason: object = "a file lies in its place"
    except FileNotFoundError:
        if not os.path.lexists(place):
            return None
        reason = "a file is missing"
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; set MULNB_HOME to a folder of your own") from None
    except OSError as error:  # a folder in a file's place, or a part of the disk that cannot be read
        if not os.path.lexists(place):  # its path is too long for the system: whoever writes there says so
            return None
        reason = f"{Path(error.filename or place).name}: {error.strerror}"
    except KeyError as error:
        reason = f"manifest.json has no {error}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # what JSON of another shape gives
        reason = error

    raise _Damaged(reason)


def _tell(place: Path, text: str, once: bool) -> None:
    """Show a notice about an artefact; `once` in this process, where the place will be found as it is again and again."""
    if once and place in _told:
        return
    if once:
        _told.add(place)
    warnings.warn(text, Notice, stacklevel=4)


def _manifest(place: Path) -> dict[str, Any]:
    """What the manifest in a folder says. Raises `ValueError` if it is not what was written there."""
    for name in ("manifest.json", "arrays.safetensors"):
        mode = os.stat(place / name).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # to open a named pipe would wait for ever
            raise ValueError(f"{name} is no file")

    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError("manifest.json is no manifest")
    if "seal" in manifest and manifest["seal"] != _seal(manifest):  # stores of older versions have no seal
        raise ValueError("manifest.json has changed")
    if manifest.get("key", place.name) != place.name:
        raise ValueError("it is another artefact, put in this one's place")
    if "meta" not in manifest:
        raise KeyError("meta")
    if "parts" in manifest and digest(manifest["parts"]) != place.name:
        raise ValueError("the key is not that of the recipe")
    return manifest


def look(kind: str, parts: Mapping[str, Any]) -> Artifact | None:
    """An artefact as its manifest describes it, without its arrays, which may be large; None if there is none."""
    try:
        manifest = _manifest(folder(kind, parts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Artifact({}, manifest["meta"], tuple(manifest.get("left_out", ())))


def _seal(manifest: Mapping[str, Any]) -> str:
    """A checksum of everything that a manifest says, but for the seal itself."""
    return digest({name: value for name, value in manifest.items() if name != "seal"})


def put(kind: str, parts: Mapping[str, Any], artifact: Artifact) -> Artifact:
    """Write an artefact whole or not at all: into a temporary folder, which is then renamed.

    One that lies there without some arrays gets these and keeps everything else: other results were computed from it.

    Args:
        kind: the sub-folder of `artifacts/`.
        parts: the complete recipe; it is written into the manifest.
        artifact: what was computed.

    Returns:
        What is stored now.

    Raises:
        UserError: the folder is not writable or the disk is full; names the path and the reason.
    """
    target = folder(kind, parts)
    stored = read(target) if os.path.isfile(target / "manifest.json") else None
    if stored is not None and stored[0].get("left_out"):
        manifest, arrays = stored
        arrays = artifact.arrays | arrays
        keep(target, whole(manifest), arrays, arrays, instead=True)
        return Artifact(arrays, manifest["meta"])

    # sealed as it will be read: JSON turns tuples into lists and numbers as keys into text
    blob = _blob(artifact.arrays)
    manifest = {"kind": kind, "key": target.name, "parts": parts, "meta": artifact.meta}
    manifest = json.loads(json.dumps(manifest | {"sha256": hashlib.sha256(blob).hexdigest()}, default=to_json))
    manifest["seal"] = _seal(manifest)
    _write(target, manifest, blob)
    return artifact


def _blob(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of a file; equal arrays give equal bytes."""
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _write(target: Path, manifest: Mapping[str, Any], blob: bytes, instead: bool = False) -> None:
    """Write an artefact's folder; `instead` of what lies there, or only if nothing does."""

    def fill(place: Path) -> None:
        (place / "arrays.safetensors").write_bytes(blob)
        (place / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    folders.write_folder(target, fill, instead)


# --- artefacts without some of their arrays ------------------------------------------------------------------------------


def whole(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of the whole artefact: what was written when it was computed.

    Raises:
        ValueError: it has no seal, or says something else than was sealed then.
    """
    found = {name: value for name, value in manifest.items() if name not in ("left_out", "whole")} | manifest.get("whole", {})
    if found.get("seal") != _seal(found):
        raise ValueError("manifest.json has changed")
    if found["key"] != digest(found["parts"]):
        raise ValueError("the key is not that of the recipe")
    return found


def keep(
    target: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], names: Collection[str], instead: bool = False
) -> None:
    """Write an artefact of which only some arrays are at hand.

    Args:
        target: its folder.
        manifest: of the whole artefact, see `whole`.
        arrays: those at hand.
        names: of all its arrays. If all are at hand and have the bits that they had, this gives the very artefact again; if
            some were computed again and came out differently, the manifest says `made_again`.
        instead: whether to replace what lies there.

    Raises:
        UserError: as `put`.
    """
    blob = _blob(arrays)
    checksum = hashlib.sha256(blob).hexdigest()
    found, left_out = dict(manifest), sorted(set(names) - set(arrays))
    if checksum != manifest["sha256"]:
        found["sha256"] = checksum
        if left_out:
            found |= {"left_out": left_out, "whole": {name: manifest[name] for name in ("sha256", "seal")}}
        else:
            found["made_again"] = True
        found["seal"] = _seal(found)
    _write(target, found, blob, instead)


def tidy() -> None:
    """Remove what killed processes left in the store; a result to which one of them was adding arrays is put back."""
    for kind in paths.artifacts().glob("*/"):
        paths.remove_left(kind)


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
