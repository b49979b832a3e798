"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(target: Path, content: str | bytes) -> None:
    """Write the whole content, text in UTF-8, or, where that fails, leave what was there.

    The content is on the disk before the file has its name, so that a crash of the machine leaves
    no empty one. Until then it is in a file beside it whose name ends in `.part`.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
