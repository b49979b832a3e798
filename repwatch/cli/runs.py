"""repwatch runs, repwatch show: what the registry holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
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

__all__ = ["runs", "show"]


def runs(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the runs of the registry, oldest first; by probe set where there are several.

    Only runs of one probe set are compared.
    """
    opened = open_registry(registry)
    found = opened.runs()
    if as_json:
        print_json([_summary(run) for run in found])
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


def show(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: its outcome, hyperparameters, metrics, layers, flags and notes."""
    found = open_registry(registry).run(run)
    snapshots = found.snapshots()
    layers = {
        layer: [snapshot.step for snapshot in snapshots if snapshot.layer == layer]
        for layer in found.layers
    }
    if as_json:
        flags = [
            {"kind": flag.kind, "step": flag.step, "layer": flag.layer, "message": flag.message}
            for flag in found.flags
        ]
        details = {"hparams": found.hparams, "versions": found.versions, "layers": layers}
        print_json({**_summary(found), **details, "flags": flags, "notes": found.notes})
        return
    _print_run(found, layers)


def _print_run(found: Run, layers: Mapping[str, Sequence[int]]) -> None:
    """Print a run in words and tables; `layers` has the steps of each layer's snapshots."""
    from repwatch.registry.hparams import split_own

    console.print(as_text(f"{found.name}  ({found.status}, id {found.id})", style="bold"))
    label = f"{found.label}: {found.cause}" if found.cause else found.label or "no label"
    console.print(as_text(f"label      {label}{' (automatic)' if found.automatic else ''}"))
    console.print(as_text(f"probe set  {found.probe}"))
    users, own = split_own(found.hparams)
    groups = {"Metrics": found.metrics, "Hyperparameters": users, "Seen by RepWatch": own}
    for title, values in groups.items():
        table = Table(title, "value")
        for name, value in values.items():
            table.add_row(as_text(name), as_text(number(value)))
        console.print(table)
    table = Table("layer", "snapshots", "at steps")
    for layer, steps in layers.items():
        table.add_row(as_text(layer), str(len(steps)), as_text(", ".join(map(str, steps))))
    console.print(table)
    for flag in found.flags:
        console.print(as_text(f"flag at step {flag.step}: {flag.message}", style="yellow"))
    if found.notes:
        console.print(as_text("Notes", style="bold"))
    for note in found.notes:
        console.print(as_text(f"- {note}"))


def _summary(run: Run) -> dict[str, object]:
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
