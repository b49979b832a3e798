"""repwatch runs: what the registry holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from repwatch.cli.terminal import (
    JsonOption,
    RegistryOption,
    as_text,
    console,
    number,
    open_registry,
    print_json,
)

if TYPE_CHECKING:
    from repwatch.registry import Run

__all__ = ["runs", "summarize"]


def runs(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the runs of the registry, oldest first."""
    found = open_registry(registry).runs()
    if as_json:
        print_json([summarize(run) for run in found])
        return
    table = Table("run", "status", "label", "cause", "last step", "metrics", "started (UTC)")
    for run in found:
        row = (
            run.name,
            run.status,
            f"{run.label or ''}{' (automatic)' * run.automatic}",
            run.cause or "",
            str(run.last_step),
            _short(run.metrics),
            f"{run.started_at:%Y-%m-%d %H:%M}",
        )
        table.add_row(*map(as_text, row))
    console.print(table if found else "No runs yet: train with RepWatch() in the callbacks.")


def summarize(run: Run) -> dict[str, object]:
    """The run as JSON shows it in a list."""
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "label": run.label,
        "cause": run.cause,
        "automatic": run.automatic,
        "last_step": run.last_step,
        "metrics": run.metrics,
        "probe": run.probe,
        "started_at": run.started_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
    }


def _short(metrics: dict[str, float], most: int = 3) -> str:
    chosen: Sequence[str] = sorted(metrics, key=lambda name: (not name.startswith("val"), name))
    return "  ".join(f"{name} {number(metrics[name])}" for name in chosen[:most])
