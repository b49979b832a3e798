"""Plain values: what may go into a database column, and how it comes back.

numpy and torch scalars become Python numbers, NaN and infinities survive JSON, and whatever JSON
does not know is kept as its repr. Nothing here pickles or unpickles.
"""

from __future__ import annotations

import json
import math
import operator
from argparse import Namespace
from collections.abc import Mapping
from os import PathLike
from typing import Any

from repwatch.errors import ConfigurationError

_DEEPEST = 20
_LONGEST_REPR = 1000
_LONGEST_ARRAY = 1000
_FLOAT_TAG = "$float"
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain_text(value: str) -> str:
    """The text with what no database takes (NUL, lone surrogates) written as escapes."""
    value = str.__str__(value).replace("\x00", "\\x00")
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def plain_int(value: Any, what: str) -> int:
    """An int from an int, numpy integer or integer tensor. Raises ConfigurationError."""
    try:
        return int(operator.index(value))
    except TypeError:
        raise ConfigurationError(
            f"{what} must be a whole number, got {type(value).__name__} {_repr(value)}."
        ) from None


def plain_float(value: Any, what: str) -> float:
    """A float from a number, numpy scalar or tensor of one element. Raises ConfigurationError."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"{what} must be one number, got {type(value).__name__} {_repr(value)}. "
            "Reduce it to one number first, for example with its mean."
        ) from error


def plain(value: Any, depth: int = 0) -> Any:
    """The value as what JSON knows: numbers, text, lists and dicts; anything else as its repr."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if depth >= _DEEPEST:
        return _repr(value)
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    return _plain_array(value, depth)


def dumps(value: Any) -> str:
    """Strict JSON text of `plain(value)`; NaN and infinities as `{"$float": "nan"}`."""
    return json.dumps(_tag(plain(value)), allow_nan=False, separators=(",", ":"))


def loads(text: str) -> Any:
    """The value that `dumps` wrote."""
    if _FLOAT_TAG not in text:
        return json.loads(text)
    return json.loads(text, object_hook=_untag)


def split_float(value: float) -> tuple[float | None, str | None]:
    """(value, None) of a finite float, else (None, "nan" | "inf" | "-inf")."""
    if math.isfinite(value):
        return value, None
    return None, str(value)


def join_float(value: float | None, special: str | None) -> float:
    """The float that `split_float` took apart."""
    return value if value is not None else _SPECIAL[special or "nan"]


def _plain_array(value: Any, depth: int) -> Any:
    """numpy and torch scalars and small arrays as numbers and lists; the rest as repr."""
    shape, to_list = getattr(value, "shape", None), getattr(value, "tolist", None)
    if isinstance(shape, tuple) and callable(to_list) and math.prod(shape) <= _LONGEST_ARRAY:
        listed = to_list()
        if type(listed) is not type(value):
            return plain(listed, depth + 1)
    return _repr(value)


def _key(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else str(plain(key, _DEEPEST))


def _repr(value: Any) -> str:
    """A short repr; classes and functions by their name, without addresses."""
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(value, '__module__', '?')}.{name}"
    try:
        text = repr(value)
    except Exception as error:  # a user's own repr may raise anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - 1] + "…"


def _tag(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT_TAG: str(value)}
    if isinstance(value, dict):
        return {key: _tag(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tag(item) for item in value]
    return value


def _untag(value: dict[str, Any]) -> Any:
    if len(value) == 1 and value.get(_FLOAT_TAG) in _SPECIAL:
        return _SPECIAL[value[_FLOAT_TAG]]
    return value
