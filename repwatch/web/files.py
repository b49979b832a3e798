"""Where a page may be written to."""

from __future__ import annotations

import os
from pathlib import Path

from repwatch.errors import ConfigurationError

__all__ = ["free_target"]


def free_target(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """The path as one that may be written to. Raises ConfigurationError where it may not."""
    target = Path(path)
    if not target.parent.is_dir():
        raise ConfigurationError(
            f"Expected an existing folder for {target}, but there is no {target.parent}. Create it."
        )
    if target.exists() and not overwrite:
        raise ConfigurationError(
            f"{target} exists already. Pass overwrite=True to replace it, or another path."
        )
    return target
