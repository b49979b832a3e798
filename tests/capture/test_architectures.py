"""The layers that are watched by default, in networks that people train, built without downloads.

For each network: the first representation, the last before the head, the output, and a pattern
that all layers between them fit, the ends of blocks and stages.
"""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from repwatch.capture import Capturer
from repwatch.errors import ConfigurationError
from repwatch.probe import ProbeSet
from repwatch.watch.options import WatchOptions
from tests.capture import networks
from tests.capture.helpers import by_execution_alone, mlp, x_of

Built = tuple[nn.Module, Any]

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
TEXT = SIZES | {"vocab_size": 50, "max_position_embeddings": 32}
PYRAMID = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 2, 1]}
BOTH = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": 50,
}


def images(side: int = 32) -> dict[str, torch.Tensor]:
    return {"pixel_values": x_of(12, 3, side, side)}


def ids(length: int = 7) -> torch.Tensor:
    return torch.randint(2, 50, (12, length), generator=torch.Generator().manual_seed(0))


def words() -> dict[str, torch.Tensor]:
    return {"input_ids": ids(), "attention_mask": torch.ones(12, 7, dtype=torch.long)}


def from_config(kind: str, config: str, inputs: Any, **options: Any) -> Built:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("transformers", reason="transformers is not installed")
        return getattr(library, kind)(getattr(library, config)(**options)), inputs


def bert(layers: int = 3) -> Built:
    options = TEXT | {"num_hidden_layers": layers}
    return from_config("BertForSequenceClassification", "BertConfig", words(), **options)


def clip() -> Built:
    text = TEXT | {"num_hidden_layers": 2, "eos_token_id": 49, "bos_token_id": 1, "pad_token_id": 0}
    vision = SIZES | {"num_hidden_layers": 2, "image_size": 16, "patch_size": 8}
    options = {"text_config": text, "vision_config": vision, "projection_dim": 12}
    return from_config("CLIPModel", "CLIPConfig", words() | images(16), **options)


def llama(kind: str, **options: Any) -> Built:
    return from_config(f"{kind}ForCausalLM", f"{kind}Config", words(), **TEXT, **options)


def of_images(kind: str, side: int = 32, **options: Any) -> Built:
    return from_config(f"{kind}ForImageClassification", f"{kind}Config", images(side), **options)


# The network; first, pattern of those between, last but one, output.
TABLE: dict[str, tuple[Callable[[], Built], str, str, str, str]] = {
    "ResNet": (
        lambda: of_images("ResNet", embedding_size=8, layer_type="bottleneck", **PYRAMID),
        "resnet.embedder",
        r"resnet\.encoder(\.stages\.\d(\.layers\.\d)?)?",
        "resnet.pooler",
        "classifier",
    ),
    "RegNet": (
        lambda: of_images(
            "RegNet",
            embedding_size=8,
            hidden_sizes=[8, 16, 16, 24],
            depths=[1, 2, 2, 1],
            groups_width=4,
        ),
        "regnet.embedder",
        r"regnet\.encoder(\.stages\.\d(\.layers\.\d)?)?",
        "regnet.pooler",
        "classifier",
    ),
    "ConvNeXt": (
        lambda: of_images("ConvNext", **PYRAMID),
        "convnext.embeddings",
        r"convnext\.encoder(\.stages\.\d(\.layers\.\d)?)?",
        "convnext.layernorm",
        "classifier",
    ),
    "EfficientNet": (
        lambda: of_images(
            "EfficientNet",
            width_coefficient=0.3,
            depth_coefficient=0.5,
            image_size=32,
            hidden_dim=384,
        ),
        "efficientnet.embeddings",
        r"efficientnet\.encoder(\.blocks\.\d+)?",
        "efficientnet.pooler",
        "classifier",
    ),
    "MobileNetV2": (
        lambda: of_images("MobileNetV2", depth_multiplier=0.25, image_size=32),
        "mobilenet_v2.conv_stem",
        r"mobilenet_v2\.layer\.\d+",
        "mobilenet_v2.pooler",
        "classifier",
    ),
    "ViT": (
        lambda: of_images("ViT", **SIZES, image_size=32, patch_size=8),
        "vit.embeddings",
        r"vit\.layers\.\d",
        "vit",
        "classifier",
    ),
    "Swin": (
        lambda: of_images(
            "Swin",
            image_size=32,
            patch_size=2,
            embed_dim=8,
            depths=[2, 2, 2],
            num_heads=[2, 2, 2],
            window_size=4,
        ),
        "swin.embeddings",
        r"swin\.encoder(\.layers\.\d(\.blocks\.\d)?)?",
        "swin.pooler",
        "classifier",
    ),
    "DINOv2": (
        lambda: of_images("Dinov2", **SIZES, image_size=32, patch_size=8),
        "dinov2.embeddings",
        r"dinov2\.encoder(\.layer\.\d)?",
        "dinov2",
        "classifier",
    ),
    "BERT": (
        bert,
        "bert.embeddings",
        r"bert\.encoder(\.layer\.\d)?",
        "bert.pooler",
        "classifier",
    ),
    "BERT of one layer": (
        lambda: bert(1),
        "bert.embeddings",
        r"bert\.encoder(\.layer\.\d)?",
        "bert.pooler",
        "classifier",
    ),
    "BERT with adapters": (
        lambda: (networks.with_adapters(bert()[0]), words()),
        "bert.embeddings",
        r"bert\.encoder(\.layer\.\d)?",
        "bert.pooler",
        "classifier",
    ),
    "BERT in another module": (
        lambda: (networks.Around(bert()[0]), words()),
        "model.bert.embeddings",
        r"model\.bert\.encoder(\.layer\.\d)?",
        "model.bert.pooler",
        "model.classifier",
    ),
    "RoBERTa": (
        lambda: from_config("RobertaForSequenceClassification", "RobertaConfig", words(), **TEXT),
        "roberta.embeddings",
        r"roberta\.encoder\.layer\.\d",
        "roberta",
        "classifier",
    ),
    "GPT-2": (
        lambda: from_config(
            "GPT2LMHeadModel", "GPT2Config", words(), n_embd=16, n_layer=3, n_head=2, vocab_size=50
        ),
        "transformer.wte",
        r"transformer\.h\.\d",
        "transformer",
        "lm_head",
    ),
    "Llama": (
        lambda: llama("Llama"),
        "model.embed_tokens",
        r"model\.layers\.\d",
        "model",
        "lm_head",
    ),
    "Qwen2": (
        lambda: llama("Qwen2", num_key_value_heads=2),
        "model.embed_tokens",
        r"model\.layers\.\d",
        "model",
        "lm_head",
    ),
    "Mixtral": (
        lambda: llama("Mixtral", num_key_value_heads=2, num_local_experts=4),
        "model.embed_tokens",
        r"model\.layers\.\d",
        "model",
        "lm_head",
    ),
    "T5": (
        lambda: from_config(
            "T5ForConditionalGeneration",
            "T5Config",
            words() | {"decoder_input_ids": ids()},
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            vocab_size=50,
        ),
        "encoder.embed_tokens",
        r"encoder|decoder\.embed_tokens|(en|de)coder\.block\.\d",
        "decoder",
        "lm_head",
    ),
    "BART": (
        lambda: from_config(
            "BartForConditionalGeneration",
            "BartConfig",
            words() | {"decoder_input_ids": ids()},
            **BOTH,
        ),
        "model.encoder.layernorm_embedding",
        r"model\.encoder|model\.decoder\.layernorm_embedding|model\.(en|de)coder\.layers\.\d",
        "model",
        "lm_head",
    ),
    "wav2vec2": (
        lambda: from_config(
            "Wav2Vec2ForSequenceClassification",
            "Wav2Vec2Config",
            {"input_values": x_of(12, 400)},
            **SIZES,
            conv_dim=(8, 8, 8),
            conv_stride=(5, 2, 2),
            conv_kernel=(10, 3, 3),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            vocab_size=20,
        ),
        "wav2vec2.feature_extractor.conv_layers.0",
        # encoder.layer_norm is that of the sum of features and positions.
        r"wav2vec2(\.feature_(extractor(\.conv_layers\.\d)?|projection)"
        r"|\.encoder\.layer(s\.\d|_norm))?",
        "projector",
        "classifier",
    ),
    "Whisper": (
        lambda: from_config(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            {"input_features": x_of(12, 8, 40), "decoder_input_ids": ids()},
            **BOTH,
            num_mel_bins=8,
            max_source_positions=20,
            max_target_positions=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        "model.encoder.conv1",
        r"model\.encoder(\.conv2)?|model\.decoder\.embed_tokens|model\.(en|de)coder\.layers\.\d",
        "model",
        "proj_out",
    ),
    "CLIP": (
        clip,
        "vision_model.embeddings",
        r"(text|vision)_model\.(embeddings|encoder(\.layers\.\d)?)|visual_projection",
        "text_model",
        "text_projection",
    ),
    "SegFormer": (
        lambda: from_config(
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            images(64),
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 2, 1, 2],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=12,
            mlp_ratios=[2] * 4,
        ),
        "segformer.stages.0.patch_embeddings",
        r"segformer\.stages\.\d(\.blocks\.\d)?",
        "segformer",
        "decode_head",
    ),
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


def layers_of(model: nn.Module, inputs: Any, layers: Any = None) -> tuple[list[str], str]:
    capturer = Capturer(model, ProbeSet(inputs), layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        capture = capturer.run()
    [note] = [note for note in capture.notes if note.startswith("watches")]
    assert capturer.layers is not None
    return list(capturer.layers), note


@pytest.mark.parametrize("name", TABLE)
def test_ends_of_blocks_are_watched_and_nothing_inside_of_them(name: str) -> None:
    build, first, between, last_but_one, output = TABLE[name]
    torch.manual_seed(0)
    model, inputs = build()
    chosen, note = layers_of(model, inputs)
    assert (chosen[0], *chosen[-2:]) == (first, last_but_one, output)
    assert len(chosen) <= 8
    assert "structure" not in note
    every, _ = layers_of(model, inputs, "blocks")
    assert set(chosen) <= set(every)
    inside = [key for key in every[1:-2] if not re.fullmatch(between, key)]
    assert inside == []


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
