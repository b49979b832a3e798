"""PyTorch Forecasting: a Temporal Fusion Transformer on generated series, as in its tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data import GroupNormalizer

from tests.integration_projects.projects._options import trainer_options

_HORIZON = 6


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    data = _sales()
    training = TimeSeriesDataSet(
        data[data.time < data.time.max() - _HORIZON],
        time_idx="time",
        target="volume",
        group_ids=["shop"],
        max_encoder_length=24,
        max_prediction_length=_HORIZON,
        static_categoricals=["shop"],
        time_varying_known_reals=["time", "price"],
        time_varying_unknown_reals=["volume"],
        target_normalizer=GroupNormalizer(groups=["shop"]),
        add_relative_time_idx=True,
        add_target_scales=True,
        add_encoder_length=True,
    )
    validation = TimeSeriesDataSet.from_dataset(
        training, data, min_prediction_idx=data.time.max() - 30, stop_randomization=True
    )
    model = TemporalFusionTransformer.from_dataset(
        training, learning_rate=0.03, hidden_size=8, hidden_continuous_size=8, dropout=0.1,
        attention_head_size=1, loss=QuantileLoss(), log_interval=-1,
    )  # fmt: skip
    trainer = pl.Trainer(
        **trainer_options(
            callbacks, root, max_epochs=2, gradient_clip_val=0.1, limit_train_batches=35
        )
    )
    trainer.fit(
        model,
        train_dataloaders=training.to_dataloader(train=True, batch_size=16),
        val_dataloaders=validation.to_dataloader(train=False, batch_size=32),
    )
    return model


def _sales() -> pd.DataFrame:
    noise = np.random.default_rng(0)
    time = np.arange(120)
    frames = []
    for shop in range(8):
        price = 1 + 0.1 * noise.standard_normal(120)
        volume = 10 + shop + 3 * np.sin(time / 4 + shop) - 2 * price
        frames.append(
            pd.DataFrame({"time": time, "shop": f"{shop}", "price": price, "volume": volume})
        )
    return pd.concat(frames, ignore_index=True)
