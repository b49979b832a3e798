"""An atlas: one representation of very many points, as one self-contained page.

vectors --> layout (t-SNE, kept beside the vectors) --+
meta    --> columns, roles (label, text, image, link) --+--> page
                                                      rank --> which labels are written first

>>> from repwatch.atlas import write_atlas
>>> write_atlas(vectors, meta, "atlas.html", label="word")  # doctest: +SKIP
"""

from __future__ import annotations

from repwatch.atlas.layout import LayoutSettings, kept_layout, layout
from repwatch.atlas.page import write_atlas
from repwatch.atlas.table import Roles, read_table

__all__ = ["LayoutSettings", "Roles", "kept_layout", "layout", "read_table", "write_atlas"]
