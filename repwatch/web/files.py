"""Where a page is written to, and how: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        # mkstemp makes private files; this one is as readable as any other file of its maker.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
