"""The sources of the pages: the files of dashboards/."""

from __future__ import annotations

from pathlib import Path

from repwatch.errors import MissingPackageError

__all__ = ["asset"]


def asset(name: str) -> bytes:
    """One file of the page's sources: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise MissingPackageError(
        f"The page's file {name!r} is not where RepWatch is installed ({package}). "
        "Reinstall it: pip install --force-reinstall repwatch"
    )
