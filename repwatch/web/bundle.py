"""One self-contained page out of a template, styles and modules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from repwatch.web.assets import asset

__all__ = ["bundle", "fill"]

_IMPORT = re.compile(r"^import [^\n]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def fill(template: str, parts: Mapping[str, str], *, styles: Sequence[str]) -> str:
    """A page of the sources with its styles and its parts, which are marked in it as {{NAME}}."""
    texts = [asset(name).decode() for name in ("core/tokens.css", "core/base.css", *styles)]
    every = {"STYLE": "\n".join(texts), **parts}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: every[found.group(1)], asset(template).decode())


def bundle(modules: Sequence[str]) -> str:
    """Modules as one: an inline module cannot import a file that is not there.

    They are in the order in which they use each other, and share one set of top-level names.
    """
    texts = [asset(name).decode() for name in modules]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in texts)
