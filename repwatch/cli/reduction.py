"""What `repwatch prune --keep` does: RDMs of ended runs in a smaller form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repwatch.cli.terminal import as_text, console, print_json, progress_bar

if TYPE_CHECKING:
    from repwatch.registry import Registry, Retention, Run

__all__ = ["reduce_runs"]


def reduce_runs(
    registry: Registry, runs: Sequence[Run], retention: Retention, *, apply: bool, as_json: bool
) -> None:
    """Reduce the RDMs of runs without a label, or count what that would save.

    What drift detection needs from a run is cached first, from its whole RDMs.
    """
    from repwatch.drift import read_histories
    from repwatch.registry.retention import reduce_run

    snapshots = saved = 0
    with progress_bar("Reducing runs") as progress:
        for done, run in enumerate(runs):
            progress(done, len(runs))
            if apply and run.label is None and run.status != "running":
                read_histories(registry, [run])
            reduced = reduce_run(registry, run, retention, apply=apply)
            snapshots, saved = snapshots + reduced.snapshots, saved + reduced.bytes
        if apply:
            registry.compact()
    if as_json:
        print_json({"runs": len(runs), "snapshots": snapshots, "bytes": saved, "reduced": apply})
        return
    line = f"{snapshots:,} RDMs as {retention.others}: {saved / 1e6:,.1f} MB less."
    console.print(as_text(line if apply else f"{line} Nothing is changed without --apply."))
