"""The comparison of two runs as one self-contained page: a table colored by similarity."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repwatch._files import write_atomically
from repwatch.web import fill, free_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repwatch.analysis.compare import Comparison

__all__ = ["write_comparison"]

# At this similarity black and white digits have the same contrast, 4.6 to 1, in both themes.
_STRONG = 0.67


def write_comparison(
    comparison: Comparison, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the matrix of similarities as a page, in the reader's light or dark theme.

    The cells of matching layers have a frame, a dashed one where they are not alike.

    Args:
        comparison: From `repwatch.compare_runs`.
        path: Where to write; its folder must exist.
        overwrite: False refuses to replace an existing file.

    Raises:
        ConfigurationError: The file exists and `overwrite` is False, or there is no such folder.
    """
    target = free_target(path, overwrite)
    first, second = comparison.runs
    parts = {
        "TITLE": html.escape(f"RepWatch: {first} and {second}"),
        "BODY": "\n".join(_body(comparison)),
    }
    write_atomically(target, fill("comparison/comparison.html", parts))
    return target


def _body(comparison: Comparison) -> Sequence[str]:
    first, second = map(html.escape, comparison.runs)
    rows, columns = comparison.layers
    step, other = comparison.steps
    frames = {
        (match.first, match.second): "alike" if match.alike else "unlike"
        for match in comparison.matches
    }
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    lines = [
        f"<h1>{first} and {second}</h1>",
        f"<p>{html.escape(comparison.verdict)}</p>",
        "<table>",
        f"<caption>{html.escape(comparison.similarity)}: rows are the layers of {first}, step "
        f"{step:,}; columns are those of {second}, step {other:,}. Matching layers have a frame, "
        f"which is dashed if they are not alike (below {comparison.limit:g}).</caption>",
        f"<thead><tr><td></td>{heads}</tr></thead>",
        "<tbody>",
    ]
    for name, values in zip(rows, comparison.matrix, strict=True):
        cells = "".join(
            _cell(value, frames.get((name, column), ""))
            for column, value in zip(columns, values, strict=True)
        )
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    notes = [f"<p>{html.escape(note)}</p>" for note in comparison.notes]
    return [*lines, "</tbody>", "</table>", *notes]


def _cell(value: float, frame: str) -> str:
    share = min(max(value, 0.0), 1.0)
    kinds = " ".join(filter(None, (frame, "strong" if share > _STRONG else "")))
    return f'<td class="{kinds}" style="--share:{share:.3f}">{value:.2f}</td>'
