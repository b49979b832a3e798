"""The page of a registry: read in pieces by the TensorBoard tab, written whole as a report.

PageReader.overview()            runs, snapshots, flags and one map         -> PageScene
          .map(m, d, layers)     the positions on another map               -> MapRow
          .points()              the probe points with their thumbnails     -> PointsScene
          .views(run, layer)     the pictures of a trajectory               -> packed text
          .compare(a, b)         how alike two representations are          -> measures, Mantel p
write_report(registry, path)     all of them in one self-contained HTML file
"""

from __future__ import annotations

from repwatch.report.maps import DISTANCES, METHODS
from repwatch.report.reader import PageReader
from repwatch.report.whole import PAGE_MODULES, Held, read_whole, write_report

__all__ = [
    "DISTANCES",
    "METHODS",
    "PAGE_MODULES",
    "Held",
    "PageReader",
    "read_whole",
    "write_report",
]
