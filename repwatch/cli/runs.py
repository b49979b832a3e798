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
    """List the runs of the registry, oldest first; by probe set where there are several.

    Only runs of one probe set are compared.
    """
    opened = open_registry(registry)
    found = opened.runs()
    if as_json:
        print_json([summarize(run) for run in found])
        return
    if not found:
        console.print("No runs yet: train with RepWatch() in the callbacks.")
        return
    points = {probe.fingerprint: probe.points for probe in opened.probes()}
    probes = list(dict.fromkeys(run.probe for run in found))
    for probe in probes:
        chosen = [run for run in found if run.probe == probe]
        title = f"probe set {probe}: {points[probe]} points, {len(chosen)} runs"
        console.print(_list_runs(chosen, title if len(probes) > 1 else None))


def _list_runs(found: Sequence[Run], title: str | None) -> Table:
    headings = ("run", "status", "label", "cause", "last step", "metrics", "started (UTC)")
    table = Table(*headings, title=None if title is None else as_text(title), title_justify="left")
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
    return table


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
