"""Reads a profile: finds its YAML file, applies overrides such as `pool.models=200`, and checks it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mulnb.config import dry_run
from mulnb.config.schema import Profile
from mulnb.core import machine, paths, yaml_reader
from mulnb.core.errors import UserError, did_you_mean
from mulnb.core.validation import explain

PROFILES = Path(__file__).parents[1] / "profiles"


def known_profiles() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Profile:
    """Read a profile and apply overrides.

    Args:
        name: a profile of the package ("digits"), or the path of a YAML file.
        overrides: dotted keys to values, e.g. `{"pool.models": 200, "seeds": [0, 1]}`.

    Returns:
        The checked profile; its dry run where it sets `limit.steps`.

    Raises:
        UserError: an unknown profile, unreadable YAML, an unknown key, a wrong type or an impossible value; or
            `MULNB_DEVICE` names a device that is not there.
    """
    if not isinstance(name, (str, Path)):
        raise UserError(f"profile {name!r}: expected a profile's name, or the path of a .yaml file")
    if overrides is not None and not (isinstance(overrides, Mapping) and all(isinstance(key, str) for key in overrides)):
        raise UserError(f"overrides = {overrides!r}: expected dotted keys with values, for example {{'pool.models': 200}}")

    machine.check_device()
    tree = yaml_reader.read_mapping(_find(name))
    for key, value in (overrides or {}).items():
        yaml_reader.set_dotted(tree, key, value)

    try:
        profile = Profile.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"profile {name}: {explain(error, Profile)}") from None

    if profile.limit.steps is None:
        return profile
    return dry_run.shorten(profile, profile.limit.steps)


def check_is_profile(given: object) -> None:
    """Raises `UserError` unless `given` is a profile: its name is easily given instead."""
    if not isinstance(given, Profile):
        raise UserError(f"{given!r} is not a profile: load it first, for example mulnb.load_profile('digits')")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `"pool.models=200"` into `("pool.models", 200)`.

    Args:
        text: a dotted key, "=", and a value in YAML.

    Returns:
        The key and the value.

    Raises:
        UserError: there is no "=" or no key, or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {' '.join(text.split())}: expected key.sub=value, for example --set pool.models=200")

    try:
        return key.strip(), yaml_reader.parse(value)
    except yaml_reader.BadYaml as error:
        raise UserError(f"--set {' '.join(text.split())}: the value is not valid YAML ({error})") from None


def _find(name: str | Path) -> Path:
    """The file of a profile of the package, or the user's own file."""
    packaged = PROFILES / f"{name}.yaml"
    if os.path.isfile(packaged):  # unlike Path.is_file, it takes a name that is too long for the system
        return packaged

    path = paths.expanded(name)
    if path.suffix in {".yaml", ".yml"}:
        if os.path.isfile(path):
            return path
        if os.path.exists(path):
            raise UserError(f"profile file {path} is not a file but a folder or a device: name a .yaml file")
        raise UserError(f"profile file {path} does not exist: correct the path")

    known = known_profiles()
    hint = did_you_mean(str(name), known)
    raise UserError(f"unknown profile '{name}': {hint}known are {', '.join(known)}, or the path of a .yaml file")
