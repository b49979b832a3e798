"""Values from outside as JSON knows them: no NaN, no infinity, nothing that is not plain."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

__all__ = ["plain", "real", "scalar", "text", "whole"]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A flat, JSON-able copy: numbers stay numbers, NaN and infinity become their names."""
    return {str(key): scalar(value) for key, value in values.items()}


def scalar(value: Any) -> Any:
    """One such value; what is neither text, number nor truth value becomes text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return str(value)


def text(value: Any) -> str | None:
    return None if value is None else str(value)


def whole(value: Any) -> int | None:
    return None if value is None else int(value)


def real(value: Any) -> float | None:
    """The number where it is finite, else None."""
    return float(value) if value is not None and math.isfinite(value) else None
