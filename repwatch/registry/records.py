"""What the registry hands out and takes: frozen records, never database rows.

A `Run` and a `Snapshot` know the registry that they came from, and read their heavy parts (RDM,
sketch, metric history) from it when asked.

A run's status is that of its training:

running    it is in progress
finished   it ran its course: max_epochs, max_steps, max_time or EarlyStopping ended it
stopped    it was ended before: by Ctrl-C, SIGTERM, pruning, or a flag; it can be resumed
failed     an exception ended it
dead       it was running, but has written no heartbeat for some time

Only finished runs are judged by their outcome. If RepWatch stopped watching before the training
ended, the run's notes record it; it is not a status.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from repwatch.errors import DivergedRDMError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

Label = Literal["good", "bad"]
Status = Literal["running", "finished", "stopped", "failed", "dead"]
EndStatus = Literal["finished", "stopped", "failed"]
Mode = Literal["min", "max"]
# What happens where another run has the name of a new one.
OnExists = Literal["error", "resume", "number"]


class Source(Protocol):
    """Where runs and snapshots are read from: the part of a registry that they and analyses need.

    `Registry` implements it. Records hold a Source, so that this module does not import the
    registry that returns them. Parameters and results are those of the `Registry` methods.
    """

    dead_after: float

    def run(self, name_or_id: str) -> Run:
        """The run of this name or id, as it is now."""

    def rdms(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The condensed RDMs, shape (k, points(points-1)/2)."""

    def sketches(self, snapshots: Sequence[Snapshot]) -> NDArray[np.float32]:
        """The sketches of the RDMs, shape (k, 1024)."""

    def snapshots(
        self,
        *,
        run: Run | str | None = None,
        layer: str | None = None,
        probe: str | None = None,
        labeled: bool | None = None,
        step: int | Literal["last"] | None = None,
    ) -> list[Snapshot]:
        """Snapshots by run start, step and depth."""

    def layers(self, run: Run | str) -> list[str]:
        """Names of the run's stored layers, by depth."""

    def history(self, run: Run | str, name: str) -> list[tuple[int, int, float]]:
        """(step, epoch, value) of a metric of the run."""

    def points(self, fingerprint: str) -> list[ProbePoint]:
        """What a person sees of each point of a probe set."""

    def landmarks(self, probe: str) -> list[Run]:
        """The labeled runs of a probe set, oldest first."""


NO_LABEL = "A person took the label away; it gets none by its outcome."
"""The note on a run that is not labeled by its outcome."""


@dataclass(frozen=True)
class NewSnapshot:
    """One layer of one run at one step, on its way into the registry.

    `rdm` is the condensed RDM, float32, length n(n-1)/2 for n probe points, or None where the
    activations were NaN or infinite.

    Examples:
        >>> import numpy as np
        >>> from repwatch import rdm
        >>> from repwatch.registry import NewSnapshot
        >>> D = rdm.from_activations(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))
        >>> NewSnapshot("encoder", step=10, epoch=0, depth=1, rdm=D, scalars={"std": 1.2}).rdm
        array([3., 4., 5.], dtype=float32)
    """

    layer: str
    step: int
    epoch: int
    depth: int
    rdm: NDArray[np.float32] | None = field(hash=False, compare=False)
    scalars: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Flag:
    """What drift detection, or a diverged layer, raised in a run.

    `id` is None until the flag is stored.

    Examples:
        >>> from repwatch import Registry
        >>> (flag,) = Registry("repwatch.db").run("current").flags
        >>> flag.step, flag.layer, flag.cause, flag.probability
        (2, 'head', 'learning rate too high', 0.97)
    """

    id: int | None = field(compare=False)
    run_id: str
    kind: str
    step: int
    epoch: int
    layer: str | None
    message: str
    cause: str | None
    probability: float | None
    evidence: dict[str, Any] = field(hash=False)
    raised_at: datetime


@dataclass(frozen=True)
class ProbeInfo:
    """A stored probe set without its inputs; `runs` counts the runs that used it.

    Examples:
        >>> from repwatch import Registry
        >>> (probe,) = Registry("repwatch.db").probes()
        >>> probe.points, probe.runs
        (24, 17)
    """

    fingerprint: str
    name: str | None
    points: int
    created_at: datetime
    used_at: datetime
    runs: int


@dataclass(frozen=True)
class ProbePoint:
    """What a person sees of one probe point; read without loading the probe's inputs.

    Examples:
        >>> from repwatch import Registry
        >>> registry = Registry("repwatch.db")
        >>> registry.points(registry.run("current").probe)[4].columns
        {'label': 'class 1'}
    """

    point: int
    columns: dict[str, Any] = field(hash=False)
    text: str | None
    link: str | None


@dataclass(frozen=True)
class Snapshot:
    """One layer of one run at one step; the RDM and its sketch are read when asked for.

    `run` is the run's name, `depth` the layer's place in execution order (the input is 0),
    `probe` the fingerprint of the probe set, `label` and `cause` the run's outcome.

    Examples:
        >>> from repwatch import Registry
        >>> first, *_, last = Registry("repwatch.db").snapshots(run="current", layer="head")
        >>> last.step, last.points, last.rdm.shape, last.sketch.shape
        (3, 24, (276,), (1024,))
    """

    id: int
    run_id: str
    run: str
    layer: str
    step: int
    epoch: int
    depth: int
    points: int
    scalars: dict[str, float] = field(hash=False)
    diverged: bool
    probe: str
    label: Label | None
    cause: str | None
    registry: Source = field(repr=False, compare=False)

    @property
    def rdm(self) -> NDArray[np.float32]:
        """The condensed RDM, float32, length points(points-1)/2.

        Raises DivergedRDMError where the activations were NaN or infinite.
        """
        self._refuse_diverged()
        rdm: NDArray[np.float32] = self.registry.rdms([self])[0]
        return rdm

    @property
    def sketch(self) -> NDArray[np.float32]:
        """The RDM's linear sketch, float32, shape (1024,). Raises DivergedRDMError."""
        self._refuse_diverged()
        sketch: NDArray[np.float32] = self.registry.sketches([self])[0]
        return sketch

    def _refuse_diverged(self) -> None:
        if self.diverged:
            raise DivergedRDMError(
                f"Layer {self.layer!r} of run {self.run!r} has no RDM at step {self.step}: its "
                "activations were NaN or infinite. Leave out snapshots with .diverged set."
            )


@dataclass(frozen=True)
class Run:
    """One training: what it was, how it went, how it ended.

    `hparams` is flat; the names of what RepWatch read from the training begin with "repwatch.".
    `metrics` holds the last value of each metric. `status` is "dead" where a running run has
    written no heartbeat for the registry's `dead_after` seconds. `probe` is the fingerprint of its
    probe set. `notes` list what a person should know about how it was watched. Times are in UTC.

    Examples:
        >>> from repwatch import Registry
        >>> run = Registry("repwatch.db").run("bad-0")
        >>> run.status, run.label, run.cause, run.hparams
        ('finished', 'bad', 'learning rate too high', {'lr': 0.03})
        >>> run.layers, len(run.snapshots()), len(run.history("val_loss"))
        (['encoder', 'head'], 8, 4)
    """

    id: str
    name: str
    status: Status
    hparams: dict[str, Any] = field(hash=False)
    versions: dict[str, str] = field(hash=False)
    metrics: dict[str, float] = field(hash=False)
    label: Label | None
    cause: str | None
    automatic: bool
    flags: tuple[Flag, ...]
    probe: str
    started_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime
    last_step: int
    monitor: str | None
    mode: Mode
    notes: tuple[str, ...]
    registry: Source = field(repr=False, compare=False)

    def __repr__(self) -> str:
        name = self.name if len(self.name) <= 40 else f"{self.name[:39]}…"
        parts = [self.status, f"step {self.last_step}", self.label]
        parts.append(f"{len(self.flags)} flags" if self.flags else None)
        return f"<Run {name!r}: {', '.join(filter(None, parts))}>"

    def _repr_html_(self) -> str:
        from repwatch.registry.notebook import run_table

        return run_table(self)

    def history(self, name: str) -> list[tuple[int, int, float]]:
        """(step, epoch, value) of a metric in step order; empty when it was never stored."""
        return self.registry.history(self.id, name)

    def snapshots(
        self, layer: str | None = None, *, step: int | Literal["last"] | None = None
    ) -> list[Snapshot]:
        """The run's snapshots by step, then depth; for a single layer, its trajectory.

        `step` selects those of a step, or of the last one. Raises UnknownLayerError where the run
        has snapshots, but none of this layer.
        """
        return self.registry.snapshots(run=self, layer=layer, step=step)

    @property
    def layers(self) -> list[str]:
        """Names of the stored layers, by depth."""
        return self.registry.layers(self.id)
