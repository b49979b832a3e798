"""Values as JSON has them: no NaN, no infinity, only text, numbers, truth values and null."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import SupportsFloat, SupportsInt, TypeAlias

__all__ = [
    "JsonScalar",
    "finite_or_none",
    "int_or_none",
    "text_or_none",
    "to_json",
    "to_json_mapping",
    "to_json_tree",
]

JsonScalar: TypeAlias = str | int | float | bool | None


def to_json_mapping(values: Mapping[str, object]) -> dict[str, JsonScalar]:
    """A flat copy for JSON: each value by `to_json`."""
    return {str(key): to_json(value) for key, value in values.items()}


def to_json(value: object) -> JsonScalar:
    """A value for JSON: NaN and infinity become their names, other objects become text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return str(value)


def to_json_tree(value: object) -> object:
    """A value for JSON, whatever it contains: numbers in 6 digits, other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): to_json_tree(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_tree(part) for part in value]
    plain = to_json(value)
    return float(f"{plain:.6g}") if isinstance(plain, float) else plain


def text_or_none(value: object) -> str | None:
    """The value as text; None stays None."""
    return None if value is None else str(value)


def int_or_none(value: SupportsInt | None) -> int | None:
    """The value as a whole number; None stays None."""
    return None if value is None else int(value)


def finite_or_none(value: SupportsFloat | None) -> float | None:
    """The number where it is finite, else None."""
    return float(value) if value is not None and math.isfinite(value) else None
