"""Entries: what is recorded about a run, as data to be applied now or stored in a file for later.

    entry = entries.metrics(step=10, epoch=0, values={"loss": 0.3})
    entry.apply(registry, run_id)
    Entry.from_bytes(entry.to_bytes()).apply(registry, run_id)      # the same

Applying an entry twice stores the same as applying it once. A file is a NumPy archive of plain
arrays, one of which holds JSON; nothing is pickled.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repwatch._archives import read_arrays, read_header
from repwatch.errors import RegistryError, RepWatchError
from repwatch.registry._db.incoming import NewProbe, NewRun, new_probe, new_run
from repwatch.registry.names import made_names
from repwatch.registry.records import EndStatus, Flag, Mode, NewSnapshot, Run
from repwatch.registry.values import plain

if TYPE_CHECKING:
    from repwatch.probe import ProbeSet
    from repwatch.registry._db.blobs import Encoding
    from repwatch.registry.registry import Registry

__all__ = [
    "Entry",
    "finish",
    "flag",
    "metrics",
    "monitor",
    "notes",
    "plan_run",
    "snapshots",
    "start",
]

_HEADER = "entry"
_CONTENT = "probe"


@dataclass(frozen=True)
class Entry:
    """One thing that is recorded about a run.

    Attributes:
        kind: "start", "snapshots", "metrics", "monitor", "flag", "notes" or "finish".
        values: The part of it that JSON can hold.
        arrays: Its arrays by name.
        encoding: Its encoded snapshots, until it has been stored in a file.
    """

    kind: str
    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, hash=False, compare=False)
    encoding: Encoding | None = field(default=None, hash=False, compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """About how many bytes of memory it holds."""
        return 1000 + sum(array.nbytes for array in self.arrays.values())

    def apply(self, registry: Registry, run_id: str) -> None:
        """Store it in a registry.

        Raises:
            RegistryError: The registry cannot be read or written, has no such run, or the entry
                holds values that its kind does not have.
        """
        try:
            _APPLIERS[self.kind](registry, run_id, self)
        except RepWatchError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise RegistryError(
                f"Expected an entry of kind {self.kind!r} as RepWatch records it, but it holds "
                f"other values: {error}. Delete its file if it was spooled."
            ) from error

    def to_bytes(self) -> bytes:
        """The content of a file that `from_bytes` reads."""
        header = json.dumps({"kind": self.kind, "values": dict(self.values)}).encode()
        buffer = io.BytesIO()
        # By name, so that no array can be taken for an argument of `savez`.
        arrays = {f"array-{name}": array for name, array in self.arrays.items()}
        np.savez(buffer, **{_HEADER: np.frombuffer(header, np.uint8), **arrays})  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Entry:
        """Read what `to_bytes` wrote.

        Raises:
            RegistryError: The bytes are not an entry, or are damaged.
        """
        try:
            arrays = read_arrays(content)
            header = read_header(arrays.pop(_HEADER))
            if header["kind"] not in _APPLIERS or not isinstance(header["values"], dict):
                raise ValueError("unknown kind of entry")
            named = {name.removeprefix("array-"): array for name, array in arrays.items()}
            return cls(header["kind"], header["values"], named)
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"Expected an entry that RepWatch has spooled, but it cannot be read: {error}. "
                "Delete the file if it is damaged; the others can still be flushed."
            ) from error


def start(run: NewRun, probe: NewProbe) -> Entry:
    """The beginning of a run, with its probe set."""
    values = asdict(run) | {"started_at": None if run.started_at is None else str(run.started_at)}
    described = {
        "fingerprint": probe.fingerprint,
        "name": probe.name,
        "points": probe.points,
        "rows": list(probe.rows),
    }
    content = np.frombuffer(probe.content or b"", np.uint8)
    return Entry("start", {"run": values, "probe": described}, {_CONTENT: content})


def snapshots(new: Sequence[NewSnapshot], encoding: Encoding | None = None) -> Entry:
    """All layers at a step. Their arrays must not change afterwards.

    `encoding` is the encoding of the same snapshots, if it is shared with other code.
    """
    values = [
        {
            "layer": snapshot.layer,
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "depth": snapshot.depth,
            "scalars": plain(dict(snapshot.scalars)),
        }
        for snapshot in new
    ]
    rdms = {str(i): snapshot.rdm for i, snapshot in enumerate(new) if snapshot.rdm is not None}
    return Entry("snapshots", {"snapshots": values}, rdms, encoding)


def metrics(step: int, epoch: int, values: Mapping[str, float]) -> Entry:
    """The metrics of a step."""
    return Entry("metrics", {"step": step, "epoch": epoch, "values": plain(dict(values))})


def monitor(metric: str, mode: Mode) -> Entry:
    """The metric that decides how good the run is, and its mode."""
    return Entry("monitor", {"metric": metric, "mode": mode})


def flag(raised: Flag) -> Entry:
    """A flag; the registry gives it its id."""
    return Entry(
        "flag",
        {
            "kind": raised.kind,
            "step": raised.step,
            "epoch": raised.epoch,
            "message": raised.message,
            "layer": raised.layer,
            "cause": raised.cause,
            "probability": raised.probability,
            "evidence": plain(raised.evidence),
            "raised_at": raised.raised_at.isoformat(),
        },
    )


def notes(given: Sequence[str]) -> Entry:
    """Notes; those that the run has already are not added again."""
    return Entry("notes", {"notes": list(given)})


def finish(status: EndStatus, ended_at: datetime) -> Entry:
    """How the run ended, and when."""
    return Entry("finish", {"status": status, "ended_at": ended_at.isoformat()})


def plan_run(
    registry: Registry,
    name: str | None,
    *,
    probe: ProbeSet,
    hparams: Mapping[str, object] | None = None,
    versions: Mapping[str, str] | None = None,
    monitor: str | None = None,
    mode: Mode = "min",
    run_id: str | None = None,
) -> tuple[Run, Entry]:
    """A run whose registry does not answer: as it will be stored, and the entry that will open it.

    The arguments are those of `Registry.start_run`. Raises ConfigurationError.
    """
    now = datetime.now(timezone.utc)
    new = new_run(run_id, name or next(made_names()), probe, hparams, versions, monitor, mode)
    new = replace(new, started_at=now)
    run = Run(
        id=new.id,
        name=str(new.name),
        status="running",
        hparams=new.hparams,
        versions=new.versions,
        metrics={},
        label=None,
        cause=None,
        automatic=False,
        flags=(),
        probe=new.probe,
        started_at=now,
        ended_at=None,
        heartbeat_at=now,
        last_step=0,
        monitor=new.monitor,
        mode=mode,
        notes=new.notes,
        registry=registry,
    )
    return run, start(new, new_probe(probe))


def _apply_start(registry: Registry, run_id: str, entry: Entry) -> None:
    """Open the run; if another run has taken its name since, a number is appended to the name."""
    values = dict(entry.values["run"])
    began, noted = values.pop("started_at"), tuple(values.pop("notes"))
    started_at = None if began is None else datetime.fromisoformat(began)
    run = NewRun(**values, started_at=started_at, notes=noted)
    content = entry.arrays[_CONTENT].tobytes()
    probe = NewProbe(**entry.values["probe"], content=content)
    registry.open_run(run, probe, on_exists="number")


def _apply_snapshots(registry: Registry, run_id: str, entry: Entry) -> None:
    if entry.encoding is not None:
        registry.add_encoded(run_id, entry.encoding.result())
        return
    rdms = entry.arrays
    given = enumerate(entry.values["snapshots"])
    registry.add_snapshots(run_id, [NewSnapshot(**one, rdm=rdms.get(str(i))) for i, one in given])


def _apply_metrics(registry: Registry, run_id: str, entry: Entry) -> None:
    registry.add_metrics(run_id, **entry.values)


def _apply_monitor(registry: Registry, run_id: str, entry: Entry) -> None:
    registry.set_monitor(run_id, **entry.values)


def _apply_flag(registry: Registry, run_id: str, entry: Entry) -> None:
    values = dict(entry.values)
    raised_at = datetime.fromisoformat(values.pop("raised_at"))
    registry.add_flag(run_id, **values, raised_at=raised_at)


def _apply_notes(registry: Registry, run_id: str, entry: Entry) -> None:
    registry.add_notes(run_id, entry.values["notes"])


def _apply_finish(registry: Registry, run_id: str, entry: Entry) -> None:
    ended_at = datetime.fromisoformat(entry.values["ended_at"])
    registry.finish_run(run_id, entry.values["status"], ended_at=ended_at)


_APPLIERS: dict[str, Callable[[Registry, str, Entry], None]] = {
    "start": _apply_start,
    "snapshots": _apply_snapshots,
    "metrics": _apply_metrics,
    "monitor": _apply_monitor,
    "flag": _apply_flag,
    "notes": _apply_notes,
    "finish": _apply_finish,
}
