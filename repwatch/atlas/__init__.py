"""An atlas: one representation of very many points, as one self-contained page.

vectors --> layout (t-SNE, cached beside the vectors) --+
meta    --> columns, roles (label, text, image, link) --+--> page
                                                      rank --> which labels are written first
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repwatch._deprecated import deprecated_attribute
from repwatch.atlas.layout import LayoutSettings, cached_layout, layout
from repwatch.atlas.page import write_atlas
from repwatch.atlas.table import Roles, read_table

__all__ = ["LayoutSettings", "Roles", "cached_layout", "layout", "read_table", "write_atlas"]

_RENAMED = {"kept_layout": "cached_layout"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return deprecated_attribute(sys.modules[__name__], _RENAMED, name, __name__)
