"""A registry as it looks after years: many runs, some of them landmarks, with small blobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import insert, select

from repwatch.registry._db.blobs import encode_snapshots
from repwatch.registry._db.tables import LABELS, METRICS, RDMS, RUNS, SNAPSHOTS
from repwatch.registry.records import NewSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Table

    from repwatch.probe import ProbeSet
    from repwatch.registry import Registry
    from repwatch.registry._db.blobs import EncodedSnapshot

LAYERS = ("input", "body", "head")
METRIC_NAMES = ("train_loss", "val_loss", "learning_rate")
_BLOBS = 60
_ROWS = 2000
_BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)

Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much a registry holds: the steps of each landmark, and of each other run."""

    runs: int
    landmarks: int
    steps: int
    other_steps: int

    @property
    def snapshots(self) -> int:
        """The number of snapshots."""
        others = (self.runs - self.landmarks) * self.other_steps
        return len(LAYERS) * (self.landmarks * self.steps + others)


def grow(registry: Registry, probe: ProbeSet, size: Size) -> None:
    """Fill an empty registry with finished runs; every other landmark is bad."""
    registry.add_probe(probe)
    blobs = _make_blobs(len(probe))

    def write(connection: Connection) -> None:
        _insert(connection, RUNS, (_run(number, probe, size) for number in range(size.runs)))
        _insert(connection, LABELS, (_label(number) for number in range(size.landmarks)))
        _insert(connection, SNAPSHOTS, _snapshots(size))
        _insert(connection, METRICS, _metrics(size))
        _insert(connection, RDMS, _rdms(connection, blobs))

    registry._database.write(write)


def _make_blobs(points: int) -> list[EncodedSnapshot]:
    rng = np.random.default_rng(0)
    pairs = points * (points - 1) // 2
    return encode_snapshots(
        [
            NewSnapshot("", 0, 0, 0, rng.uniform(0.5, 2.0, pairs).astype(np.float32))
            for _ in range(_BLOBS)
        ]
    )


def _insert(connection: Connection, table: Table, rows: Iterator[Row]) -> None:
    while some := list(islice(rows, _ROWS)):
        connection.execute(insert(table), some)


def _id(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}{number:08x}"


def _steps(number: int, size: Size) -> range:
    return range(size.steps if number < size.landmarks else size.other_steps)


def _run(number: int, probe: ProbeSet, size: Size) -> Row:
    began = _BEGAN + timedelta(minutes=number)
    return {
        "id": _id(number),
        "name": f"run-{number}",
        "probe": probe.fingerprint,
        "status": "finished",
        "hparams": {"lr": 10.0 ** -(1 + number % 5), "batch_size": 32, "optimizer": "sgd"},
        "versions": {"repwatch": "0.2.0"},
        "monitor": "val_loss",
        "mode": "min",
        "started_at": began,
        "ended_at": began,
        "heartbeat_at": began,
        "last_step": 10 * _steps(number, size)[-1],
        "notes": [],
    }


def _label(number: int) -> Row:
    bad = number % 2 == 1
    return {
        "run_id": _id(number),
        "label": "bad" if bad else "good",
        "cause": "learning rate too high" if bad else None,
        "automatic": False,
        "labelled_at": _BEGAN,
    }


def _snapshots(size: Size) -> Iterator[Row]:
    for number in range(size.runs):
        for step in _steps(number, size):
            for depth, layer in enumerate(LAYERS):
                yield {
                    "run_id": _id(number),
                    "layer": layer,
                    "step": 10 * step,
                    "epoch": step,
                    "depth": depth,
                    "diverged": False,
                    "scalars": {"norm": 1.0},
                }


def _metrics(size: Size) -> Iterator[Row]:
    for number in range(size.runs):
        for name in METRIC_NAMES:
            for step in _steps(number, size):
                yield {
                    "run_id": _id(number),
                    "name": name,
                    "step": 10 * step,
                    "epoch": step,
                    "value": (1 + number % 2) / (1 + step),
                    "special": None,
                }


def _rdms(connection: Connection, blobs: list[EncodedSnapshot]) -> Iterator[Row]:
    for number in connection.scalars(select(SNAPSHOTS.c.id).order_by(SNAPSHOTS.c.id)).all():
        blob = blobs[number % len(blobs)]
        yield {
            "snapshot_id": number,
            "scale": blob.scale,
            "sketch": blob.sketch,
            "rdm": blob.rdm,
        }
