"""Probe points by their place in the innermost data set, so that runs of other splits compare."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, random_split

from repwatch import Registry, RepWatch
from repwatch.integrations.lightning.sources import training_note
from repwatch.probe import ProbeSet
from repwatch.probe._places import SourceMap
from tests.integrations.lightning import training

N = 40


def rows(n: int = N) -> TensorDataset:
    return TensorDataset(
        torch.arange(n * 6, dtype=torch.float32).reshape(n, 6), torch.arange(n) % 2
    )


class Scaled(Dataset[Any]):
    """Adds a transform to a split, as guides recommend."""

    def __init__(self, split: Any, scale: float) -> None:
        self.split = split
        self.scale = scale

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> Any:
        x, y = self.split[i]
        return self.scale * x, y


class Noisy(Dataset[Any]):
    """Draws from the global generator for each item."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return i + torch.rand(3), i % 2


def split(data: Any, seed: int) -> list[Subset[Any]]:
    return random_split(data, [N - 12, 12], generator=torch.Generator().manual_seed(seed))


def read(data: Any, probe: ProbeSet) -> ProbeSet:
    return ProbeSet.from_dataset(data, places=probe.places)


@pytest.mark.parametrize(
    "nest",
    [
        lambda data: data,
        lambda data: Scaled(data, 0.5),
        lambda data: ConcatDataset([data]),
        lambda data: Subset(Subset(data, range(1, 12)), range(9)),
        lambda data: Subset(ConcatDataset([Scaled(data, 2.0), rows(7)]), range(2, 16)),
    ],
)
def test_the_points_of_one_split_are_read_again_from_another(nest: Any) -> None:
    first, second = (nest(split(rows(), seed)[1]) for seed in (0, 1))
    probe = ProbeSet.from_dataset(first, n=8)
    assert ProbeSet.from_dataset(second, n=8).fingerprint != probe.fingerprint
    again = read(second, probe)
    assert again.fingerprint == probe.fingerprint
    assert again.places == probe.places == tuple(probe.columns["index"])
    assert again.source == ProbeSet.from_dataset(second, n=256).source | {"wanted": 256}


def test_random_transforms_give_the_same_views_from_every_split() -> None:
    train, held = split(Noisy(), 0)
    other, _ = split(Noisy(), 1)
    probe = ProbeSet.from_dataset(held, n=6)
    assert probe.fingerprint == read(train, probe).fingerprint == read(other, probe).fingerprint


def test_a_data_set_in_itself_has_its_indices_as_places() -> None:
    sources = SourceMap(rows())
    assert sources.places([0, 5]) == [0, 5]
    assert sources.find([5, 39, 40]) == [5, 39, None]


def test_parts_of_several_data_sets_have_places_of_their_own() -> None:
    a, b = rows(), rows(10)
    joined = ConcatDataset([Subset(a, [7, 3]), b, Subset(a, [1])])
    sources = SourceMap(joined)
    assert sources.places(range(4)) == [7, 3, N, N + 1]
    assert sources.places([12]) == [1]
    assert sources.find([1, 3, N + 9, 2]) == [12, 1, 11, None]


def test_the_data_sets_of_the_user_are_left_alone() -> None:
    held = Scaled(split(rows(), 0)[1], 0.5)
    before = list(held.split.indices), copy.copy(vars(held))
    probe = ProbeSet.from_dataset(Scaled(split(rows(), 1)[1], 0.5), n=8)
    read(held, probe)
    assert (list(held.split.indices), vars(held)) == before


def hugging_face(indices: list[int] | None) -> Any:
    """A stand-in with the two attributes that tell where rows come from."""

    class Rows:
        def __init__(self) -> None:
            self._data = SimpleNamespace(num_rows=N)
            column = SimpleNamespace(to_numpy=lambda: np.array(indices))
            self._indices = None if indices is None else SimpleNamespace(column=lambda i: column)

        def __len__(self) -> int:
            return N if self._indices is None else len(self._indices.column(0).to_numpy())

        def __getitem__(self, i: int) -> Any:
            row = i if self._indices is None else int(self._indices.column(0).to_numpy()[i])
            return {"x": torch.full((3,), float(row)), "label": row % 2}

    Rows.__module__ = "datasets.arrow_dataset"
    return Rows()


def test_rows_of_hugging_face_data_sets_are_followed_through_their_indices() -> None:
    first, second = hugging_face([5, 9, 2, 30]), hugging_face([1, 0, 39])
    probe = ProbeSet.from_dataset(first, n=4)
    assert probe.places == (5, 9, 2, 30)
    assert read(second, probe).fingerprint == probe.fingerprint
    assert read(hugging_face(None), probe).fingerprint == probe.fingerprint


def test_rows_of_a_true_hugging_face_data_set() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    whole = datasets.Dataset.from_dict({"x": torch.arange(40.0).reshape(20, 2).tolist()})
    whole = whole.with_format("torch")
    first, second = (whole.train_test_split(0.3, seed=seed)["test"] for seed in (0, 1))
    probe = ProbeSet.from_dataset(first, n=6)
    assert read(second, probe).fingerprint == probe.fingerprint
    assert ProbeSet.from_dataset(second, n=6).fingerprint != probe.fingerprint


# Trainings


@pytest.fixture
def pl() -> ModuleType:
    """One namespace is enough: what is tested lies below."""
    return pytest.importorskip("lightning.pytorch")


def fit(pl: ModuleType, root: Path, seed: int, data: Any = None, **options: Any) -> str:
    """The probe set of a training whose validation set is split off with a seed."""
    train, held = split(rows() if data is None else data, seed)
    watch = RepWatch(registry=root / "repwatch.db", draw_map=False, **options)
    loaders = DataLoader(train, batch_size=8), DataLoader(held, batch_size=8)
    training.trainer(pl, root, watch, max_epochs=1).fit(training.module(pl, lr=1e-4), *loaders)
    assert watch.run_id is not None
    return Registry(root / "repwatch.db").run(watch.run_id).probe


def test_seven_runs_with_another_split_each_share_one_probe_set(
    pl: ModuleType, tmp_path: Path
) -> None:
    assert len({fit(pl, tmp_path, seed) for seed in range(7)}) == 1
    notes = [run.notes for run in Registry(tmp_path / "repwatch.db").runs()]
    assert "0 of 12 probe points are in the training set." in notes[0]
    assert not any("0 of 12 probe points are in" in note for note in notes[1])
    assert any("of 12 probe points are in the training set." in note for note in notes[1])


def test_another_number_of_points_is_another_probe_set(pl: ModuleType, tmp_path: Path) -> None:
    assert fit(pl, tmp_path, 0) != fit(pl, tmp_path, 1, points=6)


def test_other_data_of_the_same_size_get_points_of_their_own_split(
    pl: ModuleType, tmp_path: Path
) -> None:
    fit(pl, tmp_path, 0)
    other = TensorDataset(
        torch.randn(N, 6, generator=torch.Generator().manual_seed(3)), rows()[:][1]
    )
    found = Registry(tmp_path / "repwatch.db").probe(fit(pl, tmp_path, 1, other))
    held = split(other, 1)[1]
    assert set(found.places or ()) <= set(held.indices)


def test_how_many_probe_points_are_trained_on_is_known_only_of_common_data() -> None:
    train, held = split(rows(), 0)
    probe = ProbeSet.from_dataset(held, n=12)

    def note(training_set: Any) -> str | None:
        trainer: Any = SimpleNamespace(
            val_dataloaders=DataLoader(held), train_dataloader=DataLoader(training_set)
        )
        return training_note(probe, trainer)

    assert note(train) == "0 of 12 probe points are in the training set."
    assert note(split(held.dataset, 1)[0]).startswith(  # type: ignore[union-attr]
        f"{len(set(held.indices) & set(split(held.dataset, 1)[0].indices))} of 12"
    )
    assert note(rows()) is None
