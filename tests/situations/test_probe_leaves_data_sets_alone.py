"""Reading the probe set leaves the data set as it was, so that training reads what it would."""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing
import os
import socket
import sys
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info, random_split

from repwatch.integrations.lightning.sources import probe_from_trainer
from repwatch.probe import ProbeSet, _preserve

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")

ITEMS = 60
# Larger than what Python's file objects read ahead, so that each item moves the file's position.
WIDTH = 3000


def row(i: int) -> bytes:
    return np.full(WIDTH, i, np.float32).tobytes()


class ZipItems(Dataset[Any]):
    """Opens its archive at the first item, as guides recommend."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.zip"
        self.archive: Any = None
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(ITEMS):
                archive.writestr(str(i), row(i))

    def __len__(self) -> int:
        return ITEMS

    def read(self, i: int) -> bytes:
        self.archive = self.archive or zipfile.ZipFile(self.path)
        return bytes(self.archive.read(str(i)))

    def __getitem__(self, i: int) -> Any:
        return torch.frombuffer(bytearray(self.read(i)), dtype=torch.float32), i % 3


class TarItems(ZipItems):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.tar"
        self.archive: Any = None
        with tarfile.open(self.path, "w") as archive:
            for i in range(ITEMS):
                member = tarfile.TarInfo(str(i))
                member.size = len(row(i))
                archive.addfile(member, io.BytesIO(row(i)))

    def read(self, i: int) -> bytes:
        self.archive = self.archive or tarfile.open(self.path)  # noqa: SIM115
        return bytes(self.archive.extractfile(str(i)).read())


class FileItems(ZipItems):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.bin"
        self.archive: Any = None
        self.path.write_bytes(b"".join(row(i) for i in range(ITEMS)))

    def read(self, i: int) -> bytes:
        self.archive = self.archive or self.path.open("rb")
        self.archive.seek(i * len(row(i)))
        return bytes(self.archive.read(len(row(i))))


HANDLES: dict[str, BinaryIO] = {}


class GlobalHandle(FileItems):
    """Its handle is a global of its module."""

    def read(self, i: int) -> bytes:
        if "rows" not in HANDLES:
            HANDLES["rows"] = self.path.open("rb")
        handle = HANDLES["rows"]
        handle.seek(i * len(row(i)))
        return handle.read(len(row(i)))


@functools.lru_cache
def cached_handle(path: Path) -> BinaryIO:
    return path.open("rb")


class CachedHandle(FileItems):
    def read(self, i: int) -> bytes:
        handle = cached_handle(self.path)
        handle.seek(i * len(row(i)))
        return handle.read(len(row(i)))


@pytest.fixture(autouse=True)
def _closed_handles() -> Iterator[None]:
    yield
    for handle in HANDLES.values():
        handle.close()
    HANDLES.clear()
    cached_handle.cache_clear()


KINDS = [ZipItems, TarItems, FileItems, GlobalHandle, CachedHandle]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("validation_workers", [0, 2])
def test_workers_that_are_forked_later_read_the_right_items(
    kind: type[ZipItems], validation_workers: int, tmp_path: Path
) -> None:
    dataset = kind(tmp_path)
    train, validation = random_split(dataset, [40, 20], torch.Generator().manual_seed(0))
    trainer = SimpleNamespace(
        train_dataloader=DataLoader(train, batch_size=4, num_workers=2, shuffle=True),
        val_dataloaders=DataLoader(validation, batch_size=4, num_workers=validation_workers),
    )
    probe, where = probe_from_trainer(trainer, 16)
    assert probe is not None, where
    assert dataset.archive is None
    assert not HANDLES
    assert cached_handle.cache_info().currsize == 0
    seen = []
    for _ in range(2):
        for x, y in trainer.train_dataloader:
            assert (x == x[:, :1]).all()
            assert y.tolist() == [int(value) % 3 for value in x[:, 0]]
            seen += [int(value) for value in x[:, 0]]
    assert sorted(seen) == sorted(2 * list(train.indices))


class Counting(Dataset[Any]):
    """Counts, caches, changes its array in place and draws from generators of its own."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.cache: dict[int, Any] = {}
        self.table = torch.ones(3, 9 << 20)
        self.generator = torch.Generator().manual_seed(5)
        self.numbers = np.random.default_rng(5)
        self.stream = itertools.count()

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> Any:
        self.seen.append(i)
        self.cache[i] = next(self.stream)
        self.table[i % 3, 0] += 1
        noise = torch.rand(4, generator=self.generator) + self.numbers.random()
        return noise, i % 2


def test_counters_caches_large_arrays_and_iterators_are_as_before() -> None:
    dataset = Counting()
    before = dataset.generator.get_state(), dataset.numbers.bit_generator.state
    ProbeSet.from_dataset(dataset, n=6)
    assert dataset.seen == []
    assert dataset.cache == {}
    assert dataset.table[:, 0].tolist() == [1, 1, 1]
    assert torch.equal(dataset.generator.get_state(), before[0])
    assert dataset.numbers.bit_generator.state == before[1]
    assert next(dataset.stream) == 0


class Sequential(Dataset[Any]):
    """Reads on at the position of its handle, which was opened in this process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(range(256)) * 1000)
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int) -> Any:
        self.file.seek(i * 1000)
        return torch.frombuffer(bytearray(self.file.read(8)), dtype=torch.uint8)


def test_the_position_of_a_file_that_is_open_already_does_not_move(tmp_path: Path) -> None:
    dataset = Sequential(tmp_path / "numbers")
    with dataset.file as file:
        file.seek(5)
        probe = ProbeSet.from_dataset(dataset)
        assert len(probe) == 9
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 5


class Served(Dataset[Any]):
    """Asks a server over a connection that was made in this process."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        self.connection.sendall(bytes([i]))
        return torch.tensor([float(self.connection.recv(1)[0])]), os.getpid()


def _answer(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while question := connection.recv(1):
            connection.sendall(question)


def test_a_connection_of_this_process_is_not_used_by_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        dataset = Served(server.getsockname()[1])
        probe = ProbeSet.from_dataset(dataset)
        assert probe.inputs[0].flatten().tolist() == [0, 1, 2, 3, 4]
        assert set(probe.columns["label"]) == {os.getpid()}
        assert float(dataset[3][0]) == 3
        dataset.connection.close()
        thread.join()


def test_reading_warns_of_nothing_and_starts_no_lasting_process(tmp_path: Path) -> None:
    class Warns(FileItems):
        def __getitem__(self, i: int) -> Any:
            warnings.warn("an item", stacklevel=1)
            return super().__getitem__(i)

    before = multiprocessing.active_children()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ProbeSet.from_dataset(Warns(tmp_path), n=8, num_workers=8)
    assert [str(warning.message) for warning in caught] == []
    assert multiprocessing.active_children() == before


def test_a_worker_init_function_gets_the_users_data_set() -> None:
    class Sharded(Dataset[Any]):
        offset = 0

        def __len__(self) -> int:
            return 6

        def __getitem__(self, i: int) -> Any:
            return torch.tensor([float(i + self.offset)])

    def start(worker: int) -> None:
        info: Any = get_worker_info()
        assert type(info.dataset) is Sharded
        info.dataset.offset = 100

    loader = DataLoader(Sharded(), num_workers=2, worker_init_fn=start)
    assert ProbeSet.from_loader(loader).inputs.flatten().tolist() == list(range(100, 106))


class SharedState(Dataset[Any]):
    """Counts in memory that all processes share, and caches there."""

    def __init__(self) -> None:
        self.count = multiprocessing.Value("i", 0)
        self.filled = np.frombuffer(multiprocessing.Array("b", 10).get_obj(), np.int8)
        self.cache = torch.zeros(10, 2).share_memory_()

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        with self.count:
            self.count.value += 1
        if not self.filled[i]:
            self.filled[i], self.cache[i] = 1, torch.rand(2)
        return self.cache[i] + 0


def test_what_processes_share_is_as_before() -> None:
    dataset = SharedState()
    assert ProbeSet.from_dataset(dataset, num_workers=2).inputs.unique().numel() == 20
    assert dataset.count.value == 0
    assert not dataset.filled.any()
    assert not dataset.cache.any()


def test_class_names_that_a_property_looks_up_leave_nothing_open(tmp_path: Path) -> None:
    class Named(FileItems):
        @property
        def classes(self) -> list[str]:
            self.archive = self.path.open("rb")
            self.archive.close()
            return ["a", "b", "c"]

    dataset = Named(tmp_path)
    assert ProbeSet.from_dataset(dataset, n=5).columns["class"] == ["a", "a", "a", "c", "c"]
    assert dataset.archive is None


def test_a_collate_method_of_a_large_data_set_does_not_cost_a_copy_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tables(Rows):
        calls = 0

        def collate(self, batch: list[Any]) -> torch.Tensor:
            self.calls += 1
            return torch.stack(batch)

    dataset = Tables()
    loader = DataLoader(dataset, collate_fn=dataset.collate)
    copied: list[int] = []
    clone = torch.Tensor.clone
    # Restoring compares with a copy; the items' own copies are small.
    monkeypatch.setattr(
        torch.Tensor, "clone", lambda x, **how: (copied.append(x.nbytes), clone(x, **how))[1]
    )
    ProbeSet.from_loader(loader)
    assert max(copied) >= dataset.tables[0].nbytes
    copied.clear()
    monkeypatch.setattr(_preserve, "MAX_COPIED_BYTES", 100_000)
    ProbeSet.from_loader(loader)
    assert max(copied, default=0) < dataset.tables[0].nbytes
    assert dataset.calls == 0


class Rows(Dataset[Any]):
    def __init__(self) -> None:
        self.tables = [torch.rand(10_000) for _ in range(10)]

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        return self.tables[i][:3]


def test_a_lightning_training_on_an_archive_continues(pl: ModuleType, tmp_path: Path) -> None:
    from repwatch import Registry, RepWatch

    class Classifier(pl.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Sequential(torch.nn.Linear(WIDTH, 4), torch.nn.ReLU())
            self.rows: list[int] = []

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            x, y = batch
            assert (x == x[:, :1]).all()
            self.rows += x[:, 0].long().tolist()
            return torch.nn.functional.cross_entropy(self.layer(x / ITEMS), y)

        def validation_step(self, batch: Any, index: int) -> None:
            assert (batch[0] == batch[0][:, :1]).all()

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(x / ITEMS)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    dataset = ZipItems(tmp_path)
    train, validation = random_split(dataset, [40, 20])
    model = Classifier()
    registry = Registry(tmp_path / "repwatch.db")
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[RepWatch(registry=registry)],
    )
    loaders = [DataLoader(part, batch_size=4, num_workers=2) for part in (train, validation)]
    trainer.fit(model, *loaders)
    assert sorted(model.rows) == sorted(2 * list(train.indices))
    (run,) = registry.runs()
    assert run.status == "finished"
    assert len(run.snapshots()) > 2
