"""PyTorch Tabular: a category embedding model on generated rows, as in its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig
from sklearn.datasets import make_classification


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    x, y = make_classification(1200, 8, n_informative=5, random_state=0)
    data = pd.DataFrame(x, columns=[f"x{i}" for i in range(8)])
    data["kind"] = (data.pop("x7") * 2).round().astype(int).astype(str)
    data["target"] = y
    model = TabularModel(
        data_config=DataConfig(
            target=["target"],
            continuous_cols=[f"x{i}" for i in range(7)],
            categorical_cols=["kind"],
        ),
        model_config=CategoryEmbeddingModelConfig(task="classification", layers="64-32-16"),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(
            batch_size=32,
            max_epochs=3,
            accelerator="cpu",
            checkpoints=None,
            early_stopping=None,
            load_best=False,
            progress_bar="none",
            trainer_kwargs={"default_root_dir": str(root), "enable_model_summary": False},
        ),
        verbose=False,
        suppress_lightning_logger=True,
    )
    model.fit(train=data[:1000], validation=data[1000:], callbacks=callbacks)
    return model.model
