"""The commands that maintain a registry: export and import of runs, deletion, and checks."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table

from repwatch.cli.reduction import reduce_runs
from repwatch.cli.terminal import (
    JsonOption,
    RegistryOption,
    as_text,
    console,
    open_registry,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from repwatch.registry import Registry, Run
    from repwatch.registry.transfer import Transfer

__all__ = ["doctor", "export", "flush", "import_runs", "prune"]


class Ended(str, Enum):
    """How a run that may be deleted has ended."""

    dead = "dead"
    failed = "failed"
    stopped = "stopped"
    finished = "finished"


class Others(str, Enum):
    """What becomes of RDMs that need not stay whole in the registry."""

    int8 = "int8"
    coordinates = "coordinates"
    objects = "objects"


def export(
    out: Annotated[Path, typer.Argument(help="The registry file to write; a new one.")],
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[RUN]...", help="Names or ids; by default all landmarks."),
    ] = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write runs with their probe sets and labels as a registry file of their own."""
    from repwatch.registry import Registry
    from repwatch.registry.transfer import write_new

    opened = open_registry(registry)
    chosen = [opened.run(run) for run in runs] if runs else [r for r in opened.runs() if r.label]
    if not chosen:
        raise typer.BadParameter(
            "no run is labeled yet, so there are no landmarks to export. Label some "
            "(`repwatch suggest-labels`), or name the runs: repwatch export FILE RUN..."
        )

    def write(path: Path) -> Transfer:
        made = Registry(path, project="")  # whoever takes the file in has projects of their own
        try:
            return _copy(opened, made, chosen)
        finally:
            made.close()

    done = write_new(out, write)
    if as_json:
        print_json({**done.to_dict(), "file": str(out)})
        return
    line = f"{out}: {len(done.copied)} runs, {out.stat().st_size / 1e6:.1f} MB"
    console.print(as_text(line), soft_wrap=True)


def import_runs(
    file: Annotated[Path, typer.Argument(help="A registry file, such as `export` writes.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in all runs of another registry file; those that are here already stay as they are.

    A file that is damaged, or that RepWatch would not have written, is refused whole.
    """
    from repwatch.registry.admission import admit

    source = open_registry(str(file)).in_project("")
    admit(source)
    done = _copy(source, open_registry(registry, read_only=False), source.runs())
    if as_json:
        print_json(done.to_dict())
        return
    line = f"{len(done.copied)} runs taken in"
    line += f", {len(done.known)} were here already" if done.known else ""
    console.print(as_text(line))
    for name, before in done.renamed.items():
        console.print(as_text(f"{before} is called {name} here: another run has its name"))


def prune(
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[RUN]...", help="Names or ids of runs to delete."),
    ] = None,
    ended: Annotated[
        Optional[list[Ended]],  # noqa: UP045
        typer.Option("--ended", help="Runs that ended this way; can be repeated. No landmarks."),
    ] = None,
    older_than: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, metavar="DAYS", help="Only runs without a heartbeat for this long."),
    ] = None,
    keep: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            metavar="K",
            help="Delete no run, but store RDMs smaller or elsewhere: all but those of landmarks "
            "and of each other run's first, last, best and every K-th step.",
        ),
    ] = None,
    others: Annotated[
        Others,
        typer.Option(
            help="With --keep: how the other RDMs are stored; `objects` moves them, whole, to the "
            "object storage of $REPWATCH_OBJECTS."
        ),
    ] = Others.int8,
    apply: Annotated[
        bool, typer.Option("--apply", help="Delete (or with --keep reduce), and shrink the file.")
    ] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs that can be deleted; deletes them only with --apply.

    Without RUN or --ended: the dead and failed runs, and those without snapshots. A stopped run can
    be resumed, and is deleted only with --ended stopped. A labeled or running run is deleted only
    if it is named.
    """
    opened = open_registry(registry, read_only=not apply)
    resumable: list[Run] = []
    if keep is not None:
        from repwatch.registry import Retention

        ends = {status.value for status in ended or ()}
        kept = [opened.run(run) for run in runs] if runs else find_old(opened, ends, older_than)
        retention = Retention(keep, others.value)
        reduce_runs(opened, kept, retention, apply=apply, as_json=as_json)
        return
    if runs:
        chosen = [opened.run(run) for run in runs]
    else:
        chosen, resumable = find_idle(opened, {status.value for status in ended or ()}, older_than)
    if apply:
        with progress_bar("Deleting runs") as progress:
            for done, run in enumerate(chosen):
                progress(done, len(chosen))
                opened.delete_run(run)
            opened.compact()
    if as_json:
        left = [run.name for run in resumable]
        print_json({"runs": [run.name for run in chosen], "deleted": apply, "resumable": left})
        return
    _print_idle(chosen)
    shared = ["--older-than", f"{older_than:g}"] if older_than is not None else []
    shared += ["-r", registry] if registry is not None else []
    if apply:
        console.print(f"Deleted {len(chosen)} runs.", highlight=False)
    elif chosen:
        words = ["repwatch", "prune", *(runs or ())]
        words += [word for status in ended or () for word in ("--ended", status.value)]
        command = shlex.join([*words, *shared, "--apply"])
        line = f"Nothing is deleted. To delete them for good: {command}"
        console.print(as_text(line), soft_wrap=True)
    if resumable:
        command = shlex.join(["repwatch", "prune", "--ended", "stopped", *shared])
        line = f"Stopped runs can be resumed, so {len(resumable)} are left out. To list them"
        console.print(as_text(f"{line}: {command}"), soft_wrap=True)


def _print_idle(runs: list[Run]) -> None:
    table = Table("run", "status", "label", "last step", "last heartbeat (UTC)")
    for run in runs:
        seen = f"{run.heartbeat_at:%Y-%m-%d %H:%M}"
        table.add_row(*map(as_text, (run.name, run.status, run.label or "", run.last_step, seen)))
    console.print(table if runs else "No such run.")


def doctor(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """Check the registry: is it sound, and what prevents its landmarks from being used?

    Ends with status 1 where data are damaged.
    """
    from repwatch.drift import MIN_GOOD
    from repwatch.registry.health import examine

    with progress_bar("Checking snapshots") as progress:
        findings = examine(open_registry(registry), MIN_GOOD, progress=progress)
    sound = all(finding.level != "problem" for finding in findings)
    if as_json:
        print_json({"sound": sound, "findings": [finding.to_dict() for finding in findings]})
    else:
        styles = {"fine": "green", "hint": "yellow", "problem": "red"}
        table = Table("", "what", "found")
        for finding in findings:
            style = styles[finding.level]
            table.add_row(
                as_text(finding.level, style), as_text(finding.subject), as_text(finding.message)
            )
        console.print(table)
    if not sound:
        raise typer.Exit(1)


def _copy(source: Registry, target: Registry, runs: list[Run]) -> Transfer:
    from repwatch.registry.transfer import copy_runs

    with progress_bar("Copying runs") as progress:
        return copy_runs(source, target, runs, progress=progress)


def find_old(registry: Registry, ended: set[str], older_than: float | None) -> list[Run]:
    """The runs without a label that ended in one of these ways, or in any, and long enough ago."""
    last = datetime.now(timezone.utc) - timedelta(days=older_than or 0)
    return [
        run
        for run in registry.runs()
        if not run.label
        and run.status != "running"
        and run.heartbeat_at <= last
        and (not ended or run.status in ended)
    ]


def find_idle(
    registry: Registry, ended: set[str], older_than: float | None
) -> tuple[list[Run], list[Run]]:
    """(runs that can be deleted, stopped runs that are left since they can be resumed).

    None of them is labeled. By default, these are the runs that ended badly or left nothing behind.
    """
    old = find_old(registry, ended, older_than)
    if ended:
        return old, []
    empty = registry.empty_runs()
    stopped = [run for run in old if run.status == "stopped" and run.id not in empty]
    if older_than is not None:
        resumable = {run.id for run in stopped}
        return [run for run in old if run.id not in resumable], stopped
    idle = [run for run in old if run.status in ("dead", "failed") or run.id in empty]
    return idle, stopped


def flush(
    spool: Annotated[
        Path, typer.Argument(help="The folder that the run's message named: one run's, or several.")
    ],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store what runs recorded while their registry did not answer."""
    from repwatch.registry.spool import find_spools, flush_spool

    folders = find_spools(spool)
    if not folders:
        raise typer.BadParameter(
            f"{spool} has no folder of spooled entries. Give the folder that the message of the "
            "run named, such as repwatch-spool."
        )
    opened = open_registry(registry, read_only=False)
    done = [flush_spool(folder, opened) for folder in folders]
    if as_json:
        print_json([asdict(flushed) for flushed in done])
    for flushed in [] if as_json else done:
        line = f"run {flushed.run_id}: {flushed.stored} entries stored"
        if flushed.error is not None:
            line += f", {flushed.waiting} still wait: {flushed.error}"
        console.print(as_text(line), soft_wrap=True)
    if any(flushed.error is not None for flushed in done):
        raise typer.Exit(1)
