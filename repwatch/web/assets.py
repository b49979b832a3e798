"""The sources of the pages: the files of dashboards/."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from repwatch.errors import ConfigurationError, MissingPackageError

__all__ = ["PAGE_STYLES", "asset"]

# Of the page of a registry, besides those of all pages.
PAGE_STYLES = ("page/panels.css", "strip/strip.css", "table/table.css", "page/workbench.css")


def asset(name: str) -> bytes:
    """Read one source file of the pages, from the installed package or the checkout.

    Args:
        name: path relative to dashboards/, with forward slashes, such as "core/tokens.css".

    Raises:
        ConfigurationError: the path is absolute or leads out of the folder.
        MissingPackageError: there is no such file where RepWatch is installed.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise ConfigurationError(
            f"Expected a path inside of dashboards/, such as 'core/tokens.css'. Got {name!r}."
        )
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / path).is_file():
            return (folder / path).read_bytes()
    raise MissingPackageError(
        f"The page's file {name!r} is not where RepWatch is installed ({package}). "
        "Reinstall it: pip install --force-reinstall repwatch"
    )
