"""Text in figures: run names, layers and settings come from outside, and plotly reads markup.

Plotly shows a subset of HTML (and links) in hover text, names and titles: all text from outside
goes through `safe`.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from repwatch.registry.hparams import hparam_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repwatch.page import MapScene, RunRow, SnapshotRow

__all__ = ["hovers", "safe"]

_LONGEST = 90


def hovers(
    scene: MapScene, rows: Sequence[SnapshotRow], runs: Mapping[str, RunRow]
) -> dict[str, object]:
    """The hover texts of points, as entries of a trace."""
    return {
        "hoverinfo": "text",
        "hovertext": [hover(scene, row, runs[row["run"]]) for row in rows],
    }


def hover(scene: MapScene, row: SnapshotRow, run: RunRow) -> str:
    """The text of a point: run, layer, epoch and step, outcome, key metric, hyperparameters."""
    epoch = "" if row["epoch"] is None else f" · epoch {row['epoch']}"
    lines = [f"<b>{safe(row['run'])}</b>", f"{safe(row['layer'])}{epoch} · step {row['step']:,}"]
    if row["label"]:
        lines.append(safe(row["label"]) + (f": {safe(row['cause'])}" if row["cause"] else ""))
    metric = scene["metric"]
    if metric is not None and run["metrics"].get(metric) is not None:
        lines.append(f"last {safe(metric)} {short(run['metrics'][metric])}")
    shown = [name for name in scene["settings"] if name in run["hparams"]]
    settings = [f"{safe(hparam_title(name))}={short(run['hparams'][name])}" for name in shown]
    lines += [", ".join(settings[at : at + 3]) for at in range(0, len(settings), 3)]
    return "<br>".join(lines)


def short(value: object) -> str:
    """A value in a hover text: four digits of a number, at most 32 characters of a text."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return safe(value, longest=32)


def safe(value: object, longest: int = _LONGEST) -> str:
    """Text that plotly shows as it is: one line, of reasonable length, its markup escaped."""
    text = " ".join(str(value).split())
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return html.escape(text, quote=False)
