"""What batches of other people's data sets become: points, labels, lists, or one true sentence."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import Dataset

from repwatch.errors import ProbeError
from repwatch.probe import ProbeCollector, ProbeSet, batch_size
from repwatch.probe import _limits as limits
from repwatch.probe._trees import find_target, is_divisible, select, take, target

# Lists: detectors


class Detection(Dataset[Any]):
    """Images of various sizes with boxes, as a detector's data set gives them."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> Any:
        boxes = torch.rand(i % 4, 4)
        return torch.full((3, 8 + i % 3, 9), float(i)), {
            "boxes": boxes,
            "labels": boxes[:, 0].long(),
        }


def zipped(items: list[Any]) -> Any:
    return tuple(zip(*items, strict=True))


def lists(items: list[Any]) -> Any:
    return [x for x, _ in items], [y for _, y in items]


def images_only(items: list[Any]) -> Any:
    return [x for x, _ in items]


@pytest.mark.parametrize("collate", [zipped, lists])
def test_lists_with_an_element_for_each_point_are_divided(collate: Any) -> None:
    probe = ProbeSet.from_dataset(Detection(), collate_fn=collate)
    assert len(probe) == 20
    assert probe.divisible
    assert probe.columns["index"] == list(range(20))
    batches = list(probe.batches(8))
    assert [(len(images), len(boxes)) for images, boxes in batches] == [(8, 8), (8, 8), (4, 4)]
    assert [int(x[0, 0, 0]) for images, _ in batches for x in images] == list(range(20))
    again = ProbeSet.from_bytes(probe.to_bytes())
    assert again.divisible
    assert again.fingerprint == probe.fingerprint
    few = probe.subset([4, 2, 9])
    assert [int(x[0, 0, 0]) for x in few.inputs[0]] == [4, 2, 9]
    assert few.places == (4, 2, 9)


def test_a_list_of_images_alone_is_divided() -> None:
    probe = ProbeSet.from_dataset(Detection(), collate_fn=images_only)
    assert len(probe) == 20
    assert [len(batch) for batch in probe.batches(15)] == [15, 5]


def test_elements_of_a_list_are_fresh_copies() -> None:
    probe = ProbeSet.from_dataset(Detection(), collate_fn=lists)
    next(probe.batches(4))[0][1].zero_()
    assert int(probe.inputs[0][1][0, 0, 0]) == 1


def test_batches_of_lists_that_pass_by_are_collected() -> None:
    dataset, collector = Detection(), ProbeCollector(8)
    for start in range(0, 20, 3):
        collector.add(lists([dataset[i] for i in range(start, min(start + 3, 20))]))
    probe = collector.probe()
    assert probe.divisible
    assert [int(x[0, 0, 0]) for x in probe.inputs[0]] == list(range(8))


def test_parts_of_a_batch_are_not_taken_for_its_points() -> None:
    x, y, z = torch.rand(3, 4), torch.arange(3), torch.rand(3, 2)
    assert [len(part) for part in take([x, y, z], 0, 2, 3)] == [2, 2, 2]
    assert [len(part) for part in select((x, z, z), [0], 3)] == [1, 1, 1]
    assert batch_size(((x, z), (x, z))) == 3
    graph = {"nodes": torch.rand(17, 4), "edges": torch.zeros(2, 30).long(), "y": torch.arange(5)}
    assert not is_divisible(graph, 5)
    assert is_divisible([torch.rand(3, 8, 8)] * 3, 3)


def test_a_collector_ends_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    collector = ProbeCollector(64)
    while not collector.full:
        collector.add(torch.rand(4, 25))
    probe = collector.probe()
    assert len(probe) == 10
    assert any(note.startswith("10 of 64 points") for note in probe.notes)


# Labels


def test_lengths_are_not_taken_for_labels() -> None:
    rows = [(torch.rand(5), 3 + i, i % 2) for i in range(8)]
    probe = ProbeSet.from_dataset(rows)
    assert "label" not in probe.columns
    assert any("not clear which of 3 parts it is (batch[1], batch[2])" in n for n in probe.notes)


@pytest.mark.parametrize(
    ("batch", "label"),
    [
        ((torch.rand(4, 5), torch.arange(4)), [0, 1, 2, 3]),
        ([torch.rand(4, 5), torch.rand(4, 1)], None),
        ((torch.rand(4, 5), torch.ones(4, 5), torch.arange(4)), [0, 1, 2, 3]),
        ((torch.rand(4, 5), torch.arange(4), torch.rand(4)), "none"),
        ((torch.rand(4, 5), torch.ones(4, 5), torch.rand(4)), "none"),
        ((torch.rand(4, 5), torch.arange(4), torch.ones(4, 5)), "none"),
        ((torch.rand(4, 5), (torch.arange(4), None)), [0, 1, 2, 3]),
        ((torch.rand(4, 5), (torch.arange(4), torch.arange(4))), "none"),
        ((torch.rand(4, 5), {"target": torch.arange(4)}), [0, 1, 2, 3]),
        ({"x": torch.rand(4, 5), "lengths": torch.ones(4), "y": torch.arange(4)}, [0, 1, 2, 3]),
        ({"x": torch.rand(4, 5), "lengths": torch.ones(4)}, "none"),
        (namedtuple("B", "x n y")(torch.rand(4, 5), torch.ones(4), torch.arange(4)), [0, 1, 2, 3]),
        (namedtuple("B", "x y w")(torch.rand(4, 5), torch.rand(4, 5), torch.ones(4)), "none"),
    ],
)
def test_only_what_is_clearly_a_label_becomes_one(batch: Any, label: Any) -> None:
    found = target(batch, 4)
    if label == "none":
        assert found is None
        assert "label" not in ProbeSet.from_batch(batch).columns
    elif label is not None:
        assert ProbeSet.from_batch(batch).columns["label"] == label
    else:
        assert found is not None


def test_a_label_that_was_chosen_among_several_parts_is_named() -> None:
    batch = (torch.rand(4, 5), torch.ones(4, 5), torch.arange(4))
    assert find_target(batch, 4)[1] == "label: batch[2], the last of 3 parts"
    assert "label: batch[2], the last of 3 parts" in ProbeSet.from_batch(batch).notes


# The order and number of items


def by_length(items: list[Any]) -> Any:
    items.sort(key=lambda item: -len(item))
    return torch.nn.utils.rnn.pad_sequence(items, batch_first=True)


def padded(items: list[Any]) -> Any:
    return {
        "x": torch.nn.utils.rnn.pad_sequence(items, batch_first=True),
        "names": ["a"] * len(items),
    }


def backwards(items: list[Any]) -> Any:
    return padded(items[::-1])


def test_there_is_an_index_only_where_the_collate_function_preserves_the_order() -> None:
    rows = [torch.full((1 + i % 5,), float(i)) for i in range(12)]
    for collate, ordered in ((by_length, False), (backwards, False), (padded, True)):
        probe = ProbeSet.from_dataset(rows, collate_fn=collate)
        assert ("index" in probe.columns) is ordered
        assert probe.places == tuple(range(12))
        assert (
            ProbeSet.from_dataset(rows, collate_fn=collate, places=probe.places).fingerprint
            == probe.fingerprint
        )
        assert (probe.subset([1, 2, 3]).places is not None) is ordered


def test_a_collate_function_may_leave_items_out() -> None:
    def drop(items: list[Any]) -> Any:
        chosen = [(x, y) for x, y in items if y % 10]
        return torch.stack([x for x, _ in chosen]), torch.tensor([y for _, y in chosen])

    rows = [(torch.rand(4), i) for i in range(100)]
    probe = ProbeSet.from_dataset(rows, collate_fn=drop)
    assert len(probe) == 90
    assert probe.divisible
    assert probe.columns["label"] == [i for i in range(100) if i % 10]
    assert "index" not in probe.columns
    assert probe.places is not None
    assert len(probe.places) == 100
    assert any("made 90 points of 100 items" in note for note in probe.notes)


def test_sequences_with_time_first_retain_their_points() -> None:
    def time_first(items: list[Any]) -> Any:
        return torch.stack(items, dim=1)

    probe = ProbeSet.from_dataset([torch.rand(6, 3) for _ in range(10)], collate_fn=time_first)
    assert len(probe) == 10
    assert not probe.divisible


def test_packed_sequences_come_back_from_storage() -> None:
    def pack(items: list[Any]) -> Any:
        return pack_sequence(items, enforce_sorted=False)

    probe = ProbeSet.from_dataset([torch.rand(2 + i % 3, 4) for i in range(6)], collate_fn=pack)
    again = ProbeSet.from_bytes(probe.to_bytes())
    assert type(again.inputs) is type(probe.inputs)
    assert again.fingerprint == probe.fingerprint


# What cannot be stored


class Graphs:
    """A batch of a graph library: tensors as attributes."""

    def __init__(self, n: int = 4) -> None:
        self.x, self.edge_index = torch.rand(3 * n, 2), torch.zeros(2, 5).long()

    def to(self, device: Any) -> Graphs:
        return self


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ([Graphs() for _ in range(9)], r"batch\[0\] \(Graphs\), .* and 6 more"),
        (([Graphs() for _ in range(4)], torch.arange(4)), r"batch\[0\]\[0\] \(Graphs\)"),
        ((object(), torch.arange(4)), r"batch\[0\] \(object\)"),
    ],
)
def test_batches_that_a_model_cannot_run_without_their_objects_are_refused(
    batch: Any, named: str
) -> None:
    with pytest.raises(
        ProbeError, match=named + r".*RepWatch\(probe=\.\.\., forward=\.\.\.\)"
    ) as e:
        ProbeSet.from_batch(batch)
    assert "\n" not in str(e.value)
    with pytest.raises(ProbeError, match=named):
        ProbeSet.from_dataset(list(range(4)), collate_fn=lambda items: batch)


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ((Graphs(), torch.arange(4)), r"batch\[0\] \(Graphs\)"),
        ((torch.rand(4, 2), Graphs(), torch.arange(4)), r"batch\[1\] \(Graphs\)"),
        ({"graph": Graphs(), "y": torch.arange(4)}, r"batch\['graph'\] \(Graphs\)"),
    ],
)
def test_an_object_in_a_batch_is_handed_over_where_the_number_of_points_is_known(
    batch: Any, named: str
) -> None:
    with pytest.raises(ProbeError, match=named):
        ProbeSet.from_batch(batch)
    probe = ProbeSet.from_dataset(list(range(4)), collate_fn=lambda items: batch)
    assert len(probe) == 4
    (given,) = probe.batches(2)
    parts = given.values() if isinstance(given, dict) else given
    (found,) = (part for part in parts if isinstance(part, Graphs))
    (there,) = (
        part
        for part in (batch.values() if isinstance(batch, dict) else batch)
        if isinstance(part, Graphs)
    )
    assert torch.equal(found.x, there.x)
    assert found is not there
    again = ProbeSet.from_bytes(probe.to_bytes())
    assert again.fingerprint == probe.fingerprint


def test_what_cannot_be_stored_is_handed_over_as_long_as_the_process_lives() -> None:
    names = range(5, 7)
    probe = ProbeSet.from_batch({"x": torch.rand(6, 2), "names": names})
    assert [batch["names"] for batch in probe.batches(4)] == [names, names]
    assert [len(batch["x"]) for batch in probe.batches(4)] == [4, 2]
    (again,) = ProbeSet.from_bytes(probe.to_bytes()).batches(6)
    assert again["names"] is None


def test_objects_beside_the_inputs_are_left_out_and_named() -> None:
    for batch in (
        (torch.rand(4, 2), torch.arange(4), object()),
        (torch.rand(4, 2), Graphs()),
        (torch.rand(4, 2), object(), torch.arange(4)),
        {"x": torch.rand(4, 2), "instances": Graphs()},
    ):
        notes = ProbeSet.from_batch(batch).notes
        assert any(note.startswith("not stored in the probe set: batch[") for note in notes)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (torch.Tensor.to_sparse, "sparse_coo"),
        (torch.Tensor.to_sparse_csr, "sparse_csr"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), "quantized"),
        (lambda x: torch.nested.nested_tensor(list(x)), "nested"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_dense_get_one_sentence(make: Any, kind: str) -> None:
    odd = make(torch.rand(4, 2))
    with pytest.raises(ProbeError, match=rf"dense tensors, but batch\[0\] is {kind}") as caught:
        ProbeSet.from_batch((odd, torch.arange(4)))
    assert len(str(caught.value)) < 300


def test_errors_with_pages_of_tables_are_cut_to_their_first_line() -> None:
    def collate(items: list[Any]) -> Any:
        raise RuntimeError("Could not run 'aten::cat'\n" + "a table\n" * 100)

    with pytest.raises(ProbeError, match="failed with RuntimeError: Could not run") as caught:
        ProbeSet.from_dataset([torch.rand(3)] * 5, collate_fn=collate)
    assert "table" not in str(caught.value)


# Subsets


def test_a_subset_has_the_same_for_fewer_points() -> None:
    probe = ProbeSet.from_dataset(
        [(torch.full((3, 8, 8), float(i)), i) for i in range(20)],
        n=10,
        links=[str(i) for i in range(10)],
        name="mine",
    )
    few = probe.subset([0, 5, 9], notes=["7 points left out"])
    assert few.inputs[0][:, 0, 0, 0].tolist() == [0, 11, 19]
    assert few.columns == {"label": [0, 11, 19], "index": [0, 11, 19]}
    assert few.places == (0, 11, 19)
    assert (few.links, few.name) == (["0", "5", "9"], "mine")
    assert few.images is not None
    assert probe.images is not None
    assert np.array_equal(few.images, probe.images[[0, 5, 9]])
    assert few.notes == (*probe.notes, "7 points left out")
    assert ProbeSet.from_bytes(few.to_bytes()).fingerprint == few.fingerprint


def test_subsets_that_cannot_be_are_refused() -> None:
    probe = ProbeSet(torch.rand(5, 2))
    for points, message in (
        ([0, 1], "at least 3"),
        ([0, 1, 5], "0 to 4"),
        ([0, 1, 1], "different"),
    ):
        with pytest.raises(ProbeError, match=message):
            probe.subset(points)
    graphs = ProbeSet({"nodes": torch.rand(17, 2), "y": torch.arange(5)}, points=5)
    with pytest.raises(ProbeError, match="can be divided"):
        graphs.subset([0, 1, 2])
