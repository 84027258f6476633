"""What is wrong with a mapping that pydantic rejects, as one line that a user can act on."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake of a rejected mapping.

    Args:
        error: what `model.model_validate` raised.
        model: the whole model, for the keys that are valid.

    Returns:
        One line: the dotted key, its value, and what would be valid.
    """
    first = error.errors()[0]
    keys = _keys(first["loc"])
    where, value = ".".join(keys) or "profile", first["input"]

    if first["type"] == "missing":
        return f"key '{where}' is missing"

    if first["type"] == "extra_forbidden":
        valid = _fields(model, keys[:-1])
        near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown key '{where}' = {value!r}: {hint}valid keys here: {', '.join(valid)}"

    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        # the validator of a name knows its value only; that of a whole part of the model names the keys itself
        return f"{where} = {value!r}: {message}" if isinstance(value, str) else message

    message = first["msg"].replace("Input should", "should")
    return f"{where} = {value!r}: {message}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The user's own keys in pydantic's location of an error."""
    keys = []
    for part in location:
        # pydantic adds the members of a union and the names of validators, e.g. "float" or "function-after[check(), str]"
        added = isinstance(part, str) and ("[" in part or part in {"float", "int", "bool"})
        if not added:
            keys.append(str(part))
    return keys


def _fields(model: Any, keys: list[str]) -> list[str]:
    """The valid keys of `model` below the keys `keys`."""
    for key in keys:
        annotation = model.model_fields[key].annotation

        # of a union such as `Rum | None`, the member that has keys
        model = annotation
        for member in getattr(annotation, "__args__", ()):
            if hasattr(member, "model_fields"):
                model = member
                break

    return list(model.model_fields)
