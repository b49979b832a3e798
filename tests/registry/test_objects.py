"""RDMs that were moved to object storage: whole, checked, and named by nobody but the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repwatch.errors import ConfigurationError, RegistryError, RegistryUnavailableError
from repwatch.probe import ProbeSet
from repwatch.registry import NewSnapshot, Registry, Retention, Run
from repwatch.registry.admission import admit
from repwatch.registry.health import examine
from repwatch.registry.retention import reduce_run
from repwatch.registry.transfer import copy_runs

STEPS = 8
POINTS = 70  # 4,830 bytes of an RDM


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPWATCH_OBJECTS", str(tmp_path / "objects"))
    return tmp_path / "objects"


def stored_run(location: str, points: int = POINTS) -> tuple[Registry, Run]:
    registry = Registry(location)
    generator = np.random.default_rng(0)
    probe = ProbeSet.from_tensor(generator.normal(size=(points, 4)).astype(np.float32))
    run = registry.start_run("run", probe=probe)
    for step in range(STEPS):
        D = generator.uniform(1, 2, points * (points - 1) // 2).astype(np.float32)
        registry.add_snapshots(run.id, [NewSnapshot("fc", step, 0, 1, D)])
    registry.finish_run(run.id, "finished")
    return registry, registry.run(run.id)


def objects(storage: Path) -> list[Path]:
    return [path for path in storage.rglob("*") if path.is_file()]


def test_moved_rdms_are_whole_and_the_registry_holds_their_hash(
    location: str, storage: Path
) -> None:
    registry, run = stored_run(location)
    before = registry.rdms(run.snapshots())
    retention = Retention(every=100, others="objects")
    counted = reduce_run(registry, run, retention, apply=False)
    moved = reduce_run(registry, run, retention)
    assert (moved.snapshots, moved.bytes) == (STEPS - 2, (STEPS - 2) * (POINTS * (POINTS - 1) - 37))
    assert counted == moved
    assert len(objects(storage)) == STEPS - 2
    assert np.array_equal(registry.rdms(run.snapshots()), before)
    assert np.array_equal(registry.rdms(run.snapshots()[3:4])[0], before[3])
    assert reduce_run(registry, run, retention).snapshots == 0, "they are there already"
    assert reduce_run(registry, run, Retention(every=100)).snapshots == 0, "none is brought back"
    found = {finding.subject: finding for finding in examine(registry)}
    assert found["snapshots"].level == "fine"
    assert found["object storage"].message.startswith(f"{STEPS - 2} RDMs are stored at")


def test_small_rdms_stay_in_the_registry(tmp_path: Path, storage: Path) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"), points=20)
    assert reduce_run(registry, run, Retention(others="objects")).snapshots == 0
    assert objects(storage) == []


def test_without_the_storage_an_error_says_what_to_set(
    tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    retention = Retention(every=100, others="objects")
    monkeypatch.delenv("REPWATCH_OBJECTS")
    with pytest.raises(ConfigurationError, match="REPWATCH_OBJECTS to say where"):
        reduce_run(registry, run, retention)
    monkeypatch.setenv("REPWATCH_OBJECTS", str(storage))
    reduce_run(registry, run, retention)
    monkeypatch.delenv("REPWATCH_OBJECTS")
    with pytest.raises(
        RegistryUnavailableError, match=r"RDMs are in object storage.*Set it to a folder"
    ):
        registry.rdms(run.snapshots())
    assert len(registry.sketches(run.snapshots())) == STEPS, "sketches are not moved"
    hint = next(found for found in examine(registry) if found.subject == "object storage")
    assert hint.level == "hint"
    monkeypatch.setenv("REPWATCH_OBJECTS", str(tmp_path / "another"))
    with pytest.raises(RegistryUnavailableError, match="the one they were moved to"):
        registry.rdms(run.snapshots())


def test_bytes_with_another_hash_are_refused(tmp_path: Path, storage: Path) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    reduce_run(registry, run, Retention(every=100, others="objects"))
    damaged = objects(storage)[0]
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    with pytest.raises(RegistryError, match=r"is damaged.*a different hash"):
        registry.rdms(run.snapshots())


def test_a_storage_that_takes_nothing_leaves_the_rdms_where_they_are(
    tmp_path: Path, storage: Path
) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    before = registry.rdms(run.snapshots())
    storage.write_text("no folder")
    with pytest.raises(RegistryError, match="the RDMs stay in the registry"):
        reduce_run(registry, run, Retention(every=100, others="objects"))
    storage.unlink()
    assert np.array_equal(registry.rdms(run.snapshots()), before)


def test_an_exported_file_needs_no_storage(
    tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    before = registry.rdms(run.snapshots())
    reduce_run(registry, run, Retention(every=100, others="objects"))
    exported = Registry(tmp_path / "runs.db").create()
    copy_runs(registry, exported, [run])
    monkeypatch.delenv("REPWATCH_OBJECTS")
    assert np.array_equal(exported.rdms(exported.run("run").snapshots()), before)


def test_a_file_with_references_is_not_taken_in(tmp_path: Path, storage: Path) -> None:
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    reduce_run(registry, run, Retention(every=100, others="objects"))
    with pytest.raises(RegistryError, match="is in someone else's object storage"):
        admit(registry)


def test_any_storage_of_fsspec_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPWATCH_OBJECTS", "memory://rdms/vision")
    registry, run = stored_run(str(tmp_path / "repwatch.db"))
    before = registry.rdms(run.snapshots())
    assert reduce_run(registry, run, Retention(every=100, others="objects")).snapshots
    assert np.array_equal(registry.rdms(run.snapshots()), before)
    monkeypatch.setenv("REPWATCH_OBJECTS", "nowhere://rdms")
    with pytest.raises(RegistryError, match="fsspec cannot open"):
        registry.rdms(run.snapshots())
