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
from typing import Any, Literal

import torch

from repwatch.capture import Capture, Capturer
from repwatch.errors import ConfigurationError, RegistryError
from repwatch.probe import ProbeSet
from repwatch.registry import Flag, NewSnapshot, Registry, Run, Writer
from repwatch.registry.names import nearest_names
from repwatch.registry.records import EndStatus
from repwatch.scene import MapScene
from repwatch.watcher.drift_monitor import DriftMonitor
from repwatch.watcher.landmarks import MapSettings
from repwatch.watcher.outcome import check_auto_label, label_outcome
from repwatch.watcher.schedule import Throttle
from repwatch.watcher.tracker import Tracker

__all__ = ["Update", "Watcher"]

log = logging.getLogger("repwatch")

# Seconds between two maps: so often TensorBoard looks for new ones. What is drawn in Python holds
# the training's own Python up.
_MAP_REST = 30.0


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
        registry: A Registry, a path or a SQLAlchemy URL; None for `$REPWATCH_REGISTRY`, else
            `./repwatch.db`.
        run_name: The run's name, new in the registry; None makes one.
        run_id: The id of a run to continue.
        layers: None, names or globs, or a callable (name, module) -> bool.
        hparams: Hyperparameters, by name.
        versions: Versions of libraries, by name.
        monitor: The metric that says how good the run is.
        mode: Whether a small ("min") or large ("max") value of it is good.
        max_layers: How many layers to watch where `layers` is None.
        forward: A function (model, inputs) that runs the probe through the model.
        context: Entered around each forward pass, such as autocast.
        convert: Applied to the inputs of each forward pass, on the model's device.
        draw_map: Whether to place the run on the map.
        map_settings: How the map is made.
        map_share: The largest share of the time that placing on the map may take, in (0, 1]. What
            it has no time for is placed later, as is what comes within 10 s of the last map: at
            the end of the training at the latest.
        false_alarms: The share of good runs that drift detection may flag over their whole length.
        group: A hyperparameter that tells kinds of training apart, such as "method": each kind is
            compared with its own good landmarks.
        auto_label: Whether to label the run, once it has finished, by its last `monitor`, as
            `repwatch suggest-labels` would; see `repwatch.watcher.outcome`.

    Raises:
        ConfigurationError: `auto_label` without a metric to `monitor`, or a `group` that is not
            among `hparams`.
        UnknownLayerError: A name in `layers` is not in the model.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        probe: ProbeSet,
        *,
        registry: Registry | str | None = None,
        run_name: str | None = None,
        run_id: str | None = None,
        layers: Sequence[str] | Callable[[str, torch.nn.Module], bool] | None = None,
        hparams: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        max_layers: int = 8,
        forward: Callable[[torch.nn.Module, Any], Any] | None = None,
        context: Callable[[], AbstractContextManager[Any]] | None = None,
        convert: Callable[[Any], Any] | None = None,
        draw_map: bool = True,
        map_settings: MapSettings | None = None,
        map_share: float = 0.01,
        false_alarms: float = 0.05,
        group: str | None = None,
        auto_label: bool = False,
    ) -> None:
        check_auto_label(auto_label, monitor)
        if group is not None and group not in (hparams or {}):
            known = nearest_names(group, hparams or {}) or sorted(hparams or {})[:5]
            raise ConfigurationError(
                f"Expected `group` to be a hyperparameter of the run, but got {group!r}; the "
                f"nearest are {', '.join(known) or 'none: it has none'}."
            )
        self.probe = probe
        self.registry = Registry.coerce(registry)
        self.capturer = Capturer(
            model,
            probe,
            layers,
            forward=forward,
            max_layers=max_layers,
            context=context,
            convert=convert,
        )
        self.run: Run | None = None
        self._open = partial(
            self.registry.start_run,
            run_name,
            probe=probe,
            hparams=dict(hparams or {}),
            versions=dict(versions or {}),
            monitor=monitor,
            mode=mode,
            run_id=run_id,
        )
        self._draw_map = draw_map
        self._map_settings = map_settings
        self._writer: Writer | None = None
        self._mapper: Writer | None = None
        self._tracker: Tracker | None = None
        self._judge: DriftMonitor | None = None
        self._judging: Writer | None = None
        self._false_alarms = false_alarms
        self._group = group
        self._auto_label = auto_label
        self._flags: deque[Flag] = deque()
        self._map_time = Throttle(map_share, grace=0.0, name="map_share")
        self._next_map = 0.0
        self._unplaced: list[tuple[int, int]] = []
        self._updates: deque[Update] = deque()
        self._began = time.monotonic()
        self._captured = False
        self._told: set[str] = set()
        self._diverged: set[str] = set()

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish("failed" if error is not None else "finished")

    def start(self) -> Run:
        """Open the run in the registry, and begin to fit the space of its landmarks.

        Raises:
            RunExistsError: The name is taken.
            RegistryError: The registry cannot be opened or written.
        """
        self.run = self._open()
        self._began = time.monotonic()
        self._writer = Writer(self.registry, self.run.id)
        self._judge = DriftMonitor(self.run, self._false_alarms, self._group)
        self._judging = Writer(self.registry, self.run.id)
        self._judging.call(self._judge.fit)
        if self._draw_map:
            self._tracker = Tracker(self.run, self._map_settings)
            self._mapper = Writer(self.registry, self.run.id)
            self._mapper.call(self._tracker.fit)
        return self.run

    def snapshot(self, step: int, epoch: int, *, log_step: int | None = None) -> list[Flag]:
        """Run the probe set through the model and hand its RDMs to the registry.

        Args:
            step: The optimizer step, 0 before the first.
            epoch: The epoch, counted from 0.
            log_step: The place on the loggers' step axis; None for `step`.

        Returns:
            The flags that this snapshot raised: one for each layer whose activations have become
            NaN or infinite, once.

        Raises:
            CaptureError: The probe set cannot be run through the model.
            RegistryError: An earlier snapshot could not be written.
        """
        return self.record(self.capturer.run(), step, epoch, log_step=log_step)

    def record(
        self, capture: Capture, step: int, epoch: int, *, log_step: int | None = None
    ) -> list[Flag]:
        """Hand over a capture that was made elsewhere; see `snapshot`."""
        writer = self._running()
        self._captured = True
        self._tell(capture.notes)
        writer.snapshots(
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
        flags = self._flag_diverged(capture, step, epoch)
        at = step if log_step is None else log_step
        self._assess(step, at)
        self._follow(step, at)
        return flags

    @property
    def captured(self) -> bool:
        """Whether a snapshot has been taken."""
        return self._captured

    def metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Store metrics of this step; NaN and infinity are kept as what they are."""
        if values:
            self._running().metrics(step, epoch, values)

    def updates(self) -> list[Update]:
        """What has become ready to show since the last call, oldest first."""
        self._tell_failure(self._mapper, "the map cannot be drawn any more")
        self._tell_failure(self._judging, "drift is not watched for any more")
        if self._judge is not None and self._judge.unavailable_reason is not None:
            self._tell([self._judge.unavailable_reason])
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
        threads = (self._judging, self._mapper)
        return stored and all(one.flush(timeout) for one in threads if one is not None)

    def finish(
        self,
        status: EndStatus = "finished",
        timeout: float | None = 60.0,
        *,
        settled: bool | None = None,
    ) -> None:
        """Commit what is waiting, mark the run as ended, and let the threads go.

        Args:
            status: How the run ended.
            timeout: Seconds to wait for what is waiting, and for the last map; None for no limit.
            settled: Whether the last metrics are the run's outcome, by which `auto_label` may label
                it; None where it has finished.

        Raises:
            RegistryError: Something could not be stored.
        """
        writer = self._running(check=False)
        self._place()
        self._writer = None
        writer.finish(status)
        why: list[str] = []
        if self._auto_label and (status == "finished" if settled is None else settled):
            writer.call(partial(self._label, why))
        writer.close(timeout)
        self._tell(why)
        if self._judging is not None:
            self._judging.close(timeout)
            self._tell_failure(self._judging, "drift is not watched for any more")
        if self._mapper is not None and not self._mapper.close(timeout) and not self._mapper.error:
            self._tell([f"the last map was not ready within {timeout} s; `repwatch map` draws it."])
        if writer.error is not None:
            raise RegistryError(
                f"Not everything of run {self.run.name if self.run else '?'!r} could be stored: "
                f"{writer.error}"
            ) from writer.error

    def _label(self, why: list[str], registry: Registry) -> None:
        """Label the ended run by its outcome; what keeps it from that goes to `why`."""
        assert self.run is not None
        try:
            told = label_outcome(registry, self.run.id, self._group)
        except Exception as error:
            # The run is stored all the same.
            told = f"the run could not be labelled ({type(error).__name__}: {error})."
        why += [told] if told else []

    def _running(self, *, check: bool = True) -> Writer:
        if self._writer is None:
            raise RegistryError(
                "This Watcher has no open run: call start() first, and nothing after finish()."
            )
        if check and self._writer.error is not None:
            raise RegistryError(
                f"Snapshots can no longer be stored: {self._writer.error}"
            ) from self._writer.error
        return self._writer

    def _flag_diverged(self, capture: Capture, step: int, epoch: int) -> list[Flag]:
        names = [name for name, layer in capture.layers.items() if layer.diverged]
        new = [name for name in names if name not in self._diverged]
        self._diverged.update(new)
        if not new or self.run is None:
            return []
        first = new[0]
        message = (
            f"The activations of {len(names)} of {len(capture.layers)} layers are NaN or infinite "
            f"at step {step}, first in {first!r}. Lower the learning rate, clip gradients, or look "
            "for a division or logarithm of 0."
        )
        flag = self.registry.add_flag(
            self.run.id, kind="diverged", step=step, epoch=epoch, layer=first, message=message
        )
        return [flag]

    def _assess(self, step: int, log_step: int) -> None:
        """Have this step judged, once it is committed."""
        judge, judging, writer = self._judge, self._judging, self._writer
        if judge is None or judging is None or writer is None:
            return

        def follow(registry: Registry) -> None:
            if not writer.flush():
                return
            told, flag = judge.follow(registry, step)
            if told is not None and told.p_bad is not None:
                self._updates.append(Update(step, log_step, None, {"p_bad": told.p_bad}))
            if flag is not None:
                self._flags.append(flag)

        judging.call(follow)

    def _follow(self, step: int, log_step: int) -> None:
        """Have this step placed: now, or with later ones where the map took its share of time."""
        if self._mapper is None:
            return
        self._unplaced.append((step, log_step))
        elapsed = time.monotonic() - self._began
        due = elapsed >= self._next_map and self._map_time.allows(elapsed)
        if due and self._mapper.flush(0):
            self._next_map = elapsed + _MAP_REST
            self._place()

    def _place(self) -> None:
        """Place what waits, once it is committed."""
        tracker, mapper, writer = self._tracker, self._mapper, self._writer
        judging = self._judging
        waiting, self._unplaced = self._unplaced, []
        if not waiting or tracker is None or mapper is None or writer is None:
            return

        def follow(registry: Registry) -> None:
            if not writer.flush():
                return
            if judging is not None:
                # The flag of a step is on the map of that step.
                judging.flush()
            began = time.perf_counter()
            sightings = tracker.follow(registry, [step for step, _ in waiting])
            for (step, log_step), sighting in zip(waiting, sightings, strict=True):
                self._updates.append(Update(step, log_step, sighting.scene, sighting.scalars))
            self._map_time.spent += time.perf_counter() - began

        mapper.call(follow)

    def _tell_failure(self, thread: Writer | None, what: str) -> None:
        if thread is not None and thread.error is not None:
            error = thread.error
            told = f"{what} ({type(error).__name__}: {error}). Snapshots are still stored."
            self._tell([told])

    def _tell(self, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                log.warning(f"RepWatch: {note}")
