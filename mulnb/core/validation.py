"""What is wrong with a mapping that pydantic rejects, as one line that a user can act on."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from numbers import Real
from typing import Any

from pydantic import BaseModel, ValidationError

from mulnb.core.errors import did_you_mean
from mulnb.core.registry import ALGORITHMS
from mulnb.core.values import FASTEST, LARGEST

MOST = LARGEST - 1  # of whole numbers

RANGES: dict[str, tuple[float, float, str]] = {  # of every algorithm that has a setting of the name: lowest, highest, words
    "alpha": (0, math.inf, "0 or more"),
    "keep": (1e-12, 1, "above 0 and at most 1"),
    "gamma": (0, math.inf, "0 or more"),
    "beta": (0, math.inf, "0 or more"),
    "temperature": (1e-12, 1e18, "positive and at most 1e18"),  # its square is a factor
    "damping": (1e-300, math.inf, "positive"),
    "samples": (1, MOST, "a whole number of at least 1"),
    "msteps": (0, MOST, "a whole number of at least 0"),
    "lr": (1e-300, FASTEST, f"positive and at most {FASTEST:g}"),
    "epochs": (0, MOST, "a whole number of at least 0"),
    "batch": (2, MOST, "a whole number of at least 2"),
}
NARROWER: dict[tuple[str, str], tuple[float, float, str]] = {  # what a name means in one algorithm
    ("neg_grad_plus", "alpha"): (0, 1, "between 0 (ascent alone) and 1 (fine-tuning)"),
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
    first = _first(error)
    keys = _keys(first["loc"])
    where, value = ".".join(keys) or "profile", first["input"]

    if first["type"] == "missing":
        return f"key '{where}' is missing"

    if first["type"] == "extra_forbidden":
        above, unknown = _keys(first["loc"][:-1]), str(first["loc"][-1])  # the user's own key may look like one of pydantic's
        where, valid = ".".join([*above, unknown]), _fields(model, above)
        hint = did_you_mean(unknown, valid)
        return f"unknown key '{_short(where, str)}' = {_short(value)}: {hint}valid keys here: {', '.join(valid)}"

    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        # the validator of a name knows its value only, that of a part of several models the keys below it
        if isinstance(value, str):
            return f"{where} = {_short(value)}: {message}"
        return message if not keys or message.startswith(keys[0]) else f"{where}.{message}"

    message = re.sub("^(Input|String|Tuple|List|Keys) should", "should", first["msg"]).replace(" after validation, not 0", "")
    message = message.replace("a valid tuple", "a list")  # as YAML calls it
    if first["type"] == "model_type":
        message = f"should be keys with values: valid keys here: {', '.join(_fields(model, keys))}"
    if first["type"] == "dict_type":
        stages = str(first["loc"][-1]).startswith("dict[")  # one member of a union, whose other one is a list
        message = "should be keys with values" + (", or a list of three such, one for each stage" if stages else "")
    if first["type"] == "string_type" and isinstance(value, (int, float, date)):
        message = "should be text: put quotes around it"
    if first["loc"][-1:] == ("[key]",):
        return f"unknown key '{where}': {message}"
    return f"{where} = {_short(value)}: {message}"


def _first(error: ValidationError) -> dict[str, Any]:
    """The mistake to tell, which pydantic need not list first."""
    first, *others = error.errors()
    if first["type"] == "missing":  # an unknown key is often the missing one, mistyped
        return next((one for one in others if one["type"] == "extra_forbidden"), first)
    if first["type"] == "dict_type" and isinstance(first["input"], list):  # settings of each stage: what is wrong in the list
        return next((one for one in others if one["type"] != "missing"), first)
    return first


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
        if key not in model.model_fields:  # the user's own, of a mapping such as `tune.extend`
            continue
        annotation = model.model_fields[key].annotation

        # of a union such as `Rum | None`, the member that has keys
        model = annotation
        for member in getattr(annotation, "__args__", ()):
            if hasattr(member, "model_fields"):
                model = member
                break

    return list(model.model_fields)


def wrong_setting(algorithm: str, settings: Mapping[str, Any], function: Callable[..., Any] | None = None) -> str | None:
    """The first setting of an unlearning algorithm that cannot be right. Every door asks here: profiles, grids and the API.

    Args:
        algorithm: its name. In a user's own algorithm a name may mean anything: there a number must be finite, no more.
        settings: keyword arguments of the algorithm.
        function: the algorithm itself, for the defaults of what is not in `settings`; None where torch is not loaded.

    Returns:
        Its name, its value and what is valid, as "lr = -1: should be positive"; None if all are possible.
    """
    ranged = algorithm in ALGORITHMS.builtin

    for name, value in settings.items():
        number = _number(value)
        if ranged and name in RANGES:
            low, high, words = NARROWER.get((algorithm, name), RANGES[name])
            if not low <= number <= high or (name in WHOLE and not number.is_integer()):
                most = f", and at most {MOST}" if number > high == MOST else ""
                return f"{name} = {_shown(value)}: should be {words}{most}"
        elif isinstance(value, Real) and not isinstance(value, bool) and math.isnan(number):
            return f"{name} = {_shown(value)}: should be a finite number"

    if algorithm == "scrub":
        known = inspect.signature(function).parameters if function else {}
        both = {name: known[name].default for name in ("msteps", "epochs") if name in known} | dict(settings)
        if both.get("msteps", 0) > both.get("epochs", math.inf):
            return f"msteps = {both['msteps']}: should be between 0 and epochs = {both['epochs']}"

    return None


def _number(value: Any) -> float:
    """A finite number of Python's or numpy's as a float: numpy would round the ends of a range. NaN for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # a whole number beyond all floating-point ones
        return math.nan


def _shown(value: Any) -> str:
    """A setting for a message: numpy's numbers as plain ones."""
    return _short(value.item() if hasattr(value, "item") and isinstance(value, Real) else value)
