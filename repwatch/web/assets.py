"""The files of dashboards/ that pages are made of: templates, the palette, bundles.

The bundles, in built/, are made by `make web` out of the sources beside them, and checked in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from repwatch.errors import ConfigurationError, MissingPackageError

__all__ = ["asset", "fill"]


def asset(name: str) -> bytes:
    """Read one file of the pages, from the installed package or the checkout.

    Args:
        name: path relative to dashboards/, with forward slashes, such as "built/page.css".

    Raises:
        ConfigurationError: the path is absolute or leads out of the folder.
        MissingPackageError: there is no such file where RepWatch is installed.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise ConfigurationError(
            f"Expected a path inside of dashboards/, such as 'built/page.css'. Got {name!r}."
        )
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / path).is_file():
            return (folder / path).read_bytes()
    raise MissingPackageError(
        f"The page's file {name!r} is not where RepWatch is installed ({package}). "
        "Reinstall it: pip install --force-reinstall repwatch"
    )


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with its parts, which are marked in it as {{NAME}}, or as {{built/FILE}}."""

    def part(found: re.Match[str]) -> str:
        name = found.group(1)
        return parts[name] if name in parts else asset(name).decode()

    return re.sub(r"\{\{([\w/.-]+)\}\}", part, asset(template).decode())
