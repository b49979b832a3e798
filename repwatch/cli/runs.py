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

_WIDE = 100


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
    metrics = {_key_metric(run) for run in found} - {None}
    shared = metrics.pop() if len(metrics) == 1 else None
    table = Table(title=None if title is None else as_text(title), title_justify="left")
    # Other commands take the name, so it is folded where the terminal is narrow and never cut.
    table.add_column("run", overflow="fold", min_width=min(24, max(len(run.name) for run in found)))
    table.add_column("status")
    table.add_column("outcome")
    table.add_column("step", justify="right")
    table.add_column(as_text(shared or "metric"), justify="right" if shared else "left")
    # The runs are listed as they started, so a narrow terminal can do without the time.
    wide = console.width >= _WIDE
    if wide:
        table.add_column("started (UTC)")
    for run in found:
        metric = _key_metric(run)
        value = "" if metric is None else number(run.metrics[metric])
        row = (
            run.name,
            run.status,
            _outcome(run),
            str(run.last_step),
            value if shared or metric is None else f"{metric} {value}",
            *([f"{run.started_at:%Y-%m-%d %H:%M}"] if wide else []),
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


def _outcome(run: Run) -> str:
    return f"{run.cause or run.label or ''}{' (automatic)' * run.automatic}"


def _key_metric(run: Run) -> str | None:
    """The metric that decides how good the run is; else the first one, of validation if any is."""
    if run.monitor in run.metrics:
        return run.monitor
    return min(run.metrics, key=lambda name: (not name.startswith("val"), name), default=None)
