"""Darts: a TCN on a generated series, as in its quick start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from darts import TimeSeries
from darts.models import TCNModel

from tests.integration_projects.projects._options import trainer_options


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    noise = np.random.default_rng(0)
    values = np.sin(np.arange(500) / 8) + 0.1 * noise.standard_normal(500)
    series = TimeSeries.from_values(values.astype(np.float32))
    model = TCNModel(
        input_chunk_length=24,
        output_chunk_length=6,
        n_epochs=3,
        batch_size=16,
        random_state=0,
        work_dir=str(root),
        pl_trainer_kwargs=trainer_options(callbacks, root),
    )
    model.fit(series[:400], val_series=series[400:])
    return model.model
