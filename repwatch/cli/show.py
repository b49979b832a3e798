"""repwatch show: one run, what matters first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from repwatch.cli.runs import summarize
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
    from repwatch.registry import Flag, Run
    from repwatch.vitals.signs import LayerSigns

__all__ = ["show"]

# Vital signs by the title of their column, and whether they are shares.
_COLUMNS = {
    "dead": ("dead", True),
    "equal": ("near_zero", True),
    "dimension": ("dimension", False),
    "moved": ("change_start", False),
    "weights": ("weight_change_start", False),
    "neighbors": ("accuracy", True),
}


def show(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: its outcome, flags, vital signs by layer, then all that is stored about it."""
    from repwatch.vitals import newest_signs

    found = open_registry(registry).run(run)
    snapshots = found.snapshots()
    layers = {
        layer: [snapshot.step for snapshot in snapshots if snapshot.layer == layer]
        for layer in found.layers
    }
    signs = newest_signs(found)
    if as_json:
        flags = [
            {"kind": flag.kind, "step": flag.step, "layer": flag.layer, "message": flag.message}
            for flag in found.flags
        ]
        details = {"hparams": found.hparams, "versions": found.versions, "layers": layers}
        vitals = {layer.layer: dict(layer.values) for layer in signs}
        shown = {**summarize(found), **details, "flags": flags, "vitals": vitals}
        print_json({**shown, "notes": found.notes})
        return
    _print_outcome(found)
    if signs:
        console.print(_vitals_table(signs, found.flags))
    _print_rest(found, layers)


def _print_outcome(run: Run) -> None:
    console.print(as_text(f"{run.name}  ({run.status}, id {run.id})", style="bold"))
    label = f"{run.label}: {run.cause}" if run.cause else run.label or "no label"
    console.print(as_text(f"label      {label}{' (automatic)' if run.automatic else ''}"))
    console.print(as_text(f"probe set  {run.probe}"))
    for flag in run.flags:
        console.print(as_text(f"flag at step {flag.step}: {flag.message}", style="yellow"))
    if not run.flags:
        console.print("no flags")


def _vitals_table(signs: Sequence[LayerSigns], flags: Sequence[Flag]) -> Table:
    """The vital signs at the newest snapshot; layers that a rule has flagged are marked."""
    marks: dict[str, list[str]] = {}
    for flag in flags:
        for evidence in (flag.evidence, *flag.evidence.get("vitals", ())):
            for layer in evidence.get("layers", ()):
                marks.setdefault(layer, []).append(str(evidence.get("rule")))
    # Layer names are long and terminals narrow: names wrap, and flags are below them.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold")
    for title in _COLUMNS:
        table.add_column(title, justify="right")
    for layer in signs:
        flagged = [f"! {rule}" for rule in dict.fromkeys(marks.get(layer.layer, ()))]
        cells = [_cell(layer.values, *column) for column in _COLUMNS.values()]
        row = ["\n".join([layer.layer, *flagged]), *cells]
        table.add_row(*(as_text(text, style="yellow" if flagged else "") for text in row))
    return table


def _cell(values: Mapping[str, float], name: str, is_share: bool) -> str:
    if name not in values:
        return ""
    return f"{values[name]:.0%}" if is_share else f"{values[name]:.3g}"


def _print_rest(run: Run, layers: Mapping[str, Sequence[int]]) -> None:
    from repwatch.registry.hparams import split_own

    users, own = split_own(run.hparams)
    groups = {"Metrics": run.metrics, "Hyperparameters": users, "Seen by RepWatch": own}
    for title, values in groups.items():
        table = Table(title, "value")
        for name, value in values.items():
            table.add_row(as_text(name), as_text(number(value)))
        console.print(table)
    table = Table("layer", "snapshots", "at steps")
    for layer, steps in layers.items():
        table.add_row(as_text(layer), str(len(steps)), as_text(", ".join(map(str, steps))))
    console.print(table)
    if run.notes:
        console.print(as_text("Notes", style="bold"))
    for note in run.notes:
        console.print(as_text(f"- {note}"))
