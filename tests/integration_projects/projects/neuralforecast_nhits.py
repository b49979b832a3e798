"""NeuralForecast: NHITS on generated series, as in its quick start. It trains by steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.models import NHITS

from tests.integration_projects.projects._options import trainer_options


def train(callbacks: list[Any], root: Path) -> torch.nn.Module:
    dates = pd.date_range("2020-01-31", periods=120, freq="ME")
    noise = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "unique_id": f"series {i}",
                "ds": dates,
                "y": np.sin(np.arange(120) / 6 + i) + 0.1 * noise.standard_normal(120),
            }
        )
        for i in range(16)
    ]
    model = NHITS(
        input_size=24,
        h=12,
        max_steps=60,
        batch_size=8,
        **trainer_options(callbacks, root),
    )
    forecast = NeuralForecast(models=[model], freq="ME")
    forecast.fit(df=pd.concat(frames))
    return forecast.models[0]
