"""RegistryReader: everything that reads a registry; `Registry` adds everything that writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from sqlalchemy import ColumnElement, Connection, select

from repwatch._deprecated import renamed_argument
from repwatch.errors import RegistryUnavailableError, RegistryUnwritableError
from repwatch.registry import checks
from repwatch.registry._db import lookup, queries, writes
from repwatch.registry._db.engine import Database
from repwatch.registry._db.stacks import stack_rdms, stack_sketches
from repwatch.registry._db.tables import LABELS, RUNS, SNAPSHOTS
from repwatch.registry.location import PROJECT_VARIABLE, Location, resolve
from repwatch.registry.notebook import RegistryTable
from repwatch.registry.records import (
    Label,
    ProbeInfo,
    ProbePoint,
    Run,
    Snapshot,
    Status,
)
from repwatch.registry.values import plain_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from repwatch.probe import ProbeSet
    from repwatch.probe._storage import StoredProbe

DEAD_AFTER = 300.0


class RegistryReader(RegistryTable):
    """The reading half of a `Registry`; the arguments are documented there."""

    def __init__(
        self,
        location: Location | None = None,
        *,
        read_only: bool = False,
        strict: bool = False,
        dead_after: float = DEAD_AFTER,
        project: str | None = None,
    ) -> None:
        url, path = resolve(location)
        self.dead_after = dead_after
        self.strict = strict
        name = os.environ.get(PROJECT_VARIABLE, "") if project is None else project
        self._database = Database(url, path, read_only=read_only, project=plain_name(name))

    def __repr__(self) -> str:
        return f"Registry({self.place!r}{', read_only=True' * self.read_only})"

    @property
    def url(self) -> str:
        """The database URL, with its password where it has one; `repr` leaves that out."""
        return self._database.url.render_as_string(hide_password=False)

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for PostgreSQL."""
        return self._database.path

    @property
    def place(self) -> str:
        """The path, or the URL without its password."""
        return self._database.place

    @property
    def project(self) -> str:
        """The project whose runs are read and written; "" where there is only one."""
        return self._database.project

    def in_project(self, project: str) -> Self:
        """The same registry with the runs of another project; itself for its own project."""
        if project == self.project:
            return self
        return type(self)(
            self.url,
            read_only=self.read_only,
            strict=self.strict,
            dead_after=self.dead_after,
            project=project,
        )

    @property
    def read_only(self) -> bool:
        """Whether nothing is ever created, migrated or written."""
        return self._database.read_only

    def may_wait(self, error: RegistryUnavailableError) -> bool:
        """Whether a training may start although the registry failed, and record into the spool."""
        return not self.strict and not isinstance(error, RegistryUnwritableError)

    def close(self) -> None:
        """Close all connections; the next use opens them again."""
        self._database.close()

    # Reading

    def runs(
        self,
        *,
        status: Status | None = None,
        label: Label | None = None,
        probe: str | None = None,
    ) -> list[Run]:
        """The runs, oldest first: all, or those of a status, label, or probe set."""
        where: list[ColumnElement[bool]] = []
        if label is not None:
            where.append(LABELS.c.label == label)
        if probe is not None:
            where.append(RUNS.c.probe == probe)
        runs = self._database.read(lambda c: queries.read_runs(c, self, *where))
        return [run for run in runs if status is None or run.status == status]

    def run(self, name_or_id: str) -> Run:
        """The run with this id, name, or unique prefix of an id (4 characters or more).

        Raises RunNotFoundError, which names the nearest.
        """
        return self._database.read(lambda c: self._read_run(c, self._find(c, name_or_id)))

    def find_run(self, name_or_id: str) -> Run | None:
        """The run of exactly this name or id, such as one to continue; None where there is none."""

        def read(connection: Connection) -> Run | None:
            found = lookup.find_exact_id(connection, checks.check_run(name_or_id))
            return None if found is None else self._read_run(connection, found)

        return self._database.read(read)

    def free_name(self, name: str) -> str:
        """The name, if no run has it; else with the next free number: name-2, name-3, ..."""
        return self._database.read(lambda c: lookup.free_run_name(c, name))

    def count_runs(self, probe: str) -> dict[Label | None, int]:
        """How many runs of a probe set have each label; None counts those without one."""
        counts = self._database.read(lambda c: queries.count_runs(c, probe))
        return {label: counts.get(label, 0) for label in ("good", "bad", None)}

    def empty_runs(self) -> set[str]:
        """The ids of the runs without snapshots."""
        return self._database.read(queries.find_empty_runs)

    def landmarks(self, probe: str) -> list[Run]:
        """The labeled runs of a probe set, oldest first."""
        where = (LABELS.c.label.is_not(None), RUNS.c.probe == probe)
        return self._database.read(lambda c: queries.read_runs(c, self, *where))

    def snapshots(
        self,
        *,
        run: Run | str | None = None,
        layer: str | None = None,
        probe: str | None = None,
        labeled: bool | None = None,
        step: int | Literal["last"] | None = None,
        labelled: bool | None = None,
    ) -> list[Snapshot]:
        """Snapshots by run start, step and depth; their RDMs are read only when asked for.

        Args:
            run: A Run, a name or an id.
            layer: A layer's name, as in `run.layers`.
            probe: The fingerprint of a probe set.
            labeled: True for the snapshots of landmarks, False for those of all other runs.
            step: A step; "last" for the last one of each run.
            labelled: The former name of `labeled`, which is deprecated.

        Raises:
            RunNotFoundError: There is no such run.
            UnknownLayerError: The run has snapshots, but none of this layer.
        """
        labeled = renamed_argument(labeled, labelled, "labeled", "labelled", "Registry.snapshots")

        def read(connection: Connection) -> list[Snapshot]:
            where: list[ColumnElement[bool]] = []
            if run is not None:
                where.append(SNAPSHOTS.c.run_id == self._find(connection, run))
            if layer is not None:
                where.append(SNAPSHOTS.c.layer == layer)
            if probe is not None:
                where.append(RUNS.c.probe == probe)
            if labeled is not None:
                # As a list of runs, so that the snapshots of the others are not looked at.
                landmarks = SNAPSHOTS.c.run_id.in_(select(LABELS.c.run_id))
                where.append(landmarks if labeled else ~landmarks)
            if step is not None:
                at = queries.last_step() if step == "last" else step
                where.append(SNAPSHOTS.c.step == at)
            found = queries.read_snapshots(connection, self, *where)
            if not found and run is not None and layer is not None:
                queries.check_layer(connection, self._find(connection, run), layer)
            return found

        return self._database.read(read)

    def layers(self, run: Run | str) -> list[str]:
        """Names of the run's stored layers, by depth."""
        return self._database.read(lambda c: queries.read_layers(c, self._find(c, run)))

    def history(self, run: Run | str, name: str) -> list[tuple[int, int, float]]:
        """(step, epoch, value) of a metric of the run, by step; empty when it has none."""
        return self._database.read(lambda c: queries.read_history(c, self._find(c, run), name))

    def rdms(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The condensed RDMs, float32, shape (k, points(points-1)/2); diverged rows are NaN.

        Raises ProbeMismatchError where the snapshots differ in their number of points.
        """
        return stack_rdms(self._database, snapshots)

    def sketches(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The RDMs' sketches, float32, shape (k, 1024); diverged rows are NaN."""
        return stack_sketches(self._database, snapshots)

    def probe(self, fingerprint: str | None = None) -> ProbeSet:
        """The probe set of this fingerprint; None: the one that was used last.

        Raises ProbeError when it is not there.
        """
        from repwatch.probe import ProbeSet

        read = queries.read_probe_content
        return ProbeSet.from_bytes(self._database.read(lambda c: read(c, fingerprint)))

    def stored_probe(self, fingerprint: str) -> StoredProbe:
        """What is stored of a probe set besides its inputs, which may be too large to be stored.

        Raises ProbeError when it is not there.
        """
        from repwatch.probe._storage import read_stored

        read = queries.read_probe_content
        return read_stored(self._database.read(lambda c: read(c, fingerprint)))

    def probes(self) -> list[ProbeInfo]:
        """The stored probe sets, oldest first, without their inputs."""
        return self._database.read(queries.read_probes)

    def points(self, fingerprint: str) -> list[ProbePoint]:
        """What a person sees of each point of a probe set, without loading its inputs."""
        return self._database.read(lambda c: queries.read_points(c, fingerprint))

    def load_space(self, key: str) -> bytes | None:
        """What `save_space` stored under the key, or None."""
        return self._database.read(lambda c: queries.read_spaces(c, [key])).get(key)

    def cached_history(self, run: Run) -> bytes | None:
        """What `cache_history` stored; None if there is none, or the run has changed."""
        return self.cached_histories([run]).get(run.id)

    def cached_histories(self, runs: Sequence[Run]) -> dict[str, bytes]:
        """What `cache_history` stored of these runs, by run id; those without are left out."""
        keys = {writes.history_key(run.id): run.id for run in runs}
        found = self._database.read(lambda c: queries.read_spaces(c, list(keys)))
        return {keys[key]: content for key, content in found.items()}

    # Helpers

    def _find(self, connection: Connection, run: Run | str) -> str:
        name_or_id = run.id if isinstance(run, Run) else checks.check_run(run)
        return lookup.find_run_id(connection, name_or_id)

    def _read_run(self, connection: Connection, run_id: str) -> Run:
        return queries.read_runs(connection, self, RUNS.c.id == run_id)[0]
