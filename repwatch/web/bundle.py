"""One self-contained page out of a template, styles and modules."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from repwatch.web.assets import asset

__all__ = ["bundle", "fill", "modules_of"]

_IMPORT = re.compile(r'^import [^\n]*"([^"\n]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def fill(template: str, parts: Mapping[str, str], *, styles: Sequence[str]) -> str:
    """A page of the sources with its styles and its parts, which are marked in it as {{NAME}}."""
    texts = [asset(name).decode() for name in ("core/tokens.css", "core/base.css", *styles)]
    every = {"STYLE": "\n".join(texts), **parts}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: every[found.group(1)], asset(template).decode())


def modules_of(entry: str) -> list[str]:
    """The module and all that it imports, each after those that it imports itself."""
    found: dict[str, None] = {}
    _collect(entry, found)
    return list(found)


def bundle(entry: str) -> str:
    """A module and what it imports as one: an inline module cannot import a file that is not there.

    They share one set of top-level names.
    """
    texts = [asset(name).decode() for name in modules_of(entry)]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in texts)


def _collect(module: str, found: dict[str, None]) -> None:
    for path in _IMPORT.findall(asset(module).decode()):
        imported = posixpath.normpath(posixpath.join(posixpath.dirname(module), path))
        if imported not in found:
            _collect(imported, found)
    found[module] = None
