"""The orchestrator that any training loop can drive.

In the training thread, only the forward pass of the probe set and the RDMs take time. Storage,
drift detection and the map each have a thread of their own: one that is slow, or fails, holds no
snapshot back. What is ready to show waits in `updates()` for the training thread, since loggers
are not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from repwatch.capture import CallStrategy, Capture, PassiveCapture
from repwatch.capture._sharded import is_sharded
from repwatch.capture._weights import weights_checksum
from repwatch.errors import ConfigurationError, RegistryError
from repwatch.probe import ProbeSet
from repwatch.registry import Flag, Registry, Run, RunRecorder
from repwatch.registry.location import spool_folder
from repwatch.registry.records import EndStatus
from repwatch.registry.values import flatten
from repwatch.watch.background import Background
from repwatch.watch.captured import CapturedStep, describe_divergence, new_snapshots
from repwatch.watch.loop import NOT_ASKED, Loop
from repwatch.watch.measures import VitalMeasures
from repwatch.watch.metrics import numbers
from repwatch.watch.narrator import Narrator
from repwatch.watch.options import WatchOptions, check_group, find_continued_run
from repwatch.watch.outcome import tasks_after_end
from repwatch.watch.pace import Pace
from repwatch.watch.preparation import SMALLEST_PROBE, leave_out, make_capturer, prepare
from repwatch.watch.publisher import Publisher, Update
from repwatch.watch.ranks import is_first_rank
from repwatch.watch.reporter import Reporter
from repwatch.watch.run_state import RunState
from repwatch.watch.start import open_run, plan_again

if TYPE_CHECKING:
    from repwatch.integrations.loggers import Loggers

__all__ = ["Update", "Watcher"]


class Watcher(Loop):
    """Captures, stores and places the snapshots of one run.

    Args:
        model: The module to watch. It is left as it was, bit by bit, after each snapshot.
        probe: The probe set.
        options: How to watch; None for the defaults and what `settings` change.
        run_id: The id of a run to continue.
        hparams: Hyperparameters, by name; nested ones are flattened with dots.
        versions: Versions of libraries, by name.
        context: Entered around each forward pass, such as autocast.
        convert: Applied to the inputs of each forward pass, on the model's device.
        host_batch_size: The size of the batches that the model is trained with: a forward pass of
            the probe set takes no more points than that, unless `batch_size` asks for more.
        host: Further ways to call the model with a batch, tried after the model itself: those of a
            driver, such as a LightningModule's own steps.
        optimizers: A function that gives the optimizers, for the vital signs of parameters.
        loggers: Where maps, scalars and flags are shown: a SummaryWriter of TensorBoard, a run of
            W&B or MLflow, or loggers of Lightning. Each call gives them what is ready by then.
        state: Where the run's id, its flags and p_bad are put for a driver's user to read.
        settings: Options by name, instead of `options`: see `WatchOptions`.

    Raises:
        ConfigurationError: An option cannot work, or `group` is not among `hparams`.
        UnknownLayerError: A name in `layers` is not in the model.

    Attributes:
        probe: The probe set; points that the model has no finite values for at the start are left
            out of it before the run is opened.
        run: The run, once it is open.
        publisher: Gives flags, maps and scalars to `on_flag` and the loggers.
        measures: What vital signs read besides the outputs of layers.
        pace: When `step_ended` and `epoch_ended` take snapshots, and the time that was taken.
        no_snapshot_reason: What `finish` says where no snapshot was taken.

    Examples:
        >>> from repwatch import ProbeSet, Registry, Watcher
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 2))
        >>> probe = ProbeSet.from_tensor(torch.randn(20, 6))
        >>> with Watcher(model, probe, registry="repwatch.db", run_name="mine") as watcher:
        ...     for epoch in range(2):
        ...         flags = watcher.snapshot(step=10 * epoch, epoch=epoch)  # train in between
        ...         watcher.metrics(10 * epoch, epoch, {"val_loss": 0.5})
        >>> [snapshot.step for snapshot in Registry("repwatch.db").snapshots(run="mine", layer="1")]
        [0, 10]
    """

    def __init__(
        self,
        model: torch.nn.Module,
        probe: ProbeSet,
        options: WatchOptions | None = None,
        *,
        run_id: str | None = None,
        hparams: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        context: Callable[[], AbstractContextManager[object]] | None = None,
        convert: Callable[[Any], Any] | None = None,
        host_batch_size: int | None = None,
        host: Sequence[CallStrategy] = (),
        optimizers: Callable[[], Sequence[torch.optim.Optimizer]] = tuple,
        loggers: Sequence[Any] = (),
        state: RunState | None = None,
        **settings: Any,
    ) -> None:
        if options is not None and settings:
            raise ConfigurationError(
                "Expected either `options` or options by name, but got both: "
                f"{', '.join(settings)}. Put them into WatchOptions(...)."
            )
        self.options = options = options or WatchOptions.of(settings)
        self._hparams = flatten(hparams or {})
        check_group(options.group, self._hparams)
        self.probe = probe.with_metric(options.metric)
        self.registry = Registry.coerce(options.registry)
        self.capturer = make_capturer(
            model, self.probe, options, host_batch_size, host, context=context, convert=convert
        )
        self.run: Run | None = None
        self.state = state or RunState()
        self.publisher = Publisher(options.on_flag, self.state)
        self._loggers: Loggers | None = None
        if loggers:
            from repwatch.integrations.loggers import Loggers

            self._loggers = Loggers(loggers)
            self.publisher.sinks.append(self._loggers)
        self.pace = Pace(options.schedule, options.max_overhead)
        self.no_snapshot_reason = NOT_ASKED
        self._follows = False
        self._sharded = is_sharded(list(model.modules()))
        self._run_id = run_id
        self._versions = dict(versions or {})
        self._first: tuple[tuple[str, ...], Capture] | None = None
        self._recorder: RunRecorder | None = None
        self._background: Background | None = None
        self._reporter = Reporter()
        self.measures = VitalMeasures(self.capturer.model, optimizers, enabled=bool(options.vitals))
        self._unread: list[Flag] = []
        self._captured = 0
        self._narrator = Narrator(self.registry, options.verbose, options.group)

    def prepare(self) -> Capture:
        """Run the probe set through the model once, before the run is opened.

        Errors show up here, and leave no run behind. Notes describe any change to the probe set
        (see `preparation.prepare`). The first snapshot reuses the capture if the weights are still
        the same.

        Raises:
            CaptureError: The probe set cannot be run through the model.
        """
        found = prepare(self.capturer, self.options.points, lambda: not self._has_run_with_probe())
        self.capturer, self.probe, capture = found.capturer, found.capturer.probe, found.capture
        self.add_notes(found.notes)
        self.add_notes([f"The probe set is run by {capture.how}.", *capture.notes])
        self.add_notes(self.measures.prepare(self.capturer))
        self._first = weights_checksum(self.capturer.model), capture
        return capture

    def passive_capture(self, passive: PassiveCapture) -> Capture:
        """What the host's own passes gave, for `record`.

        Before the first snapshot, points that did not pass by are left out of the probe set.

        Raises:
            CaptureError: Points are missing later, or fewer than 3 have passed by.
        """
        missing = sorted(set(range(len(self.probe))) - set(passive.places))
        stored = self.run is not None and self.registry.layers(self.run)
        first = self.capturer.plan is None and not stored
        if not missing or not first or passive.seen < SMALLEST_PROBE or not self.probe.divisible:
            return passive.result()
        self.probe = leave_out(self.probe, missing, "they do not pass by in validation")
        self.capturer = self.capturer.restrict(self.probe)
        self.add_notes(self.probe.notes[-1:])
        if self.run is not None:
            self._reopen(self.run)
        return passive.result(self.capturer.finish_passive)

    def _reopen(self, run: Run) -> None:
        """Give an open run without snapshots the current probe set."""
        recorder, self._recorder = self._running(check=False), None
        self._reporter.close()
        if self._background is not None:
            self._background.close_drift(60.0)
            self._background.close_map(60.0)
        recorder.close(60.0)
        self.registry.replace_probe(run, self.probe)
        self._run_id = run.id
        self.start(prepare=False)

    def _has_run_with_probe(self) -> bool:
        """Whether there is a run already that was recorded with all these points."""
        run = self.run or find_continued_run(self.options, self.registry, self._run_id)
        return run is not None and run.probe == self.probe.fingerprint

    def start(self, *, prepare: bool = True) -> Run | None:
        """Open the run in the registry, and begin to fit the space of its landmarks.

        Of the processes that train together (torch.distributed), the first one opens the run, and
        the others get None: calls on them do only what a sharded model needs from all processes.

        Args:
            prepare: Whether to run the probe set once first (see `prepare`), if that has not been
                done. False where the captures are made elsewhere and given to `record`.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RunExistsError: The name is taken.
            RegistryError: The registry cannot be opened or written.
        """
        self._follows = not is_first_rank()
        if prepare and self._first is None and (self._sharded or not self._follows):
            self.prepare()
        if self._follows:
            return None
        options = self.options
        self.run, unopened = open_run(
            self.registry,
            options,
            self.probe,
            run_id=self._run_id,
            hparams={**self._hparams, **(self._loggers.identify() if self._loggers else {})},
            versions=self._versions,
        )
        self.state.run_id = self.run.id
        self.pace = Pace(options.schedule, options.max_overhead, self.run.last_step)
        if self._loggers is not None:
            self._loggers.introduce(self.run)
        again = partial(plan_again, self.registry, self.run, self.probe)
        spool = spool_folder(options.spool)
        self._recorder = RunRecorder(
            self.registry, self.run.id, spool=spool, start=unopened, reopen=again
        )
        self._recorder.flush_earlier_runs()
        notes = self._reporter.open(self._recorder)
        self.add_notes(self._narrator.start(self.run, self.probe, notes))
        labels, others = self.probe.columns.get("label", ()), self._narrator.comparison
        self._background = Background(
            self.registry, self.run, labels, self._recorder, options, others, self.publisher.takes
        )
        return self.run

    def capture(self) -> Capture:
        """Run the probe set through the model, for `record`.

        Raises:
            CaptureError: The probe set cannot be run through the model.
        """
        first, self._first = self._first, None
        if first is not None and first[0] == weights_checksum(self.capturer.model):
            return first[1]
        return self.capturer.run()

    def snapshot(self, step: int, epoch: int, *, log_step: int | None = None) -> list[Flag]:
        """Run the probe set through the model and hand its RDMs to the registry.

        It is taken whatever the schedule and the time budget say: see `step_ended`.

        Args:
            step: The optimizer step, 0 before the first.
            epoch: The epoch, counted from 0.
            log_step: The place on the loggers' step axis; None for `step`.

        Returns:
            The flags that were raised since the last call: by this snapshot, where activations that
            were finite have become NaN or infinite, and by drift detection, which lags behind.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RegistryError: An earlier snapshot could not be written.
        """
        if self._follows:
            if self._sharded:
                self.capture()
            return []
        self._running()
        with self.pace.counted():
            return self.record(self.capture(), step, epoch, log_step=log_step)

    def record(
        self, capture: Capture, step: int, epoch: int, *, log_step: int | None = None
    ) -> list[Flag]:
        """Store a capture that was made elsewhere; see `snapshot`."""
        recorder = self._running()
        self.add_notes(capture.notes)
        if step == 0:
            self.add_notes(describe_divergence(capture))
        new = new_snapshots(capture, step, epoch, self.measures.measure(self.capturer))
        assert self.run is not None
        assert self._background is not None
        log_step = step if log_step is None else log_step
        captured = CapturedStep(self.run, new, log_step, -1 - self._captured)
        recorder.snapshots(new, captured.encoding)
        self._narrator.add_step()
        self.publisher.note_step(step, log_step)
        self._background.check_step(captured)
        self._captured += len(new)
        if self.publisher.sinks:
            self.updates()
        return self.flags()

    def add_notes(self, notes: Sequence[str]) -> None:
        """Store notes on how the run was watched with the run; each note once."""
        self._reporter.add_notes(notes)

    @property
    def run_id(self) -> str:
        """The id of the open run. Raises RegistryError before `start`."""
        self._running(check=False)
        assert self.run is not None
        return self.run.id

    def metrics(self, step: int, epoch: int, values: Mapping[str, object]) -> None:
        """Store metrics of this step: all that are a single number of Python, numpy or torch.

        NaN and infinity are stored as they are.
        """
        found = {} if self._follows else numbers(values)
        if found:
            recorder = self._running()
            recorder.metrics(step, epoch, found)
            monitor = self._narrator.find_monitor(found)
            if monitor is not None:
                recorder.monitor(monitor.metric, monitor.mode)
                self.add_notes([monitor.note])
            if self._background is not None:
                self._background.add_metrics(step, epoch, found)

    def updates(self) -> list[Update]:
        """What has become ready to show since the last call, oldest first.

        With `loggers` it goes to them, and `snapshot` and `finish` call this.
        """
        self._report_problems()
        taken = [] if self._background is None else self._background.take_updates()
        for update in taken:
            self.publisher.publish_update(update)
        return taken

    def flags(self) -> list[Flag]:
        """The flags that have been raised since the last call, oldest first."""
        self._publish_flags()
        unread, self._unread = self._unread, []
        return unread

    def _publish_flags(self) -> None:
        for flag in [] if self._background is None else self._background.take_flags():
            self._unread.append(flag)
            self.publisher.publish_flag(flag)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was handed over is committed and placed; False after `timeout` s."""
        if self._follows:
            return True
        stored = self._running().flush(timeout)
        looked_at = self._background is None or self._background.flush(timeout)
        return stored and looked_at

    def finish(
        self,
        status: EndStatus = "finished",
        timeout: float | None = 60.0,
        *,
        cost: str | None = None,
    ) -> None:
        """Commit what is waiting, mark the run as ended, and end the threads.

        With `auto_label`, runs that finished are labeled by their last metrics.

        Args:
            status: How the run ended.
            timeout: Seconds to wait for what is waiting, and for the last map; None for no limit.
            cost: What watching it took, in words, for the summary.

        Raises:
            RegistryError: Something could not be stored.
        """
        if self._follows:
            return
        recorder = self._running(check=False)
        if not (self._captured or self.publisher.muted or status == "failed"):
            self.report(f"this training has no snapshot: {self.no_snapshot_reason}")
        background = self._background
        if background is not None:
            background.place_waiting()
            # Everything has been assessed before the run ends: its flags are stored with it.
            background.close_drift(timeout)
        recorder.finish(status)
        cache = None if background is None else background.cache_history
        for task in tasks_after_end(self.run_id, self.options, status, cache):
            recorder.call(task)
        self._recorder = None
        self._reporter.close()
        recorder.close(timeout)
        self._reporter.relay(recorder)
        if background is not None:
            background.close_map(timeout)
        self._report_problems()
        stored_whole = recorder.error is None and not recorder.waiting
        if stored_whole and background is not None and self.run is not None:
            self._narrator.finish(self.run, cost, background.nearest)
        # No connection to a SQLite file stays open, and its journal files are removed.
        self.registry.close()
        self._publish_last()
        if recorder.error is not None:
            raise RegistryError(
                f"Not everything of run {self.run.name if self.run else '?'!r} could be stored: "
                f"{recorder.error}"
            ) from recorder.error

    def _publish_last(self) -> None:
        self._publish_flags()
        if self.publisher.sinks:
            self.updates()
            self.publisher.finish()

    def _running(self, *, check: bool = True) -> RunRecorder:
        if self._recorder is None:
            raise RegistryError(
                "This Watcher has no open run: call start() first, and nothing after finish()."
            )
        if check and self._recorder.error is not None:
            raise RegistryError(
                f"Snapshots can no longer be stored: {self._recorder.error}"
            ) from self._recorder.error
        return self._recorder

    def _report_problems(self) -> None:
        if self._recorder is not None:
            self._reporter.relay(self._recorder)
        for problem in () if self._background is None else self._background.problems():
            self.report(problem)

    def report(self, message: str) -> None:
        """Log a message, and store it with the run; each message once."""
        self._reporter.report(message)
