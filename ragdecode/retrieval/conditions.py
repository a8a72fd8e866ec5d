"""Conditions on the metadata of passages, as they are written in YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, isnan
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from ragdecode.documents.document import Value
from ragdecode.documents.globs import matcher
from ragdecode.spec.settings import Settings

Scalar = str | int | float | bool


class Within(Settings):
    """What a value must be like; all that is given must hold."""

    min: int | float | str | None = None
    """Least value; texts are compared letter by letter, which is right for dates such as 2021-03-31."""
    max: int | float | str | None = None
    """Largest value."""
    contains: str | None = Field(default=None, min_length=1)
    """Text that stands somewhere in it, in upper or lower case."""

    @model_validator(mode="after")
    def _fits(self) -> Within:
        if self.min is None and self.max is None and self.contains is None:
            raise ValueError("expected at least one of min, max, contains")
        if any(isinstance(bound, float) and isnan(bound) for bound in (self.min, self.max)):
            raise ValueError("min and max cannot be nan: nothing is above or below it")
        if self.min is not None and self.max is not None:
            if isinstance(self.min, str) != isinstance(self.max, str):
                raise ValueError(f"min ({self.min!r}) and max ({self.max!r}) must both be numbers or both be text")
            if self.min > self.max:  # type: ignore[operator]
                raise ValueError(f"min ({self.min}) is above max ({self.max}): nothing would match")
        return self


def _form(value: Any) -> str | None:
    if isinstance(value, (Mapping, Within)):
        return "within"
    if isinstance(value, (list, tuple)):
        return "list"
    return "value" if isinstance(value, (str, int, float)) else None


#: a value, a list of which one must match, or bounds
Condition = Annotated[
    Annotated[Scalar, Tag("value")]
    | Annotated[tuple[Scalar, ...], Field(min_length=1), Tag("list")]
    | Annotated[Within, Tag("within")],
    Discriminator(
        _form,
        custom_error_type="condition",
        custom_error_message="expected a value, a list of values, or a mapping with min, max, contains",
    ),
]


def matching(conditions: Mapping[str, Condition], missing: bool) -> Callable[[Mapping[str, Any]], bool]:
    """A test whether metadata meets all conditions.

    Args:
        conditions: By field. Text for ``source`` is a glob pattern; for other fields it must be equal.
        missing: The outcome for a field that is not there or is null.
    """
    tests = {field: _test(field, condition) for field, condition in conditions.items()}

    def holds(metadata: Mapping[str, Any]) -> bool:
        values = ((metadata.get(field), test) for field, test in tests.items())
        return all(missing if value is None else test(value) for value, test in values)

    return holds


def _test(field: str, condition: Condition) -> Callable[[Value], bool]:
    if isinstance(condition, Within):
        return lambda value: _within(value, condition)
    wanted = condition if isinstance(condition, tuple) else (condition,)
    if field == "source":
        fits = matcher([str(pattern) for pattern in wanted])
        return lambda value: fits(str(value))
    return lambda value: any(_equal(value, one) for one in wanted)


def _within(value: Value, bounds: Within) -> bool:
    if bounds.contains is not None and bounds.contains.casefold() not in str(value).casefold():
        return False
    for bound, sign in ((bounds.min, 1), (bounds.max, -1)):
        if bound is None:
            continue
        compared: Any = value if isinstance(bound, str) and isinstance(value, str) else None
        if not isinstance(bound, str):
            compared = _number(value)
        if compared is None or (compared < bound if sign > 0 else compared > bound):
            return False
    return True


def _equal(value: Value, wanted: Scalar) -> bool:
    if isinstance(wanted, (bool, str)) or isinstance(value, bool):
        return type(value) is type(wanted) and value == wanted
    return _number(value) == wanted


def _number(value: Value) -> float | None:
    """The value as a number: tables of text hold numbers as text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None


def fields_of(metadata: Sequence[Mapping[str, Any]]) -> list[str]:
    """All fields that occur, sorted."""
    return sorted({field for entry in metadata for field in entry})
