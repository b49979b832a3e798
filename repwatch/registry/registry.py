"""Registry: the runs, snapshots, landmarks, flags and probe sets of a project.

Nothing is opened or made before the first read or write. A Registry may be copied, pickled, shared
by threads and used after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from sqlalchemy import Connection, select

from repwatch.registry import checks
from repwatch.registry._db import incoming, writes
from repwatch.registry._db.lookup import run_not_found
from repwatch.registry._db.step_writes import store_metrics, store_snapshots
from repwatch.registry._db.tables import PROBE_SETS
from repwatch.registry.location import Location, resolve
from repwatch.registry.reading import RegistryReader
from repwatch.registry.records import (
    NO_LABEL,
    EndStatus,
    Flag,
    Label,
    Mode,
    NewSnapshot,
    OnExists,
    Run,
)
from repwatch.registry.values import plain_int, plain_name, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repwatch.analysis.labels import LabelSuggestions
    from repwatch.probe import ProbeSet
    from repwatch.registry._db.blobs import EncodedSnapshot
    from repwatch.registry._db.engine import Driver


class Registry(RegistryReader):
    """A registry at a path (SQLite) or a URL (SQLite, PostgreSQL).

    `location` None means $REPWATCH_REGISTRY, else ./repwatch.db. Writing creates the file; reading
    one that is not there is an error. With `read_only` nothing is ever created, migrated or
    written. With `strict` a training does not start while the server does not answer; otherwise
    what it records waits in a spool until it does. A running run without a heartbeat for
    `dead_after` seconds is read as "dead". Several projects can share a registry: only the runs of
    `project` (None: $REPWATCH_PROJECT, else "") are read and written, and names are unique within
    it; probe sets are shared.

    Examples:
        >>> from repwatch import Registry
        >>> registry = Registry("repwatch.db")
        >>> [run.name for run in registry.runs(label="bad")]
        ['bad-0', 'bad-1', 'bad-2', 'bad-3']
        >>> registry.label("current", "bad", cause="learning rate too high").label
        'bad'
    """

    @classmethod
    def coerce(cls, value: Registry | Location | None, default: Path | None = None) -> Registry:
        """The registry of a training: the Registry itself, or the one at a path or URL.

        None means $REPWATCH_REGISTRY, else `default`, else ./repwatch.db. Its file is created by
        the first use, be that reading or writing.
        """
        registry = value if isinstance(value, Registry) else cls(resolve(value, default)[0])
        registry._database.creates = not registry._database.read_only
        return registry

    def create(self) -> Registry:
        """Create the file, or the tables on a server, if missing; returns the registry itself.

        Trainings and all writes do this automatically.
        """
        self._database.engine  # noqa: B018 - made and its schema checked on first use
        return self

    # Landmarks

    def label(
        self, run: Run | str, label: Label, cause: str | None = None, *, automatic: bool = False
    ) -> Run:
        """Make the run a landmark: "good", or "bad", with a cause or without; returns the run.

        An automatic label does not replace a person's. Raises LabelError, RunNotFoundError.
        """
        checks.check_label(label, cause)

        def write(connection: Connection) -> Run:
            run_id = self._find(connection, run)
            writes.store_label(connection, run_id, label, cause, automatic=automatic)
            return self._read_run(connection, run_id)

        return self._database.write(write)

    def unlabel(self, run: Run | str, *, automatic: bool = False) -> Run:
        """Remove the run's label; returns the run as it is now.

        A label that a person removed is not assigned again by outcome: the run gets the note
        `repwatch.registry.records.NO_LABEL`. With `automatic`, only an automatic label is removed,
        and there is no note.
        """

        def write(connection: Connection) -> Run:
            run_id = self._find(connection, run)
            writes.remove_label(connection, run_id, automatic=automatic)
            if not automatic:
                writes.store_notes(connection, run_id, [NO_LABEL])
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
            metric: The metric that decides; None for what most runs monitor, else a customary one.
                "repwatch/neighbor_accuracy/<layer>" need not have been logged: it is computed, see
                `repwatch.analysis.knn_accuracy`.
            mode: "min" if less is better, "max" if more is; None for that of the runs, else what is
                customary for the metric's name.
            probe: Fingerprint of the probe set; None for the newest run's.
            tolerance: How much worse than the median of the better runs a good run may be.
            share: Share of the runs that define what good is, in (0, 1].
            ignore_hparams: Prefixes of hyperparameters that are never a cause; None for
                `repwatch.analysis.hyperparameters.IGNORED_HPARAMS`.

        Raises:
            ConfigurationError: Too few finished runs have the metric, or an argument is invalid.
        """
        from repwatch.analysis.hyperparameters import IGNORED_HPARAMS
        from repwatch.analysis.knn_accuracy import label_codes, with_knn_accuracy
        from repwatch.analysis.labels import suggest_labels

        runs = with_knn_accuracy(self, self.runs(), metric, probe)
        measured = probe or (runs[-1].probe if runs else None)
        known = any(run.probe == measured for run in runs)
        return suggest_labels(
            runs,
            metric,
            mode,
            probe=probe,
            tolerance=tolerance,
            share=share,
            ignore_hparams=IGNORED_HPARAMS if ignore_hparams is None else ignore_hparams,
            codes=label_codes(self, measured) if measured is not None and known else None,
        )

    # Recording

    def add_probe(self, probe: ProbeSet, *, replace: bool = False) -> None:
        """Store a probe set once; the same inputs again only count as used now.

        With `replace`, what a person sees of the points (columns, texts, links, images) becomes
        that of `probe`, also for the runs that have been trained.
        """
        prepared = incoming.new_probe(probe) if replace else self._prepare_probe(probe)
        self._database.write(lambda c: writes.store_probe(c, prepared, replace=replace))

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
        on_exists: OnExists = "error",
    ) -> Run:
        """Begin a run, or continue one: that of `run_id`, or of the name with on_exists="resume".

        Without a name the run gets a readable one; with on_exists="number" a name that is taken
        gets the next free number (name-2), and a continued run keeps its own. Nested `hparams` are
        flattened with dots (`model.lr`). A continued run is running again, however it ended, even
        if its process was killed; new hyperparameters are added. Raises RunExistsError where the
        name is another run's, ProbeMismatchError where a continued run has another probe set:
        `find_run` finds the one that it has.
        """
        new = incoming.new_run(run_id, name, probe, hparams, versions, monitor, mode)
        checks.check_choice("on_exists", on_exists, get_args(OnExists))
        return self.open_run(new, self._prepare_probe(probe), on_exists=on_exists)

    def open_run(
        self,
        new: incoming.NewRun,
        prepared: incoming.NewProbe,
        *,
        on_exists: OnExists = "error",
    ) -> Run:
        """What `start_run` does with a run and a probe set that are checked already."""

        def write(connection: Connection) -> Run:
            writes.store_probe(connection, prepared)
            opened = writes.open_run(connection, new, on_exists)
            return self._read_run(connection, opened)

        return self._database.write(write)

    def set_monitor(self, run_id: str, metric: str, mode: Mode) -> None:
        """Store which metric decides how good the run is, if that becomes known after its start."""
        metric = plain_name(metric)
        checks.check_choice("mode", mode, ("min", "max"))
        self._database.write(lambda c: writes.store_monitor(c, run_id, metric, mode))

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

        self.add_encoded(run_id, encode_snapshots(new))

    def add_encoded(self, run_id: str, encoded: Sequence[EncodedSnapshot]) -> None:
        """What `add_snapshots` does with snapshots that are encoded already."""
        self._write_step(run_id, lambda driver: store_snapshots(driver, run_id, encoded))

    def add_metrics(self, run_id: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Store the metrics of a step; NaN and infinities come back as they are."""
        plain_values = incoming.metric_values(values)
        step, epoch = plain_int(step, "step"), plain_int(epoch, "epoch")
        self._write_step(run_id, lambda d: store_metrics(d, run_id, step, epoch, plain_values))

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
        """Add what a person should know about how the run was watched; earlier notes stay."""
        checked = [plain_text(str(note)) for note in notes]
        if checked:
            self._database.write(lambda c: writes.store_notes(c, run_id, checked))

    def finish_run(
        self, run_id: str, status: EndStatus, *, ended_at: datetime | None = None
    ) -> None:
        """Record how the training ended ("finished", "stopped" or "failed"), now or at a time."""
        checks.check_choice("status", status, ("finished", "stopped", "failed"))
        self._database.write(lambda c: writes.end_run(c, run_id, status, ended_at))

    def heartbeat(self, run_id: str) -> None:
        """Record that a running run is still alive."""
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
            Whether it was stored: not if the run was written or deleted since.
        """
        store = writes.store_history
        return self._database.write(lambda c: store(c, run.id, run.heartbeat_at, content))

    def delete_run(self, run: Run | str) -> None:
        """Delete a run with its snapshots, metrics, flags and label; the probe set stays."""
        self._database.write(lambda c: writes.remove_run(c, self._find(c, run)))

    def compact(self) -> None:
        """Give the space of deleted data back to the disk; a server does so automatically."""
        self._database.compact()

    # Helpers

    def _write_step(self, run_id: str, store: Callable[[Driver], bool]) -> None:
        if not self._database.write_rows(store):
            raise self._database.read(lambda c: run_not_found(c, run_id))

    def _prepare_probe(self, probe: ProbeSet) -> incoming.NewProbe:
        """The probe set as its rows; without its content where it is stored already."""
        stored = select(PROBE_SETS.c.fingerprint).where(
            PROBE_SETS.c.fingerprint == probe.fingerprint
        )
        if self._database.read(lambda c: c.scalar(stored), create=True) is not None:
            return incoming.NewProbe(probe.fingerprint, probe.name, len(probe), None, [])
        return incoming.new_probe(probe)
