"""Pages as files: their sources, the bundling of them into one page, and safe writing."""

from __future__ import annotations

from repwatch.web.assets import asset
from repwatch.web.bundle import bundle, fill
from repwatch.web.files import free_target, write_atomically

__all__ = ["asset", "bundle", "fill", "free_target", "write_atomically"]
