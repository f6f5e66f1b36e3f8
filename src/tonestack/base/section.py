"""Typed configuration sections: an unknown key, a wrong type or an invalid value raises an error of one line."""

import re
from collections.abc import Callable
from typing import Any, Self, get_args

from tonestack.base.errors import UserError, nearest

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

Origin = str | Callable[[tuple[str, ...]], str]


class Section(BaseModel):
    """Base of every typed piece of configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: Any, field: ValidationInfo) -> Any:
        """Refuse `true`, which YAML also reads from `on` and `yes`, where a number is wanted: it would count as 1."""
        kind = cls.model_fields[str(field.field_name)].annotation
        if isinstance(value, bool) and _takes(kind, int, float) and not _takes(kind, bool):
            raise ValueError("a number is expected")
        return value

    @classmethod
    def parse(cls, values: dict[str, Any], origin: Origin) -> Self:
        """Validate `values`; raise `UserError` naming each key, its origin and the fix.

        origin: the source of all values (a file, the command line), or a function from a key's path to its source.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError("; ".join(_explain(cls, e, origin) for e in error.errors())) from None


def _takes(kind: Any, *wanted: type) -> bool:
    """True if an annotation, or one of those that it is made of, is one of the types."""
    return any(kind is one for one in wanted) or any(_takes(part, *wanted) for part in get_args(kind))


def _explain(section: type[BaseModel], error: Any, origin: Origin) -> str:
    loc = tuple(str(part) for part in error["loc"])
    source = origin(loc) if callable(origin) else origin
    if error["type"] == "extra_forbidden":
        known = _owner(section, loc).model_fields
        return f"{source}: unknown key '{'.'.join(loc)}'{nearest(loc[-1], known)}"
    if error["type"] == "tuple_type" and isinstance(error["input"], str | int | float):
        return f"{source}: '{'.'.join(loc)}' is a list; write [{error['input']}]"
    if error["type"] == "string_type" and isinstance(given := error["input"], list | int | float):
        text = f"[{', '.join(map(str, given))}]" if isinstance(given, list) else given
        return f"{source}: '{'.'.join(loc)}' is text, not {given!r}; put it in quotes: '{text}'"
    fault = error["msg"].removeprefix("Value error, ")
    said = "" if error["type"] == "missing" else f" (given: {error['input']!r})"
    return f"{source}: '{'.'.join(loc)}': {fault[:1].lower()}{fault[1:]}{said}"


def _owner(section: type[BaseModel], loc: tuple[str, ...]) -> type[BaseModel]:
    """Walk to the section that holds the last key of `loc`."""
    for key in loc[:-1]:
        field = section.model_fields.get(key)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            section = inner
    return section


def compiled(text: str, setting: str) -> re.Pattern[str]:
    """The regular expression of a setting; one that is none is a `UserError`."""
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"{setting}: {error}; fix the regular expression") from None
