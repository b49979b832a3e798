"""Sentence Transformers: its Trainer on pairs of generated texts, with a BERT from a config."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

from tests.integration_projects.projects._words import TRAINING

_WORDS = [f"word{i}" for i in range(120)]


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    model = _encoder(root / "bert")
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=str(root), **TRAINING),
        train_dataset=_pairs(480, 0),
        eval_dataset=_pairs(200, 1),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=callbacks,
    ).train()
    return model


def _encoder(folder: Path) -> SentenceTransformer:
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS]), encoding="utf-8"
    )
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(
        BertConfig(
            vocab_size=125, hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=32,
        )
    ).save_pretrained(folder)  # fmt: skip
    words = Transformer(str(folder), max_seq_length=24)
    return SentenceTransformer(modules=[words, Pooling(32)], device="cpu")


def _pairs(count: int, seed: int) -> Dataset:
    """Two texts with some words in common."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        topic = draw.sample(_WORDS, 6)
        first, second = (topic[:4] + draw.sample(_WORDS, draw.randint(1, 6)) for _ in range(2))
        rows.append({"anchor": " ".join(first), "positive": " ".join(second)})
    return Dataset.from_list(rows)
