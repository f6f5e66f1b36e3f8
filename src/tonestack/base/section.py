"""Typed configuration sections: an unknown key, a wrong type or an impossible value is one clear line."""

from collections.abc import Callable
from typing import Any, Self

from tonestack.base.errors import UserError, nearest

from pydantic import BaseModel, ConfigDict, ValidationError

Place = str | Callable[[tuple[str, ...]], str]


class Section(BaseModel):
    """Base of every typed piece of configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], where: Place) -> Self:
        """Validate `values`; raise `UserError` naming each key, its place and the mend.

        where: the place, or a function from a key's path to the place it came from.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError("; ".join(_explain(cls, e, where) for e in error.errors())) from None


def _explain(section: type[BaseModel], error: Any, where: Place) -> str:
    loc = tuple(str(part) for part in error["loc"])
    place = where(loc) if callable(where) else where
    if error["type"] == "extra_forbidden":
        known = _owner(section, loc).model_fields
        return f"{place}: unknown key '{'.'.join(loc)}'{nearest(loc[-1], known)}"
    fault = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "missing" else f" (given: {error['input']!r})"
    return f"{place}: '{'.'.join(loc)}': {fault[:1].lower()}{fault[1:]}{given}"


def _owner(section: type[BaseModel], loc: tuple[str, ...]) -> type[BaseModel]:
    """Walk to the section that holds the last key of `loc`."""
    for key in loc[:-1]:
        field = section.model_fields.get(key)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            section = inner
    return section
