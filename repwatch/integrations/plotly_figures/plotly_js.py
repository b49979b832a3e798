"""plotly.js, out of the installed plotly wheel."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from repwatch.errors import MissingPackageError

__all__ = ["plotly_js"]


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
