"""The layers that are watched by default in networks for images, built without downloads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capture.architectures import SIZES, Built, Row, check, from_config, images

PYRAMID = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 2, 1]}


def of_images(kind: str, side: int = 32, **options: Any) -> Built:
    return from_config(f"{kind}ForImageClassification", f"{kind}Config", images(side), **options)


TABLE: dict[str, Row] = {
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
    "DETR": (
        # Its position embedding gets nothing but the mask of padding: it is no beginning.
        lambda: from_config(
            "DetrForObjectDetection",
            "DetrConfig",
            images(64),
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config={
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8, 8, 16, 16],
                "depths": [1, 1, 1, 1],
                "out_features": ["stage4"],
            },
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            num_queries=5,
        ),
        "model.backbone.model.embedder",
        r"model\.(backbone(\.model\.encoder\.stages\.\d)?|input_projection|encoder(\.layers\.\d)?"
        r"|decoder\.layers\.\d)",
        "model",
        "class_labels_classifier",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_ends_of_blocks_are_watched_and_nothing_inside_of_them(name: str) -> None:
    check(TABLE[name])
