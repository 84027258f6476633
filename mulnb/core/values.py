"""Kinds of values that a profile holds: numbers in sensible ranges, lists without repetition, names of files and folders."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mulnb.core.errors import UserError
from mulnb.core.registry import Registry

LARGEST = 2**31  # from it on, a whole number is a mistake
FASTEST = 1e36  # a learning rate must be a float32, and every training diverges long before


class Frozen(BaseModel):
    """A part of a profile: it cannot be changed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic would take `true`, and YAML's `yes` and `on`, for 1."""
        if cls.model_fields[info.field_name].annotation is not bool:
            for part in value if isinstance(value, (list, tuple)) else [value]:
                _no_bool(part)
        return value


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Nothing stands twice in a list."""
    seen = set()
    for value in values:
        if value in seen:
            raise PydanticCustomError("twice", "{value} is there twice: they must be distinct", {"value": repr(value)})
        seen.add(value)
    return values


def _names_a_folder(name: str) -> str:
    """A name is good for a folder on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name.endswith("."):
        raise ValueError(
            "should be at most 100 letters (a-z), digits, '.', '_' or '-', with a letter or a digit first and no '.' last"
        )
    return name


def _fits_on_a_line(text: str) -> str:
    """A text can be the heading of a table and of a figure."""
    if not (0 < len(text) <= 200 and text.isprintable() and text.strip()):
        raise ValueError("should be one line of at most 200 signs")
    return text


def _no_bool(value: Any) -> Any:
    """`Frozen` sees the values of its own fields; inside of them, YAML's `yes` and `on` would still be 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("bool", "should not be true or false (YAML reads yes, no, on and off as these)")
    return value


def known(registry: Registry, *more: str) -> AfterValidator:
    """A validator of names.

    Args:
        registry: a name must be in it,
        more: or be one of these.
    """

    def check(name: str) -> str:
        try:
            registry.check(name, *more)
        except UserError as error:
            raise ValueError(str(error)) from None  # pydantic collects ValueErrors; `explain` adds the key
        return name

    return AfterValidator(check)


Value = TypeVar("Value")
Several = Annotated[tuple[Value, ...], Field(min_length=1), AfterValidator(_distinct)]

Number = Annotated[float | int, BeforeValidator(_no_bool)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=FASTEST)]
Count = Annotated[int, Field(ge=1, lt=LARGEST)]
Pixels = Annotated[int, Field(ge=1, le=4096)]  # of an image's side
BatchSize = Annotated[int, Field(ge=2, lt=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=LARGEST)]

FilePath = Annotated[str, Field(min_length=1)]  # the path of a file or a folder
FolderName = Annotated[str, AfterValidator(_names_a_folder)]
Line = Annotated[str, AfterValidator(_fits_on_a_line)]
