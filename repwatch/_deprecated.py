"""Names of the last release that a script may still use: they work for one more, and warn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

__all__ = ["RenamedAttributes", "deprecated_attribute", "renamed_argument"]


def deprecated_attribute(
    owner: object, renamed: Mapping[str, str], name: str, title: str
) -> object:
    """The attribute that `name` is called now, with a warning; for use in `__getattr__`.

    Args:
        owner: The object or module.
        renamed: The new name of each old one.
        name: The attribute that was asked for.
        title: What the owner is called in messages.

    Raises:
        AttributeError: It is not an old name.
    """
    if name not in renamed:
        raise AttributeError(f"{title} has no attribute {name!r}.")
    new = renamed[name]
    warnings.warn(
        f"{title}.{name} is now {new}; the old name will be removed in the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    found: object = getattr(owner, new)
    return found


def renamed_argument(
    value: bool | None, old_value: bool | None, new: str, old: str, title: str
) -> bool | None:
    """The value of a keyword argument that may be given by its old name.

    Args:
        value: What was given by the new name, or None.
        old_value: What was given by the old name, or None.
        new: The new name.
        old: The old name.
        title: The function's name in messages.

    Raises:
        TypeError: Both are given.
    """
    if old_value is None:
        return value
    warnings.warn(
        f"{title}({old}=) is now {new}=; the old name will be removed in the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    if value is not None:
        raise TypeError(f"Expected {new} or its old name {old}. Got both; pass {new} only.")
    return old_value


class RenamedAttributes:
    """Gives the old names in `_renamed` to the attributes of a class."""

    _renamed: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return deprecated_attribute(self, self._renamed, name, type(self).__name__)
