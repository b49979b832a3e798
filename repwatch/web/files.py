"""Where a page is written to, and how: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from repwatch._scratch import scratch_folder
from repwatch.errors import ConfigurationError

__all__ = ["free_target", "write_atomically"]


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


def write_atomically(target: Path, content: str | bytes) -> None:
    """Write the whole content, text in UTF-8, or, where that fails, leave what was there."""
    with scratch_folder(target.parent) as folder:
        made = folder / target.name
        made.write_bytes(content.encode() if isinstance(content, str) else content)
        made.replace(target)
