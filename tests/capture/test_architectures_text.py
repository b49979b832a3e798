"""The layers that are watched by default in networks for text and sound, without downloads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capture import networks
from tests.capture.architectures import (
    SIZES,
    TEXT,
    Built,
    Row,
    check,
    from_config,
    ids,
    images,
    words,
)
from tests.capture.helpers import x_of

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


TABLE: dict[str, Row] = {
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
    "XLNet": (
        # Time is its first dimension, which no module declares.
        lambda: from_config(
            "XLNetForSequenceClassification",
            "XLNetConfig",
            words(),
            vocab_size=50,
            d_model=16,
            n_layer=3,
            n_head=2,
            d_inner=24,
        ),
        "transformer.word_embedding",
        r"transformer(\.layer\.\d)?",
        "sequence_summary",
        "logits_proj",
    ),
    "CLIP": (
        clip,
        "vision_model.embeddings",
        r"(text|vision)_model\.(embeddings|encoder(\.layers\.\d)?)|visual_projection",
        "text_model",
        "text_projection",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_ends_of_blocks_are_watched_and_nothing_inside_of_them(name: str) -> None:
    check(TABLE[name])
