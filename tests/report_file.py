"""What a report's file holds, as the page reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from repwatch.page.packing import inflate

_PART = re.compile(r'<script type="[^"]+" id="(\w+)">(.*?)</script>', re.DOTALL)


def read_report(path: Path) -> dict[str, Any]:
    """The document in the file of a report."""
    parts = dict(_PART.findall(path.read_text(encoding="utf-8")))
    document: dict[str, Any] = json.loads(inflate(parts["scene"]))
    return {**document, "streams": json.loads(parts["streams"])}
