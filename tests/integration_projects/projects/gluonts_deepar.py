"""GluonTS: a DeepAR estimator on generated series, as in its quick start. It has no validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from gluonts.dataset.pandas import PandasDataset
from gluonts.torch import DeepAREstimator

from tests.integration_projects.projects._options import trainer_options


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    np.random.seed(0)
    index = pd.date_range("2024-01-01", periods=200, freq="D")
    wave = np.sin(np.arange(200) / 5)
    series = {
        f"series {i}": pd.DataFrame({"target": wave * i + np.random.randn(200)}, index=index)
        for i in range(1, 9)
    }
    estimator = DeepAREstimator(
        prediction_length=12,
        freq="D",
        num_batches_per_epoch=20,
        batch_size=16,
        trainer_kwargs=trainer_options(callbacks, root, max_epochs=3, enable_checkpointing=True),
    )
    return estimator.train_model(PandasDataset(series)).trained_net
