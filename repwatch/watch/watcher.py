"""The orchestrator that any training loop can drive.

    watcher = Watcher(model, probe, registry="repwatch.db", run_name="first try")
    watcher.start()
    watcher.snapshot(step=0, epoch=0)
    ...                                   # train
    watcher.finish("finished")

What costs time in the training thread is the forward pass of the probe set and the RDMs. Storing
has a thread of its own, and so have drift detection and the map: one that is slow, or fails, holds
no snapshot back.
What is ready to show waits in `updates()` for the training thread, since loggers are not made for
two threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

import torch

from repwatch._names import name_some
from repwatch.capture import CallStrategy, Capture, Capturer
from repwatch.capture._weights import weights_checksum
from repwatch.capture.parameters import ParameterWatch
from repwatch.errors import CaptureError, ConfigurationError, RegistryError
from repwatch.probe import ProbeSet
from repwatch.registry import Flag, Registry, Run, RunRecorder, Worker
from repwatch.registry.records import EndStatus
from repwatch.registry.values import flatten
from repwatch.vitals import VitalMonitor, choose_rules
from repwatch.watch.captured import CapturedStep, new_snapshots
from repwatch.watch.metrics import numbers
from repwatch.watch.options import WatchOptions, check_group, find_continued_run
from repwatch.watch.outcome import end_status, label_run
from repwatch.watch.publisher import Publisher
from repwatch.watch.run_state import RunState
from repwatch.watch.updates import FlagQueue, Update, UpdateQueue
from repwatch.watch.workers import DriftWorker, MapWorker

__all__ = ["Update", "Watcher"]

log = logging.getLogger("repwatch")

# Distances between fewer points carry no information.
SMALLEST_PROBE = 3


class Watcher:
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
        self.probe = probe
        self.registry = Registry.coerce(options.registry)
        self.capturer = Capturer(
            model,
            probe,
            layers=options.layers,
            forward=options.forward,
            reduce=options.reduce,
            batch_size=options.batch_size,
            host_batch_size=host_batch_size,
            host=host,
            max_layers=options.max_layers,
            context=context,
            convert=convert,
        )
        self.run: Run | None = None
        self.state = state or RunState()
        self.publisher = Publisher(options.on_flag, self.state)
        if loggers:
            from repwatch.integrations.loggers import Loggers

            self.publisher.sinks.append(Loggers(loggers))
        self._run_id = run_id
        self._versions = dict(versions or {})
        self._first: tuple[tuple[str, ...], Capture] | None = None
        self._notes: list[str] = []
        self._recorder: RunRecorder | None = None
        self._drift: DriftWorker | None = None
        self._map: MapWorker | None = None
        self._flags: FlagQueue | None = None
        self._updates = UpdateQueue()
        self._vitals: VitalMonitor | None = None
        self._parameters = ParameterWatch(self.capturer.model)
        self._optimizers = optimizers
        self._unread: list[Flag] = []
        self._reported: set[str] = set()
        self._captured = 0

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish("finished" if error is None else end_status(error))

    def prepare(self) -> Capture:
        """Run the probe set through the model once, before the run is opened.

        What cannot work shows here, and leaves no run behind. Points without finite values in some
        layer are left out of the probe set, and a note names them. The capture is used again by the
        first snapshot, if the weights are still the same.

        Raises:
            CaptureError: The probe set cannot be run through the model.
        """
        capture = self._run_probe()
        bad = capture.bad_points
        total = len(self.probe)
        if bad and total - len(bad) >= SMALLEST_PROBE and not self._has_run_with_probe():
            self.probe = self.probe.subset([i for i in range(total) if i not in set(bad)])
            self.capturer = self.capturer.restrict(self.probe)
            self.add_notes(
                [
                    f"{len(bad)} of {total} probe points are left out, because the model gives NaN "
                    f"or infinite values for them from the start: {name_some(bad)}."
                ]
            )
            capture = self.capturer.run()
        self.add_notes([f"The probe set is run by {capture.how}.", *capture.notes])
        self._first = weights_checksum(self.capturer.model), capture
        return capture

    def _has_run_with_probe(self) -> bool:
        """Whether there is a run already that was recorded with all these points."""
        run = self.run or find_continued_run(self.options, self.registry, self._run_id)
        return run is not None and run.probe == self.probe.fingerprint

    def _run_probe(self) -> Capture:
        """A first capture; what the probe set lacks may be why there is none."""
        try:
            return self.capturer.run()
        except CaptureError as error:
            if not self.probe.notes:
                raise
            notes = "; ".join(self.probe.notes)
            raise CaptureError(f"{error} Of the probe set: {notes}.") from error

    def start(self, *, prepare: bool = True) -> Run:
        """Open the run in the registry, and begin to fit the space of its landmarks.

        Args:
            prepare: Whether to run the probe set once before (see `prepare`), if that has not been
                done. False where the captures are made elsewhere and given to `record`.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RunExistsError: The name is taken.
            RegistryError: The registry cannot be opened or written.
        """
        if prepare and self._first is None:
            self.prepare()
        options = self.options
        self.run = self.registry.start_run(
            options.run_name,
            probe=self.probe,
            hparams=self._hparams,
            versions=self._versions,
            monitor=options.monitor,
            mode=options.mode,
            run_id=self._run_id,
            on_exists=options.on_exists,
        )
        self.state.run_id = self.run.id
        rules = choose_rules(options.vitals)
        at_once = [rule for rule in rules if rule.immediate]
        self._vitals = VitalMonitor(self.run, at_once, with_rdms=False)
        self._vitals.start(self.registry)
        self._recorder = RunRecorder(self.registry, self.run.id)
        notes, self._notes = self._notes, []
        self.add_notes(notes)
        self._flags = FlagQueue(self._recorder)
        shared = self.registry, self.run
        later = [rule for rule in rules if not rule.immediate]
        vitals = VitalMonitor(self.run, later, labels=self.probe.columns.get("label", ()))
        self._drift = DriftWorker(*shared, options, vitals, self._updates, self._flags)
        if options.draw_map:
            self._map = MapWorker(*shared, self._recorder, self._drift, options, self._updates)
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

        Args:
            step: The optimizer step, 0 before the first.
            epoch: The epoch, counted from 0.
            log_step: The place on the loggers' step axis; None for `step`.

        Returns:
            The flags that were raised since the last call: by this snapshot, where activations that
            were finite have become NaN or infinite, and by drift detection, which runs behind.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RegistryError: An earlier snapshot could not be written.
        """
        self._running()
        return self.record(self.capture(), step, epoch, log_step=log_step)

    def record(
        self, capture: Capture, step: int, epoch: int, *, log_step: int | None = None
    ) -> list[Flag]:
        """Store a capture that was made elsewhere; see `snapshot`."""
        recorder = self._running()
        self.add_notes(capture.notes)
        if step == 0:
            self._note_divergence(capture)
        new = new_snapshots(capture, step, epoch, self._measure_parameters())
        recorder.snapshots(new)
        assert self.run is not None
        assert self._vitals is not None
        assert self._flags is not None
        log_step = step if log_step is None else log_step
        self.publisher.note_step(step, log_step)
        captured = CapturedStep(self.run, new, log_step, first_id=-1 - self._captured)
        self._captured += len(new)
        flags = self._vitals.check_step(captured.scalars())
        for flag in flags:
            self._flags.put(flag)
        if self._drift is not None:
            self._drift.check_step(captured, flags)
        if self._map is not None:
            self._map.check_step(captured)
        if self.publisher.sinks:
            self.updates()
        return self.flags()

    def _note_divergence(self, capture: Capture) -> None:
        names = [name for name, layer in capture.layers.items() if layer.diverged]
        if names:
            start = "Layers with NaN or infinite values for every probe point from the start"
            self.add_notes([f"{start}: {name_some(names)}."])

    def _measure_parameters(self) -> dict[str, dict[str, float]]:
        plan = self.capturer.plan
        if plan is None or not self.options.vitals:
            return {}
        return self._parameters.measure(plan, self._optimizers())

    def add_notes(self, notes: Sequence[str]) -> None:
        """Store notes on how the run was watched with the run; each note once."""
        if not notes:
            return
        if self._recorder is None:
            self._notes += [note for note in notes if note not in self._notes]
        elif self._recorder.error is None:
            self._recorder.notes(notes)

    @property
    def run_id(self) -> str:
        """The id of the open run. Raises RegistryError before `start`."""
        self._running(check=False)
        assert self.run is not None
        return self.run.id

    def metrics(self, step: int, epoch: int, values: Mapping[str, object]) -> None:
        """Store metrics of this step: all that are one number, of Python, numpy or torch.

        NaN and infinity are stored as they are.
        """
        values = numbers(values)
        if values:
            self._running().metrics(step, epoch, values)
            if self._drift is not None:
                self._drift.add_metrics(step, epoch, values)

    def updates(self) -> list[Update]:
        """What has become ready to show since the last call, oldest first.

        With `loggers` it goes to them, and `snapshot` and `finish` call this.
        """
        self._report_failures()
        if self._drift is not None and self._drift.unavailable_reason is not None:
            self.report(self._drift.unavailable_reason)
        taken = self._updates.take()
        for update in taken:
            self.publisher.publish_update(update)
        return taken

    def flags(self) -> list[Flag]:
        """The flags that have been raised since the last call, oldest first."""
        self._publish_flags()
        unread, self._unread = self._unread, []
        return unread

    def _publish_flags(self) -> None:
        for flag in [] if self._flags is None else self._flags.take():
            self._unread.append(flag)
            self.publisher.publish_flag(flag)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was handed over is committed and placed; False after `timeout` s."""
        stored = self._running().flush(timeout)
        if self._map is not None:
            self._map.place_waiting()
        return stored and all(worker.flush(timeout) for worker in self._workers)

    def finish(self, status: EndStatus = "finished", timeout: float | None = 60.0) -> None:
        """Commit what is waiting, mark the run as ended, and let the threads go.

        With `auto_label`, a run that finished is labeled by its last metrics.

        Args:
            status: How the run ended.
            timeout: Seconds to wait for what is waiting, and for the last map; None for no limit.

        Raises:
            RegistryError: Something could not be stored.
        """
        recorder = self._running(check=False)
        if self._map is not None:
            self._map.place_waiting()
        # Everything has been assessed before the run ends: its flags are stored with it.
        if self._drift is not None:
            self._drift.close(timeout)
        recorder.finish(status)
        reasons: list[str] = []
        if self.options.auto_label and status == "finished":
            recorder.call(partial(label_run, self.run_id, self.options.group, reasons))
        self._recorder = None
        recorder.close(timeout)
        for reason in reasons:
            log.warning("RepWatch: %s", reason)
        if self._map is not None and not self._map.close(timeout) and self._map.error is None:
            log.warning(
                "RepWatch: the last map was not ready within %s s; `repwatch map` draws it.",
                timeout,
            )
        self._report_failures()
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

    @property
    def _workers(self) -> list[Worker]:
        return [worker for worker in (self._drift, self._map) if worker is not None]

    def _report_failures(self) -> None:
        lost = {"the map cannot be drawn": self._map, "drift is not watched": self._drift}
        for what, worker in lost.items():
            error = None if worker is None else worker.error
            if error is not None:
                reason = f"{type(error).__name__}: {error}"
                self.report(f"{what} any more ({reason}). Snapshots are still stored.")

    def report(self, message: str) -> None:
        """Log a message, and store it with the run; each message once."""
        if message not in self._reported:
            self._reported.add(message)
            log.warning("RepWatch: %s", message)
            self.add_notes([message])
