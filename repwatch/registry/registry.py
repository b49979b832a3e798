"""Registry: the runs, snapshots, landmarks, flags and probe sets of a project.

    registry = Registry("repwatch.db")          # or "postgresql+psycopg://user@host/database"
    for run in registry.runs():
        print(run.name, run.status, run.metrics)
    registry.label("calm-otter-17", "bad", cause="learning rate too high")

Nothing is opened or made before the first read or write. A Registry may be copied, pickled, shared
by threads and used after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import ColumnElement, Connection, select

from repwatch._deprecated import renamed_argument
from repwatch.registry import checks
from repwatch.registry._db import incoming, queries, writes
from repwatch.registry._db.engine import Database
from repwatch.registry._db.stacks import stack_rdms, stack_sketches
from repwatch.registry._db.tables import LabelRow, ProbeSetRow, RunRow, SnapshotRow, SpaceRow
from repwatch.registry.location import Location, resolve
from repwatch.registry.records import (
    EndStatus,
    Flag,
    Label,
    Mode,
    NewSnapshot,
    ProbeInfo,
    ProbePoint,
    Run,
    Snapshot,
    Status,
)
from repwatch.registry.values import plain_int, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from repwatch.analysis.labels import LabelSuggestions
    from repwatch.probe import ProbeSet
    from repwatch.probe._storage import StoredProbe

DEAD_AFTER = 300.0


class Registry:
    """A registry at a path (SQLite) or a URL (SQLite, PostgreSQL).

    `location` None means $REPWATCH_REGISTRY, else ./repwatch.db. With `read_only` nothing is ever
    created, migrated or written. A running run without a sign of life for `dead_after` seconds is
    read as "dead".
    """

    def __init__(
        self,
        location: Location | None = None,
        *,
        read_only: bool = False,
        dead_after: float = DEAD_AFTER,
    ) -> None:
        url, path = resolve(location)
        self.dead_after = dead_after
        self._database = Database(url, path, read_only=read_only)

    @classmethod
    def coerce(cls, value: Registry | Location | None, default: Path | None = None) -> Registry:
        """The Registry itself, or the one at a path or URL.

        None means $REPWATCH_REGISTRY, else `default`, else ./repwatch.db.
        """
        if isinstance(value, Registry):
            return value
        url, _ = resolve(value, default)
        return cls(url)

    def __repr__(self) -> str:
        return f"Registry({self._database.place!r}{', read_only=True' * self.read_only})"

    @property
    def url(self) -> str:
        """The database URL, with its password where it has one; `repr` leaves that out."""
        return self._database.url.render_as_string(hide_password=False)

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None for PostgreSQL."""
        return self._database.path

    @property
    def read_only(self) -> bool:
        return self._database.read_only

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
            where.append(LabelRow.label == label)
        if probe is not None:
            where.append(RunRow.probe == probe)
        runs = self._database.read(lambda c: queries.read_runs(c, self, *where))
        return [run for run in runs if status is None or run.status == status]

    def run(self, name_or_id: str) -> Run:
        """The run of this id, name, or unique beginning of an id (4 characters or more).

        Raises RunNotFoundError, which names the nearest.
        """
        return self._database.read(lambda c: self._read_run(c, self._find(c, name_or_id)))

    def find_run(self, name_or_id: str) -> Run | None:
        """The run of exactly this name or id, such as one to continue; None where there is none."""

        def read(connection: Connection) -> Run | None:
            found = queries.find_exact_id(connection, checks.check_run(name_or_id))
            return None if found is None else self._read_run(connection, found)

        return self._database.read(read)

    def landmarks(self, probe: str) -> list[Run]:
        """The labeled runs of a probe set, oldest first."""
        where = (LabelRow.label.is_not(None), RunRow.probe == probe)
        return self._database.read(lambda c: queries.read_runs(c, self, *where))

    def snapshots(
        self,
        *,
        run: Run | str | None = None,
        layer: str | None = None,
        probe: str | None = None,
        labeled: bool | None = None,
        labelled: bool | None = None,
    ) -> list[Snapshot]:
        """Snapshots by run start, step and depth; their RDMs are read only when asked for.

        `run` is a Run, a name or an id; `labeled` selects those of landmarks (True), or of all
        other runs (False). `labelled` is its former name, which is deprecated.
        """
        labeled = renamed_argument(labeled, labelled, "labeled", "labelled", "Registry.snapshots")

        def read(connection: Connection) -> list[Snapshot]:
            where: list[ColumnElement[bool]] = []
            if run is not None:
                where.append(SnapshotRow.run_id == self._find(connection, run))
            if layer is not None:
                where.append(SnapshotRow.layer == layer)
            if probe is not None:
                where.append(RunRow.probe == probe)
            if labeled is not None:
                where.append(LabelRow.label.is_not(None) == labeled)
            return queries.read_snapshots(connection, self, *where)

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
        """What is stored of a probe set beside its inputs, which may be too large to be stored.

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
        query = select(SpaceRow.content).where(SpaceRow.key == key)
        content = self._database.read(lambda c: c.scalar(query))
        return None if content is None else bytes(content)

    def cached_history(self, run: Run) -> bytes | None:
        """What `cache_history` stored; None if there is none, or the run has changed."""
        return self.load_space(writes.history_key(run.id))

    # Landmarks

    def label(
        self, run: Run | str, label: Label, cause: str | None = None, *, automatic: bool = False
    ) -> Run:
        """Make the run a landmark: "good", or "bad" with or without a cause; the run as it is now.

        An automatic label does not replace a person's. Raises LabelError, RunNotFoundError.
        """
        checks.check_label(label, cause)

        def write(connection: Connection) -> Run:
            run_id = self._find(connection, run)
            writes.store_label(connection, run_id, label, cause, automatic=automatic)
            return self._read_run(connection, run_id)

        return self._database.write(write)

    def unlabel(self, run: Run | str) -> Run:
        """Take the run's label away; the run as it is now."""

        def write(connection: Connection) -> Run:
            run_id = self._find(connection, run)
            writes.remove_label(connection, run_id)
            return self._read_run(connection, run_id)

        return self._database.write(write)

    def suggest_labels(
        self,
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        probe: str | None = None,
        tolerance: float | None = None,
        share: float = 0.5,
        ignore_hparams: Sequence[str] | None = None,
    ) -> LabelSuggestions:
        """Labels and causes that the outcomes of the finished runs suggest; nothing is written.

        `repwatch.analysis.labels` documents the rule.

        Args:
            metric: The metric that decides; None for what most runs monitor.
                "repwatch/neighbor_accuracy/<layer>" need not have been logged: it is computed, see
                `repwatch.analysis.knn_accuracy`.
            mode: "min" if less is better, "max" if more is; None for that of the runs.
            probe: Fingerprint of the probe set; None for the newest run's.
            tolerance: How much worse than the median of the better runs a good run may be.
            share: Share of the runs that define what good is, in (0, 1].
            ignore_hparams: Prefixes of hyperparameters that are never a cause; None for
                `repwatch.analysis.hyperparameters.IGNORED_HPARAMS`.

        Raises:
            ConfigurationError: Too few finished runs have the metric, or an argument is invalid.
        """
        from repwatch.analysis.hyperparameters import IGNORED_HPARAMS
        from repwatch.analysis.knn_accuracy import is_knn_accuracy, with_knn_accuracy
        from repwatch.analysis.labels import suggest_labels

        runs = with_knn_accuracy(self, self.runs(), metric, probe)
        if mode is None and is_knn_accuracy(metric):
            mode = "max"
        return suggest_labels(
            runs,
            metric,
            mode,
            probe=probe,
            tolerance=tolerance,
            share=share,
            ignore_hparams=IGNORED_HPARAMS if ignore_hparams is None else ignore_hparams,
        )

    # Recording

    def add_probe(self, probe: ProbeSet) -> None:
        """Store a probe set once; the same inputs again only count as used now."""
        prepared = self._prepare_probe(probe)
        self._database.write(lambda c: writes.store_probe(c, prepared))

    def start_run(
        self,
        name: str | None,
        *,
        probe: ProbeSet,
        hparams: Mapping[str, object] | None = None,
        versions: Mapping[str, str] | None = None,
        monitor: str | None = None,
        mode: Mode = "min",
        run_id: str | None = None,
        on_exists: Literal["error", "resume"] = "error",
    ) -> Run:
        """Begin a run, or continue one: that of `run_id`, or of the name with on_exists="resume".

        Without a name the run gets a readable one. Nested `hparams` are flattened with dots
        (`model.lr`). A continued run is running again, however it ended, and also where it never
        did, since its process was killed; what is new of its hyperparameters is added. Raises
        RunExistsError where the name is another run's, ProbeMismatchError where a continued run
        has another probe set: `find_run` finds the one that it has.
        """
        new = incoming.new_run(run_id, name, probe, hparams, versions, monitor, mode)
        resume = checks.check_choice("on_exists", on_exists, ("error", "resume")) == "resume"
        prepared = self._prepare_probe(probe)

        def write(connection: Connection) -> Run:
            writes.store_probe(connection, prepared)
            opened = writes.open_run(connection, new, resume_name=resume)
            return self._read_run(connection, opened)

        return self._database.write(write)

    def replace_probe(self, run: Run, probe: ProbeSet) -> None:
        """Give a run without snapshots another probe set; RegistryError where it has some."""
        prepared = self._prepare_probe(probe)

        def write(connection: Connection) -> None:
            writes.store_probe(connection, prepared)
            writes.replace_probe(connection, run.id, probe.fingerprint)

        self._database.write(write)

    def add_snapshots(self, run_id: str, new: Sequence[NewSnapshot]) -> None:
        """Store snapshots in one transaction; those of the same layer and step are replaced."""
        from repwatch.registry._db.blobs import encode_snapshots

        encoded = encode_snapshots(new)
        self._database.write(lambda c: writes.store_snapshots(c, run_id, encoded))

    def add_metrics(self, run_id: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Store the metrics of a step; NaN and infinities come back as they are."""
        plain_values = incoming.metric_values(values)
        step, epoch = plain_int(step, "step"), plain_int(epoch, "epoch")
        self._database.write(lambda c: writes.store_metrics(c, run_id, step, epoch, plain_values))

    def add_flag(
        self,
        run_id: str,
        *,
        kind: str,
        step: int,
        epoch: int,
        message: str,
        layer: str | None = None,
        cause: str | None = None,
        probability: float | None = None,
        evidence: Mapping[str, object] | None = None,
        raised_at: datetime | None = None,
    ) -> Flag:
        """Store a flag with its reasons, raised now or at the time given."""
        given = (kind, step, epoch, message, layer, cause, probability, evidence)
        values = {**incoming.flag_values(*given), "raised_at": raised_at or writes.now()}
        flag_id = self._database.write(lambda c: writes.store_flag(c, run_id, values))
        return Flag(id=flag_id, run_id=run_id, **values)

    def add_notes(self, run_id: str, notes: Sequence[str]) -> None:
        """Add what a person should know of how the run was watched; what is noted already stays."""
        checked = [plain_text(str(note)) for note in notes]
        if checked:
            self._database.write(lambda c: writes.store_notes(c, run_id, checked))

    def finish_run(self, run_id: str, status: EndStatus) -> None:
        """Record how the training ended: "finished", "stopped" or "failed"; see `records`."""
        checks.check_choice("status", status, ("finished", "stopped", "failed"))
        self._database.write(lambda c: writes.end_run(c, run_id, status))

    def heartbeat(self, run_id: str) -> None:
        """A sign of life of a running run."""
        self._database.write(lambda c: writes.beat(c, run_id))

    def save_space(self, key: str, content: bytes) -> None:
        """Store a fitted space under a key; what was there is replaced."""
        self._database.write(lambda c: writes.store_space(c, key, content))

    def cache_history(self, run: Run, content: bytes) -> bool:
        """Store what was computed from a run until its snapshots or metrics change.

        Args:
            run: The run as it was before it was read.
            content: What was computed.

        Returns:
            Whether it was stored: it is not where the run was written or deleted since.
        """
        store = writes.store_history
        return self._database.write(lambda c: store(c, run.id, run.heartbeat_at, content))

    def delete_run(self, run: Run | str) -> None:
        """Delete a run with its snapshots, metrics, flags and label; the probe set stays."""
        self._database.write(lambda c: writes.remove_run(c, self._find(c, run)))

    def compact(self) -> None:
        """Give the room of what was deleted back to the disk; a server does so automatically."""
        self._database.compact()

    # Helpers

    def _find(self, connection: Connection, run: Run | str) -> str:
        name_or_id = run.id if isinstance(run, Run) else checks.check_run(run)
        return queries.find_run_id(connection, name_or_id)

    def _read_run(self, connection: Connection, run_id: str) -> Run:
        return queries.read_runs(connection, self, RunRow.id == run_id)[0]

    def _prepare_probe(self, probe: ProbeSet) -> incoming.NewProbe:
        """The probe set as its rows; without its content where it is stored already."""
        stored = select(ProbeSetRow.fingerprint).where(ProbeSetRow.fingerprint == probe.fingerprint)
        if self._database.read(lambda c: c.scalar(stored)) is not None:
            return incoming.NewProbe(probe.fingerprint, probe.name, len(probe), None, [])
        return incoming.new_probe(probe)
