"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from repwatch._scratch import scratch_folder

__all__ = ["write_atomically"]


def write_atomically(target: Path, content: str | bytes) -> None:
    """Write the whole content, text in UTF-8, or, where that fails, leave what was there.

    The content is on the disk before the file has its name, so that a crash of the machine leaves
    no empty one. The next call deletes what a killed process left beside it.
    """
    with scratch_folder(target.parent) as folder:
        made = folder / target.name
        with made.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        made.replace(target)
