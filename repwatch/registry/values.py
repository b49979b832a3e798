"""Plain values: what may go into a database column, and how it comes back.

numpy and torch scalars become Python numbers, NaN and infinities survive JSON, and whatever JSON
does not know becomes its repr. All text passes through `plain_text`, on its way in and, for what an
older RepWatch has stored, on its way out. If reading a value raises an exception, only that value
is lost, not its neighbors. Nothing here pickles or unpickles.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeGuard

from repwatch.errors import ConfigurationError
from repwatch.registry.names import free_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "dumps",
    "flatten",
    "join_float",
    "loads",
    "plain",
    "plain_float",
    "plain_int",
    "plain_text",
    "split_float",
]

_DEEPEST = 20
_LONGEST_REPR = 1000
_LONGEST_SEQUENCE = 1000
_WIDEST_INT = 10_000
_FLOAT_TAG = "$float"
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# JSON's escapes of surrogates and of NUL: only text that has them can need cleaning.
_SUSPECT = re.compile(r"\\u(?:d[89a-f]|0000)", re.IGNORECASE)


def plain_text(value: str) -> str:
    """The text with what no database or file accepts (NUL, lone surrogates) written as escapes."""
    value = str.__str__(value).replace("\x00", "\\x00")
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def plain_name(value: str) -> str:
    """The plain text of a name, with control characters (line ends, those of terminals) as escapes.

    Imports refuse such characters, so every registry's names can be imported elsewhere.
    """
    text = plain_text(value)
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in text)


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


def plain(value: object) -> object:
    """The value as what JSON knows: numbers, text, lists and dicts; anything else as its repr."""
    return _plain(value, ())


def flatten(values: object) -> dict[str, object]:
    """Nested mappings as one flat dictionary of plain values: `{"model": {"lr": 1}}` as `model.lr`.

    Mappings, namespaces and dataclass instances are opened; lists stay lists, empty mappings stay
    as they are. Where two values would get one name, the first has it and the others get the name
    with `-2`, `-3`, ...
    """
    flat: dict[str, object] = {}
    for path, value in _leaves(values, (), ()):
        name = ".".join(path)
        flat[free_name(name, flat)] = value
    return flat


def dumps(value: object) -> str:
    """Strict JSON text of `plain(value)`; NaN and infinities as `{"$float": "nan"}`."""
    return json.dumps(_tag(plain(value)), allow_nan=False, separators=(",", ":"))


def loads(text: str) -> object:
    """The value that `dumps` wrote; text that an older RepWatch stored uncleaned is cleaned."""
    value = json.loads(text, object_hook=_untag if _FLOAT_TAG in text else None)
    return plain(value) if _SUSPECT.search(text) else value


def split_float(value: float) -> tuple[float | None, str | None]:
    """(value, None) of a finite float, else (None, "nan" | "inf" | "-inf")."""
    if math.isfinite(value):
        return value, None
    return None, str(value)


def join_float(value: float | None, special: str | None) -> float:
    """The float that `split_float` split."""
    return value if value is not None else _SPECIAL[special or "nan"]


def _leaves(
    value: object, path: tuple[str, ...], inside: tuple[int, ...]
) -> Iterator[tuple[tuple[str, ...], object]]:
    """(path, plain value) of each non-mapping, in order; `inside`: ids of its containers."""
    try:
        items = _items(value) if len(path) < _DEEPEST and id(value) not in inside else None
    except Exception as error:  # code of the user's own class
        yield path or ("hparams",), _unreadable(error)
        return
    if path and not items:
        yield path, _plain(value, inside)
        return
    for key, item in items or ():
        yield from _leaves(item, (*path, key), (*inside, id(value)))


def _items(value: object) -> list[tuple[str, object]] | None:
    """(key, item) of a mapping, namespace or dataclass instance; None of anything else."""
    if isinstance(value, Namespace | SimpleNamespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return [(_key(key), _get(value.__getitem__, key)) for key in value]
    if _is_plain_dataclass(value):
        names = [entry.name for entry in fields(value) if entry.repr]
        return [(name, _get(partial(getattr, value), name)) for name in names]
    return None


def _is_plain_dataclass(value: object) -> TypeGuard[DataclassInstance]:
    """Whether it is a dataclass instance that shows all its fields.

    A class with a `__repr__` of its own may hide some, such as a token.
    """
    shown = getattr(type(value).__repr__, "__wrapped__", None)  # as `dataclass` makes it
    return is_dataclass(value) and not isinstance(value, type) and shown is not None


def _get(read: Callable[[Any], object], key: object) -> object:
    try:
        return read(key)
    except Exception as error:  # a missing or unresolvable value of a configuration, for example
        return _unreadable(error)


def _unreadable(error: Exception) -> str:
    return f"<could not be read: {type(error).__name__}>"


def _plain(value: object, inside: tuple[int, ...]) -> object:
    try:
        return _convert(value, inside)
    except Exception as error:  # code of the user's own class
        return _unreadable(error)


def _convert(value: object, inside: tuple[int, ...]) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Python does not convert longer integers to decimals.
        return int(value) if value.bit_length() <= _WIDEST_INT else hex(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return plain_text(value)
    if len(inside) >= _DEEPEST or id(value) in inside:
        return _repr(value)
    within = (*inside, id(value))
    if (items := _items(value)) is not None:
        return {key: _plain(item, within) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item, within) for item in value]
    if isinstance(value, os.PathLike):
        return plain_text(os.fsdecode(value))
    if _is_short_sequence(value):
        return [_plain(_get(value.__getitem__, index), within) for index in range(len(value))]
    return _plain_array(value, within)


def _is_short_sequence(value: object) -> TypeGuard[Sequence[object]]:
    """Whether it holds a few items, as a configuration's list does; a data set has more."""
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview | range):
        return False
    return len(value) <= _LONGEST_SEQUENCE


def _plain_array(value: object, inside: tuple[int, ...]) -> object:
    """numpy and torch scalars and small arrays as numbers and lists; the rest as repr."""
    shape, to_list = getattr(value, "shape", None), getattr(value, "tolist", None)
    if isinstance(shape, tuple) and callable(to_list) and math.prod(shape) <= _LONGEST_SEQUENCE:
        listed = to_list()
        if type(listed) is not type(value):
            return _plain(listed, inside)
    return _repr(value)


def _key(key: object) -> str:
    return plain_text(key) if isinstance(key, str) else plain_text(str(_plain(key, ())))


def _repr(value: object) -> str:
    """A short repr; classes and functions by their name, without addresses."""
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return plain_text(f"{getattr(value, '__module__', '?')}.{name}")
    try:
        text = repr(value)
    except Exception as error:  # a user's own repr may raise anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return plain_text(text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - 1] + "…")


def _tag(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT_TAG: str(value)}
    if isinstance(value, dict):
        return {key: _tag(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tag(item) for item in value]
    return value


def _untag(value: dict[str, object]) -> object:
    special = value.get(_FLOAT_TAG)
    if len(value) == 1 and isinstance(special, str) and special in _SPECIAL:
        return _SPECIAL[special]
    return value
