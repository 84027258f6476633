"""What is wrong with a mapping that pydantic rejects, as one line that a user can act on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from mulnb.core.errors import did_you_mean

RANGES: dict[str, tuple[float, float, str]] = {  # of every algorithm that has a setting of the name: lowest, highest, words
    "keep": (1e-12, 1, "above 0 and at most 1"),
    "gamma": (0, math.inf, "0 or more"),
    "beta": (0, math.inf, "0 or more"),
    "temperature": (1e-12, math.inf, "positive"),
    "damping": (1e-300, math.inf, "positive"),
    "samples": (1, math.inf, "a whole number of at least 1"),
    "msteps": (0, math.inf, "a whole number of at least 0"),
    "lr": (1e-300, math.inf, "positive"),
    "epochs": (0, math.inf, "a whole number of at least 0"),
    "batch": (2, math.inf, "a whole number of at least 2"),
}
WHOLE = {"samples", "msteps", "epochs", "batch"}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake of a rejected mapping.

    Args:
        error: what `model.model_validate` raised.
        model: the whole model, for the keys that are valid.

    Returns:
        One line: the dotted key, its value, and what would be valid.
    """
    return " ".join(_explain(error, model).split())  # a key or a value of the user's may hold a line break


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The same, on as many lines as the user's keys have."""
    first = error.errors()[0]
    keys = _keys(first["loc"])
    where, value = ".".join(keys) or "profile", first["input"]

    if first["type"] == "missing":
        return f"key '{where}' is missing"

    if first["type"] == "extra_forbidden":
        *above, unknown = (*_keys(first["loc"][:-1]), str(first["loc"][-1]))  # the user's, whatever characters it has
        where, valid = ".".join([*above, unknown]), _fields(model, above)
        hint = did_you_mean(unknown, valid)
        return f"unknown key '{_short(where, str)}' = {_short(value)}: {hint}valid keys here: {', '.join(valid)}"

    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        # the validator of a name knows its value only; that of a whole part of the model names the keys itself
        return f"{where} = {_short(value)}: {message}" if isinstance(value, str) else message

    message = re.sub("^(Input|String|Tuple|List|Keys) should", "should", first["msg"]).replace(" after validation, not 0", "")
    message = message.replace("a valid tuple", "a list")  # as YAML calls it
    return f"{where} = {_short(value)}: {message}"


def _short(value: Any, show: Callable[[Any], str] = repr) -> str:
    """A value of the user's for a message, which it must not fill."""
    text = show(value)
    return text if len(text) <= 200 else f"{text[:150]} … {text[-30:]}"


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


def wrong_setting(settings: Mapping[str, Any], ranged: bool) -> str | None:
    """The first setting of an unlearning algorithm that cannot be right.

    Args:
        settings: keyword arguments of the algorithm.
        ranged: whether names mean what they mean in this package, so that `RANGES` holds; not so for a user's own algorithm.

    Returns:
        Its name, its value and what is valid, as "lr = -1: should be positive"; None if all are possible.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} = {value!r}: should be a finite number"

        if not ranged or name not in RANGES:
            continue

        low, high, words = RANGES[name]
        whole = name not in WHOLE or isinstance(value, int) or value.is_integer()
        if isinstance(value, bool) or not low <= value <= high or not whole:
            return f"{name} = {value!r}: should be {words}"
    return None
