"""The layers that are watched by default in networks that people write themselves.

Those of libraries are in `test_architectures_images` and `test_architectures_text`.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import ConfigurationError
from repwatch.probe import ProbeSet
from repwatch.watch.options import WatchOptions
from tests.capture import networks
from tests.capture.architectures import Row, check, ids, layers_of
from tests.capture.attention import TimeFirst
from tests.capture.helpers import by_execution_alone, mlp, x_of

TABLE: dict[str, Row] = {
    "TransformerEncoder": (
        lambda: (networks.TokenEncoder(), ids()),
        "embed",
        r"encoder\.layers\.\d",
        "encoder",
        "head",
    ),
    "LSTM": (lambda: (networks.Recurrent(nn.LSTM), ids()), "embed", "first", "second", "head"),
    "GRU": (lambda: (networks.Recurrent(nn.GRU), ids()), "embed", "first", "second", "head"),
    "ResNet of PyTorch alone": (
        lambda: (networks.Residual(), x_of(12, 3, 16, 16)),
        "maxpool",
        r"layer\d(\.\d)?",
        "global_pool",
        "fc",
    ),
    "DenseNet": (
        lambda: (networks.Dense(), x_of(12, 3, 16, 16)),
        "stem",
        r"block\d(\.\d)?|transition\d",
        "norm",
        "fc",
    ),
    "U-Net": (
        lambda: (networks.UNet(), x_of(12, 3, 16, 16)),
        "down1",
        r"down\d|middle|up\d",
        "up1",
        "out",
    ),
    "U-Net with a head": (
        lambda: (networks.WithHead(networks.UNet(), 2), x_of(12, 3, 16, 16)),
        "backbone.down1",
        r"backbone\.(down\d|middle|up\d)",
        "backbone",
        "head",
    ),
    "VAE": (
        lambda: (networks.Variational(), x_of(12, 20)),
        "encoder.1",
        r"encoder|mean|log_variance",
        "decoder.1",
        "decoder",
    ),
    "GAN": (lambda: (networks.generator(), x_of(12, 8)), "0", "4", "4", "6"),
    "seq2seq": (
        lambda: (networks.Translator(), {"source": ids(), "target": ids(5)}),
        "source_embed",
        r"encoder|target_embed",
        "decoder",
        "head",
    ),
    "graph network": (
        lambda: (networks.GraphNet(), {"x": x_of(12, 6, 5), "adjacency": x_of(12, 6, 6)}),
        "layers.0",
        r"layers\.\d",
        "layers.2",
        "head",
    ),
    "graph convolutions": (
        lambda: (
            networks.ConvolutionalGraphNet(),
            {"x": x_of(12, 6, 5), "adjacency": x_of(12, 6, 6)},
        ),
        "conv1",
        "",
        "conv2",
        "head",
    ),
    "norms and activations of its own": (
        lambda: (networks.OwnClasses(), x_of(12, 3, 16, 16)),
        "bn1",
        r"blocks(\.\d)?",
        "bn2",
        "fc",
    ),
    "blocks with time first": (
        lambda: (TimeFirst(), x_of(12, 7, 5)),
        "embed",
        r"blocks\.\d",
        "blocks",
        "head",
    ),
    "columns of a table": (
        lambda: (networks.ByColumns(), x_of(12, 3)),
        "first",
        "second",
        "mix",
        "head",
    ),
    "mixture of experts": (
        lambda: (networks.Mixture(), x_of(12, 6)),
        "stem",
        r"blocks\.\d",
        "norm",
        "head",
    ),
    "MLP with adapters": (
        lambda: (networks.with_adapters(networks.plain_mlp()), x_of()),
        "1",
        "",
        "3",
        "4",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_ends_of_blocks_are_watched_and_nothing_inside_of_them(name: str) -> None:
    check(TABLE[name])


@pytest.mark.parametrize("frozen", [False, True])
def test_the_pass_with_gradients_leaves_no_trace(frozen: bool) -> None:
    model = networks.Residual().train().requires_grad_(not frozen)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    chosen, _ = layers_of(model, x_of(12, 3, 16, 16))
    assert chosen[0] == "maxpool"
    assert all(p.grad is None and p.requires_grad is not frozen for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    gc.collect()
    held = [x for x in gc.get_objects() if type(x) is torch.Tensor and x.grad_fn is not None]
    assert held == []


def test_frozen_embeddings_are_a_beginning_too() -> None:
    model, inputs = networks.TokenEncoder(), ids()
    chosen, _ = layers_of(model, inputs)
    assert layers_of(model.requires_grad_(False), inputs)[0] == chosen


def test_one_line_says_how_many_of_how_many() -> None:
    _, note = layers_of(networks.Residual(), x_of(12, 3, 16, 16))
    assert note == "watches 8 of 11 block outputs, from maxpool to fc"
    _, note = layers_of(mlp(), x_of())
    assert note == "watches 3 of 3 layers with weights, from 1 to 5"


@pytest.mark.parametrize("kind", [networks.Detached, networks.Refuses, networks.Opaque])
def test_without_a_graph_the_structure_of_modules_decides_and_a_note_says_so(kind: Any) -> None:
    chosen, note = layers_of(kind(networks.Mixture()), x_of())
    blocks = ["backbone.blocks.0", "backbone.blocks.1"]
    assert chosen == ["backbone.stem", *blocks, "backbone.head", "head"]
    assert "by the structure of its modules" in note
    assert len(note) < 200


def test_blocks_is_the_only_word() -> None:
    assert WatchOptions(layers="blocks").layers == "blocks"
    every, _ = layers_of(networks.Residual(), x_of(12, 3, 16, 16), "blocks")
    assert len(every) == 11
    with pytest.raises(ConfigurationError, match=r"layers=\['block'\], or layers='blocks'"):
        Capturer(mlp(), ProbeSet(x_of()), "block")
    with pytest.raises(ConfigurationError, match="blocks"):
        WatchOptions(layers="block")


def test_passes_of_the_host_are_listened_to_at_the_ends_of_blocks() -> None:
    model, x = networks.Mixture().eval(), x_of()
    capturer = Capturer(model, ProbeSet(x))
    with capturer.passive() as listening, torch.no_grad():
        model(x)
    assert list(listening.result().layers) == [
        "input",
        "stem",
        "blocks.0",
        "blocks.1",
        "norm",
        "head",
    ]


# Plain networks: what was watched before cut points is watched with them.


PLAIN = {
    "MLP": lambda: (mlp(), x_of()),
    "deep MLP": lambda: (networks.plain_mlp(14), x_of()),
    "CNN": lambda: (networks.plain_cnn(), x_of(12, 1, 16, 16)),
    "CNN of blocks": lambda: (networks.BlockCNN(), x_of(12, 1, 16, 16)),
    "LSTM": lambda: (networks.Recurrent(nn.LSTM), ids()),
    "GRU": lambda: (networks.Recurrent(nn.GRU), ids()),
    "GAN": lambda: (networks.generator(), x_of(12, 8)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_keep_their_layers(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = PLAIN[name]()
    assert layers_of(model, inputs)[0] == by_execution_alone(model, inputs)


def test_where_the_output_hides_what_was_decoded_the_structure_decides() -> None:
    class Hidden(nn.Module):
        """An autoencoder that gives its code, and a distribution instead of a tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
            self.decoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
            self.skip = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> Any:
            code = self.encoder(x) + self.skip(x)
            return {"code": code, "x": torch.distributions.Normal(self.decoder(code), 1.0)}

    chosen, note = layers_of(Hidden(), x_of())
    assert {"decoder.1", "decoder.2"} <= set(chosen)
    assert "by the structure of its modules" in note
