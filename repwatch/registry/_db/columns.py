"""Types of columns: what goes in as plain values comes out as what was declared.

SQLite stores any value in any column, so a file from somebody else may hold text where a number
belongs. Such a value is refused when it is read; PostgreSQL checks by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, Double, Integer, LargeBinary, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from repwatch.errors import RegistryError
from repwatch.registry.values import dumps, loads, plain_text

__all__ = ["Blob", "Count", "Json", "Number", "Small", "Truth", "UtcTime", "Whole", "Words"]

# SQLite takes values of up to a billion bytes, and an RDM has two for each pair of points.
MOST_POINTS = 31_623


class Checked(TypeDecorator[Any]):
    """A column whose values are of `kinds`, or None where it is optional."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True
    kinds: tuple[type, ...] = (str,)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.cache_ok = True  # SQLAlchemy asks each class itself, not its base classes

    def __init__(self, *arguments: Any, optional: bool = False) -> None:
        super().__init__(*arguments)
        self.optional = optional

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Reads a value, and refuses one of another kind."""
        read = super().result_processor(dialect, coltype)
        kinds = (*self.kinds, type(None)) if self.optional else self.kinds

        def check(value: Any) -> Any:
            try:
                found = value if read is None else read(value)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise self._wrong(value) from error
            if not isinstance(found, kinds):
                raise self._wrong(value)
            return found

        return check if dialect.name == "sqlite" else read

    def _wrong(self, value: object) -> RegistryError:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
        return RegistryError(
            f"The registry holds {shown} where {' or '.join(k.__name__ for k in self.kinds)} "
            "belongs: it is damaged, or another program wrote it. Use a sound copy of it."
        )


class Words(Checked):
    """Any text; what no database accepts is written as escapes."""

    impl = Text

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text, with escapes for what no database accepts."""
        return None if value is None else plain_text(value)


class Json(Checked):
    """Strict JSON text, the same on every database; NaN and infinities survive."""

    impl = Text

    def __init__(self, kind: type = dict, item: type = object) -> None:
        super().__init__()
        self.kind = kind
        self.item = item
        self.kinds = (kind,)

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """The value as text."""
        return None if value is None else dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """The value from its text. Raises TypeError where its items are of another type."""
        found = None if value is None else loads(value)
        items = found.values() if isinstance(found, dict) else found
        wanted = (int, float) if self.item is float else self.item
        if isinstance(items, Iterable) and not all(isinstance(item, wanted) for item in items):
            raise TypeError(f"expected a {self.kind.__name__} of {self.item.__name__}")
        return found


class UtcTime(Checked):
    """A moment: stored in UTC, read back with its time zone."""

    impl = DateTime(timezone=True)
    kinds = (datetime,)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment in UTC."""
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment with its time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)


class Whole(Checked):
    """A whole number."""

    impl: type[TypeEngine[int]] = BigInteger
    kinds = (int,)


class Small(Whole):
    """A whole number of 32 bits."""

    impl = Integer


class Count(Small):
    """A number of points: at most as many as a stored RDM can have."""

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        """The number. Raises ValueError where it cannot be one."""
        if isinstance(value, int) and not 0 <= value <= MOST_POINTS:
            raise ValueError(f"expected 0 to {MOST_POINTS} points")
        return value


class Number(Checked):
    """A finite number."""

    impl = Double
    kinds = (float, int)


class Truth(Checked):
    """True or False."""

    impl = Boolean
    kinds = (bool,)


class Blob(Checked):
    """Bytes."""

    impl = LargeBinary
    kinds = (bytes,)
