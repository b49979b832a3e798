"""What a call can reach outside of tensors is as before afterwards."""

from __future__ import annotations

import functools
import queue
import random
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repwatch._preserve import preserved


class Meter:
    def __init__(self) -> None:
        self.count = 0
        self.by_kind: dict[str, list[int]] = defaultdict(list)
        self.handle: Any = None


class Slotted:
    __slots__ = ("count", "inner")

    def __init__(self, inner: Meter) -> None:
        self.count, self.inner = 0, inner


def test_attributes_containers_and_objects_within_objects_are_put_back() -> None:
    meter = Meter()
    holder = Slotted(meter)
    kinds, before = meter.by_kind, [1, 2]
    meter.by_kind["a"] = before
    with preserved([holder]):
        holder.count += 1
        meter.count += 1
        meter.by_kind["a"].append(3)
        meter.by_kind["b"].append(1)
        meter.handle = object()
        meter.new = 1  # type: ignore[attr-defined]
    assert holder.count == meter.count == 0
    assert meter.by_kind is kinds
    assert dict(kinds) == {"a": [1, 2]}
    assert kinds["a"] is before
    assert meter.handle is None
    assert not hasattr(meter, "new")


def test_closures_partials_and_bound_methods_are_followed() -> None:
    count, seen, meter = 0, [], Meter()

    def hook() -> None:
        nonlocal count
        count += 1
        seen.append(count)

    def method(self: Meter) -> None:
        self.count += 1

    rows: list[int] = []
    with preserved([functools.partial(hook), method.__get__(meter), rows.append]):
        hook()
        method(meter)
        rows.append(1)
    assert count == 0
    assert seen == rows == []
    assert meter.count == 0


@pytest.mark.parametrize("reseed", [False, True])
def test_generators_go_on_where_they_were(reseed: bool) -> None:
    def draws(seed: int) -> tuple[list[float], list[float]]:
        own = {
            "torch": torch.Generator().manual_seed(seed),
            "numpy": np.random.default_rng(seed),
            "legacy": np.random.RandomState(seed),
            "python": random.Random(seed),
        }

        def draw() -> list[float]:
            return [
                float(torch.rand(1, generator=own["torch"])),
                own["numpy"].random(),
                own["legacy"].rand(),
                own["python"].random(),
            ]

        with preserved([own], reseed=reseed):
            inside = draw()
        return inside, draw()

    first, second = draws(1), draws(2)
    assert draws(1) == first
    assert first[1] != second[1]
    assert (first[0] == second[0]) is reseed
    if not reseed:
        assert first[0] == first[1]


def test_positions_of_files_and_values_of_small_arrays_are_put_back(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        array, tensor = np.zeros(3), torch.zeros(3)
        with preserved([{"file": file, "array": array, "tensor": tensor}]):
            file.read()
            array += 1
            tensor += 1
        assert file.tell() == 4
        assert not array.any()
        assert not tensor.any()


def test_arrays_are_restored_up_to_the_largest_that_is_asked_for() -> None:
    holder = {"small": torch.zeros(8), "large": torch.zeros(9)}
    with preserved([holder], largest_array=32):
        for tensor in holder.values():
            tensor += 1
    assert not holder["small"].any()
    assert holder["large"].all()


def test_what_other_threads_work_on_is_left_to_them() -> None:
    class Worker(threading.Thread):
        done = 0

    worker, waiting = Worker(), queue.Queue[int]()
    with preserved([[worker, waiting]]):
        worker.done = 1
        waiting.put(1)
    assert worker.done == 1
    assert waiting.qsize() == 1


def test_an_error_inside_restores_all_the_same() -> None:
    meter = Meter()
    with pytest.raises(ZeroDivisionError), preserved([meter]):
        meter.count = 1 // 0 + 1
    assert meter.count == 0


def test_what_is_named_as_a_stop_is_left_alone() -> None:
    meter = Meter()
    with preserved([[meter]], stop=(Meter,)):
        meter.count = 1
    assert meter.count == 1


def test_small_arrays_are_restored_where_large_ones_take_more_than_the_bound() -> None:
    counter, rows = np.zeros(2), [torch.zeros(1000) for _ in range(10)]
    with preserved([counter, *rows], max_copied_bytes=20_000):
        counter += 1
        rows[0] += 1
    assert counter.tolist() == [0, 0]
    assert rows[0].sum() == 1000
    with preserved([counter, *rows], max_copied_bytes=50_000):
        rows[0] += 1
    assert rows[0].sum() == 1000
