"""Typed configuration sections: an unknown key, a wrong type or an invalid value raises an error of one line."""

import re
from collections.abc import Callable
from typing import Any, Self

from tonestack.base.errors import UserError, nearest

from pydantic import BaseModel, ConfigDict, ValidationError

Origin = str | Callable[[tuple[str, ...]], str]


class Section(BaseModel):
    """Base of every typed piece of configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], origin: Origin) -> Self:
        """Validate `values`; raise `UserError` naming each key, its origin and the fix.

        origin: the source of all values (a file, the command line), or a function from a key's path to its source.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError("; ".join(_explain(cls, e, origin) for e in error.errors())) from None


def _explain(section: type[BaseModel], error: Any, origin: Origin) -> str:
    loc = tuple(str(part) for part in error["loc"])
    source = origin(loc) if callable(origin) else origin
    if error["type"] == "extra_forbidden":
        known = _owner(section, loc).model_fields
        return f"{source}: unknown key '{'.'.join(loc)}'{nearest(loc[-1], known)}"
    if error["type"] == "tuple_type" and isinstance(error["input"], str | int | float):
        return f"{source}: '{'.'.join(loc)}' is a list; write [{error['input']}]"
    fault = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "missing" else f" (given: {error['input']!r})"
    return f"{source}: '{'.'.join(loc)}': {fault[:1].lower()}{fault[1:]}{given}"


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
