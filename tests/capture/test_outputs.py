"""Outputs of every kind become rows, one for each probe point, or are left out by name."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from repwatch.capture import Capture, Capturer
from repwatch.capture._rows import MAX_FEATURES, MaskedRows, find_rows, reduce_rows
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet
from tests.capture.helpers import assert_rdm
from tests.capture.pipelines import Pooling, Projection, Words

if TYPE_CHECKING:
    from collections.abc import Callable

N = 12


def x_of(*shape: int) -> torch.Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(2))


class Returns(nn.Module):
    """A leaf module whose output is made by a function."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Around(nn.Module):
    """Another layer before the one under test, so that something can be captured."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner = nn.Tanh(), inner

    def forward(self, x: Any) -> Any:
        return self.inner(x if isinstance(self.inner, nn.Embedding) else self.first(x))


def capture_of(inner: nn.Module, inputs: Any, **options: Any) -> Capture:
    return Capturer(Around(inner), ProbeSet(inputs), **options).run()


def assert_rows(capture: Capture, layer: str, rows: torch.Tensor, rtol: float = 1e-4) -> None:
    expected = torch.pdist(rows.detach().flatten(1).double()).numpy()
    np.testing.assert_allclose(capture.layers[layer].rdm, expected, rtol=rtol, atol=1e-6)


@dataclass
class Output:
    count: int
    logits: torch.Tensor


class Plain:
    def __init__(self, value: torch.Tensor) -> None:
        self.name = "plain"
        self.value = value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y,
        lambda y: (None, "text", y, y * 2),
        lambda y: [torch.arange(3), y],
        lambda y: {"loss": y.sum(), "logits": y},
        lambda y: OrderedDict(a=y.long(), b=[{"c": y}]),
        lambda y: Output(3, y),
        lambda y: Plain(y),
        lambda y: torch.distributions.Normal(y, torch.ones_like(y)),
        lambda y: ((torch.rand(3, 7), y), None),
    ],
)
def test_the_first_floating_tensor_with_a_row_for_each_point_is_taken(wrap: Any) -> None:
    x = x_of(5)
    capture = capture_of(Returns(wrap), x)
    assert_rows(capture, "inner", x.tanh())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_other_precisions_are_accumulated_in_float32(dtype: torch.dtype) -> None:
    x = x_of(5)
    capture = capture_of(Returns(lambda y: y.to(dtype) + 1000), x)
    rows = x.tanh().to(dtype) + 1000
    rows = torch.view_as_real(rows) if dtype.is_complex else rows
    assert_rows(capture, "inner", rows)


def test_one_number_for_each_point_is_a_row() -> None:
    x = x_of(5)
    assert_rows(capture_of(Returns(lambda y: y.sum(1)), x), "inner", x.tanh().sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda y: torch.cat([y, y[:2]]), r"inner \(shape \(7, 5\)\)"),
        (lambda y: y.mean(), "no floating tensor"),
        (lambda y: y.long(), "no floating tensor"),
        (lambda y: None, "no floating tensor"),
        (lambda y: y[:, :0], "no features"),
    ],
)
def test_layers_whose_rows_are_not_the_points_are_left_out_and_named(
    wrap: Any, reason: str
) -> None:
    capture = capture_of(Returns(wrap), x_of(5), layers=["input", "first", "inner"])
    assert list(capture.layers) == ["input", "first"]
    assert any("inner" in note for note in capture.notes)
    if "shape" not in reason:
        assert any(reason in note for note in capture.notes)
    with pytest.raises(CaptureError, match="inner"):
        capture_of(Returns(lambda y: y.mean()), x_of(5), layers=["inner"])


def test_a_user_function_maps_rows_that_are_not_the_points() -> None:
    def reduce(layer: str, module: nn.Module, output: Any) -> torch.Tensor | None:
        return output.reshape(-1, 2, 5).mean(1) if layer == "inner" else None

    x = x_of(5)
    twice = Returns(lambda y: y.repeat_interleave(2, 0))
    capture = capture_of(twice, x, reduce=reduce, layers=["first", "inner"])
    assert_rows(capture, "inner", x.tanh())
    assert_rows(capture, "first", x.tanh())
    with pytest.raises(CaptureError, match="could not be reduced: ZeroDivisionError"):
        capture_of(Returns(lambda y: y), x, reduce=lambda *_: 1 / 0)


def test_nodes_of_graphs_are_left_out_and_graphs_are_captured() -> None:
    class Pool(nn.Module):
        def forward(self, nodes: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
            return nodes.new_zeros(6, nodes.shape[1]).index_add_(0, graph, nodes)

    class Graphs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nodes, self.pool, self.head = nn.Linear(3, 4), Pool(), nn.Linear(4, 2)

        def forward(self, nodes: torch.Tensor, graph: torch.Tensor) -> Any:
            return self.head(self.pool(self.nodes(nodes), graph))

    batch = {"nodes": torch.randn(20, 3), "graph": torch.arange(20) % 6, "y": torch.arange(6)}
    capture = Capturer(Graphs(), ProbeSet(batch, points=6), batch_size=2).run()
    assert list(capture.layers) == ["pool", "head"]
    assert any("nodes (shape (20, 4))" in note for note in capture.notes)


# Sequences


@pytest.mark.parametrize("time", [7, N])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_give_the_mean_over_time_in_either_layout(kind: Any, time: int) -> None:
    x = x_of(time, 5)
    first = kind(5, 4, batch_first=True)
    assert_rows(capture_of(first, x), "inner", first(x.tanh())[0].mean(1))

    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(5, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.rnn(x.transpose(0, 1))

    model = TimeFirst()
    capture = Capturer(model, ProbeSet(x), ["rnn"]).run()
    assert_rows(capture, "rnn", model(x)[0].mean(0))
    assert capture.layers["rnn"].scalars["saturated"] == 0


def test_transformer_layers_fire_in_either_layout() -> None:
    for batch_first in (True, False):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0)
        model = nn.Sequential(layer).eval()
        x = x_of(7, 8)
        capture = Capturer(
            model,
            ProbeSet(x),
            ["0.*"],
            forward=lambda m, x, b=batch_first: m(x if b else x.transpose(0, 1)),
        ).run()
        assert {"0.self_attn", "0.linear1", "0.norm2"} <= set(capture.layers)
        assert "0.self_attn.out_proj" not in capture.layers
        out = layer(x) if batch_first else layer(x.transpose(0, 1)).transpose(0, 1)
        assert_rows(capture, "0.norm2", out.mean(1))


def test_packed_sequences_are_averaged_over_their_own_lengths() -> None:
    lengths = torch.arange(N) % 5 + 1

    class Packs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(5, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> Any:
            lengths = torch.arange(len(x)) % 5 + 1
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)

    model, x = Packs(), x_of(5, 5)
    rows = torch.stack([model.rnn(x[i : i + 1, : lengths[i]])[0].mean(1)[0] for i in range(N)])
    assert_rows(Capturer(model, ProbeSet(x)).run(), "rnn", rows)


def test_nested_tensors_are_averaged_over_their_own_lengths() -> None:
    def nest(y: torch.Tensor) -> torch.Tensor:
        parts = [y[i, : i % 4 + 1] for i in range(len(y))]
        return torch.nested.nested_tensor(parts, layout=torch.jagged)

    x = x_of(4, 3)
    rows = torch.stack([x[i, : i % 4 + 1].tanh().mean(0) for i in range(N)])
    assert_rows(capture_of(Returns(nest), x), "inner", rows)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return {"loss": torch.tensor(0.0), "logits": self.mix(self.embed(input_ids))}


def tokens(left: bool = False) -> dict[str, torch.Tensor]:
    lengths = torch.arange(N) % 4 + 1
    mask = (torch.arange(5)[None] < lengths[:, None]).long()
    ids = torch.randint(0, 10, (N, 5), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": mask.flip(1) if left else mask}


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("batch_size", [256, 5])
def test_the_attention_mask_excludes_padding(left: bool, batch_size: int) -> None:
    model, batch = Tokens(), tokens(left)
    out = model.embed(batch["input_ids"])
    valid = [out[i][batch["attention_mask"][i].bool()] for i in range(N)]
    probe = ProbeSet(batch)
    for token, rows in (
        ("mean", [k.mean(0) for k in valid]),
        (0, [k[0] for k in valid]),
        (-1, [k[-1] for k in valid]),
    ):
        capture = Capturer(model, probe, token=token, batch_size=batch_size).run()
        assert_rows(capture, "embed", torch.stack(rows))


def test_a_token_without_a_mask_is_that_place() -> None:
    x = x_of(6, 5)
    for token, place in ((0, 0), (-1, 5), (99, 5)):
        capture = capture_of(Returns(lambda y: y), x, token=token)
        assert_rows(capture, "inner", x.tanh()[:, place])


# Space


def test_convolutions_are_flattened_and_what_follows_them_too() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.AvgPool1d(2))
    x = x_of(3, 9)
    for layers, name, features in ((None, "2", 4 * 3), (["1"], "1", 4 * 7)):
        capture = Capturer(model, ProbeSet(x), layers).run()
        assert_rows(capture, name, model[: int(name) + 1](x))
        assert capture.layers[name].scalars["features"] == features


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((16, 32, 32), 16 * 32 * 32),
        ((16, 33, 32), 16 * 32 * 32),
        ((64, 100, 4), 64 * 64 * 4),
        ((3, 224, 224), 3 * 73 * 74),
        ((20_000, 2, 2), 20_000),
        ((4, 20, 20, 20), 4 * 15 * 16 * 17),
        ((2, 2, 20, 20, 20), 2 * 2 * 15 * 16 * 17),
        ((20_000,), 20_000),
    ],
)
def test_space_is_pooled_only_past_the_limit(shape: tuple[int, ...], features: int) -> None:
    rows = reduce_rows(MaskedRows(torch.ones(3, *shape)), sequence=False)
    assert rows.shape[0] == 3
    assert rows.shape[1] <= max(MAX_FEATURES, shape[0])
    assert rows.shape[1] >= min(features * 0.9, MAX_FEATURES * 0.85)
    assert torch.allclose(rows, torch.ones(()))


@pytest.mark.parametrize("channels", [2, 8])
@pytest.mark.parametrize("size", [(23, 22), (4, 4)])
def test_pooled_rows_are_means_over_adaptive_windows_in_the_usual_order(
    channels: int, size: tuple[int, int]
) -> None:
    x = torch.randn(3, channels, 26, 26, generator=torch.Generator().manual_seed(0))
    rows = reduce_rows(MaskedRows(x), sequence=False, most=channels * size[0] * size[1])
    expected = nn.functional.adaptive_avg_pool2d(x.double(), size).flatten(1)
    torch.testing.assert_close(rows.double(), expected, atol=1e-6, rtol=0)


def test_pooling_of_channels_last_averages_space_and_not_channels() -> None:
    x = torch.randn(3, 64, 64, 8) * 0 + torch.arange(8.0)
    rows = reduce_rows(MaskedRows(x), sequence=False, channels_last=True)
    assert rows.shape[1] <= MAX_FEATURES
    assert torch.equal(rows.reshape(3, 8, -1)[0, :, 0], torch.arange(8.0))


def test_a_quantized_output_is_read_as_its_values() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.quantize_per_tensor(torch.rand(4, 3), 0.1, 0, torch.quint8)
    found = find_rows(x, 4)
    assert isinstance(found, MaskedRows)
    assert torch.equal(reduce_rows(found, sequence=False), x.dequantize())


def test_float8_outputs_are_read_as_float32() -> None:
    x = x_of(5)
    capture = capture_of(Returns(lambda y: y.to(torch.float8_e4m3fn)), x)
    assert_rows(capture, "inner", x.tanh().to(torch.float8_e4m3fn).float())


def test_of_a_dictionary_that_is_passed_on_each_module_gives_what_it_added() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Words(), Pooling(), Projection()).eval()
    tokens = torch.randint(50, (20, 7))
    layers = Capturer(model, ProbeSet({"input_ids": tokens})).run().layers
    assert list(layers) == ["0.embed", "0.model.layers.0", "0", "1", "2"]
    with torch.no_grad():
        words = model[0]({"input_ids": tokens})
        pooled = model[1](dict(words))["sentence_embedding"]
        projected = model[2](model[1](dict(words)))["sentence_embedding"]
    assert_rdm(layers["0"].rdm, words["token_embeddings"].mean(1))
    assert_rdm(layers["1"].rdm, pooled)
    assert_rdm(layers["2"].rdm, projected)
