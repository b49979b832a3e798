"""Snapshots written per second, against the bare database that inserts the same blobs in batches.

Both commit each batch, one for all layers of a step. The measurement starts with the encoded blobs;
the time to make them from RDMs is a separate line.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from repwatch.registry import NewSnapshot, Registry
from repwatch.registry._db.blobs import EncodedSnapshot, encode_snapshots
from repwatch.registry._db.step_writes import store_snapshots
from tests.benchmarks.measure import Line, in_turn, milliseconds, ratio
from tests.conftest import POSTGRESQL
from tests.registry.helpers import LightProbe

LAYERS, POINTS = 9, 256
SQLITE_GOAL, POSTGRESQL_GOAL = 0.7, 0.5
TABLE = "CREATE TABLE bare (layer TEXT, step INT, sketch {0}, rdm {0}, PRIMARY KEY (layer, step))"

Batches = Callable[[], list[EncodedSnapshot]]


class Probe(LightProbe):
    columns: dict[str, list[int]] = {"label": list(range(POINTS))}  # noqa: RUF012

    def __len__(self) -> int:
        return POINTS


def make_batches() -> tuple[Batches, float]:
    """(a function that returns the next step's blobs, seconds to encode one batch)."""
    rng = np.random.default_rng(0)
    pairs = POINTS * (POINTS - 1) // 2
    new = [
        NewSnapshot(f"layer {i}", 0, 0, i, rng.uniform(0.5, 2, pairs).astype(np.float32))
        for i in range(LAYERS)
    ]
    encode_snapshots(new)
    began = time.perf_counter()
    encoded = encode_snapshots(new)
    seconds = time.perf_counter() - began
    steps = count()

    def batch() -> list[EncodedSnapshot]:
        step = next(steps)
        return [replace(snapshot, step=step) for snapshot in encoded]

    return batch, seconds


def writer(registry: Registry, batch: Batches) -> Callable[[], object]:
    run: Any = registry.start_run("run", probe=Probe())  # type: ignore[arg-type]

    def write() -> None:
        rows = batch()
        registry._database.write_rows(lambda driver: store_snapshots(driver, run.id, rows))

    return write


def insert_bare(connection: sqlite3.Connection, batch: Batches) -> Callable[[], object]:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(TABLE.format("BLOB"))

    def insert() -> None:
        rows = [(one.layer, one.step, one.sketch, one.rdm) for one in batch()]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO bare VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    return insert


def copy_bare(connection: Any, batch: Batches) -> Callable[[], object]:
    connection.execute(TABLE.format("BYTEA"))
    connection.commit()

    def insert() -> None:
        with connection.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "int4", "bytea", "bytea"])
            for one in batch():
                copy.write_row((one.layer, one.step, one.sketch, one.rdm))
        connection.commit()

    return insert


@contextmanager
def schema() -> Iterator[str | None]:
    """The URL of an empty PostgreSQL schema, or None if there is no server."""
    try:
        engine = create_engine(POSTGRESQL, connect_args={"connect_timeout": 3})
        name = f"bench{uuid.uuid4().hex[:12]}"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
    except (ImportError, OperationalError):
        yield None
        return
    yield f"{POSTGRESQL}?options=-csearch_path%3D{name}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


def compare(what: str, goal: float, rounds: int, actions: dict[str, Callable[[], object]]) -> Line:
    in_turn(actions, 3)
    seconds = in_turn(actions, rounds)
    share = ratio(seconds["bare"], seconds["registry"])
    each = f"{milliseconds(seconds['registry'])} against {milliseconds(seconds['bare'])}"
    rate = LAYERS / float(np.median(seconds["registry"]))
    detail = f"{each} for {LAYERS} snapshots of {POINTS} points; {rate:.0f} a second"
    return Line(what, share, "x", f"at least {goal}", share >= goal, detail)


def run(smoke: bool) -> list[Line]:
    rounds = 4 if smoke else 60
    batch, encoding = make_batches()
    lines = []
    with tempfile.TemporaryDirectory() as name:
        registry = Registry(Path(name) / "repwatch.db")
        with closing(sqlite3.connect(Path(name) / "bare.db", isolation_level=None)) as bare:
            actions = {"registry": writer(registry, batch), "bare": insert_bare(bare, batch)}
            lines.append(compare("writing, to bare SQLite", SQLITE_GOAL, rounds, actions))
        registry.close()
    with schema() as url:
        if url is not None:
            import psycopg

            registry = Registry(url)
            options = url.partition("?options=")[2].replace("%3D", "=")
            address = POSTGRESQL.replace("+psycopg", "")
            with psycopg.connect(address, options=options) as connection:
                actions = {
                    "registry": writer(registry, batch),
                    "bare": copy_bare(connection, batch),
                }
                lines.append(compare("writing, to COPY", POSTGRESQL_GOAL, rounds, actions))
            registry.close()
    lines.append(Line("encoding a batch", encoding * 1000, "ms", detail="on the recorder's thread"))
    return lines
