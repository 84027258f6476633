"""Artefacts that are computed once: content-keyed, checked, written whole or not at all.

An artefact is a set of named arrays plus a JSON-able `meta`. It lives in `artifacts/<kind>/<key>/` as `arrays.safetensors` and
`manifest.json` (what it was made from, its meta, the checksum). The key is a hash of `parts`, the complete recipe: data
fingerprint, profile part, seed and the version of the code that computes it. No pickle is ever written or loaded.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from mulnb.core import paths
from mulnb.core.errors import UserError


@dataclass
class Artifact:
    """What a computation returns: arrays by name, and small facts (numbers, strings, lists) in `meta`."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


def digest(parts: Any) -> str:
    """A short stable hash of anything JSON can say (arrays are hashed by their bytes)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:24]


def _plain(value: Any) -> Any:
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
    """A hash of what modules of this package *do*: comments, docstrings, layout, imports and where a file lies do not count.

    Args:
        modules: names below `mulnb`, such as "training", "fast.stacked"; a package ("unlearning") stands for all its files.
    """
    root = Path(__file__).parents[1]
    files: set[Path] = set()
    for name in modules:
        place = root.joinpath(*name.split("."))
        files |= set(place.glob("*.py")) if place.is_dir() else {place.with_suffix(".py")}
    return digest(sorted(_what_it_does(path) for path in files))[:16]


def _what_it_does(path: Path) -> str:
    """A hash of a file's syntax tree without docstrings and imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _says_nothing(one)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _says_nothing(node: ast.AST) -> bool:
    """A docstring (or another bare constant), or an import."""
    return isinstance(node, (ast.Import, ast.ImportFrom)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def folder(kind: str, parts: Mapping[str, Any]) -> Path:
    return paths.artifacts() / kind / digest(parts)


def get(kind: str, parts: Mapping[str, Any]) -> Artifact | None:
    """The artefact, or None if there is none. A damaged one is removed with a warning, so that it is computed again."""
    place = folder(kind, parts)
    try:
        manifest = json.loads((place / "manifest.json").read_text())
        with (place / "arrays.safetensors").open("rb") as file:  # never a second copy of it all in memory
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
                raise ValueError("checksum differs")
        return Artifact(load_file(place / "arrays.safetensors"), manifest["meta"])
    except FileNotFoundError:
        if not place.exists():
            return None
        reason: object = "a file is missing"
    except (ValueError, KeyError) as error:
        reason = error
    warnings.warn(f"{place}: damaged ({reason}); it is removed and computed again", stacklevel=2)
    shutil.rmtree(place, ignore_errors=True)
    return None


def put(kind: str, parts: Mapping[str, Any], artifact: Artifact) -> None:
    """Write to a temporary folder, then rename. Raises `UserError` with the path and the reason if that is impossible."""
    place = folder(kind, parts)
    temporary: str | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=place.parent, prefix=".partial-")
        blob = save({name: np.ascontiguousarray(array) for name, array in artifact.arrays.items()})
        (Path(temporary) / "arrays.safetensors").write_bytes(blob)
        manifest = {"kind": kind, "parts": parts, "meta": artifact.meta, "sha256": hashlib.sha256(blob).hexdigest()}
        (Path(temporary) / "manifest.json").write_text(json.dumps(manifest, default=_plain, indent=1))
        try:
            os.rename(temporary, place)
        except OSError:
            if not (place / "manifest.json").is_file():
                raise  # otherwise another worker was first: its artefact is as good as ours
    except OSError as error:
        raise UserError(
            f"cannot write {place}: {error.strerror or error}; free some space or set MULNB_HOME to a writable folder"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def get_or_compute(kind: str, parts: Mapping[str, Any], compute: Callable[[], Artifact]) -> Artifact:
    """The stored artefact, or `compute()` stored first. `meta["wall_s"]` says how long the computation took."""
    if (found := get(kind, parts)) is not None:
        return found
    started = time.perf_counter()
    artifact = compute()
    artifact.meta["wall_s"] = time.perf_counter() - started
    put(kind, parts, artifact)
    return artifact
