"""Whether a registry is sound, and whether what is in it can be used: what `doctor` reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, func, or_, select, text

from repwatch._names import name_some
from repwatch.errors import RegistryError
from repwatch.registry._db.blobs import SKETCH_LENGTH
from repwatch.registry._db.objects import OBJECTS_VARIABLE, count_objects, load_objects
from repwatch.registry._db.queries import stored_input
from repwatch.registry._db.reduction import is_rdm_length
from repwatch.registry._db.tables import PROBE_SETS, RDMS, RUNS, SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repwatch.registry.records import Run
    from repwatch.registry.registry import Registry

Level = Literal["fine", "hint", "problem"]
FILE = "the file"
Progress = Callable[[int, int], None]
# Snapshots at a time.
_SNAPSHOTS = 5000


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        level: "fine"; "hint", where something could be better; "problem", where data are damaged.
        subject: What was checked, in a few words.
        message: What was found, and what to do about it.
    """

    level: Level
    subject: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Its three fields by name, as for JSON."""
        return asdict(self)


def examine(
    registry: Registry, fewest_good: int = 0, *, progress: Progress | None = None
) -> list[Finding]:
    """Check the whole registry; nothing is changed.

    Args:
        fewest_good: How many good landmarks each probe set should have.
        progress: Called with the number of snapshots checked so far, and the total.
    """
    findings = examine_data(registry, progress)
    if any(finding.level == "problem" and finding.subject == FILE for finding in findings):
        return findings  # what else it holds cannot be trusted
    runs, empty = registry.runs(), registry.empty_runs()
    findings += _examine_runs(runs, empty)
    findings += _examine_probe_sets(runs, empty)
    return findings + _examine_landmarks(runs, empty, fewest_good)


def examine_data(registry: Registry, progress: Progress | None = None) -> list[Finding]:
    """Whether the data are sound: the file, and each snapshot's RDM and sketch."""
    database = registry._database
    findings: list[Finding] = []
    if database.path is not None:
        try:
            findings += database.read(_examine_file)
        except RegistryError as error:
            findings.append(Finding("problem", FILE, str(error)))
        if any(finding.level == "problem" for finding in findings):
            return findings
    findings += database.read(lambda c: _examine_rows(c, progress or _no_progress))
    return findings + database.read(_examine_objects)


def _examine_file(connection: Connection) -> list[Finding]:
    """SQLite's own check of every page and every reference."""
    broken = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check(20)"))]
    if broken != ["ok"]:
        problems = "; ".join(broken[:3])
        return [
            Finding(
                "problem",
                FILE,
                f"SQLite finds it damaged: {problems}. Restore it from a copy, or use "
                "`repwatch export` to save what can be read.",
            )
        ]
    loose = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
    if loose:
        tables = ", ".join(sorted({str(row[0]) for row in loose}))
        message = f"{len(loose)} rows of {tables} refer to missing rows. Restore it from a copy."
        return [Finding("problem", FILE, message)]
    pages, free, size, journal = (
        connection.execute(text(f"PRAGMA {name}")).scalar_one()
        for name in ("page_count", "freelist_count", "page_size", "journal_mode")
    )
    megabytes = pages * size / 1e6
    findings = [Finding("fine", FILE, f"{megabytes:,.1f} MB, journal {journal}, sound.")]
    if free > pages / 4 and free * size > 1e7:
        message = f"{free * size / 1e6:,.0f} MB of it is empty; `repwatch prune` frees them."
        findings.append(Finding("hint", FILE, message))
    return findings


def _examine_rows(connection: Connection, progress: Progress) -> list[Finding]:
    """RDMs and sketches of the wrong length, and snapshots that lack them."""
    n = PROBE_SETS.c.points
    joined = (
        select(func.count())
        .select_from(SNAPSHOTS)
        .join(RUNS, RUNS.c.id == SNAPSHOTS.c.run_id)
        .join(PROBE_SETS, PROBE_SETS.c.fingerprint == RUNS.c.probe)
        .outerjoin(RDMS, RDMS.c.snapshot_id == SNAPSHOTS.c.id)
        .where(
            or_(
                ~is_rdm_length(func.length(RDMS.c.rdm), n),
                func.length(RDMS.c.sketch) != 4 * SKETCH_LENGTH,
                RDMS.c.snapshot_id.is_(None) & ~SNAPSHOTS.c.diverged & stored_input().is_(None),
            )
        )
    )
    total = connection.scalar(select(func.count()).select_from(SNAPSHOTS)) or 0
    first, last = connection.execute(
        select(func.min(SNAPSHOTS.c.id), func.max(SNAPSHOTS.c.id))
    ).one()
    odd = 0
    for start in range(first or 0, (last or -1) + 1, _SNAPSHOTS):
        progress(min(start - (first or 0), total), total)
        some = SNAPSHOTS.c.id.between(start, start + _SNAPSHOTS - 1)
        odd += connection.scalar(joined.where(some)) or 0
    progress(total, total)
    if odd:
        message = f"{odd} of {total:,} have no RDM, or one of the wrong length: delete those runs."
        return [Finding("problem", "snapshots", message)]
    return [Finding("fine", "snapshots", f"{total:,}, all complete.")]


def _examine_objects(connection: Connection) -> list[Finding]:
    """Whether the newest of the RDMs in object storage can be read."""
    count, newest = count_objects(connection)
    if newest is None:
        return []
    try:
        load_objects([newest])
    except RegistryError as error:
        return [Finding("hint", "object storage", f"{count:,} RDMs were moved there. {error}")]
    message = f"{count:,} RDMs are stored at ${OBJECTS_VARIABLE}; the newest can be read."
    return [Finding("fine", "object storage", message)]


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


def _examine_runs(runs: Sequence[Run], empty: set[str]) -> list[Finding]:
    findings = [Finding("fine", "runs", f"{len(runs):,}.")]
    dead = [run.name for run in runs if run.status == "dead"]
    if dead:
        names = name_some(dead, 5)
        message = f"{names} ended without a final status: the process or the machine was killed."
        findings.append(Finding("hint", "dead runs", message))
    idle = [run for run in runs if run.id in empty and run.status != "running"]
    if idle:
        names = name_some([run.name for run in idle], 5)
        message = f"{names}: `repwatch prune` lists what can be deleted."
        findings.append(Finding("hint", "runs without snapshots", message))
    labeled = [run.name for run in idle if run.label]
    if labeled:
        names = name_some(labeled, 5)
        message = f"{names} are not landmarks, since there is nothing to compare with."
        findings.append(Finding("hint", "labels without snapshots", message))
    return findings


def _examine_probe_sets(runs: Sequence[Run], empty: set[str]) -> list[Finding]:
    """Runs that are not compared with any other run, because each has its own probe set."""
    by_probe = Counter(run.probe for run in runs if run.id not in empty)
    alone = [run for run in runs if run.id not in empty and by_probe[run.probe] == 1]
    if len(by_probe) < 2 or not alone:
        return []
    names = name_some([run.name for run in alone], 3)
    largest, count = by_probe.most_common(1)[0]
    whose = f"of {count} runs" if count > 1 else "of one of them"
    message = (
        f"{len(alone)} of {sum(by_probe.values())} runs are not compared with any other run, since "
        f"each has its own probe set: {names}. To compare new runs, give them the probe points "
        f'{whose}: RepWatch(probe="{largest}"). `repwatch runs` lists the runs by probe set.'
    )
    return [Finding("hint", "probe sets", message)]


def _examine_landmarks(runs: Sequence[Run], empty: set[str], fewest_good: int) -> list[Finding]:
    findings = []
    for probe in dict.fromkeys(run.probe for run in runs):
        usable = [run for run in runs if run.probe == probe and run.id not in empty]
        good, bad = (sum(run.label == label for run in usable) for label in ("good", "bad"))
        subject = f"probe set {probe}"
        plural = "s" * (len(usable) != 1)
        message = f"{len(usable)} run{plural}, landmarks: {good} good, {bad} bad."
        if good < fewest_good:
            message += (
                f" Drift detection needs {fewest_good} good ones: use `repwatch suggest-labels`, "
                "or `repwatch label RUN good`."
            )
        findings.append(Finding("fine" if good >= fewest_good else "hint", subject, message))
    return findings
