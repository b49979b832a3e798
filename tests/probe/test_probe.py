"""The probe set: what it holds, how it is made, and that making it leaves no trace."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import zipfile
from collections import UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from repwatch.errors import ProbeError
from repwatch.probe import ProbeCollector, ProbeSet, batch_size, map_tensors, move, preserved_rng
from repwatch.probe._storage import pack

Sample = namedtuple("Sample", ["x", "y", "weight"])


def images(n: int = 10) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def rng_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]


class Augmented(Dataset[Any]):
    classes = ("cat", "dog", "fish")

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, i: int) -> Any:
        noise = torch.randn(4) + np.random.rand() + random.random()
        return noise, i % 3


def _newer() -> bytes:
    header = np.frombuffer(json.dumps({"format": 99}).encode(), dtype=np.uint8)
    np.savez(buffer := io.BytesIO(), header=header)
    return buffer.getvalue()


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from torch.randn(9, 2)


# What a probe set is


def test_a_probe_set_knows_its_points_and_does_not_change() -> None:
    x = torch.randn(10, 4)
    probe = ProbeSet({"x": x, "y": torch.arange(10)}, columns={"label": list(range(10))})
    before = probe.fingerprint
    x.zero_()
    next(probe.batches(10))["x"].zero_()
    probe.inputs["x"].zero_()
    probe.columns["label"].clear()
    assert len(probe) == 10
    assert probe.inputs["x"].abs().sum() > 0
    assert probe.columns["label"] == list(range(10))
    assert ProbeSet.from_bytes(probe.to_bytes()).fingerprint == before
    with pytest.raises(AttributeError, match="does not change"):
        probe.name = "other"


def test_batches_cover_all_points_in_order_with_plain_values_unchanged() -> None:
    probe = ProbeSet({"x": torch.arange(10), "scale": 3, "names": [str(i) for i in range(10)]})
    batches = list(probe.batches(4))
    assert [len(b["x"]) for b in batches] == [4, 4, 2]
    assert torch.cat([b["x"] for b in batches]).tolist() == list(range(10))
    assert batches[1]["names"] == ["4", "5", "6", "7"]
    assert all(b["scale"] == 3 for b in batches)


def test_the_fingerprint_is_the_content_that_the_model_sees() -> None:
    x, y = images(), torch.arange(10)
    with_target = ProbeSet((x, y))
    assert len(with_target.fingerprint) == 16
    assert ProbeSet((x, y.flip(0))).fingerprint == with_target.fingerprint
    assert ProbeSet(x).fingerprint == with_target.fingerprint
    assert ProbeSet(x + 1e-6).fingerprint != with_target.fingerprint
    assert ProbeSet(x.double()).fingerprint != with_target.fingerprint
    assert ProbeSet(x.reshape(10, 3, 64)).fingerprint != with_target.fingerprint
    assert ProbeSet((x, images().flip(0))).fingerprint != with_target.fingerprint
    a, b = torch.rand(4, 2), torch.rand(4, 2)
    assert ProbeSet({"a": a, "b": b}).fingerprint == ProbeSet({"b": b, "a": a}).fingerprint
    assert ProbeSet({"a": a, "b": b}).fingerprint != ProbeSet({"a": b, "b": a}).fingerprint


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.float8_e4m3fn,
        torch.complex64,
        torch.int64,
        torch.uint8,
        torch.bool,
    ],
)
def test_bytes_bring_back_the_probe_set_with_its_dtypes(dtype: torch.dtype) -> None:
    x = (torch.rand(5, 3) * 4).to(dtype)
    probe = ProbeSet(
        Sample({"x": x, "ids": torch.arange(5)}, None, [torch.ones(5, 1)]),
        columns={"label": [1, None, "a", 2.5, True]},
        texts=list("abcde"),
        links=[f"http://x/{i}" for i in range(5)],
        images=np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2),
        name="mine",
        augmented=True,
        notes=["a note"],
    )
    for again in (
        ProbeSet.from_bytes(probe.to_bytes()),
        pickle.loads(pickle.dumps(probe)),
        copy.deepcopy(probe),
    ):
        assert again.fingerprint == probe.fingerprint
        assert again.inputs.x["x"].dtype == dtype
        assert again.inputs.x["x"].tolist() == x.tolist()
        assert again.inputs.y is None
        assert again.columns == probe.columns
        assert (again.texts, again.links, again.name) == (probe.texts, probe.links, "mine")
        assert np.array_equal(again.images, probe.images)
        assert again.augmented
        assert again.describe() == probe.describe()


def test_an_empty_dimension_and_a_zero_dimensional_view_survive_storage() -> None:
    probe = ProbeSet({"x": torch.rand(4, 3).bfloat16()[:, ::2], "none": torch.rand(4, 0)})
    assert ProbeSet.from_bytes(probe.to_bytes()).inputs["none"].shape == (4, 0)


def test_a_large_probe_set_is_stored_as_it_is() -> None:
    probe = ProbeSet(torch.zeros(3, 1 << 20))
    assert len(probe.to_bytes()) > 12 << 20
    assert ProbeSet.from_bytes(probe.to_bytes()).fingerprint == probe.fingerprint


def test_each_array_is_compressed_where_it_makes_it_smaller() -> None:
    probe = ProbeSet({"noise": torch.randn(64, 512), "pixels": torch.ones(64, 512)})
    with zipfile.ZipFile(io.BytesIO(probe.to_bytes())) as archive:
        methods = {member.filename: member.compress_type for member in archive.infolist()}
    assert ProbeSet.from_bytes(probe.to_bytes()).fingerprint == probe.fingerprint
    assert methods == {
        "tensor0.npy": zipfile.ZIP_STORED,
        "tensor1.npy": zipfile.ZIP_DEFLATED,
        "header.npy": zipfile.ZIP_DEFLATED,
    }


def test_bytes_that_are_no_probe_set_are_refused() -> None:
    with pytest.raises(ProbeError, match="cannot be read"):
        ProbeSet.from_bytes(b"not a probe set")
    damaged = pack(torch.ones(4, 2), None, {"fingerprint": "0" * 16})
    with pytest.raises(ProbeError, match="damaged"):
        ProbeSet.from_bytes(damaged)
    with pytest.raises(ProbeError, match="newer RepWatch"):
        ProbeSet.from_bytes(_newer())
    with pytest.raises(ProbeError, match="cannot be read"):
        ProbeSet.from_bytes(ProbeSet(torch.rand(5, 2)).to_bytes()[:-40])


def test_description_names_shape_columns_and_fingerprint() -> None:
    probe = ProbeSet.from_tensor(images(), labels=list(range(10)), name="val")
    for part in ("val", "10 points", "(3, 8, 8)", "float32", "label", "images", probe.fingerprint):
        assert part in probe.describe()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": torch.rand(2, 3)}, "at least 3 probe points, but got 2"),
        ({"inputs": torch.rand(0, 3)}, "at least 3 probe points, but got 0"),
        ({"inputs": {"a": torch.rand(4, 1), "b": torch.rand(5, 1)}}, r"\['b'\] \(5, 1\)"),
        ({"inputs": torch.tensor(1.0)}, "same leading dimension"),
        ({"inputs": {"a": 1}}, "at least one tensor"),
        ({"inputs": (torch.rand(4, 1), object())}, r"inputs\[1\] is object"),
        ({"inputs": torch.rand(4, 1).to_sparse()}, "dense"),
        ({"inputs": torch.rand(4), "columns": {"label": [1, 2]}}, "'label' to have 4 values"),
        ({"inputs": torch.rand(4), "columns": {"a": [[]] * 4}}, "column 'a' to hold strings"),
        ({"inputs": torch.rand(4), "texts": ["a"]}, "texts to have 4"),
        ({"inputs": torch.rand(4), "links": ["a"]}, "links to have 4"),
        ({"inputs": torch.rand(4), "images": np.zeros((4, 2, 2))}, "uint8 of shape"),
        ({"inputs": torch.rand(4), "images": np.zeros((3, 2, 2), np.uint8)}, r"\(3, 2, 2\)"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        ProbeSet(**arguments)


def test_data_sets_that_cannot_be_indexed_say_what_to_do() -> None:
    loader = DataLoader(Stream(), batch_size=3)
    for make in (lambda: ProbeSet.from_loader(loader), lambda: ProbeSet.coerce(Stream())):
        with pytest.raises(ProbeError, match=r"only be iterated.*from_batch"):
            make()
    with pytest.raises(ProbeError, match="at least 3 items, but TensorDataset has 0"):
        ProbeSet.from_dataset(TensorDataset(torch.rand(0, 2)))
    with pytest.raises(ProbeError, match="failed with RuntimeError"):
        ProbeSet.from_dataset([torch.rand(2), torch.rand(3), torch.rand(4)])
    with pytest.raises(ProbeError, match="but got int"):
        ProbeSet.coerce(3)
    with pytest.raises(ProbeError, match="no dataset"):
        ProbeSet.from_loader([1, 2, 3])


# How it is made


def test_items_are_evenly_spaced_and_reading_them_draws_no_number_for_good() -> None:
    before = rng_states()
    probe = ProbeSet.from_dataset(Augmented(), n=10)
    assert rng_states() == before
    assert probe.columns["index"] == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert probe.columns["label"] == [i % 3 for i in probe.columns["index"]]
    assert probe.columns["class"] == [Augmented.classes[i] for i in probe.columns["label"]]
    assert probe.labels == probe.columns["class"]
    subset = Subset(Augmented(), range(5))
    assert ProbeSet.from_dataset(subset).columns["class"][:2] == ["cat", "dog"]


def test_generators_come_back_even_when_reading_fails() -> None:
    class Broken(Augmented):
        def __getitem__(self, i: int) -> Any:
            torch.randn(3), np.random.rand(), random.random()
            raise OSError("disk")

    before = rng_states()
    with pytest.raises(ProbeError, match="OSError: disk"):
        ProbeSet.from_dataset(Broken())
    assert rng_states() == before


def test_a_loader_is_never_iterated_and_its_collate_function_is_used() -> None:
    class Watched(DataLoader[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("iterated")

    def collate(items: list[Any]) -> Any:
        return {"x": torch.stack([x for x, _ in items]) * 0 + 7, "labels": [y for _, y in items]}

    loader = Watched(Augmented(), batch_size=4, shuffle=True, collate_fn=collate)
    probe = ProbeSet.from_loader(loader, n=6)
    assert probe.inputs["x"].unique().tolist() == [7]
    assert len(probe.columns["label"]) == 6


def test_a_loader_without_automatic_batching_gives_batches_as_items() -> None:
    batches = [(torch.full((4, 2), float(i)), torch.arange(4)) for i in range(5)]
    probe = ProbeSet.from_loader(DataLoader(batches, batch_size=None), n=8)  # type: ignore[arg-type]
    assert len(probe) == 8
    assert probe.columns["label"] == [0, 1, 2, 3] * 2


def test_a_mapping_gives_label_texts_and_further_strings() -> None:
    rows = [{"x": torch.rand(3), "text": f"t{i}", "source": "s", "label": i} for i in range(5)]
    probe = ProbeSet.from_dataset(rows)
    assert probe.texts == ["t0", "t1", "t2", "t3", "t4"]
    assert probe.columns["source"] == ["s"] * 5
    assert probe.columns["label"] == [0, 1, 2, 3, 4]
    nested = ProbeSet.from_batch(({"x": torch.rand(4, 2)}, (torch.arange(4), None)))
    assert nested.columns["label"] == [0, 1, 2, 3]


def test_image_like_inputs_give_images() -> None:
    x = images()
    found = ProbeSet.from_tensor(x).images
    assert found is not None
    assert found.shape == (10, 8, 8, 3)
    assert np.array_equal(found, (x * 255).round().byte().permute(0, 2, 3, 1).numpy())
    normalized = ProbeSet.coerce((x * 4 - 2, torch.arange(10))).images
    assert normalized is not None
    assert (normalized.min(), normalized.max()) == (0, 255)
    gray = ProbeSet.coerce(torch.randint(0, 255, (5, 1, 8, 8), dtype=torch.uint8)).images
    assert gray is not None
    assert gray.shape == (5, 8, 8)
    square = ProbeSet.coerce(torch.rand(5, 28, 28)).images
    assert square is not None
    assert square.shape == (5, 28, 28)
    for other in (
        torch.rand(5, 2, 8, 8),
        torch.rand(5, 28, 27),
        torch.rand(5, 3, 300, 8),
        torch.rand(5, 64),
    ):
        assert ProbeSet.coerce(other).images is None


def test_coerce_takes_what_people_have() -> None:
    probe = ProbeSet(torch.rand(4, 2))
    assert ProbeSet.coerce(probe) is probe
    assert ProbeSet.coerce(np.zeros((4, 2))).inputs.dtype == torch.float32
    assert ProbeSet.coerce(np.zeros((4, 2), np.int64)).inputs.dtype == torch.int64
    assert len(ProbeSet.coerce(TensorDataset(torch.rand(5, 2)))) == 5
    assert len(ProbeSet.coerce(DataLoader(TensorDataset(torch.rand(5, 2))))) == 5
    assert len(ProbeSet.coerce({"x": torch.rand(5, 2)})) == 5


def test_a_batch_of_graphs_is_one_indivisible_batch() -> None:
    batch = {"nodes": torch.rand(17, 4), "edges": torch.zeros(2, 30).long(), "y": torch.arange(5)}
    probe = ProbeSet.from_dataset(list(range(5)), collate_fn=lambda items: batch)
    assert len(probe) == 5
    assert not probe.divisible
    assert [b["nodes"].shape for b in probe.batches(2)] == [(17, 4)]
    assert ProbeSet.from_bytes(probe.to_bytes()).fingerprint == probe.fingerprint


def test_objects_that_cannot_be_stored_are_named() -> None:
    probe = ProbeSet.from_batch({"x": torch.rand(4, 2), "index": object(), "n": 4})
    assert probe.inputs["index"] is None
    assert any("'index'] (object)" in note for note in probe.notes)
    with pytest.raises(ProbeError, match="none that can be stored"):
        ProbeSet.from_batch(({"a": object()},))


# Batches that pass by


def test_a_collector_copies_the_first_points_that_pass_by() -> None:
    collector = ProbeCollector(7, augmented=True)
    x = torch.arange(12.0).reshape(12, 1)
    for start in range(0, 12, 3):
        with torch.inference_mode():
            batch = Sample(x[start : start + 3].clone(), torch.arange(start, start + 3), None)
            collector.add(batch)
            batch.x.zero_()
    assert collector.full
    assert not collector.add(Sample(x, x, None))
    probe = collector.probe()
    assert probe.inputs.x.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert not probe.inputs.x.is_inference()
    assert probe.columns["label"] == [0, 1, 2, 3, 4, 5, 6]
    assert probe.augmented


def test_a_collector_joins_mixed_mappings_and_passes_over_what_does_not_fit() -> None:
    collector = ProbeCollector(6)
    for n in (3, 2, 3):
        x = torch.rand(3, n)
        collector.add(UserDict({"x": x, "size": 5, "text": ["a"] * 3, "odd": object()}))
    probe = collector.probe()
    assert len(probe) == 6
    assert probe.inputs["size"] == 5
    assert probe.texts == ["a"] * 6
    assert any("1 batches" in note for note in probe.notes)


def test_a_collector_pads_tokens_where_there_is_a_mask() -> None:
    collector = ProbeCollector(4)
    for n in (3, 5):
        collector.add({"input_ids": torch.ones(2, n).long(), "attention_mask": torch.ones(2, n)})
    assert collector.probe().inputs["attention_mask"].sum(1).tolist() == [3, 3, 5, 5]


def test_a_collector_without_enough_points_reports_it() -> None:
    with pytest.raises(ProbeError, match="but got 0"):
        ProbeCollector(4).probe()
    with pytest.raises(ProbeError, match="n=2"):
        ProbeCollector(2)
    with pytest.raises(ProbeError, match="one row for each point"):
        ProbeCollector(4).add({"nodes": torch.rand(17, 4), "y": torch.arange(5)})


# Trees


@dataclass(frozen=True)
class Point:
    x: torch.Tensor
    n: int


def test_tensors_are_mapped_inside_all_containers_and_nothing_else_is() -> None:
    batch = UserDict(a=torch.ones(2), b=(1, None, [torch.ones(3)]), c=Sample(torch.ones(1), "s", 2))
    twice = map_tensors(batch, lambda t: t * 2)
    assert type(twice) is UserDict
    assert twice["b"][2][0].tolist() == [2, 2, 2]
    assert twice["c"] == Sample(torch.tensor([2.0]), "s", 2)
    assert batch["a"].tolist() == [1, 1]
    point = map_tensors(Point(torch.ones(2), 5), lambda t: t * 2)
    assert (point.x.tolist(), point.n) == ([2, 2], 5)
    packed = map_tensors(pack_sequence([torch.ones(3), torch.ones(2)]), lambda t: t.double())
    assert packed.data.dtype == torch.float64


def test_move_takes_along_what_knows_to() -> None:
    class Graph:
        def __init__(self, device: Any = "cpu") -> None:
            self.device = device

        def to(self, device: Any) -> Graph:
            return Graph(device)

    moved = move({"graph": Graph(), "x": torch.ones(1), "s": "text"}, "meta")
    assert moved["graph"].device == "meta"
    assert moved["x"].device.type == "meta"
    assert moved["s"] == "text"


def test_batch_size_is_what_most_tensors_share() -> None:
    assert batch_size((torch.rand(3, 2), torch.rand(3), torch.rand(7))) == 3
    assert batch_size({"a": 1}) is None


def test_preserved_rng_restores_all_generators_after_an_error() -> None:
    before = rng_states()

    def draw_and_fail() -> None:
        torch.rand(3), np.random.rand(), random.random()
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"), preserved_rng():
        draw_and_fail()
    assert rng_states() == before
