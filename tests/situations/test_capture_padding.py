"""Padding never counts, whatever marks it; where nothing does, a note says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch import ProbeSet, Registry, RepWatch, Watcher
from repwatch.capture import Capturer
from repwatch.errors import ConfigurationError
from repwatch.probe import ProbeCollector
from repwatch.probe._padding import find_padding
from tests.capture.helpers import distances

N, STEPS, PAD = 12, 6, 0
LENGTHS = torch.arange(N) % 5 + 2
REAL = torch.arange(STEPS)[None] < LENGTHS[:, None]
# The first two tokens tell the points apart.
IDS = torch.randint(2, 20, (N, STEPS), generator=torch.Generator().manual_seed(0))
IDS[:, 0], IDS[:, 1] = torch.arange(N) + 2, torch.arange(N) + 3


class Tokens(nn.Module):
    def __init__(self, padding_idx: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(20, 4)
        self.embed.padding_idx = padding_idx
        self.head = nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor, lengths: Any = None, mask: Any = None) -> Any:
        return self.head(self.embed(ids))


class WithConfig(Tokens):
    config = SimpleNamespace(pad_token_id=PAD)


def padded(value: int = PAD, steps: int = STEPS, rows: Any = slice(None)) -> torch.Tensor:
    return torch.where(REAL, IDS, torch.tensor(value))[rows][:, :steps]


def mean_of(model: Tokens, place: int | str = "mean") -> torch.Tensor:
    rows = [model.embed(IDS[i, : int(LENGTHS[i])]) for i in range(N)]
    places = {"last": -1} if isinstance(place, str) else {place: place}
    if place == "mean":
        return torch.stack([row.mean(0) for row in rows])
    return torch.stack([row[places[place]] for row in rows])


MARKED: dict[str, tuple[Any, Any]] = {
    "attention mask": (Tokens, {"ids": padded(), "attention_mask": REAL.long()}),
    "mask of bool": (Tokens, {"ids": padded(), "mask": REAL}),
    "inverted mask": (Tokens, {"ids": padded(), "src_key_padding_mask": ~REAL}),
    "lengths by key": (Tokens, {"ids": padded(), "lengths": LENGTHS}),
    "lengths by signature": (Tokens, (padded(), LENGTHS)),
    "lengths by content": (Tokens, (padded(), torch.arange(N) % 2, LENGTHS)),
    "id of the configuration": (WithConfig, padded()),
    "id of the embedding": (lambda: Tokens(PAD), padded()),
}


@pytest.mark.parametrize("batch_size", [256, 5])
@pytest.mark.parametrize("token", ["mean", "last", 0])
@pytest.mark.parametrize("case", MARKED)
def test_padding_does_not_count(case: str, token: Any, batch_size: int) -> None:
    make, batch = MARKED[case]
    model = make()
    probe = ProbeSet(batch)
    capture = Capturer(model, probe, ["embed"], token=token, batch_size=batch_size).run()
    expected = distances(mean_of(model, token))
    np.testing.assert_allclose(capture.layers["embed"].rdm, expected, rtol=1e-4, atol=1e-6)
    assert not any("padding" in note for note in capture.notes)


@pytest.mark.parametrize(
    ("token", "words"),
    [("mean", "time is averaged with padding possibly in it"), ("last", "may be padding")],
)
def test_where_nothing_marks_the_padding_a_note_says_so(token: Any, words: str) -> None:
    (note,) = [
        note
        for note in Capturer(Tokens(), ProbeSet(padded()), token=token).run().notes
        if "padding" in note
    ]
    assert words in note
    assert "attention_mask" in note


def test_layers_of_another_length_than_the_mask_are_named() -> None:
    class Shortens(Tokens):
        def forward(self, ids: torch.Tensor, **_: Any) -> Any:
            return self.head(self.embed(ids)[:, ::2])

    batch = {"ids": padded(), "attention_mask": REAL.long()}
    notes = Capturer(Shortens(), ProbeSet(batch), ["embed", "head"]).run().notes
    (note,) = [note for note in notes if "padding" in note]
    assert "another number of steps than the mask: head" in note


def test_labels_and_features_are_not_taken_for_marks_of_padding() -> None:
    x = torch.randn(N, STEPS, 4)
    for batch in (
        (x, LENGTHS),
        {"x": x, "labels": LENGTHS},
        {"x": x, "mask": torch.arange(STEPS)[None].expand(N, STEPS) % 2},
        (torch.rand(N, 3), torch.arange(N) % 3 + 1),
    ):
        assert find_padding(batch, N) == find_padding(x, N)
        assert not find_padding(batch, N).unmarked


def test_series_that_end_in_zeros_may_be_padded() -> None:
    x = torch.randn(N, STEPS, 4) * REAL[..., None]
    assert find_padding(x, N).unmarked
    assert find_padding((x, LENGTHS), N).marks == (("batch[1]", "lengths"),)


@pytest.mark.parametrize("marked", ["mask", "id", "zeros"])
def test_rows_that_pass_by_are_found_although_each_batch_is_padded_to_its_longest(
    marked: str,
) -> None:
    model = Tokens(PAD if marked == "id" else None)

    def batch(rows: list[int]) -> Any:
        steps = int(LENGTHS[rows].max())
        ids = padded(rows=rows, steps=steps)
        if marked != "mask":
            return ids
        return {"ids": ids, "attention_mask": REAL[rows][:, :steps].long()}

    capturer = Capturer(model, ProbeSet(batch(list(range(N)))), ["embed"])
    passive = capturer.passive()
    by_length = LENGTHS.argsort().tolist()
    for start in range(0, N, 4):
        current = batch(by_length[start : start + 4])
        assert passive.open(current)
        model(current["ids"] if marked == "mask" else current)
        passive.close()
    assert passive.complete
    found = passive.result().layers["embed"].rdm
    if marked != "zeros":
        np.testing.assert_allclose(found, distances(mean_of(model)), rtol=1e-4, atol=1e-6)


def test_batches_with_lengths_are_collected_although_their_padding_differs() -> None:
    collector = ProbeCollector(N)
    for rows in ([0, 1, 2], [3, 4, 8], [5, 6, 7]):
        steps = int(LENGTHS[rows].max())
        collector.add((padded(rows=rows, steps=steps), LENGTHS[rows], torch.arange(3)))
    probe = collector.probe()
    assert len(probe) == 9
    assert not any("another shape" in note for note in probe.notes)


def test_the_token_is_an_option_of_a_watcher_and_of_the_callback(tmp_path: Path) -> None:
    model, registry = Tokens(), Registry(tmp_path / "repwatch.db")
    probe = ProbeSet({"ids": padded(), "attention_mask": REAL.long()})
    with Watcher(model, probe, registry=registry, token="last", layers=["embed"]) as watcher:
        watcher.snapshot(0, 0)
    (run,) = registry.runs()
    (stored,) = run.snapshots()
    expected = distances(mean_of(model, "last"))
    np.testing.assert_allclose(stored.rdm, expected, rtol=2e-3, atol=1e-3)
    assert any("last step" in note for note in run.notes)
    assert RepWatch(token=0).options.token == 0
    for wrong in ("first", True, None, 0.5):
        with pytest.raises(ConfigurationError, match="token"):
            RepWatch(token=wrong)  # type: ignore[arg-type]
