"""Pages as files: their bundles, the filling of templates, where they may be written."""

from __future__ import annotations

from repwatch.web.assets import asset, fill
from repwatch.web.files import free_target

__all__ = ["asset", "fill", "free_target"]
