"""A probe pass takes no more points at a time than the training, and less where memory runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import CaptureError, ConfigurationError
from repwatch.probe import ProbeSet
from tests.capture.helpers import mlp, x_of

ERRORS = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "python": MemoryError(),
    "processor": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
}


# The sizes of the batches. Capturers put back what models note; what `convert` notes stays.
SEEN: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def see(batch: torch.Tensor) -> torch.Tensor:
    SEEN.append(len(batch))
    return batch


class Sizes(nn.Module):
    """Runs out of memory past a limit."""

    def __init__(self, limit: int = 10**9, error: str = "torch") -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.limit, self.error = limit, error

    def forward(self, x: torch.Tensor) -> Any:
        if len(x) > self.limit:
            raise ERRORS[self.error]
        return self.fc(x)


@pytest.mark.parametrize(
    ("options", "largest"),
    [({}, 63), ({"host_batch_size": 4}, 4), ({"host_batch_size": 4, "batch_size": 70}, 63)],
)
def test_batches_are_as_large_as_the_user_wants_or_at_most_as_the_trainings(
    options: dict[str, int], largest: int
) -> None:
    Capturer(Sizes(), ProbeSet(x_of(125)), convert=see, **options).run()
    assert SEEN[0] == min(5, largest), "a few points are enough to find out how to call it"
    assert max(SEEN) == largest
    assert sum(SEEN[1:]) == 125
    with pytest.raises(ConfigurationError, match="host_batch_size of at least 1, but got 0"):
        Capturer(mlp(), ProbeSet(x_of()), host_batch_size=0)


@pytest.mark.parametrize("error", ERRORS)
def test_a_pass_that_runs_out_of_memory_is_done_again_with_half_as_many_points(error: str) -> None:
    model = Sizes(9, error)
    capturer = Capturer(model, ProbeSet(x_of(40)), convert=see)
    capture = capturer.run()
    assert [size for size in SEEN if size > 9] == [40, 20, 10]
    note = "the probe set runs 5 points at a time, because memory ran out with 10"
    assert [found for found in capture.notes if "memory" in found] == [note]
    SEEN.clear()
    again = capturer.run()
    assert SEEN == [5] * 8, "the smaller size is remembered"
    model.limit = 40
    whole = Capturer(model, ProbeSet(x_of(40))).run()
    np.testing.assert_allclose(again.layers["fc"].rdm, whole.layers["fc"].rdm, rtol=1e-5)


def test_memory_that_runs_out_in_the_reduction_of_a_layer_halves_the_batch_too() -> None:
    def reduce(layer: str, module: nn.Module, output: Any) -> None:
        if len(output) > 6:
            raise MemoryError

    capture = Capturer(mlp(), ProbeSet(x_of()), reduce=reduce).run()
    assert any("6 points at a time" in note for note in capture.notes)


def test_a_model_that_does_not_fit_with_one_point_is_reported_with_advice() -> None:
    model = Sizes(limit=0)
    with pytest.raises(CaptureError, match=r"while 1 probe points.*no batch is smaller.*Give a"):
        Capturer(model, ProbeSet(x_of())).run()
    together = ProbeSet({"nodes": torch.ones(20, 6)}, points=12)
    capturer = Capturer(model, together, forward=lambda m, batch: m(batch["nodes"]))
    with pytest.raises(CaptureError, match="can only be run together"):
        capturer.run()


class LanguageModel(nn.Module):
    def __init__(self, needs_labels: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(10, 4), nn.Linear(4, 10)
        self.needs_labels = needs_labels

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        assert labels is None or self.needs_labels
        if labels is None and self.needs_labels:
            raise ValueError("Give labels or decoder inputs")
        return self.head(self.embed(input_ids))


@pytest.mark.parametrize("needs_labels", [False, True])
def test_targets_are_left_out_of_the_call_so_that_no_loss_is_computed(needs_labels: bool) -> None:
    ids = torch.randint(0, 10, (12, 5), generator=torch.Generator().manual_seed(0))
    model = LanguageModel(needs_labels)
    capture = Capturer(model, ProbeSet({"input_ids": ids, "labels": ids})).run()
    assert list(capture.layers) == ["embed", "head"]
    names = "input_ids, labels" if needs_labels else "input_ids"
    assert capture.how == f"model(**inputs) with {names}"


def test_a_model_that_takes_the_batch_as_a_mapping_gets_it_without_targets() -> None:
    class TakesBatch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, batch: dict[str, torch.Tensor]) -> Any:
            assert list(batch) == ["image"]
            return self.fc(batch["image"])

    batch = {"image": x_of(), "target": torch.arange(12), "gt_boxes": torch.ones(12, 4)}
    capture = Capturer(TakesBatch(), ProbeSet(batch)).run()
    assert capture.how == "model(inputs without targets)"
