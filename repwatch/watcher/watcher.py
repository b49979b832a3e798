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
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch

from repwatch.capture import Capture, Capturer
from repwatch.capture.weights import weights_checksum
from repwatch.errors import ConfigurationError, RegistryError
from repwatch.probe import ProbeSet
from repwatch.registry import Flag, NewSnapshot, Registry, Run, RunRecorder, Worker
from repwatch.registry.records import EndStatus
from repwatch.registry.values import flatten
from repwatch.scene import MapScene
from repwatch.watcher.divergence import DivergenceCheck, name_some
from repwatch.watcher.judge import Judge
from repwatch.watcher.options import WatchOptions, check_group
from repwatch.watcher.outcome import end_status, label_outcome
from repwatch.watcher.schedule import Throttle
from repwatch.watcher.tracker import Tracker

__all__ = ["Update", "Watcher"]

log = logging.getLogger("repwatch")

# Seconds between two maps: so often TensorBoard looks for new ones. What is drawn in Python holds
# the training's own Python up.
_MAP_REST = 30.0

# Distances between fewer points say nothing.
SMALLEST_PROBE = 3


@dataclass(frozen=True)
class Update:
    """What a step's snapshot gave to show.

    Attributes:
        step: The optimizer step of the snapshot.
        log_step: Its place on the loggers' step axis.
        scene: The map so far, or None.
        scalars: Finite numbers by name, without the `repwatch/` that loggers put before them.
    """

    step: int
    log_step: int
    scene: MapScene | None
    scalars: Mapping[str, float]


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
            the probe set takes no more points than that, unless `batch_size` says so.
        settings: Options by name, instead of `options`: see `WatchOptions`.

    Raises:
        ConfigurationError: An option cannot work, or `group` is not among `hparams`.
        UnknownLayerError: A name in `layers` is not in the model.

    Attributes:
        probe: The probe set; points that the model has no finite values for at the start are left
            out of it before the run is opened.
        run: The run, once it is open.
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
        context: Callable[[], AbstractContextManager[Any]] | None = None,
        convert: Callable[[Any], Any] | None = None,
        host_batch_size: int | None = None,
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
        self._make_capturer = partial(
            Capturer,
            model,
            layers=options.layers,
            forward=options.forward,
            reduce=options.reduce,
            batch_size=options.batch_size,
            host_batch_size=host_batch_size,
            max_layers=options.max_layers,
            context=context,
            convert=convert,
        )
        self.capturer = self._make_capturer(probe)
        self.run: Run | None = None
        self._run_id = run_id
        self._versions = dict(versions or {})
        self._first: tuple[tuple[str, ...], Capture] | None = None
        self._notes: list[str] = []
        self._recorder: RunRecorder | None = None
        self._map_worker: Worker | None = None
        self._tracker: Tracker | None = None
        self._judge: Judge | None = None
        self._drift_worker: Worker | None = None
        self._flags: deque[Flag] = deque()
        self._map_time = Throttle(options.max_overhead / 2, grace=0.0, name="map_share")
        self._next_map = 0.0
        self._unplaced: list[tuple[int, int]] = []
        self._updates: deque[Update] = deque()
        self._began = time.monotonic()
        self._divergence = DivergenceCheck()
        self._reported: set[str] = set()

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
        capture = self.capturer.run()
        bad = capture.bad_points
        if bad and self.run is None and len(self.probe) - len(bad) >= SMALLEST_PROBE:
            total = len(self.probe)
            self.probe = self.probe.subset([i for i in range(total) if i not in set(bad)])
            self.capturer = self._make_capturer(self.probe)
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
        self._began = time.monotonic()
        if self.run.last_step > 0:
            stored = self.registry.snapshots(run=self.run)
            self._divergence = DivergenceCheck(one.layer for one in stored if not one.diverged)
        self._recorder = RunRecorder(self.registry, self.run.id)
        notes, self._notes = self._notes, []
        self.add_notes(notes)
        self._judge = Judge(self.run, options.false_alarms, options.group)
        self._drift_worker = Worker(self.registry)
        self._drift_worker.call(self._judge.fit)
        if options.draw_map:
            self._tracker = Tracker(self.run, options.map_settings)
            self._map_worker = Worker(self.registry)
            self._map_worker.call(self._tracker.fit)
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
            The flags that this snapshot raised: one, where activations that were finite before have
            become NaN or infinite.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RegistryError: An earlier snapshot could not be written.
        """
        self._running()
        return self.record(self.capture(), step, epoch, log_step=log_step)

    def record(
        self, capture: Capture, step: int, epoch: int, *, log_step: int | None = None
    ) -> list[Flag]:
        """Hand over a capture that was made elsewhere; see `snapshot`."""
        recorder = self._running()
        self.add_notes(capture.notes)
        recorder.snapshots(
            [
                NewSnapshot(
                    layer=layer.layer,
                    step=step,
                    epoch=epoch,
                    depth=layer.depth,
                    rdm=layer.rdm,
                    scalars=layer.scalars,
                )
                for layer in capture.layers.values()
            ]
        )
        flags, notes = self._divergence.check(self.run_id, capture, step, epoch)
        self.add_notes(notes)
        for flag in flags:
            recorder.flag(flag)
        at = step if log_step is None else log_step
        self._assess(step, at)
        self._follow(step, at)
        return flags

    def add_notes(self, notes: Sequence[str]) -> None:
        """Store what a person should know of the watching with the run; each note once."""
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

    def metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Store metrics of this step; NaN and infinity are kept as what they are."""
        if values:
            self._running().metrics(step, epoch, values)

    def updates(self) -> list[Update]:
        """What has become ready to show since the last call, oldest first."""
        self._report_failure(self._map_worker, "the map cannot be drawn any more")
        self._report_failure(self._drift_worker, "drift is not watched for any more")
        if self._judge is not None and self._judge.silent is not None:
            self.report(self._judge.silent)
        ready = []
        while self._updates:
            ready.append(self._updates.popleft())
        return ready

    def flags(self) -> list[Flag]:
        """The flags that drift detection has raised since the last call, oldest first."""
        raised = []
        while self._flags:
            raised.append(self._flags.popleft())
        return raised

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was handed over is committed and placed; False after `timeout` s."""
        stored = self._running().flush(timeout)
        self._place()
        threads = (self._drift_worker, self._map_worker)
        return stored and all(one.flush(timeout) for one in threads if one is not None)

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
        self._place()
        recorder.finish(status)
        reasons: list[str] = []
        if self.options.auto_label and status == "finished":
            recorder.call(partial(self._label, reasons))
        self._recorder = None
        recorder.close(timeout)
        for reason in reasons:
            log.warning("RepWatch: %s", reason)
        if self._drift_worker is not None:
            self._drift_worker.close(timeout)
            self._report_failure(self._drift_worker, "drift is not watched for any more")
        if (
            self._map_worker is not None
            and not self._map_worker.close(timeout)
            and not self._map_worker.error
        ):
            log.warning(
                "RepWatch: the last map was not ready within %s s; `repwatch map` draws it.",
                timeout,
            )
        if recorder.error is not None:
            raise RegistryError(
                f"Not everything of run {self.run.name if self.run else '?'!r} could be stored: "
                f"{recorder.error}"
            ) from recorder.error

    def _label(self, reasons: list[str], registry: Registry) -> None:
        """Label the ended run by its outcome; what keeps it from that goes to `reasons`."""
        assert self.run is not None
        try:
            reason = label_outcome(registry, self.run.id, self.options.group)
        except Exception as error:
            # The run is stored all the same.
            reason = f"the run could not be labeled ({type(error).__name__}: {error})."
        if reason is not None:
            reasons.append(reason)
            registry.add_notes(self.run.id, [reason])

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

    def _assess(self, step: int, log_step: int) -> None:
        """Have this step judged, once it is committed."""
        judge, drift_worker, recorder = self._judge, self._drift_worker, self._recorder
        if judge is None or drift_worker is None or recorder is None:
            return

        def follow(registry: Registry) -> None:
            if not recorder.flush():
                return
            told, flag = judge.follow(registry, step)
            if told is not None and told.p_bad is not None:
                self._updates.append(Update(step, log_step, None, {"p_bad": told.p_bad}))
            if flag is not None:
                self._flags.append(flag)

        drift_worker.call(follow)

    def _follow(self, step: int, log_step: int) -> None:
        """Have this step placed: now, or with later ones where the map took its share of time."""
        if self._map_worker is None:
            return
        self._unplaced.append((step, log_step))
        elapsed = time.monotonic() - self._began
        due = elapsed >= self._next_map and self._map_time.allows(elapsed)
        if due and self._map_worker.flush(0):
            self._next_map = elapsed + _MAP_REST
            self._place()

    def _place(self) -> None:
        """Place what waits, once it is committed."""
        tracker, map_worker, recorder = self._tracker, self._map_worker, self._recorder
        drift_worker = self._drift_worker
        waiting, self._unplaced = self._unplaced, []
        if not waiting or tracker is None or map_worker is None or recorder is None:
            return

        def follow(registry: Registry) -> None:
            if not recorder.flush():
                return
            if drift_worker is not None:
                # The flag of a step is on the map of that step.
                drift_worker.flush()
            began = time.perf_counter()
            sightings = tracker.follow(registry, [step for step, _ in waiting])
            for (step, log_step), sighting in zip(waiting, sightings, strict=True):
                self._updates.append(Update(step, log_step, sighting.scene, sighting.scalars))
            self._map_time.spent += time.perf_counter() - began

        map_worker.call(follow)

    def _report_failure(self, worker: Worker | None, what: str) -> None:
        if worker is not None and worker.error is not None:
            error = worker.error
            self.report(f"{what} ({type(error).__name__}: {error}). Snapshots are still stored.")

    def report(self, message: str) -> None:
        """Log a message, and store it with the run; each message once."""
        if message not in self._reported:
            self._reported.add(message)
            log.warning("RepWatch: %s", message)
            self.add_notes([message])
