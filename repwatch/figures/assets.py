"""Files that pages are made of: those of dashboards/, and plotly.js out of the installed wheel."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from repwatch.errors import MissingPackageError

__all__ = ["asset", "plotly_js"]


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


def plotly_js() -> Path:
    """plotly.min.js in the installed plotly wheel; plotly itself is not imported."""
    spec = find_spec("plotly")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise MissingPackageError(
        "plotly.min.js is not in the installed plotly. Reinstall it: pip install 'plotly>=6.0'"
    )
