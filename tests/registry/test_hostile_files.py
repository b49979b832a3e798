"""Files that somebody sent: refused whole with one sentence, and the target is as before."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from repwatch import cli
from repwatch._archives import SLACK, read_arrays
from repwatch.errors import ProbeError, RegistryError, RepWatchError
from repwatch.probe import ProbeSet
from repwatch.registry import Registry, entries
from repwatch.registry.entries import Entry
from repwatch.registry.health import examine

from .helpers import snapshot_of

FULL_VIEW = "ALTER TABLE runs RENAME TO r; CREATE VIEW runs AS SELECT * FROM r"
BOMB = zipfile.ZIP_DEFLATED
# What is done to a good file, and what the refusal says of it.
DAMAGE = {
    "view": (FULL_VIEW, "not a plain table"),
    "trigger": (
        "CREATE TRIGGER t AFTER INSERT ON labels BEGIN DELETE FROM runs; END",
        "has a trigger",
    ),
    "missing table": ("DROP TABLE metrics", "table metrics has no column"),
    "missing column": ("ALTER TABLE runs DROP COLUMN monitor", "no column monitor"),
    "short RDM": ("UPDATE rdms SET rdm = x'00' WHERE snapshot_id = 5", "wrong length"),
    "huge sketch": ("UPDATE rdms SET sketch = zeroblob(9000000)", "wrong length"),
    "text as RDM": ("UPDATE rdms SET rdm = substr(hex(rdm), 1, 30)", "belongs"),
    "points that lie": ("UPDATE probe_sets SET points = 7", "wrong length"),
    "points beyond memory": ("UPDATE probe_sets SET points = 4000000000", "wrong length"),
    "text as step": ("UPDATE snapshots SET step = 'last' WHERE id = 5", "'last' where int belongs"),
    "text as points": ("UPDATE probe_sets SET points = 'six'", "wrong length"),
    "text as scale": ("UPDATE rdms SET scale = 'one'", "'one' where float or int belongs"),
    "infinite scale": ("UPDATE rdms SET scale = 9e999", "distances that are not numbers|inf"),
    "text as time": ("UPDATE runs SET started_at = 'noon'", "'noon' where datetime belongs"),
    "bytes as name": ("UPDATE runs SET name = x'fffe'", "where str belongs"),
    "no UTF-8": ("UPDATE runs SET name = CAST(x'fffe' AS TEXT)", "UTF-8"),
    "no JSON": ("UPDATE runs SET hparams = '{'", "where dict belongs"),
    "deep JSON": (
        "UPDATE runs SET hparams = replace(hex(zeroblob(50000)), '00', '[')",
        "where dict belongs",
    ),
    "scalars of text": ('UPDATE snapshots SET scalars = \'{"std": "x"}\'', "where dict belongs"),
    "unknown status": ("UPDATE runs SET status = 'happy'", "'happy' as status; expected one of"),
    "control characters": ("UPDATE runs SET name = 'a' || char(27) || '[2J'", "control characters"),
    "name of a megabyte": ("UPDATE runs SET name = hex(zeroblob(500000))", "1,000,000 characters"),
    "negative step": ("UPDATE metrics SET step = -1", "-1 as step"),
    "a run of no probe set": (
        "PRAGMA foreign_keys=OFF; UPDATE runs SET probe = 'none'",
        "refer to missing rows",
    ),
    "another probe set": ("UPDATE probe_sets SET content = x'00'", "cannot be read"),
}


@pytest.fixture
def pack(tmp_path: Path, probe: ProbeSet) -> Path:
    made = Registry(tmp_path / "pack.db")
    run = made.start_run("sent", probe=probe, hparams={"lr": 0.1}, monitor="loss")
    made.add_snapshots(run.id, [snapshot_of(step=step) for step in range(9)])
    made.add_metrics(run.id, 3, 0, {"loss": 0.5})
    made.add_flag(run.id, kind="drift", step=3, epoch=0, message="look")
    made.label(run, "good")
    made.close()
    return tmp_path / "pack.db"


@pytest.fixture
def target(tmp_path: Path, probe: ProbeSet) -> Registry:
    made = Registry(tmp_path / "target.db")
    run = made.start_run("mine", probe=probe)
    made.add_snapshots(run.id, [snapshot_of(step=1)])
    made.close()
    return made


def import_into(target: Registry, file: Path) -> BaseException | None:
    words = ["import", str(file), "-r", str(target.path)]
    return CliRunner().invoke(cli.app, words).exception


def read_everything(path: Path) -> None:
    """All that a person who opens the file directly would have read; RepWatchError may end it."""
    registry = Registry(path, read_only=True)
    try:
        examine(registry)
        for run in registry.runs():
            registry.rdms(run.snapshots())
            registry.sketches(run.snapshots())
            registry.history(run, "loss")
            registry.points(run.probe)
            registry.probe(run.probe)
    except RepWatchError:
        pass
    finally:
        registry.close()


def test_a_good_file_is_taken_in(pack: Path, target: Registry) -> None:
    assert import_into(target, pack) is None
    assert {run.name for run in target.runs()} == {"mine", "sent"}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_hostile_file_is_refused_whole(kind: str, pack: Path, target: Registry) -> None:
    script, reason = DAMAGE[kind]
    with closing(sqlite3.connect(pack)) as connection:
        connection.executescript(f"BEGIN; {script}; COMMIT;")
    before = target.path.read_bytes()  # type: ignore[union-attr]
    refused = import_into(target, pack)
    assert isinstance(refused, RegistryError)
    with pytest.raises(RegistryError, match=reason):
        raise refused
    assert len(str(refused)) < 500
    target.close()
    assert target.path.read_bytes() == before  # type: ignore[union-attr]
    read_everything(pack)


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut within a page": lambda content: content[:5000],
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "random behind its head": lambda content: (
        content[:4096] + np.random.default_rng(1).bytes(len(content) - 4096)
    ),
    "text": lambda content: b"name,label\n" * 1000,
}


@pytest.mark.parametrize("kind", BYTES)
def test_a_file_that_is_none_is_refused_whole(kind: str, pack: Path, target: Registry) -> None:
    pack.write_bytes(BYTES[kind](pack.read_bytes()))
    before = target.path.read_bytes()  # type: ignore[union-attr]
    assert isinstance(import_into(target, pack), RegistryError)
    target.close()
    assert target.path.read_bytes() == before  # type: ignore[union-attr]
    read_everything(pack)


def archive(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return made.getvalue()


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    content = made.getvalue()
    if shape is not None:
        told = str(array.shape).encode()
        content = content.replace(told, shape.encode(), 1).replace(
            b" " * (len(shape) - len(told)), b"", 1
        )
    return content


HEADER = {"kind": "notes", "values": {"notes": []}}
ARCHIVES = {
    "a shape that lies": archive(entry=npy(np.zeros(4, np.uint8), "(4000000000000,)")),
    "a bomb": archive(BOMB, entry=npy(np.zeros(SLACK + 10**6, np.uint8))),
    "objects": archive(entry=npy(np.array([{}], dtype=object))),
    "truncated": archive(entry=npy(np.zeros(4, np.uint8)))[:-30],
    "deep": archive(entry=npy(np.frombuffer(b"[" * 100_000, np.uint8))),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_of_strangers_are_read_within_bounds(kind: str) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        Entry.from_bytes(ARCHIVES[kind])
    with pytest.raises(ProbeError, match="cannot be read"):
        ProbeSet.from_bytes(ARCHIVES[kind])


def test_arrays_of_all_kinds_are_read_as_they_were_written() -> None:
    given = {
        "plain": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 4), np.float32),
        "single": np.array(3),
        "text": np.array("caf\u00e9"),
        "complex": np.array([1 + 2j]),
        "other order": np.arange(3, dtype=">i4"),
    }
    for save in (np.savez, np.savez_compressed):
        made = io.BytesIO()
        save(made, **given)
        found = read_arrays(made.getvalue())
        assert all(np.array_equal(found[name], value) for name, value in given.items())
        assert {name: array.dtype for name, array in found.items()} == {
            name: array.dtype for name, array in given.items()
        }
    assert list(read_arrays(made.getvalue(), lambda name: name == "text")) == ["text"]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "metrics", "values": {"step": "now", "epoch": 0, "values": {}}},
        {"kind": "metrics", "values": {"unknown": 1}},
        {"kind": "finish", "values": {"status": "finished", "ended_at": "noon"}},
        {"kind": "snapshots", "values": {"snapshots": [{"layer": "fc"}]}},
        {"kind": "start", "values": {"run": [], "probe": {}}},
    ],
)
def test_a_spooled_entry_of_other_values_is_refused(
    values: dict[str, object], target: Registry
) -> None:
    blob = archive(entry=npy(np.frombuffer(json.dumps(values).encode(), np.uint8)))
    before = target.runs()
    with pytest.raises(RepWatchError):
        Entry.from_bytes(blob).apply(target, before[0].id)
    assert target.runs() == before
    target.close()


def test_a_spooled_entry_of_notes_is_still_read(target: Registry) -> None:
    (run,) = target.runs()
    Entry.from_bytes(entries.notes(["look"]).to_bytes()).apply(target, run.id)
    assert target.run(run.id).notes == ("look",)
    target.close()
    shutil.copy(str(target.path), f"{target.path}.copy")
    read_everything(Path(f"{target.path}.copy"))
