"""Pages as files: their sources, the bundling of them into one page, where they may be written."""

from __future__ import annotations

from repwatch.web.assets import PAGE_STYLES, asset
from repwatch.web.bundle import bundle, fill, modules_of
from repwatch.web.files import free_target

__all__ = [
    "PAGE_STYLES",
    "asset",
    "bundle",
    "fill",
    "free_target",
    "modules_of",
]
