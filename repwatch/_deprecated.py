"""Names of the last release that a script may still use: they work for one more, and warn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

__all__ = ["RenamedAttributes", "deprecated_attribute"]


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


class RenamedAttributes:
    """Gives the old names in `_renamed` to the attributes of a class."""

    _renamed: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return deprecated_attribute(self, self._renamed, name, type(self).__name__)
