"""The probe set is the same whoever reads it, and reading it takes a bounded time and size."""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from repwatch.errors import ProbeError
from repwatch.probe import ProbeSet, build
from repwatch.probe import _items as items
from repwatch.probe import _limits as limits
from repwatch.probe import _workers as workers
from repwatch.probe._storage import read_stored
from repwatch.probe.build import halvings


class Views(Dataset[Any]):
    """Random views, by the global generators and by generators of its own."""

    def __init__(self, lazy: bool = False) -> None:
        self.own = torch.Generator().manual_seed(torch.initial_seed())
        self.numbers = None if lazy else np.random.default_rng(torch.initial_seed())

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        if self.numbers is None:
            self.numbers = np.random.default_rng(torch.initial_seed())
        noise = random.random() + np.random.rand() + self.numbers.random()
        return torch.randn(4) + torch.rand(4, generator=self.own) + noise + i


@pytest.mark.parametrize("lazy", [False, True])
def test_random_views_are_the_same_with_any_seed_and_any_number_of_workers(
    lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed, count in ((1, 0), (2, 2), (3, 3)):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        loader = DataLoader(Views(lazy), batch_size=4)
        found.append(ProbeSet.from_loader(loader, n=20, num_workers=count).fingerprint)
    monkeypatch.setattr(items, "can_start_workers", lambda: False)
    found.append(ProbeSet.from_dataset(Views(lazy), n=20).fingerprint)
    assert len(set(found)) == 1
    assert len(ProbeSet.from_dataset(Views(lazy), n=20).inputs.unique()) == 80


def test_a_random_collate_function_draws_the_same_numbers_each_time() -> None:
    def mask(batch: list[Any]) -> Any:
        x = torch.stack(batch)
        return x * (torch.rand(x.shape) > 0.5)

    rows = list(torch.randn(20, 8))
    before = torch.get_rng_state()
    first = ProbeSet.from_dataset(rows, collate_fn=mask)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert ProbeSet.from_dataset(rows, collate_fn=mask).fingerprint == first.fingerprint
    assert "index" not in first.columns
    assert first.places == tuple(range(20))


class OnlyHere(Dataset[Any]):
    """Fails in any process but the one that made it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.count = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        if os.getpid() != self.process:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")
        self.count += 1
        return torch.tensor([float(i)])


class Unpicklable(OnlyHere):
    def __getitem__(self, i: int) -> Any:
        self.count += 1
        return torch.tensor([float(i)]), lambda: None


def test_what_workers_cannot_read_is_read_here_and_put_back() -> None:
    for dataset in (OnlyHere(), Unpicklable()):
        first = ProbeSet.from_dataset(
            dataset, collate_fn=lambda rows: torch.stack([r[0].reshape(1) for r in rows])
        )
        assert first.inputs.flatten().tolist() == list(range(8))
        assert dataset.count == 0


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(OnlyHere):
        def __getitem__(self, i: int) -> Any:
            while os.getpid() != self.process:
                signal.pause()
            return torch.tensor([float(i)])

    monkeypatch.setattr(workers, "HANG_SECONDS", 0.5)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)
    assert ProbeSet.from_dataset(Hangs()).inputs.flatten().tolist() == list(range(8))


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_items_that_kill_their_worker_are_not_read_here() -> None:
    class Kills(OnlyHere):
        def __getitem__(self, i: int) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ProbeError, match="ended with signal SIGKILL"):
        ProbeSet.from_dataset(Kills())


def test_plain_tensors_are_read_without_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("another process")

    monkeypatch.setattr(items, "read_in_workers", fail)
    x = torch.arange(20.0)
    pure = TensorDataset(x, x.long())
    for dataset in (pure, Subset(pure, [1, 2, 3, 5]), ConcatDataset([pure, pure]), x, list(x)):
        assert len(ProbeSet.from_dataset(dataset)) == len(dataset)

    def write(batch: list[Any]) -> Any:
        return torch.stack([row.mul_(0) for row, _ in batch])

    ProbeSet.from_dataset(pure, collate_fn=write)
    assert x.tolist() == list(range(20))


@pytest.mark.parametrize("in_workers", [True, False])
def test_an_item_that_cannot_be_read_costs_points_and_not_the_probe_set(
    in_workers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Corrupt(Rows):
        def __getitem__(self, i: int) -> Any:
            if i == 37:
                raise OSError("truncated file")
            return super().__getitem__(i)

    monkeypatch.setattr(items, "can_start_workers", lambda: in_workers)
    probe = ProbeSet.from_dataset(Corrupt(64), n=64)
    assert probe.places == tuple(range(0, 64, 2))
    assert probe.notes == (
        "32 of 64 points, because reading further ones failed with OSError: truncated file",
    )


def test_a_batch_that_cannot_be_read_costs_its_points() -> None:
    class Batches(Rows):
        def __getitem__(self, i: int) -> Any:
            if i == 9:
                raise OSError("truncated file")
            return torch.full((4, 2), float(i))

    probe = ProbeSet.from_loader(DataLoader(Batches(10), batch_size=None), n=40)
    assert len(probe) >= 3
    assert any("failed with OSError: truncated file" in note for note in probe.notes)
    assert 9 not in (probe.places or ())


def test_a_collate_function_may_need_more_items_than_are_tried_first() -> None:
    def pairs(batch: list[Any]) -> Any:
        assert len(batch) % 8 == 0
        return torch.stack([x for x, _ in batch])

    assert len(ProbeSet.from_dataset(Rows(100), n=64, collate_fn=pairs)) == 64


# Time


class Rows(Dataset[Any]):
    def __init__(self, n: int, width: int = 4) -> None:
        self.n, self.width = n, width

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return torch.full((self.width,), float(i)), i % 3


class Clock:
    """A second passes with each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize(("seconds", "points"), [(0, 4), (10, 8), (20, 16), (10_000, 64)])
def test_slow_items_give_fewer_points_evenly_spaced_and_nested(
    seconds: float, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ProbeSet.from_dataset(Rows(1000), n=64)
    monkeypatch.setattr(build, "time", Clock())
    probe = ProbeSet.from_dataset(Rows(1000), n=64, seconds=seconds)
    assert len(probe) == points
    assert probe.places == whole.places[:: 64 // points]
    assert probe.columns["index"] == list(probe.places)
    note = f"{points} of 64 points, because reading them took longer than {seconds} s"
    assert (note in probe.notes) is (points < 64)


def test_halvings_are_evenly_spaced_up_to_every_level() -> None:
    for n in range(3, 300):
        levels = halvings(n)
        assert sorted(position for level in levels for position in level) == list(range(n))
        assert len(levels[0]) in range(3, 6)
        read: list[int] = []
        for level in levels:
            read = sorted(read + level)
            assert len(set(np.diff(read))) == 1


def test_batches_as_items_end_with_the_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [torch.full((4, 2), float(i)) for i in range(100)]
    loader: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    assert len(ProbeSet.from_loader(loader, n=64)) == 64
    monkeypatch.setattr(build, "time", Clock())
    probe = ProbeSet.from_loader(loader, n=64, seconds=3)
    assert len(probe) == 16
    assert any("longer than 3 s" in note for note in probe.notes)
    again = ProbeSet.from_loader(loader, n=16, places=probe.places)
    assert again.fingerprint == probe.fingerprint


def test_reading_that_takes_long_is_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("repwatch.probe._items.SHOW_AFTER_SECONDS", 0.0)
    with caplog.at_level("INFO", "repwatch"):
        ProbeSet.from_dataset(Rows(10), progress=False)
        assert caplog.messages == []
        ProbeSet.from_dataset(Rows(10))
    assert caplog.messages == ["RepWatch reads its probe set: 1 of 10 points so far"]


def test_a_terminal_gets_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repwatch.probe._items.SHOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ProbeSet.from_dataset(Rows(10))
    assert "RepWatch reads its probe set" in capsys.readouterr().err


# Size


@pytest.mark.parametrize("workers_here", [True, False])
def test_large_items_give_fewer_points(workers_here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "can_start_workers", lambda: workers_here)
    monkeypatch.setattr(limits, "MAX_BYTES", 2 << 20)
    probe = ProbeSet.from_dataset(Rows(100, width=1 << 14), n=64)
    assert len(probe) == 16
    assert any(note.startswith("16 of 64 points") for note in probe.notes)


def test_a_collate_function_that_makes_items_larger_gives_fewer_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pad(batch: list[Any]) -> Any:
        # Only the whole batch shows it: one item in it is long.
        longest = max(int(x[0]) for x, _ in batch) ** 2 + 1
        return torch.zeros(len(batch), longest)

    monkeypatch.setattr(limits, "MAX_BYTES", 400_000)
    probe = ProbeSet.from_dataset(Rows(64), n=64, collate_fn=pad)
    assert len(probe) == 16
    assert probe.inputs.nbytes <= 400_000


def test_a_view_of_a_large_tensor_is_handed_over_alone() -> None:
    class Slices(Dataset[Any]):
        data = torch.rand(1000, 1000)

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, i: int) -> Any:
            return {"x": self.data[i]}

    assert len(workers.dump(Slices()[3])) < 10_000
    assert torch.equal(ProbeSet.from_dataset(Slices(), n=8).inputs["x"][0], Slices.data[0])


def test_large_inputs_are_not_stored_but_can_be_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_STORED_BYTES", 10_000)
    dataset = TensorDataset(torch.rand(20, 3, 16, 16), torch.arange(20))
    probe = ProbeSet.from_dataset(dataset, n=10, links=[f"http://x/{i}" for i in range(10)])
    assert not probe.is_stored_whole
    stored = probe.to_bytes()
    assert len(stored) < 20_000
    with pytest.raises(ProbeError, match=r"too large to be stored.*places="):
        ProbeSet.from_bytes(stored)
    found = read_stored(stored)
    assert not found.inputs_stored
    assert (found.fingerprint, found.places) == (probe.fingerprint, probe.places)
    assert (found.columns, found.links) == (probe.columns, probe.links)
    assert found.images is not None
    assert len(found.images) == 10
    assert found.images.nbytes <= 10_000
    again = ProbeSet.from_dataset(dataset, places=found.places)
    assert again.fingerprint == probe.fingerprint
    assert again.__reduce__()[0](*again.__reduce__()[1]).fingerprint == probe.fingerprint
    with pytest.raises(ProbeError, match=r"item at index 13, but .* has 12 items"):
        ProbeSet.from_dataset([dataset[i] for i in range(12)], places=found.places)


def test_places_survive_storage_and_small_inputs_are_stored_whole() -> None:
    probe = ProbeSet.from_dataset(Rows(30), n=5)
    assert probe.is_stored_whole
    assert probe.places == (0, 7, 14, 22, 29)
    assert ProbeSet.from_bytes(probe.to_bytes()).places == probe.places
    assert read_stored(probe.to_bytes()).inputs_stored
    assert ProbeSet(torch.rand(4, 2)).places is None
