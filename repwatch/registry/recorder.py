"""RunRecorder: records one run on a thread of its own, while the training continues.

    recorder = RunRecorder(registry, run.id)
    recorder.snapshots([NewSnapshot(...), ...])      # returns at once
    recorder.finish("finished")
    recorder.close()

Encoding and sketching happen on the thread, not in the training. Where the registry does not
answer, what is recorded waits in a spool on disk, and is stored in order once it answers again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from repwatch.errors import RegistryUnavailableError, RunNotFoundError
from repwatch.registry import entries
from repwatch.registry.entries import Entry
from repwatch.registry.spool import Backlog, Spool, flush_waiting
from repwatch.registry.worker import Worker

if TYPE_CHECKING:
    from repwatch.registry._db.blobs import Encoding
    from repwatch.registry.records import EndStatus, Flag, Mode, NewSnapshot
    from repwatch.registry.registry import Registry

T = TypeVar("T")

RETRY_SECONDS = 5.0


class RunRecorder(Worker):
    """Records one run: snapshots, metrics, flags, notes, and how it ended.

    A heartbeat is written every `heartbeat` seconds until the run is finished.

    Args:
        registry: The registry; copied, so that the thread shares no connection.
        run_id: The run.
        capacity: The largest number of waiting entries.
        heartbeat: Seconds between heartbeats.
        spool: The folder for runs whose registry does not answer; None to hold waiting entries in
            memory only.
        start: The start entry of a run that could not be opened, since the registry did not answer.
        reopen: Returns the run's start entry again, for a registry whose file is deleted or
            replaced during the run; None to stop recording in that case.

    Attributes:
        messages: What a person should know about a registry that does not answer, oldest first;
            whoever shows a message removes it.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.registry import RunRecorder
        >>> registry = Registry("repwatch.db")
        >>> run = registry.start_run("next", probe=registry.probe())
        >>> recorder = RunRecorder(registry, run.id)
        >>> recorder.metrics(step=10, epoch=0, values={"val_loss": 0.5})  # returns at once
        >>> recorder.finish("finished")
        >>> recorder.close()
        True
        >>> registry.run("next").status, registry.run("next").metrics
        ('finished', {'val_loss': 0.5})
    """

    def __init__(
        self,
        registry: Registry,
        run_id: str,
        *,
        capacity: int = 64,
        heartbeat: float = 30.0,
        spool: Path | None = None,
        start: Entry | None = None,
        reopen: Callable[[], Entry] | None = None,
    ) -> None:
        self.run_id = run_id
        self.messages: list[str] = []
        self._root = spool
        self._reopen = reopen
        self._place, self._project = registry.place, registry.project
        self._finished = False
        self._pid = os.getpid()
        self._away_since = 0.0
        self._next_try = 0.0
        self._backlog = self._make_backlog()
        super().__init__(registry, capacity=capacity, idle_seconds=heartbeat)
        if start is not None:
            self._record(start)

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        del state["_backlog"]
        state["_reopen"] = None
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        self._backlog = self._make_backlog()

    @property
    def waiting(self) -> int:
        """How many entries wait for a registry that does not answer."""
        return len(self._backlog)

    def snapshots(self, new: Sequence[NewSnapshot], encoding: Encoding | None = None) -> None:
        """Record snapshots in one transaction. Their arrays must not change afterwards.

        `encoding` is the encoding of the same snapshots, if it is shared with other code.
        """
        self._record(entries.snapshots(new, encoding))

    def metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        self._record(entries.metrics(step, epoch, values))

    def monitor(self, metric: str, mode: Mode) -> None:
        """Record which metric decides how good the run is."""
        self._record(entries.monitor(metric, mode))

    def flag(self, flag: Flag) -> None:
        """Record a flag; the registry gives it its id."""
        self._record(entries.flag(flag))

    def notes(self, notes: Sequence[str]) -> None:
        """Record notes; those that the run has already are not added again."""
        self._record(entries.notes(notes))

    def finish(self, status: EndStatus) -> None:
        """Record that the run ended now, and how. An unavailable registry is tried once more."""
        self._record(entries.finish(status, datetime.now(timezone.utc)))

    def flush_earlier_runs(self) -> None:
        """Store what earlier processes have spooled for this registry."""
        if self._root is not None and self._root.is_dir():
            self.call(self._flush_earlier_runs)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything given so far is committed; False if it could not be."""
        return super().flush(timeout) and not self.waiting

    def idle(self, registry: Registry) -> None:
        """Write a heartbeat, and the waiting entries."""
        if self._finished or self.error is not None:
            return
        try:
            self._replay(registry)
            self._with_run(registry, partial(registry.heartbeat, self.run_id))
        except RegistryUnavailableError as error:
            self._report_away(error)

    def _record(self, entry: Entry) -> None:
        self.call(partial(self._store, entry))

    def _store(self, entry: Entry, registry: Registry) -> None:
        if self._pid != os.getpid():
            # The waiting entries belong to the process that this one was forked from.
            self._pid, self._away_since = os.getpid(), 0.0
            self._backlog = self._make_backlog()
        self._finished = self._finished or entry.kind == "finish"
        if not self._away_since or self._finished or time.monotonic() >= self._next_try:
            try:
                self._replay(registry)
                self._with_run(registry, partial(entry.apply, registry, self.run_id))
                return
            except RegistryUnavailableError as error:
                self._report_away(error)
        self._backlog.add(entry)
        if self._finished:
            self._report_left()

    def _replay(self, registry: Registry) -> None:
        """Store the waiting entries; the registry may fail again at any of them."""
        stored = self._with_run(registry, partial(self._backlog.replay, registry))
        if self._away_since:
            registry.heartbeat(self.run_id)
            away = time.monotonic() - self._away_since
            self._away_since = 0.0
            self.messages.append(
                f"The registry {self._place} answers again after {away:.0f} s; {stored} waiting "
                "entries were stored."
            )

    def _with_run(self, registry: Registry, store: Callable[[], T]) -> T:
        """The result of storing; a run that the registry has lost is opened there again."""
        try:
            return store()
        except RunNotFoundError:
            if self._reopen is None:
                raise
        self._reopen().apply(registry, self.run_id)
        self.messages.append(
            f"The registry {self._place} no longer has this run: its file was deleted or replaced, "
            "or the run was. It is opened there again; what it had recorded before is gone."
        )
        return store()

    def _report_away(self, error: RegistryUnavailableError) -> None:
        self._next_try = time.monotonic() + RETRY_SECONDS
        if self._away_since:
            return
        self._away_since = time.monotonic()
        where = "in memory" if self._backlog.spool is None else f"in {self._backlog.spool.folder}"
        self.messages.append(
            f"The registry does not answer; what is recorded waits {where} until it does. {error}"
        )

    def _report_left(self) -> None:
        """Report at the end where to find the entries that could not be stored."""
        spool, lost = self._backlog.spool, self._backlog.dropped
        if spool is not None:
            lost += len(self._backlog) - len(spool.files)
        if lost or spool is None:
            self.messages.append(
                f"{lost or len(self._backlog)} entries of this run are lost: neither the registry "
                "nor the spool took them."
            )
        if spool is not None and spool.files:
            self.messages.append(
                f"{len(spool.files)} entries of this run wait in {spool.folder}. The next run with "
                f"this registry stores them, or `repwatch flush {spool.folder}`."
            )
            spool.release()

    def _flush_earlier_runs(self, registry: Registry) -> None:
        if self._root is None:
            return
        for flushed in flush_waiting(self._root, registry):
            if flushed.error is None:
                self.messages.append(
                    f"{flushed.stored} entries of run {flushed.run_id}, which waited in "
                    f"{self._root}, are stored."
                )

    def _make_backlog(self) -> Backlog:
        spool = None
        if self._root is not None:
            folder = self._root / self.run_id
            spool = Spool(folder, self.run_id, self._place, self._project)
        return Backlog(self.run_id, spool)
